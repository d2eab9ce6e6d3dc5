/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a packet that leaves does to its flow: it writes only flow->tx. */
#ifndef OMR_SENT_H
#define OMR_SENT_H

#include "flow.h"

/* MPTCP marks that a packet we sent adds to tx. */
OMR_INLINE void omr_flow_sent_mptcp(struct omr_flow_tx *tx, const struct omr_packet *p,
                                    struct omr_effect *e)
{
	tx->flags |= OMR_TX_MPTCP;
	if ((p->mptcp & OMR_MP_JOIN) && (p->tcp_flags & OMR_TCP_SYN)) {
		tx->flags |= OMR_TX_JOIN | (p->mp_backup ? OMR_TX_BACKUP : 0);
		tx->local_id = p->mp_id;
		if (!(p->tcp_flags & OMR_TCP_ACK))
			tx->connection.join.token_be = p->mp_token_be;
	} else if (p->mptcp & OMR_MP_JOIN) {
		tx->flags |= OMR_TX_JOIN;
	}
	if (p->mptcp & OMR_MP_PRIO) {
		tx->flags = (tx->flags & ~OMR_TX_BACKUP) | (p->mp_prio ? OMR_TX_BACKUP : 0);
		e->events |= 1 << OMR_EVENT_PRIORITY;
	}
	if (p->mptcp & OMR_MP_FASTCLOSE)
		tx->flags |= OMR_TX_FASTCLOSE;
}

/* FIN, RST and MPTCP of a packet that leaves. */
OMR_INLINE void omr_flow_sent_flags(struct omr_flow *flow, const struct omr_packet *p,
                                    struct omr_effect *e)
{
	__u16 closing = ((p->tcp_flags & OMR_TCP_FIN) ? OMR_TX_FIN : 0) |
	                ((p->tcp_flags & OMR_TCP_RST) ? OMR_TX_RST : 0);

	if (closing) {
		if (!((flow->tx.flags | OMR_READ(flow->rx.flags)) & (OMR_TX_FIN | OMR_TX_RST)))
			e->events |= 1 << OMR_EVENT_FLOW_CLOSE;
		flow->tx.flags |= closing;
	}
	if (p->mptcp)
		omr_flow_sent_mptcp(&flow->tx, p, e);
}

OMR_INLINE void omr_flow_sent_volume(struct omr_flow_tx *tx, const struct omr_packet *p,
                                     const struct omr_frame *f, __u64 bytes, __u32 segments)
{
	tx->tx_bytes += bytes;
	if (p->payload)
		tx->tx_segments += segments;
	tx->path = f->path;
}

/*
 * The entry that a packet which leaves begins: a SYN, a SYN-ACK, or a flow in mid-life. A RST
 * begins none: it may answer a stranger.
 */
OMR_INLINE void omr_flow_begin(struct omr_flow *flow, const struct omr_packet *p, __u32 now_j,
                               struct omr_effect *e)
{
	__u8 handshake = p->tcp_flags & (OMR_TCP_SYN | OMR_TCP_ACK);

	__builtin_memset(flow, 0, sizeof(*flow));
	flow->tx.snd_nxt = p->seq + omr_sequence_length(p);
	flow->tx.tsval_max = p->tsval;
	flow->rx.snd_una = p->seq;
	flow->rx.last_rx_j = now_j; /* so that a flow which never hears anything has an age */
	if (omr_sequence_length(p))
		flow->tx.unacked_since_j = now_j;
	if (p->tcp_flags & OMR_TCP_ACK) {
		flow->rx.rcv_nxt = p->ack;
		flow->rx.flags = OMR_RX_SEQ;
	}
	if (handshake & OMR_TCP_SYN) {
		flow->tx.flags = OMR_TX_SYN | (handshake & OMR_TCP_ACK ? OMR_TX_SERVER : 0);
		e->arm_sample = 1;
		e->sample_ack = flow->tx.snd_nxt;
		e->events |= 1 << OMR_EVENT_FLOW_OPEN;
	}
	omr_flow_sent_flags(flow, p, e);
}

