/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a packet that leaves does to its flow: it writes flow->tx, and corrects rcv_nxt. */
#ifndef OMR_SENT_H
#define OMR_SENT_H

#include "subflow.h"

/* FIN, RST and MPTCP of a packet that leaves. */
OMR_INLINE void omr_flow_sent_marks(struct omr_passage *w, struct omr_flow *flow)
{
	__u8 tcp_flags = w->packet.tcp_flags;
	struct omr_flow_tx *tx = &flow->tx;

	if (OMR_UNLIKELY(tcp_flags & (OMR_TCP_FIN | OMR_TCP_RST))) {
		if (!((tx->flags | OMR_READ(flow->rx.flags)) & (OMR_TX_FIN | OMR_TX_RST)))
			w->events |= 1 << OMR_EVENT_FLOW_CLOSE;
		tx->flags |= (tcp_flags & OMR_TCP_FIN ? OMR_TX_FIN : 0) |
		             (tcp_flags & OMR_TCP_RST ? OMR_TX_RST : 0);
	}
	if (!w->packet.mptcp)
		return;
	if (OMR_LIKELY(w->packet.mptcp == OMR_MP_DSS && (tx->flags & OMR_TX_MPTCP)))
		omr_subflow_word(flow, &w->packet);
	else
		omr_subflow_sent(w, flow);
}

OMR_INLINE void omr_flow_sent_volume(struct omr_passage *w, struct omr_flow_tx *tx)
{
	__u8 units;

	tx->tx_bytes += w->bytes;
	if (w->packet.payload) {
		tx->tx_segments += w->segments;
		units = omr_segment_units(&w->packet, &w->frame);
		if (OMR_UNLIKELY(units > tx->segment_64b))
			tx->segment_64b = units;
	}
	if (OMR_UNLIKELY(tx->path != w->frame.path))
		tx->path = w->frame.path;
}

/*
 * The entry that a packet which leaves begins: a SYN, a SYN-ACK, or a flow in mid-life. A RST
 * begins none: it may answer a stranger.
 */
OMR_INLINE void omr_flow_begin(struct omr_passage *w, struct omr_flow *flow)
{
	const struct omr_packet *p = &w->packet;
	__u8 handshake = p->tcp_flags & (OMR_TCP_SYN | OMR_TCP_ACK);

	__builtin_memset(flow, 0, sizeof(*flow));
	flow->tx.snd_nxt = p->seq + omr_sequence_length(p);
	if (p->options & OMR_OPTION_TIMESTAMP)
		flow->tx.tsval_max = p->tsval;
	flow->rx.snd_una = p->seq;
	flow->rx.last_rx_j = w->now_j; /* so that a flow which never hears anything has an age */
	if (omr_sequence_length(p))
		flow->tx.unacked_since_j = w->now_j;
	if (p->tcp_flags & OMR_TCP_ACK) {
		flow->rx.rcv_nxt = p->ack;
		flow->rx.flags = OMR_RX_SEQ;
		flow->tx.flags = OMR_TX_CAUGHT_UP;
	}
	if (handshake & OMR_TCP_SYN) {
		flow->tx.flags |= OMR_TX_SYN | (handshake & OMR_TCP_ACK ? OMR_TX_SERVER : 0);
		w->arm = OMR_ARM_SAMPLE;
		w->sample_ack = omr_first_segment_end(p, &w->frame);
		w->events |= 1 << OMR_EVENT_FLOW_OPEN;
	}
	omr_flow_sent_marks(w, flow);
}

/*
 * Whether the entry belongs to an earlier connection of the same addresses and ports: a SYN that is
 * no repeat, or a sequence number that no window explains.
 */
OMR_INLINE int omr_flow_is_stale(struct omr_flow *flow, const struct omr_packet *p)
{
	__u32 una, distance = p->seq - flow->tx.snd_nxt;

	if (OMR_UNLIKELY(p->tcp_flags & (OMR_TCP_SYN | OMR_TCP_RST))) {
		una = OMR_READ(flow->rx.snd_una);
		return (p->tcp_flags & OMR_TCP_SYN) && p->seq != una && p->seq + 1 != una;
	}
	return distance + OMR_WINDOW_LARGEST > 2U * OMR_WINDOW_LARGEST;
}

/*
 * A keep-alive or window probe that carries a byte, which the peer has already or has said that it
 * takes none of (Linux sends both without a byte; others, forwarded through us, with one); or the
 * FIN of a simultaneous close.
 */
