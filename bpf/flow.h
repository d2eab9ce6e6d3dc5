/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One flow's life, as functions of its entry and of a packet. Those named omr_flow_sent* run for
 * packets that leave and write only flow->tx, omr_flow_arrived* for packets that arrive and write
 * only flow->rx. What a packet means for the path, and whether the clock must be read, goes to
 * struct omr_effect.
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
	__u64 sent_ns;      /* egress: unused; ingress: when the finished sample left; 0: none */
	__u64 echo_sent_ns; /* the same for a timestamp echo */
	__u32 gap_j;        /* ingress: jiffies since the flow's arrival before this one */
	__u32 repeated;     /* segments sent again (egress) or below rcv_nxt (ingress) */
	__u32 spurious;     /* segments that a DSACK shows were repeated for nothing */
	__u32 sample_ack;   /* egress: arm for this, if arm_sample */
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

/* MPTCP marks that a packet we sent adds to tx. */
OMR_INLINE void omr_flow_sent_mptcp(struct omr_flow_tx *tx, const struct omr_packet *p,
                                    struct omr_effect *e)
{
	tx->flags |= OMR_TX_MPTCP;
	if ((p->mptcp & OMR_MP_JOIN) && (p->tcp_flags & OMR_TCP_SYN)) {
		tx->flags |= OMR_TX_JOIN | (p->mp_backup ? OMR_TX_BACKUP : 0);
		tx->local_id = p->mp_id;
		if (!(p->tcp_flags & OMR_TCP_ACK))
			tx->token_be = p->mp_token_be;
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
	flow->rx.last_rx_j = now_j;
	if (omr_sequence_length(p))
		flow->tx.unacked_since_j = now_j;
	if (p->tcp_flags & OMR_TCP_ACK) {
		flow->rx.rcv_nxt = p->ack;
		flow->rx.flags = OMR_RX_SEQ;
	}
	if (handshake & OMR_TCP_SYN) {
		flow->tx.flags = OMR_TX_SYN | (handshake & OMR_TCP_ACK ? OMR_TX_SERVER : 0);
		flow->tx.syn_sent = 1;
		e->arm_sample = 1;
		e->sample_ack = flow->tx.snd_nxt;
		e->events |= 1 << OMR_EVENT_FLOW_OPEN;
	} else {
		flow->tx.flags = OMR_TX_MIDLIFE;
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

/* Some of what this packet carries has been sent before; its first byte lies below snd_nxt. */
OMR_INLINE void omr_flow_sent_again(struct omr_flow *flow, const struct omr_packet *p,
                                    const struct omr_frame *f, __u32 segments, struct omr_effect *e)
{
	struct omr_flow_tx *tx = &flow->tx;

	omr_sample_cancel(flow, p->seq);
	if (p->tcp_flags & OMR_TCP_SYN) {
		e->syn_again = 1;
		if (tx->syn_sent != 255)
			tx->syn_sent++;
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

/* How an acknowledgement number stands to what we sent. */
enum omr_ack {
	OMR_ACK_FOREIGN, /* nobody who follows the connection sends it: the packet does not count */
	OMR_ACK_OLD,     /* overtaken on the way; its payload counts */
	OMR_ACK_GOOD,    /* snd_una <= ack <= snd_nxt */
};

/* RFC 5961 section 5.2. A flow met in mid-life has no snd_una yet, only what it may be at least. */
OMR_INLINE enum omr_ack omr_judge_ack(struct omr_flow *flow, const struct omr_packet *p)
{
	__u32 below = OMR_READ(flow->tx.snd_nxt) - p->ack;
	__u32 outstanding = OMR_READ(flow->tx.snd_nxt) - flow->rx.snd_una;

	if (!(p->tcp_flags & OMR_TCP_ACK) || below > OMR_WINDOW_LARGEST)
		return OMR_ACK_FOREIGN;
	if (!(flow->rx.flags & OMR_RX_ACK) && (flow->tx.flags & OMR_TX_MIDLIFE))
		return OMR_ACK_GOOD;
	return below <= outstanding ? OMR_ACK_GOOD : OMR_ACK_OLD;
}

/* Segments, by width, that RFC 2883 reports as received twice; never more than we repeated. */
OMR_INLINE __u32 omr_spurious_segments(struct omr_flow *flow, const struct omr_packet *p)
{
	__u32 segments = (p->dsack_bytes + OMR_SEGMENT_USUAL - 1) / OMR_SEGMENT_USUAL;
	__u32 left = OMR_READ(flow->tx.retransmitted_segments) - flow->rx.spurious_segments;

	return segments < left ? segments : left;
}

/* Everything that follows from an acknowledgement in window. */
OMR_INLINE void omr_flow_arrived_ack(struct omr_flow *flow, const struct omr_packet *p,
                                     struct omr_effect *e)
{
	struct omr_flow_rx *rx = &flow->rx;
	__u32 una = rx->snd_una;

	if (!(rx->flags & OMR_RX_ACK)) {
		if (flow->tx.flags & OMR_TX_MIDLIFE)
			una = p->ack - OMR_WINDOW_LARGEST; /* below any open sample */
		else if (!(p->tcp_flags & OMR_TCP_RST) && p->ack != una)
			e->events |= 1 << OMR_EVENT_FLOW_READY;
		if (p->ack != una)
			rx->flags |= OMR_RX_ACK;
	}
	OMR_WRITE(rx->snd_una, p->ack);
	e->sent_ns = omr_sample_finish(flow, una, p->ack);
	if (p->tcp_flags & OMR_TCP_RST)
		return;
	if (p->window)
		rx->flags &= ~OMR_RX_ZERO_WINDOW;
	else
		rx->flags |= OMR_RX_ZERO_WINDOW;
	if (p->dsack_bytes) {
		e->spurious = omr_spurious_segments(flow, p);
		rx->spurious_segments += e->spurious;
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

OMR_INLINE void omr_flow_arrived_mptcp(struct omr_flow_rx *rx, const struct omr_packet *p,
                                       struct omr_effect *e)
{
	rx->flags |= OMR_RX_MPTCP;
	if ((p->mptcp & OMR_MP_CAPABLE) && !(rx->flags & OMR_RX_KEY)) {
		rx->peer_key_be = p->mp_key_be;
		rx->flags |= OMR_RX_KEY;
	}
	if (p->mptcp & OMR_MP_JOIN) {
		rx->flags |= OMR_RX_JOIN | (p->mp_backup ? OMR_RX_BACKUP : 0);
		if (p->tcp_flags & OMR_TCP_SYN)
			rx->remote_id = p->mp_id;
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
	e->gap_j = now_j - rx->last_rx_j;
	if (rx->last_rx_j != now_j)
		OMR_WRITE(rx->last_rx_j, now_j);
	if (ack == OMR_ACK_GOOD)
		omr_flow_arrived_ack(flow, p, e);
	if (!reset)
		omr_flow_arrived_data(rx, p, f, segments, e);
	if (p->options & OMR_OPTION_TIMESTAMP)
		e->echo_sent_ns = omr_echo_finish(flow, p);
	if (p->mptcp)
		omr_flow_arrived_mptcp(rx, p, e);
	omr_flow_arrived_close(flow, p, e);
	return 1;
}

#endif
