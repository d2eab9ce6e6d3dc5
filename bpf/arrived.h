/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a packet that arrives does to its flow: it writes only flow->rx. */
#ifndef OMR_ARRIVED_H
#define OMR_ARRIVED_H

#include "flow.h"

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
	__u32 below = OMR_READ(flow->tx.snd_nxt) - p->ack;
	__u32 outstanding = OMR_READ(flow->tx.snd_nxt) - flow->rx.snd_una;

	if (!(p->tcp_flags & OMR_TCP_ACK) || below > OMR_WINDOW_LARGEST)
		return OMR_ACK_FOREIGN;
	if (!(flow->rx.flags & OMR_RX_ACK) && !(flow->tx.flags & OMR_TX_SYN))
		return OMR_ACK_GOOD;
	if (below <= outstanding)
		return OMR_ACK_GOOD;
	return flow->rx.flags & OMR_RX_ACK ? OMR_ACK_OLD : OMR_ACK_FOREIGN;
}

/* Segments, by width, that RFC 2883 reports as received twice; never more than we repeated. */
OMR_INLINE __u32 omr_spurious_segments(struct omr_flow *flow, const struct omr_packet *p)
{
	__u32 segments = (p->dsack_bytes + OMR_SEGMENT_USUAL - 1) / OMR_SEGMENT_USUAL;
	__u32 left = OMR_READ(flow->tx.retransmitted_segments) - flow->tx.spurious_segments;

	return segments < left ? segments : left;
}

/* Everything that follows from an acknowledgement in window. */
OMR_INLINE void omr_flow_arrived_ack(struct omr_flow *flow, const struct omr_packet *p,
                                     struct omr_effect *e)
{
	struct omr_flow_rx *rx = &flow->rx;
	__u32 una = rx->snd_una;

	if (!(rx->flags & OMR_RX_ACK)) {
		if (!(flow->tx.flags & OMR_TX_SYN))
			una = p->ack - OMR_WINDOW_LARGEST; /* below any open sample */
		else if (!(p->tcp_flags & OMR_TCP_RST) && p->ack != una)
			e->events |= 1 << OMR_EVENT_FLOW_READY;
		if (p->ack != una)
			rx->flags |= OMR_RX_ACK;
	}
	OMR_WRITE(rx->snd_una, p->ack);
	e->sent_stamp = omr_sample_finish(flow, una, p->ack);
	if (p->tcp_flags & OMR_TCP_RST)
		return;
	if (p->window)
		rx->flags &= ~OMR_RX_ZERO_WINDOW;
	else
		rx->flags |= OMR_RX_ZERO_WINDOW;
	if (p->dsack_bytes) {
		e->spurious = omr_spurious_segments(flow, p);
		flow->tx.spurious_segments += e->spurious;
	}
}

/* The peer's sequence space: what is new, what fills a hole or comes twice. */
OMR_INLINE void omr_flow_arrived_data(struct omr_flow_rx *rx, const struct omr_packet *p,
                                      const struct omr_frame *f, __u32 segments,
                                      struct omr_effect *e)
{
	__u32 length = omr_sequence_length(p), end = p->seq + length;
	int known = rx->flags & OMR_RX_SEQ;

	if (p->payload)
		rx->rx_segments += segments;
	if (known && p->payload && omr_before(p->seq, rx->rcv_nxt) &&
	    !(length == 1 && end == rx->rcv_nxt)) { /* a keep-alive with a byte */
		e->repeated = omr_segments_below(p, f, segments, length, rx->rcv_nxt);
		rx->refilled_segments += e->repeated;
	}
	if (!known || omr_before(rx->rcv_nxt, end))
		rx->rcv_nxt = end;
	rx->flags |= OMR_RX_SEQ | (p->tcp_flags & OMR_TCP_SYN ? OMR_RX_SYN : 0);
}

OMR_INLINE void omr_flow_arrived_mptcp(struct omr_flow *flow, const struct omr_packet *p,
                                       struct omr_effect *e)
{
	struct omr_flow_rx *rx = &flow->rx;

	rx->flags |= OMR_RX_MPTCP;
	if ((p->mptcp & OMR_MP_CAPABLE) && !(rx->flags & OMR_RX_KEY)) {
		flow->tx.connection.key_be = p->mp_key_be;
		rx->flags |= OMR_RX_KEY;
	}
	if (p->mptcp & OMR_MP_JOIN) {
		rx->flags |= OMR_RX_JOIN | (p->mp_backup ? OMR_RX_BACKUP : 0);
		if (p->tcp_flags & OMR_TCP_SYN)
			flow->tx.remote_id = p->mp_id;
	}
	if (p->mptcp & OMR_MP_PRIO) {
		rx->flags = (rx->flags & ~OMR_RX_BACKUP) | (p->mp_prio ? OMR_RX_BACKUP : 0);
		e->events |= 1 << OMR_EVENT_PRIORITY;
	}
	if (p->mptcp & OMR_MP_FASTCLOSE)
		rx->flags |= OMR_RX_FASTCLOSE;
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

OMR_INLINE void omr_flow_arrived_close(struct omr_flow *flow, const struct omr_packet *p,
                                       struct omr_effect *e)
{
	__u16 closing = ((p->tcp_flags & OMR_TCP_FIN) ? OMR_RX_FIN : 0) |
	                ((p->tcp_flags & OMR_TCP_RST) ? OMR_RX_RST : 0);

	if (!closing)
		return;
	if (!((OMR_READ(flow->tx.flags) | flow->rx.flags) & (OMR_RX_FIN | OMR_RX_RST)))
		e->events |= 1 << OMR_EVENT_FLOW_CLOSE;
	flow->rx.flags |= closing;
}

/*
 * A packet of a known flow arrives. Returns 0 if it is not the peer's, as far as its numbers tell:
 * then nothing of the flow has changed.
 */
OMR_INLINE int omr_flow_arrived(struct omr_flow *flow, const struct omr_packet *p,
                                const struct omr_frame *f, __u32 segments, __u64 bytes, __u32 now_j,
                                struct omr_effect *e)
{
	struct omr_flow_rx *rx = &flow->rx;
	enum omr_ack ack = omr_judge_ack(flow, p);
	__u32 distance = p->seq - rx->rcv_nxt;
	int reset = p->tcp_flags & OMR_TCP_RST;

	if (reset ? !omr_reset_counts(flow, p, ack) : ack == OMR_ACK_FOREIGN)
		return 0;
	if (!reset && (rx->flags & OMR_RX_SEQ) &&
	    distance + OMR_WINDOW_LARGEST > 2U * OMR_WINDOW_LARGEST)
		return 0;
	rx->rx_bytes += bytes;
	if (rx->since_sample < OMR_WEIGHT_MOST)
		rx->since_sample++;
	e->gap_j = omr_echo_gap(flow, now_j - rx->last_rx_j);
	if (rx->last_rx_j != now_j)
		OMR_WRITE(rx->last_rx_j, now_j);
	if (ack == OMR_ACK_GOOD)
		omr_flow_arrived_ack(flow, p, e);
	if (!reset)
		omr_flow_arrived_data(rx, p, f, segments, e);
	if (p->options & OMR_OPTION_TIMESTAMP)
		e->echo_stamp = omr_echo_finish(flow, p);
	if (p->mptcp)
		omr_flow_arrived_mptcp(flow, p, e);
	omr_flow_arrived_close(flow, p, e);
	return 1;
}

#endif
