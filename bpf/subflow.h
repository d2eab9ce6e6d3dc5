/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What MPTCP options (RFC 8684) do to a flow: which connection it belongs to, and how. */
#ifndef OMR_SUBFLOW_H
#define OMR_SUBFLOW_H

#include "flow.h"

enum {
	/* worth an event each */
	OMR_MP_NOTABLE = OMR_MP_ADD_ADDR | OMR_MP_REMOVE_ADDR | OMR_MP_FASTCLOSE | OMR_MP_FAIL |
	                 OMR_MP_INFINITE,
};

/* `bit` of enum omr_mptcp_seen as flag `flag` of a direction. */
OMR_INLINE __u16 omr_seen(const struct omr_packet *p, __u32 bit, __u32 flag)
{
	return p->mptcp & bit ? flag : 0;
}

OMR_INLINE void omr_subflow_events(struct omr_passage *w)
{
	if (w->packet.mptcp & OMR_MP_PRIO)
		w->events |= 1 << OMR_EVENT_PRIORITY;
	if (w->packet.mptcp & OMR_MP_NOTABLE)
		w->events |= 1 << OMR_EVENT_MPTCP;
}

/* A data word that leaves; of no use once the key is known, whose place it has. */
OMR_INLINE void omr_subflow_word(struct omr_flow *flow, const struct omr_packet *p)
{
	struct omr_flow_tx *tx = &flow->tx;
	struct omr_flow_join *join = &tx->connection.join;

	if (!(p->options & (OMR_OPTION_DATA_ACK | OMR_OPTION_DATA_SEQ)) ||
	    (OMR_READ(flow->rx.flags) & OMR_RX_KEY))
		return;
	if (p->options & OMR_OPTION_DATA_ACK) {
		if (tx->flags & OMR_TX_DATA_SEQ)
			tx->flags &= ~OMR_TX_DATA_SEQ;
	} else if (!join->data_word) {
		tx->flags |= OMR_TX_DATA_SEQ;
	} else if (!(tx->flags & OMR_TX_DATA_SEQ)) {
		return;
	}
	if (join->data_word != p->data_word)
		join->data_word = p->data_word;
}

/* MPTCP options other than a DSS that tells nothing new leave. */
OMR_RARE int omr_subflow_sent(struct omr_passage *w, struct omr_flow *flow)
{
	const struct omr_packet *p;
	struct omr_flow_tx *tx;

	if (!w || !flow)
		return 0;
	p = &w->packet;
	tx = &flow->tx;
	tx->flags |= OMR_TX_MPTCP | omr_seen(p, OMR_MP_JOIN, OMR_TX_JOIN) |
	             omr_seen(p, OMR_MP_FASTCLOSE, OMR_TX_FASTCLOSE) |
	             omr_seen(p, OMR_MP_ADD_ADDR, OMR_TX_ADD_ADDR) |
	             omr_seen(p, OMR_MP_REMOVE_ADDR, OMR_TX_REMOVE_ADDR) |
	             omr_seen(p, OMR_MP_FAIL, OMR_TX_FAIL) |
	             omr_seen(p, OMR_MP_INFINITE, OMR_TX_INFINITE);
	if (p->tcp_flags & OMR_TCP_SYN) {
		tx->flags |= omr_seen(p, OMR_MP_CAPABLE, OMR_TX_CAPABLE);
		if ((p->mptcp & OMR_MP_CAPABLE) && (p->options & OMR_OPTION_V0))
			tx->flags |= OMR_TX_V0;
		if (p->mptcp & OMR_MP_JOIN) {
			tx->flags =
			        (tx->flags & ~OMR_TX_BACKUP) | (p->mp_backup ? OMR_TX_BACKUP : 0);
			tx->local_id = p->mp_id;
			if (!(p->tcp_flags & OMR_TCP_ACK) &&
			    !(OMR_READ(flow->rx.flags) & OMR_RX_KEY))
				tx->connection.join.token_be = p->mp_token_be;
		}
	}
	if (p->mptcp & OMR_MP_PRIO)
		tx->flags = (tx->flags & ~OMR_TX_BACKUP) | (p->mp_prio ? OMR_TX_BACKUP : 0);
	omr_subflow_word(flow, p);
	omr_subflow_events(w);
	return 0;
}

/* The same arrive, in a packet of the peer's. */
OMR_RARE int omr_subflow_arrived(struct omr_passage *w, struct omr_flow *flow)
{
	const struct omr_packet *p;
	struct omr_flow_rx *rx;

	if (!w || !flow)
		return 0;
	p = &w->packet;
	rx = &flow->rx;
	rx->flags |= OMR_RX_MPTCP | omr_seen(p, OMR_MP_JOIN, OMR_RX_JOIN) |
	             omr_seen(p, OMR_MP_FASTCLOSE, OMR_RX_FASTCLOSE) |
	             omr_seen(p, OMR_MP_ADD_ADDR, OMR_RX_ADD_ADDR) |
	             omr_seen(p, OMR_MP_REMOVE_ADDR, OMR_RX_REMOVE_ADDR) |
	             omr_seen(p, OMR_MP_FAIL, OMR_RX_FAIL) |
	             omr_seen(p, OMR_MP_INFINITE, OMR_RX_INFINITE);
	if ((p->options & OMR_OPTION_KEY) && !(rx->flags & (OMR_RX_KEY | OMR_RX_JOIN)) &&
	    !(OMR_READ(flow->tx.flags) & OMR_TX_JOIN)) {
		flow->tx.connection.key_be = p->mp_key_be;
		OMR_WRITE(rx->flags, rx->flags | OMR_RX_KEY);
	}
	if ((p->mptcp & OMR_MP_JOIN) && (p->tcp_flags & OMR_TCP_SYN)) {
		rx->flags = (rx->flags & ~OMR_RX_BACKUP) | (p->mp_backup ? OMR_RX_BACKUP : 0);
		flow->tx.remote_id = p->mp_id;
	}
	if (p->mptcp & OMR_MP_PRIO)
		rx->flags = (rx->flags & ~OMR_RX_BACKUP) | (p->mp_prio ? OMR_RX_BACKUP : 0);
	omr_subflow_events(w);
	return 0;
}

#endif