/*
 * Whether the entry belongs to an earlier connection of the same addresses and ports: a SYN that is
 * no repeat, or a sequence number that no window explains.
 */
OMR_INLINE int omr_flow_is_stale(struct omr_flow *flow, const struct omr_packet *p)
{
	__u32 una = OMR_READ(flow->rx.snd_una), distance = p->seq - flow->tx.snd_nxt;

	if (p->tcp_flags & OMR_TCP_RST)
		return 0;
	if (p->tcp_flags & OMR_TCP_SYN)
		return p->seq != una && p->seq + 1 != una;
	return distance + OMR_WINDOW_LARGEST > 2U * OMR_WINDOW_LARGEST;
}

/*
 * A keep-alive or window probe that carries a byte: the peer has it already, or has said that it
 * takes none. Linux sends both without a byte; others, forwarded through us, with one.
 */
OMR_INLINE int omr_is_probe(struct omr_flow *flow, const struct omr_packet *p)
{
	return p->payload == 1 && omr_sequence_length(p) == 1 &&
	       (omr_all_acknowledged(flow) || (OMR_READ(flow->rx.flags) & OMR_RX_ZERO_WINDOW));
}

/*
 * Some of what this packet carries has been sent before; its first byte lies below snd_nxt. TC is
 * before the queueing discipline: what that drops and the stack sends anew counts here, while
 * tcpi_total_retrans does not count it.
 */
OMR_INLINE void omr_flow_sent_again(struct omr_flow *flow, const struct omr_packet *p,
                                    const struct omr_frame *f, __u32 segments, struct omr_effect *e)
{
	struct omr_flow_tx *tx = &flow->tx;

	omr_sample_cancel(flow, p->seq);
	if (p->tcp_flags & OMR_TCP_SYN) {
		e->syn_again = 1;
	} else if (!omr_is_probe(flow, p)) {
		e->repeated =
		        omr_segments_below(p, f, segments, omr_sequence_length(p), tx->snd_nxt);
		tx->retransmitted_segments += e->repeated;
	}
}

/* A packet without payload, SYN or FIN: keep-alive, or a chance for a timestamp echo. */
OMR_INLINE void omr_flow_sent_bare(struct omr_flow *flow, const struct omr_packet *p,
                                   struct omr_effect *e)
{
	if (p->seq + 1 == flow->tx.snd_nxt && omr_all_acknowledged(flow))
		e->keep_alive = 1;
	else if ((p->options & OMR_OPTION_TIMESTAMP) && omr_before(flow->tx.tsval_max, p->tsval) &&
	         !omr_sample_open(flow) && !omr_echo_open(flow))
		e->arm_echo = 1;
}

/* A packet of a known flow leaves. `segments`: wire packets it stands for. */
OMR_INLINE void omr_flow_sent(struct omr_flow *flow, const struct omr_packet *p,
                              const struct omr_frame *f, __u32 segments, __u32 now_j,
                              struct omr_effect *e)
{
	struct omr_flow_tx *tx = &flow->tx;
	__u32 length = omr_sequence_length(p), end = p->seq + length;

	if (p->tcp_flags & OMR_TCP_RST) { /* its numbers need not be the connection's */
		omr_flow_sent_flags(flow, p, e);
		return;
	}
	if (!length) {
		omr_flow_sent_bare(flow, p, e);
	} else {
		if (omr_before(p->seq, tx->snd_nxt)) {
			omr_flow_sent_again(flow, p, f, segments, e);
		} else if (!omr_sample_open(flow)) {
			e->arm_sample = 1;
			e->sample_ack = omr_first_segment_end(p, f);
		}
		if (omr_before(tx->snd_nxt, end) && omr_all_acknowledged(flow))
			OMR_WRITE(tx->unacked_since_j, now_j);
	}
	if (omr_before(tx->snd_nxt, end))
		OMR_WRITE(tx->snd_nxt, end);
	if ((p->options & OMR_OPTION_TIMESTAMP) && omr_before(tx->tsval_max, p->tsval))
		tx->tsval_max = p->tsval;
	omr_flow_sent_flags(flow, p, e);
}

#endif
