/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One flow's life, as functions of its entry and of a packet: what both directions share. Those in
 * sent.h run for packets that leave and write only flow->tx, those in arrived.h for packets that
 * arrive and write only flow->rx. What a packet means for the path, and whether the clock must be
 * read, goes to struct omr_effect.
 */
#ifndef OMR_FLOW_H
#define OMR_FLOW_H

#include "options.h"
#include "rtt.h"

enum {
	/* RFC 7323 section 2.3: no window reaches further, so nothing honest lies beyond. */
	OMR_WINDOW_LARGEST = 1 << 30,
	/* Width of one segment when a DSACK says only how many bytes came twice. */
	OMR_SEGMENT_USUAL = 1448,
};

/* What a packet has done, for the path's counters, events and clocks. */
struct omr_effect {
	__u32 sent_stamp; /* ingress: when the finished sample left; 0: none */
	__u32 echo_stamp; /* the same for a timestamp echo */
	__u32 gap_j;      /* ingress: longest gap between arrivals during the echo */
	__u32 repeated;   /* segments sent again (egress) or below rcv_nxt (ingress) */
	__u32 spurious;   /* segments that a DSACK shows were repeated for nothing */
	__u32 sample_ack; /* egress: arm for this, if arm_sample */
	__u8 arm_sample;
	__u8 arm_echo;
	__u8 syn_again;
	__u8 keep_alive; /* egress: without payload, yet calls for an answer */
	__u8 events;     /* 1 << enum omr_event_kind */
	__u8 zero[3];
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

/* End of the first wire segment: what the acknowledgement of a burst's head will say. */
OMR_INLINE __u32 omr_first_segment_end(const struct omr_packet *p, const struct omr_frame *f)
{
	if (f->gso_size && p->payload > f->gso_size)
		return p->seq + f->gso_size;
	return p->seq + omr_sequence_length(p);
}

/* Segments of a packet that covers [seq, seq + length) which lie below `edge`, for seq below it. */
OMR_INLINE __u32 omr_segments_below(const struct omr_packet *p, const struct omr_frame *f,
                                    __u32 segments, __u32 length, __u32 edge)
{
	__u32 overlap = edge - p->seq;

	if (overlap >= length)
		return segments;
	return f->gso_size ? (overlap + f->gso_size - 1) / f->gso_size : 1;
}

OMR_INLINE int omr_all_acknowledged(struct omr_flow *flow)
{
	return OMR_READ(flow->rx.snd_una) == flow->tx.snd_nxt;
}

#endif
