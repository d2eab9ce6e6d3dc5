/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options of Multipath TCP (RFC 8684 section 3; version 0: RFC 6824), read from a copy of the
 * header's options. Each function returns the bit of enum omr_mptcp_seen, or 0 for a wrong length.
 */
#ifndef OMR_MPTCP_H
#define OMR_MPTCP_H

#include "packet.h"

enum {
	OMR_TCP_FIN = 1,
	OMR_TCP_SYN = 2,
	OMR_TCP_RST = 4,
	OMR_TCP_ACK = 16,

	OMR_TCP_OPTIONS = 40, /* the most that the data offset can announce */
	OMR_OPTION_MASK = 63, /* of an offset into struct omr_options */

	/* flags of a DSS */
	OMR_DSS_ACK = 1,
	OMR_DSS_ACK64 = 2,
	OMR_DSS_MAP = 4,
	OMR_DSS_MAP64 = 8,
	OMR_DSS_SIZE = 4, /* without what the flags add */
	OMR_DSS_CHECKSUM = 2,
};

/*
 * A copy of the options. It lives in a map, not on the stack: the verifier remembers what is on the
 * stack and would walk the options once for every place at which each can begin, and never finish.
 */
struct omr_options {
	union {
		__u8 bytes[OMR_OPTION_MASK + 1];
		__u32 words_be[(OMR_OPTION_MASK + 1) / 4];
	};
	volatile __u8 at; /* of the option at hand; volatile: to be forgotten from round to round */
	volatile __u8 length;
	__u8 zero[6];
};

OMR_INLINE __u8 omr_option8(const struct omr_options *o, __u32 at)
{
	return o->bytes[at & OMR_OPTION_MASK];
}

OMR_INLINE __u32 omr_option32(const struct omr_options *o, __u32 at)
{
	return (__u32)omr_option8(o, at) << 24 | (__u32)omr_option8(o, at + 1) << 16 |
	       (__u32)omr_option8(o, at + 2) << 8 | omr_option8(o, at + 3);
}

/* To network order; the same conversion as from it. */
OMR_INLINE __u32 omr_option32_be(const struct omr_options *o, __u32 at)
{
	return omr_host32(omr_option32(o, at));
}

/*
 * RFC 8684 section 3.1, RFC 6824 section 3.1. Wanted is the key of the end that accepts: the only
 * one of a SYN-ACK, the second one of what the other end sends then.
 */
OMR_INLINE int omr_mp_capable(struct omr_packet *p, const struct omr_options *o, __u32 at,
                              __u32 size)
{
	int syn = p->tcp_flags & OMR_TCP_SYN, ack = p->tcp_flags & OMR_TCP_ACK;
	int old = !(omr_option8(o, at + 2) & 15);
	__u32 words_be[2], key = at + (syn ? 4 : 12);

	if (syn ? size != (ack || old ? 12 : 4) : size != 20 && size != 22 && size != 24)
		return 0;
	p->options = (p->options & ~OMR_OPTION_V0) | (old ? OMR_OPTION_V0 : 0);
	if (syn && !ack)
		return OMR_MP_CAPABLE;
	words_be[0] = omr_option32_be(o, key);
	words_be[1] = omr_option32_be(o, key + 4);
	__builtin_memcpy(&p->mp_key_be, words_be, sizeof(p->mp_key_be));
	p->options |= OMR_OPTION_KEY;
	return OMR_MP_CAPABLE;
}

/* RFC 8684 section 3.2: SYN, SYN-ACK and ACK differ in length; the ACK has no id and no flag. */
OMR_INLINE int omr_mp_join(struct omr_packet *p, const struct omr_options *o, __u32 at, __u32 size)
{
	int syn = p->tcp_flags & OMR_TCP_SYN, ack = p->tcp_flags & OMR_TCP_ACK;

	if (size != (syn ? (ack ? 16 : 12) : 24))
		return 0;
	if (!syn)
		return OMR_MP_JOIN;
	p->mp_backup = omr_option8(o, at + 2) & 1;
	p->mp_id = omr_option8(o, at + 3);
	if (!ack)
		p->mp_token_be = omr_option32_be(o, at + 4);
	return OMR_MP_JOIN;
}

