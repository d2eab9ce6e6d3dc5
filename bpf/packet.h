/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the parser hand to each other: a frame's description, the packet as
 * understood, a cursor, and loads in network and host order.
 */
#ifndef OMR_PACKET_H
#define OMR_PACKET_H

#include "abi.h"

/* What a hook knows about a packet besides its bytes. */
struct omr_frame {
	__u32 len;      /* bytes, link header included, linear or not */
	__u32 gso_segs; /* wire packets that this one stands for; 0 or 1: itself */
	__u32 gso_size; /* payload of each; 0: not a super-packet */
	__u8 l2;        /* enum omr_l2 */
	__u8 direction; /* enum omr_direction */
	__u8 path;      /* path index + 1 */
	__u8 zero;
};

/* omr_packet.options */
enum omr_packet_option {
	OMR_OPTION_TIMESTAMP = 1, /* tsval and tsecr are valid */
	OMR_OPTION_BAD = 2,       /* an option of a wrong length was left out */
};

/* Host byte order unless *_be. */
struct omr_packet {
	__u64 mp_key_be; /* MP_CAPABLE: the sender's key; 0: not in this packet */
	union {
		struct omr_flow_key4 v4;
		struct omr_flow_key6 v6;
	} key;         /* zero beyond what the family uses */
	__u32 headers; /* bytes from the link header to the end of the last header understood */
	__u32 payload; /* TCP payload bytes */
	__u32 seq;
	__u32 ack;
	__u32 tsval;
	__u32 tsecr;
	__u32 dsack_bytes; /* width of the duplicate that RFC 2883's first SACK block reports */
	__u32 mp_token_be; /* MP_JOIN SYN: receiver's token */
	__u16 window;      /* not scaled */
	__u16 mptcp;       /* enum omr_mptcp_seen */
	__u8 family;       /* 4 or 6; 0: not IP */
	__u8 protocol;
	__u8 tcp_flags;
	__u8 options;   /* enum omr_packet_option */
	__u8 mp_id;     /* MP_JOIN: address id of the sender */
	__u8 mp_backup; /* MP_JOIN: B */
	__u8 mp_prio;   /* MP_PRIO: B */
	__u8 alive;     /* unicast IP, no neighbour discovery: counts for liveness */
};

/* Result of omr_parse() and its parts: how far it got, or OMR_REFUSE(reason). */
enum omr_parsed {
	OMR_PARSED_OTHER = 0, /* not TCP, or not IP; family says */
	OMR_PARSED_TCP = 1,
};
#define OMR_REFUSE(reason) (-1 - (int)(reason))

struct omr_cursor {
	const __u8 *at;
	const __u8 *end;
};

OMR_INLINE int omr_reaches(const struct omr_cursor *c, __u32 bytes)
{
	return c->at + bytes <= c->end;
}

/*
 * Loads at any alignment. clang cuts an access through memcpy() or a packed struct into bytes for
 * BPF, whose targets do unaligned loads by themselves; native code (OMR_NATIVE) must not assume it.
 */
OMR_INLINE __u16 omr_load16_be(const __u8 *at)
{
#ifdef OMR_NATIVE
	__u16 value;

	__builtin_memcpy(&value, at, sizeof(value));
	return value;
#else
	return *(const __u16 *)at;
#endif
}

OMR_INLINE __u32 omr_load32_be(const __u8 *at)
{
#ifdef OMR_NATIVE
	__u32 value;

	__builtin_memcpy(&value, at, sizeof(value));
	return value;
#else
	return *(const __u32 *)at;
#endif
}

OMR_INLINE __u32 omr_host32(__u32 value_be)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_bswap32(value_be);
#else
	return value_be;
#endif
}

OMR_INLINE __u16 omr_host16(__u16 value_be)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_bswap16(value_be);
#else
	return value_be;
#endif
}

OMR_INLINE __u16 omr_load16(const __u8 *at)
{
	return omr_host16(omr_load16_be(at));
}

OMR_INLINE __u32 omr_load32(const __u8 *at)
{
	return omr_host32(omr_load32_be(at));
}

/* RFC 1982 arithmetic for sequence numbers and timestamps. */
OMR_INLINE int omr_before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

#endif
