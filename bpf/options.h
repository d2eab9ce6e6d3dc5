/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TCP options: timestamps (RFC 7323), duplicate SACK (RFC 2883), Multipath TCP (RFC 8684).
 *
 * The kind and length of every option are followed to the end; a chain that contradicts itself
 * makes the packet malformed. A known option of a length that its RFC does not allow is left out,
 * as the kernel does, and marked OMR_OPTION_BAD.
 */
#ifndef OMR_OPTIONS_H
#define OMR_OPTIONS_H

#include "packet.h"

enum {
	OMR_TCP_HEADER = 20,
	OMR_TCP_OPTIONS = 40, /* the most that the data offset can announce */
	OMR_OPTION_MASK = 63, /* of an offset into struct omr_options */

	OMR_TCP_FIN = 1,
	OMR_TCP_SYN = 2,
	OMR_TCP_RST = 4,
	OMR_TCP_ACK = 16,

	OMR_KIND_END = 0,
	OMR_KIND_NOP = 1,
	OMR_KIND_SACK = 5,
	OMR_KIND_TIMESTAMP = 8,
	OMR_KIND_MPTCP = 30,
	OMR_KINDS_FOUND = 32,
	OMR_MPTCP_OPTIONS = 4, /* as many of one packet count, the last ones */

	OMR_SIZE_TIMESTAMP = 10,
	OMR_ALIGNED_TIMESTAMP = 0x0101080a, /* NOP, NOP, kind, length: how nearly all send it */
	OMR_ALIGNED_TIMESTAMP_SIZE = 12,
};

/*
 * A copy of the options and where in it each kind begins. It lives in a map, not on the stack: the
 * verifier remembers what is on the stack and would walk the options once for every place at which
 * each can begin, and never finish.
 */
