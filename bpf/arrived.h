/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a packet that arrives does to its flow: see flow.h for what it writes. */
#ifndef OMR_ARRIVED_H
#define OMR_ARRIVED_H

#include "subflow.h"

/* How an acknowledgement number stands to what we sent. */
enum omr_ack {
	OMR_ACK_FOREIGN, /* nobody who follows the connection sends it: the packet does not count */
	OMR_ACK_OLD,     /* overtaken on the way; its payload counts */
	OMR_ACK_GOOD,    /* snd_una <= ack <= snd_nxt */
};

/*
 * RFC 5961 section 5.2. A flow met in mid-life has no snd_una yet, only what it may be at least. In
 * a handshake nothing older than our SYN can be overtaken (RFC 9293 section 3.10.7).
 */
OMR_INLINE enum omr_ack omr_judge_ack(struct omr_flow *flow, const struct omr_packet *p)
{
	__u32 snd_nxt = OMR_READ(flow->tx.snd_nxt);
	__u32 below = snd_nxt - p->ack, outstanding = snd_nxt - flow->rx.snd_una;

	if (!(p->tcp_flags & OMR_TCP_ACK) || below > OMR_WINDOW_LARGEST)
		return OMR_ACK_FOREIGN;
	if (OMR_LIKELY(flow->rx.flags & OMR_RX_ACK))
		return below <= outstanding ? OMR_ACK_GOOD : OMR_ACK_OLD;
	if (!(OMR_READ(flow->tx.flags) & OMR_TX_SYN) || below <= outstanding)
		return OMR_ACK_GOOD;
	return OMR_ACK_FOREIGN;
}

/* Segments that RFC 2883 reports as received twice; never more than we repeated. */
OMR_INLINE __u32 omr_spurious_segments(struct omr_flow *flow, const struct omr_packet *p)
{
	__u32 units = OMR_READ(flow->tx.segment_64b), width;
	__u32 left = OMR_READ(flow->tx.retransmitted_segments) - flow->tx.spurious_segments;
	__u32 segments;

	width = (units ? units : 1) * OMR_SEGMENT_UNIT;
	segments = (p->dsack_bytes + width - 1) / width;
	return segments < left ? segments : left;
}

/* The first acknowledgement that could be accepted. Returns what snd_una was at most. */
OMR_INLINE __u32 omr_flow_answered(struct omr_passage *w, struct omr_flow *flow)
{
	__u32 una = flow->rx.snd_una;

	if (!(OMR_READ(flow->tx.flags) & OMR_TX_SYN))
		una = w->packet.ack - OMR_WINDOW_LARGEST; /* below any open sample */
	else if (!(w->packet.tcp_flags & OMR_TCP_RST) && w->packet.ack != una)
		w->events |= 1 << OMR_EVENT_FLOW_READY;
	if (w->packet.ack != una) {
		flow->rx.flags |= OMR_RX_ACK;
		if (OMR_READ(flow->tx.flags) & OMR_TX_SYN)
			w->effect.source = OMR_SAMPLE_HANDSHAKE;
	}
	return una;
}

/* Everything that follows from an acknowledgement in window. */
OMR_INLINE void omr_flow_arrived_ack(struct omr_passage *w, struct omr_flow *flow)
{
	const struct omr_packet *p = &w->packet;
	struct omr_flow_rx *rx = &flow->rx;
	__u32 una = rx->snd_una;

	if (OMR_UNLIKELY(!(rx->flags & OMR_RX_ACK)))
		una = omr_flow_answered(w, flow);
	OMR_WRITE(rx->snd_una, p->ack);
	w->effect.sent_stamp = omr_sample_finish(w, flow, una);
	if (OMR_UNLIKELY(p->tcp_flags & OMR_TCP_RST))
		return;
	if (OMR_UNLIKELY(!p->window != !!(rx->flags & OMR_RX_ZERO_WINDOW)))
		rx->flags ^= OMR_RX_ZERO_WINDOW;
	if (OMR_UNLIKELY(p->options & OMR_OPTION_DSACK)) {
		w->effect.spurious = omr_spurious_segments(flow, p);
		if (w->effect.spurious)
			flow->tx.spurious_segments += w->effect.spurious;
	}
}

/* Something arrives that is beyond what was expected: has been overtaken, or lost? */
OMR_INLINE void omr_hole_seen(struct omr_flow *flow, __u64 now_j)
{
	if ((flow->rx.flags & OMR_RX_HOLE) && !(OMR_READ(flow->tx.flags) & OMR_TX_CAUGHT_UP))
		return;
	flow->rx.hole_j = now_j;
	flow->rx.flags |= OMR_RX_HOLE;
}

/* Whether the oldest hole is so young that not even the quickest repeat could be here. */
OMR_INLINE int omr_hole_is_young(const struct omr_flow_rx *rx, __u64 now_j, __u64 hz)
{
	__u64 passed_j = (__u16)(now_j - rx->hole_j) + 1;

	return (rx->flags & OMR_RX_HOLE) && rx->rtt_samples &&
	       passed_j * 4 * 1000000 <= (__u64)rx->min_rtt_us * 3 * hz;
}