/* Bytes of a data ACK, and of the data sequence number of a mapping, as the flags say. */
OMR_INLINE __u32 omr_dss_ack_size(__u8 flags)
{
	return flags & OMR_DSS_ACK ? (flags & OMR_DSS_ACK64 ? 8 : 4) : 0;
}

OMR_INLINE __u32 omr_dss_seq_size(__u8 flags)
{
	return flags & OMR_DSS_MAP64 ? 8 : 4;
}

/* RFC 8684 section 3.3: the length follows from the flags, with or without a checksum. */
OMR_INLINE int omr_dss_fits(__u8 flags, __u32 size)
{
	__u32 expected = OMR_DSS_SIZE + omr_dss_ack_size(flags);

	if (!(flags & OMR_DSS_MAP))
		return size == expected;
	expected += omr_dss_seq_size(flags) + 6; /* subflow sequence number, length */
	return size == expected || size == expected + OMR_DSS_CHECKSUM;
}

/*
 * What a DSS tells: the upper half of its data ACK or, failing that, of its data sequence number
 * (0 says nothing), and a mapping of length 0, the infinite one (section 3.7).
 */
OMR_INLINE int omr_dss_says(struct omr_packet *p, __u32 ack_word, __u32 seq_word, int infinite)
{
	p->options &= ~(OMR_OPTION_DATA_ACK | OMR_OPTION_DATA_SEQ);
	if (ack_word || seq_word) {
		p->data_word = ack_word ? ack_word : seq_word;
		p->options |= ack_word ? OMR_OPTION_DATA_ACK : OMR_OPTION_DATA_SEQ;
	}
	return OMR_MP_DSS | (infinite ? OMR_MP_INFINITE : 0);
}

OMR_INLINE int omr_mp_dss(struct omr_packet *p, const struct omr_options *o, __u32 at, __u32 size)
{
	__u8 flags = omr_option8(o, at + 3);
	__u32 ack_word = 0, seq_word = 0, map = at + OMR_DSS_SIZE + omr_dss_ack_size(flags);
	int infinite = 0;

	if (size < OMR_DSS_SIZE || !omr_dss_fits(flags, size))
		return 0;
	if ((flags & OMR_DSS_ACK) && (flags & OMR_DSS_ACK64))
		ack_word = omr_option32(o, at + OMR_DSS_SIZE);
	if (flags & OMR_DSS_MAP) {
		if (flags & OMR_DSS_MAP64)
			seq_word = omr_option32(o, map);
		map += omr_dss_seq_size(flags) + 4;
		infinite = !(omr_option8(o, map) | omr_option8(o, map + 1));
	}
	return omr_dss_says(p, ack_word, seq_word, infinite);
}

/* RFC 8684 section 3.4.1: an address, a port or not, and an HMAC unless it is an echo. */
OMR_INLINE int omr_mp_add_addr(__u32 size)
{
	int known = size == 8 || size == 10 || size == 16 || size == 18 || size == 20 ||
	            size == 22 || size == 28 || size == 30;

	return known ? OMR_MP_ADD_ADDR : 0;
}

OMR_INLINE int omr_mp_option(struct omr_packet *p, const struct omr_options *o, __u32 at,
                             __u32 size)
{
	if (size < 3)
		return 0;
	switch (omr_option8(o, at + 2) >> 4) {
	case 0:
		return omr_mp_capable(p, o, at, size);
	case 1:
		return omr_mp_join(p, o, at, size);
	case 2:
		return omr_mp_dss(p, o, at, size);
	case 3:
		return omr_mp_add_addr(size);
	case 4:
		return size >= 4 ? OMR_MP_REMOVE_ADDR : 0;
	case 5: /* 4: version 0, with an address id */
		if (size != 3 && size != 4)
			return 0;
		p->mp_prio = omr_option8(o, at + 2) & 1;
		return OMR_MP_PRIO;
	case 6:
		return size == 12 ? OMR_MP_FAIL : 0;
	case 7:
		return size == 12 ? OMR_MP_FASTCLOSE : 0;
	case 8:
		return size == 4 ? OMR_MP_RST : 0;
	default: /* not known yet: says nothing about this subflow */
		return OMR_MP_OTHER;
	}
}

#endif
