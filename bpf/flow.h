/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One flow's life, as functions of its entry and of a packet: what both directions share. Those in
 * sent.h run for packets that leave and write flow->tx (and correct rcv_nxt), those in arrived.h
 * for packets that arrive and write flow->rx and what abi_types.h lends them of flow->tx. What a
 * packet means for the path, and whether the clock must be read, goes to struct omr_passage.
 */
#ifndef OMR_FLOW_H
#define OMR_FLOW_H

#include "passage.h"
#include "rtt.h"

enum {
	/* RFC 7323 section 2.3: no window reaches further, so nothing honest lies beyond. */
	OMR_WINDOW_LARGEST = 1 << 30,
	/* What honest windows come to: a second at 500 Mbit/s. Nobody is this far ahead. */
	OMR_WINDOW_USUAL = 1 << 26,
	OMR_SEGMENT_UNIT = 64, /* of omr_flow_tx.segment_64b */
	OMR_SEGMENT_MOST = 255,
};

/* Whether a TCP packet that leaves calls for an answer, as far as it tells by itself. */
OMR_INLINE int omr_tcp_asks(const struct omr_packet *p)
{
	return !(p->tcp_flags & OMR_TCP_RST) &&
	       (p->payload || (p->tcp_flags & (OMR_TCP_SYN | OMR_TCP_FIN)));
}

/* Sequence space that a packet occupies. */
OMR_INLINE __u32 omr_sequence_length(const struct omr_packet *p)
{
	return p->payload + !!(p->tcp_flags & OMR_TCP_SYN) + !!(p->tcp_flags & OMR_TCP_FIN);
}

/* End of what is acknowledged first: of a SYN (whose data may be refused), or a wire segment. */
OMR_INLINE __u32 omr_first_segment_end(const struct omr_packet *p, const struct omr_frame *f)
{
	if (p->tcp_flags & OMR_TCP_SYN)
		return p->seq + 1;
	if (f->gso_size && p->payload > f->gso_size)
		return p->seq + f->gso_size;
	return p->seq + omr_sequence_length(p);
}

/* Segments of a packet that covers [seq, seq + length) which lie below `edge`, for seq below it. */
OMR_INLINE __u32 omr_segments_below(const struct omr_passage *w, __u32 length, __u32 edge)
{
	__u32 overlap = edge - w->packet.seq, size = w->frame.gso_size, below;

	if (overlap >= length || !size)
		return w->segments;
	below = (overlap + size - 1) / size;
	return below < w->segments ? below : w->segments; /* gso_segs may contradict gso_size */
}

/* Payload of the packet's largest wire segment, as omr_flow_tx.segment_64b has it. */
OMR_INLINE __u8 omr_segment_units(const struct omr_packet *p, const struct omr_frame *f)
{
	__u32 bytes = f->gso_size && p->payload > f->gso_size ? f->gso_size : p->payload;
	__u32 units = (bytes + OMR_SEGMENT_UNIT - 1) / OMR_SEGMENT_UNIT;

	return units < OMR_SEGMENT_MOST ? units : OMR_SEGMENT_MOST;
}

OMR_INLINE int omr_all_acknowledged(struct omr_flow *flow)
{
	return OMR_READ(flow->rx.snd_una) == flow->tx.snd_nxt;
}

#endif