/* Payload that begins below what was expected: overtaken on the way, or sent again. */
OMR_INLINE void omr_flow_arrived_late(struct omr_passage *w, struct omr_flow_rx *rx, __u32 length,
                                      __u64 hz)
{
	__u32 segments;

	if (length == 1 && w->packet.seq + 1 == rx->rcv_nxt) /* a keep-alive with a byte */
		return;
	segments = omr_segments_below(w, length, rx->rcv_nxt);
	if (omr_hole_is_young(rx, w->now_j, hz)) {
		w->effect.reordered = segments;
		rx->reordered_segments += segments;
	} else {
		w->effect.repeated = segments;
		rx->refilled_segments += segments;
	}
}

/* The peer's sequence space: what is new, opens a hole, fills one or comes twice. */
OMR_INLINE void omr_flow_arrived_data(struct omr_passage *w, struct omr_flow *flow, __u64 hz)
{
	const struct omr_packet *p = &w->packet;
	struct omr_flow_rx *rx = &flow->rx;
	__u32 length = omr_sequence_length(p), end = p->seq + length;

	if (p->payload)
		rx->rx_segments += w->segments;
	if (OMR_UNLIKELY(!(rx->flags & OMR_RX_SEQ))) {
		rx->flags |= OMR_RX_SEQ;
		rx->rcv_nxt = end;
	} else if (p->payload && OMR_UNLIKELY(p->seq != rx->rcv_nxt)) {
		if (omr_before(p->seq, rx->rcv_nxt))
			omr_flow_arrived_late(w, rx, length, hz);
		else
			omr_hole_seen(flow, w->now_j);
	}
	if (omr_before(rx->rcv_nxt, end))
		OMR_WRITE(rx->rcv_nxt, end);
	if (OMR_UNLIKELY(p->tcp_flags & OMR_TCP_SYN))
		rx->flags |= OMR_RX_SYN;
}

/*
 * RFC 5961 section 3.2: only a RST that is exactly next closes; in a handshake RFC 9293 section
 * 3.10.7.3 takes the one that acknowledges our SYN.
 */
OMR_INLINE int omr_reset_counts(const struct omr_flow *flow, const struct omr_packet *p,
                                enum omr_ack ack)
{
	if (!(flow->rx.flags & OMR_RX_SEQ))
		return ack == OMR_ACK_GOOD;
	return p->seq == flow->rx.rcv_nxt;
}

OMR_INLINE void omr_flow_arrived_close(struct omr_passage *w, struct omr_flow *flow)
{
	__u8 tcp_flags = w->packet.tcp_flags;

	if (!((OMR_READ(flow->tx.flags) | flow->rx.flags) & (OMR_RX_FIN | OMR_RX_RST)))
		w->events |= 1 << OMR_EVENT_FLOW_CLOSE;
	flow->rx.flags |= (tcp_flags & OMR_TCP_FIN ? OMR_RX_FIN : 0) |
	                  (tcp_flags & OMR_TCP_RST ? OMR_RX_RST : 0);
}

/* Whether the packet is the peer's, as far as its numbers tell. */
OMR_INLINE int omr_is_of_peer(const struct omr_flow *flow, const struct omr_packet *p,
                              enum omr_ack ack)
{
	__u32 distance = p->seq - flow->rx.rcv_nxt;

	if (OMR_UNLIKELY(p->tcp_flags & OMR_TCP_RST))
		return omr_reset_counts(flow, p, ack);
	if (ack == OMR_ACK_FOREIGN)
		return 0;
	return !(flow->rx.flags & OMR_RX_SEQ) ||
	       distance + OMR_WINDOW_LARGEST <= OMR_WINDOW_LARGEST + OMR_WINDOW_USUAL;
}

/*
 * A packet of a known flow arrives. Returns 0 if it is not the peer's: then nothing of the flow has
 * changed.
 */
OMR_INLINE int omr_flow_arrived(struct omr_passage *w, struct omr_flow *flow, __u64 hz)
{
	const struct omr_packet *p = &w->packet;
	struct omr_flow_rx *rx = &flow->rx;
	enum omr_ack ack = omr_judge_ack(flow, p);
	__u32 gap_j;

	if (!omr_is_of_peer(flow, p, ack))
		return 0;
	rx->rx_bytes += w->bytes;
	if (rx->since_sample < OMR_WEIGHT_MOST)
		rx->since_sample++;
	gap_j = (__u32)w->now_j - rx->last_rx_j;
	w->effect.gap_j = omr_echo_gap(flow, gap_j);
	if (rx->last_rx_j != (__u32)w->now_j)
		OMR_WRITE(rx->last_rx_j, w->now_j);
	if (OMR_LIKELY(ack == OMR_ACK_GOOD))
		omr_flow_arrived_ack(w, flow);
	if (OMR_LIKELY(!(p->tcp_flags & OMR_TCP_RST)))
		omr_flow_arrived_data(w, flow, hz);
	if (p->options & OMR_OPTION_TIMESTAMP)
		w->effect.echo_stamp = omr_echo_finish(w, flow, gap_j);
	if (p->mptcp && OMR_UNLIKELY(p->mptcp != OMR_MP_DSS || !(rx->flags & OMR_RX_MPTCP)))
		omr_subflow_arrived(w, flow);
	if (OMR_UNLIKELY(p->tcp_flags & (OMR_TCP_FIN | OMR_TCP_RST)))
		omr_flow_arrived_close(w, flow);
	return 1;
}

#endif
