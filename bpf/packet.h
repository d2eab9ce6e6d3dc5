/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the parser hand to each other: a frame's description, the packet as
 * understood, a cursor, and loads in network and host order.
 */
#ifndef OMR_PACKET_H
#define OMR_PACKET_H

#include "abi.h"

/*
 * What few packets need. omrfast.bpf.c makes these functions of their own, global ones, which the
 * verifier visits once instead of once for every way that leads there: hence results of type int,
 * and checks of pointers that are never NULL (kernel/bpf/btf.c, btf_prepare_func_args). bcc loads
 * programs function by function and knows no calls: there, and natively, they are inlined.
 */
#ifndef OMR_RARE
#define OMR_RARE OMR_INLINE
#endif

/*
 * Makes the compiler read again what it has written. Of what comes from a map the verifier knows
 * nothing, so that all ways which lead here become one; it would follow every constant that the
 * compiler carries on in a register.
 */
#define OMR_FORGET() __asm__ __volatile__("" : : : "memory")

#define OMR_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define OMR_UNLIKELY(condition) __builtin_expect(!!(condition), 0)

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

/* omr_packet.options: which members are valid, and what is not one. */
enum omr_packet_option {
	OMR_OPTION_TIMESTAMP = 1, /* tsval, tsecr */
	OMR_OPTION_BAD = 2,       /* an option of a wrong length was left out */
	OMR_OPTION_DSACK = 4,     /* dsack_bytes */
	OMR_OPTION_KEY = 8,       /* mp_key_be */
	OMR_OPTION_DATA_ACK = 16, /* data_word, of a data ACK */
	OMR_OPTION_DATA_SEQ = 32, /* data_word, of a data sequence number */
	OMR_OPTION_V0 = 64,       /* MP_CAPABLE of version 0 */
	OMR_OPTION_SACK = 128,    /* sack_at, sack_blocks */
};

/*
 * Host byte order unless *_be. Members that an option, or the family, makes valid are not cleared
 * between packets.
 */
struct omr_packet {
	union {
		struct omr_flow_key4 v4;
		struct omr_flow_key6 v6;
		__u64 ends_be[4]; /* the addresses, local first: IPv4 one word, IPv6 all */
	} key;                    /* of TCP over IP only */
	__u32 headers; /* bytes from the link header to the end of the last header understood */
	union {
		struct {
			__u16 mptcp; /* enum omr_mptcp_seen */
			__u8 family; /* 4 or 6; 0: not IP */
			__u8 protocol;
			__u8 tcp_flags;
			__u8 options;    /* enum omr_packet_option */
			__u8 lifeless;   /* no sign of life: group address, neighbour discovery */
			__u8 icmp_error; /* type of an ICMP error */
		};
		__u64 marks; /* all of them, to clear */
	};
	__u64 mp_key_be; /* MP_CAPABLE: key of the end that accepted the connection */
	__u32 payload;   /* TCP payload bytes */
	__u32 seq;
	__u32 ack;
	__u32 tsval;
	__u32 tsecr;
	__u32 dsack_bytes; /* width of the duplicate that RFC 2883's first SACK block reports */
	__u32 mp_token_be; /* MP_JOIN SYN: receiver's token */
	__u32 data_word;   /* upper half of a 64-bit data ACK or sequence number; not 0 */
	__u16 window;      /* not scaled */
	__u8 mp_id;        /* MP_JOIN: address id of the sender */
	__u8 mp_backup;    /* MP_JOIN: B */
	__u8 mp_prio;      /* MP_PRIO: B */
	__u8 sack_at;      /* of the first SACK block in struct omr_options, 8 bytes each */
	__u8 sack_blocks;  /* 1 to 4 */
	__u8 zero;
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
#ifdef OMR_NATIVE
#define OMR_LOAD(bits)                                                                             \
	OMR_INLINE __u##bits omr_load##bits##_be(const __u8 *at)                                   \
	{                                                                                          \
		__u##bits value;                                                                   \
                                                                                                   \
		__builtin_memcpy(&value, at, sizeof(value));                                       \
		return value;                                                                      \
	}
#else
#define OMR_LOAD(bits)                                                                             \
	OMR_INLINE __u##bits omr_load##bits##_be(const __u8 *at)                                   \
	{                                                                                          \
		return *(const __u##bits *)at;                                                     \
	}
#endif
OMR_LOAD(16)
OMR_LOAD(32)
OMR_LOAD(64)
#undef OMR_LOAD

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