OMR_INLINE int omr_repeats_nothing(struct omr_flow *flow, const struct omr_packet *p)
{
	__u16 heard = OMR_READ(flow->rx.flags);

	if (!p->payload)
		return (p->tcp_flags & OMR_TCP_FIN) && (heard & OMR_RX_FIN);
	return p->payload == 1 && omr_sequence_length(p) == 1 &&
	       (omr_all_acknowledged(flow) || (heard & OMR_RX_ZERO_WINDOW));
}

/*
 * Some of what this packet carries has been sent before; its first byte lies below snd_nxt. TC is
 * before the queueing discipline: what that drops and the stack sends anew counts here, while
 * tcpi_total_retrans does not count it.
 */
OMR_INLINE void omr_flow_sent_again(struct omr_passage *w, struct omr_flow *flow, __u32 length)
{
	const struct omr_packet *p = &w->packet;

	omr_sample_repeated(flow, p->seq, p->seq + length);
	if (p->tcp_flags & OMR_TCP_SYN) {
		w->effect.syn_again = 1;
	} else if (!omr_repeats_nothing(flow, p)) {
		w->effect.repeated = omr_segments_below(w, length, flow->tx.snd_nxt);
		flow->tx.retransmitted_segments += w->effect.repeated;
	}
}

/* A packet without payload, SYN or FIN: keep-alive, or a chance for a timestamp echo. */
OMR_INLINE void omr_flow_sent_bare(struct omr_passage *w, struct omr_flow *flow)
{
	const struct omr_packet *p = &w->packet;

	if (p->seq + 1 == flow->tx.snd_nxt && omr_all_acknowledged(flow))
		w->effect.keep_alive = 1;
	else if ((p->options & OMR_OPTION_TIMESTAMP) && omr_before(flow->tx.tsval_max, p->tsval) &&
	         !omr_echo_open(flow) && !omr_sample_open(flow) && !omr_echo_passes_over(flow))
		w->arm = OMR_ARM_ECHO;
}

/*
 * Whether our acknowledgement covers all that has arrived: no hole is open then. If it is beyond
 * that, something came by unseen; if it is far below, something was forged: both are corrected, the
 * one thing that egress writes of flow->rx.
 */
OMR_INLINE void omr_flow_sent_ack(struct omr_flow *flow, const struct omr_packet *p)
{
	__s32 behind = OMR_READ(flow->rx.rcv_nxt) - p->ack;

	if (OMR_UNLIKELY(!(OMR_READ(flow->rx.flags) & OMR_RX_SEQ)))
		behind = 0;
	if (OMR_UNLIKELY(behind < 0 || behind > OMR_WINDOW_USUAL)) {
		OMR_WRITE(flow->rx.rcv_nxt, p->ack);
		behind = 0;
	}
	if (OMR_UNLIKELY(!behind != !!(flow->tx.flags & OMR_TX_CAUGHT_UP)))
		flow->tx.flags ^= OMR_TX_CAUGHT_UP;
}

/* A packet of a known flow leaves. */
OMR_INLINE void omr_flow_sent(struct omr_passage *w, struct omr_flow *flow)
{
	const struct omr_packet *p = &w->packet;
	struct omr_flow_tx *tx = &flow->tx;
	__u32 length = omr_sequence_length(p), end = p->seq + length;

	if (OMR_UNLIKELY(p->tcp_flags & OMR_TCP_RST)) {
		/* its numbers need not be the connection's */
		omr_flow_sent_marks(w, flow);
		return;
	}
	if (!length) {
		omr_flow_sent_bare(w, flow);
	} else if (OMR_UNLIKELY(omr_before(p->seq, tx->snd_nxt))) {
		omr_flow_sent_again(w, flow, length);
	} else if (!omr_sample_open(flow)) {
		w->arm = OMR_ARM_SAMPLE;
		w->sample_ack = omr_first_segment_end(p, &w->frame);
	}
	if (omr_before(tx->snd_nxt, end)) {
		if (length && omr_all_acknowledged(flow))
			OMR_WRITE(tx->unacked_since_j, w->now_j);
		OMR_WRITE(tx->snd_nxt, end);
	}
	if (p->tcp_flags & OMR_TCP_ACK)
		omr_flow_sent_ack(flow, p);
	if ((p->options & OMR_OPTION_TIMESTAMP) && omr_before(tx->tsval_max, p->tsval))
		tx->tsval_max = p->tsval;
	omr_flow_sent_marks(w, flow);
}

#endif
