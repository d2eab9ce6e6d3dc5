/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TCP options: timestamps (RFC 7323), SACK (RFC 2018), duplicate SACK (RFC 2883), Multipath TCP
 * (RFC 8684).
 *
 * The kind and length of every option are followed to the end; a chain that contradicts itself
 * makes the packet malformed. A known option of a length that its RFC does not allow is left out,
 * as the kernel does, and marked OMR_OPTION_BAD. What nearly every packet carries, timestamps and
 * a DSS where kernels put them, is read in place; all else is copied and walked.
 */
#ifndef OMR_OPTIONS_H
#define OMR_OPTIONS_H

#include "mptcp.h"

enum {
	OMR_TCP_HEADER = 20,

	OMR_KIND_END = 0,
	OMR_KIND_NOP = 1,
	OMR_KIND_SACK = 5,
	OMR_KIND_TIMESTAMP = 8,
	OMR_KIND_MPTCP = 30,

	OMR_SIZE_TIMESTAMP = 10,
	OMR_ALIGNED_TIMESTAMP = 0x0101080a, /* NOP, NOP, kind, length: how nearly all send it */
	OMR_ALIGNED_TIMESTAMP_SIZE = 12,
	OMR_SUBTYPE_DSS = 2,
	OMR_TWO_NOPS = 0x0101,
	OMR_OFFSET_MASK = 0x3fff, /* of a header's place: four extension headers of 2 KiB fit */
};

/*
 * The first SACK block tells of a duplicate if it lies below the acknowledgement or inside the
 * second block (RFC 2883 section 4). Its width is what the peer received twice.
 */
OMR_INLINE int omr_option_sack(struct omr_packet *p, const struct omr_options *o, __u32 at,
                               __u32 size)
{
	__u32 start, end;
	int twice;

	if (size < 10 || size > 34 || (size - 2) % 8)
		return 0;
	start = omr_option32(o, at + 2);
	end = omr_option32(o, at + 6);
	twice = !omr_before(p->ack, end);
	if (!twice && size >= 18)
		twice = !omr_before(start, omr_option32(o, at + 10)) &&
		        !omr_before(omr_option32(o, at + 14), end);
	p->sack_at = at + 2;
	p->sack_blocks = (size - 2) / 8;
	p->options = (p->options & ~OMR_OPTION_DSACK) | OMR_OPTION_SACK;
	if (twice && omr_before(start, end)) {
		p->dsack_bytes = end - start;
		p->options |= OMR_OPTION_DSACK;
	}
	return 1;
}

OMR_INLINE int omr_option_timestamp(struct omr_packet *p, const struct omr_options *o, __u32 at,
                                    __u32 size)
{
	if (size != OMR_SIZE_TIMESTAMP)
		return 0;
	p->tsval = omr_option32(o, at + 2);
	p->tsecr = omr_option32(o, at + 6);
	p->options |= OMR_OPTION_TIMESTAMP;
	return 1;
}

/* The option at o->at, which lies within the header. */
OMR_RARE int omr_read_option(struct omr_packet *p, struct omr_options *o)
{
	__u32 at, size;
	int good = 1;

	if (!p || !o)
		return 0;
	at = o->at & OMR_OPTION_MASK;
	size = omr_option8(o, at + 1);
	if (o->bytes[at] == OMR_KIND_TIMESTAMP) {
		good = omr_option_timestamp(p, o, at, size);
	} else if (o->bytes[at] == OMR_KIND_SACK) {
		good = omr_option_sack(p, o, at, size);
	} else if (o->bytes[at] == OMR_KIND_MPTCP) {
		good = omr_mp_option(p, o, at, size);
		p->mptcp |= good;
	}
	if (!good)
		p->options |= OMR_OPTION_BAD;
	return 0;
}

/* Follows the chain in o->bytes; of what is given twice the last one counts. */
OMR_RARE int omr_walk_options(struct omr_packet *p, struct omr_options *o)
{
	int i;

	if (!p || !o)
		return OMR_REFUSE(OMR_UNPARSED_MALFORMED);
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
			omr_read_option(p, o);
		}
		o->at = at + size;
	}
	return OMR_PARSED_TCP;
}

/*
 * Copies the last `length` bytes of the header, a multiple of 4, and walks them. Where they are
 * comes from memory: the verifier need not try all ways that lead here.
 */
OMR_INLINE int omr_copy_options(struct omr_packet *p, struct omr_options *o, const __u8 *data,
                                const __u8 *end, __u32 length)
{
	struct omr_cursor from = {.end = end};
	__u32 i;

	o->length = length;
	OMR_FORGET();
	from.at = data + ((p->headers - o->length) & OMR_OFFSET_MASK);
#pragma GCC unroll 1
	for (i = 0; i < OMR_TCP_OPTIONS; i += 4) {
		if (i >= o->length)
			break;
		if (!omr_reaches(&from, 4))
			return OMR_REFUSE(OMR_UNPARSED_TRUNCATED);
		o->words_be[i / 4] = omr_load32_be(from.at);
		from.at += 4;
	}
	return omr_walk_options(p, o);
}

/*
 * A DSS that takes all of `length` bytes, but for two NOPs behind it: the same result as by
 * omr_mp_dss(). Returns 0, with nothing done, for anything else.
 */
OMR_INLINE int omr_only_dss(struct omr_packet *p, const struct omr_cursor *c, __u32 length)
{
	struct omr_cursor map = {.at = c->at + OMR_DSS_SIZE, .end = c->end};
	__u32 ack_word = 0, seq_word = 0, size, last;
	__u8 flags;

	if (!omr_reaches(c, OMR_DSS_SIZE) || c->at[0] != OMR_KIND_MPTCP ||
	    c->at[2] >> 4 != OMR_SUBTYPE_DSS)
		return 0;
	size = c->at[1];
	flags = c->at[3];
	if (((size + 3) & ~3U) != length || !omr_dss_fits(flags, size))
		return 0;
	if (flags & OMR_DSS_ACK) {
		if (flags & OMR_DSS_ACK64) {
			if (!omr_reaches(c, 2 * OMR_DSS_SIZE))
				return 0;
			ack_word = omr_load32(map.at);
			map.at += 4;
		}
		map.at += 4;
	}
	if (!(flags & OMR_DSS_MAP)) {
		if (map.at > map.end)
			return 0;
		p->mptcp = omr_dss_says(p, ack_word, 0, 0);
		return 1;
	}
	if (flags & OMR_DSS_MAP64) {
		if (!omr_reaches(&map, 4))
			return 0;
		seq_word = omr_load32(map.at);
		map.at += 4;
	}
	if (!omr_reaches(&map, 12)) /* lower half, subflow sequence number, length, two more */
		return 0;
	last = omr_load32(map.at + 8);
	if (size != length && (last & 0xffff) != OMR_TWO_NOPS)
		return 0;
	p->mptcp = omr_dss_says(p, ack_word, seq_word, !(last >> 16));
	return 1;
}

/* Reads `length` bytes of options behind the fixed header at c. */
OMR_INLINE int omr_parse_options(struct omr_packet *p, struct omr_options *o,
                                 const struct omr_cursor *c, const __u8 *data, __u32 length)
{
	struct omr_cursor from = {.at = c->at + OMR_TCP_HEADER, .end = c->end};

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
	if (omr_only_dss(p, &from, length))
		return OMR_PARSED_TCP;
	return omr_copy_options(p, o, data, c->end, length);
}

#endif