struct omr_options {
	union {
		__u8 bytes[OMR_OPTION_MASK + 1];
		__u32 words_be[(OMR_OPTION_MASK + 1) / 4];
	};
	__u8 found[OMR_KINDS_FOUND]; /* the newest option of that kind, its place plus 1 */
	volatile __u8 at;            /* volatile: to be forgotten from one round to the next */
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
 * The first SACK block tells of a duplicate if it lies below the acknowledgement or inside the
 * second block (RFC 2883 section 4). Its width is what the peer received twice.
 */
OMR_INLINE void omr_option_sack(struct omr_packet *p, const struct omr_options *o, __u32 at,
                                __u32 size)
{
	__u32 start, end;

	if (size < 10 || (size - 2) % 8) {
		p->options |= OMR_OPTION_BAD;
		return;
	}
	start = omr_option32(o, at + 2);
	end = omr_option32(o, at + 6);
	if (!omr_before(start, end))
		return;
	if (!omr_before(p->ack, end)) {
		p->dsack_bytes = end - start;
		return;
	}
	if (size >= 18 && !omr_before(start, omr_option32(o, at + 10)) &&
	    !omr_before(omr_option32(o, at + 14), end))
		p->dsack_bytes = end - start;
}

/* RFC 8684 section 3.1; 12 bytes on a SYN are version 0 (RFC 6824). */
OMR_INLINE int omr_mp_capable(struct omr_packet *p, const struct omr_options *o, __u32 at,
                              __u32 size)
{
	int syn = p->tcp_flags & OMR_TCP_SYN, ack = p->tcp_flags & OMR_TCP_ACK;
	__u32 words_be[2];

	if (syn && !ack && size == 4)
		return OMR_MP_CAPABLE;
	if (syn ? size != 12 : size != 20 && size != 22 && size != 24)
		return 0;
	words_be[0] = omr_option32_be(o, at + 4);
	words_be[1] = omr_option32_be(o, at + 8);
	__builtin_memcpy(&p->mp_key_be, words_be, sizeof(p->mp_key_be));
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

/* RFC 8684 section 3.3; the length follows from the flags, with or without a checksum. */
OMR_INLINE int omr_mp_dss(const struct omr_options *o, __u32 at, __u32 size)
{
	__u8 flags;
	__u32 expected = 4;

	if (size < 4)
		return 0;
	flags = omr_option8(o, at + 3);
	if (flags & 1)
		expected += flags & 2 ? 8 : 4;
	if (flags & 4)
		expected += (flags & 8 ? 8 : 4) + 6;
	return size == expected || ((flags & 4) && size == expected + 2) ? OMR_MP_DSS : 0;
}

/* RFC 8684 section 3.4.1: an address, a port or not, and an HMAC unless it is an echo. */
OMR_INLINE int omr_mp_add_addr(__u32 size)
{
	int known = size == 8 || size == 10 || size == 16 || size == 18 || size == 20 ||
	            size == 22 || size == 28 || size == 30;

	return known ? OMR_MP_ADD_ADDR : 0;
}

/* The bit of enum omr_mptcp_seen, or 0 for a wrong length. Sizes: RFC 8684 section 3. */
OMR_INLINE int omr_mp_option(struct omr_packet *p, const struct omr_options *o, __u32 at,
                             __u32 size)
{
	switch (omr_option8(o, at + 2) >> 4) {
	case 0:
		return omr_mp_capable(p, o, at, size);
	case 1:
		return omr_mp_join(p, o, at, size);
	case 2:
		return omr_mp_dss(o, at, size);
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

/*
 * Fills o->found. The byte that held the kind of an option becomes the place (plus 1) of the one of
 * the same kind before it. No branch depends on the kind: see struct omr_options.
 */
OMR_INLINE int omr_find_options(struct omr_options *o)
{
	int i;

	o->at = 0;
#pragma GCC unroll 1
	for (i = 0; i < OMR_TCP_OPTIONS; i++) {
		__u32 at = o->at & OMR_OPTION_MASK, size = 1;
		__u8 kind = o->bytes[at];

		if (at >= o->length || kind == OMR_KIND_END)
			break;
		if (kind != OMR_KIND_NOP) {
			size = omr_option8(o, at + 1);
			if (size < 2 || at + size > o->length)
				return OMR_REFUSE(OMR_UNPARSED_MALFORMED);
			if (kind < OMR_KINDS_FOUND) {
				o->bytes[at] = o->found[kind & (OMR_KINDS_FOUND - 1)];
				o->found[kind & (OMR_KINDS_FOUND - 1)] = at + 1;
			}
		}
		o->at = at + size;
	}
	return OMR_PARSED_TCP;
}

OMR_INLINE void omr_option_timestamp(struct omr_packet *p, const struct omr_options *o, __u32 at)
{
	if (omr_option8(o, at + 1) != OMR_SIZE_TIMESTAMP) {
		p->options |= OMR_OPTION_BAD;
		return;
	}
	p->tsval = omr_option32(o, at + 2);
	p->tsecr = omr_option32(o, at + 6);
	p->options |= OMR_OPTION_TIMESTAMP;
}

OMR_INLINE void omr_option_mptcp(struct omr_packet *p, const struct omr_options *o, __u32 at)
{
	__u32 size = omr_option8(o, at + 1);
	int bit = size < 3 ? 0 : omr_mp_option(p, o, at, size);

	p->mptcp |= bit;
	if (!bit)
		p->options |= OMR_OPTION_BAD;
}

OMR_INLINE int omr_walk_options(struct omr_packet *p, struct omr_options *o)
{
	int parsed = omr_find_options(o), i;
	__u32 next;

	if (parsed < 0)
		return parsed;
	next = o->found[OMR_KIND_TIMESTAMP];
	if (next)
		omr_option_timestamp(p, o, next - 1);
	next = o->found[OMR_KIND_SACK];
	if (next)
		omr_option_sack(p, o, next - 1, omr_option8(o, next));
	next = o->found[OMR_KIND_MPTCP];
#pragma GCC unroll 1
	for (i = 0; i < OMR_MPTCP_OPTIONS && next; i++) {
		omr_option_mptcp(p, o, next - 1);
		next = omr_option8(o, next - 1);
	}
	return OMR_PARSED_TCP;
}

/*
 * Reads `length` bytes of options behind the fixed header at c. The usual timestamp option is
 * taken from its place; only what else there is gets copied and walked.
 */
OMR_INLINE int omr_parse_options(struct omr_packet *p, struct omr_options *o,
                                 const struct omr_cursor *c, __u32 length)
{
	struct omr_cursor from = {.at = c->at + OMR_TCP_HEADER, .end = c->end};
	__u32 i;

	if (!length)
		return OMR_PARSED_TCP;
	if (length >= OMR_ALIGNED_TIMESTAMP_SIZE) {
		if (!omr_reaches(&from, OMR_ALIGNED_TIMESTAMP_SIZE))
			return OMR_REFUSE(OMR_UNPARSED_TRUNCATED);
		if (omr_load32(from.at) == OMR_ALIGNED_TIMESTAMP) {
			p->tsval = omr_load32(from.at + 4);
			p->tsecr = omr_load32(from.at + 8);
			p->options = OMR_OPTION_TIMESTAMP;
			from.at += OMR_ALIGNED_TIMESTAMP_SIZE;
			length -= OMR_ALIGNED_TIMESTAMP_SIZE;
			if (!length)
				return OMR_PARSED_TCP;
		}
	}
	__builtin_memset(o->found, 0, sizeof(o->found));
	o->length = length;
#pragma GCC unroll 1
	for (i = 0; i < OMR_TCP_OPTIONS; i += 4) {
		if (i >= length)
			break;
		if (!omr_reaches(&from, 4))
			return OMR_REFUSE(OMR_UNPARSED_TRUNCATED);
		o->words_be[i / 4] = omr_load32_be(from.at);
		from.at += 4;
	}
	return omr_walk_options(p, o);
}

#endif
