/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What must not wait for a tick: records of the ring omr_events. Included by datapath.h. */
#ifndef OMR_EVENT_H
#define OMR_EVENT_H

#include "passage.h"
#include "path.h"

OMR_INLINE void omr_event_addresses(struct omr_event *event, const struct omr_packet *p)
{
	if (p->family == 4) {
		__builtin_memcpy(event->local_be, &p->key.v4.local_be, 4);
		__builtin_memcpy(event->remote_be, &p->key.v4.remote_be, 4);
		event->local_port_be = p->key.v4.local_port_be;
		event->remote_port_be = p->key.v4.remote_port_be;
	} else {
		__builtin_memcpy(event->local_be, p->key.v6.local_be, 16);
		__builtin_memcpy(event->remote_be, p->key.v6.remote_be, 16);
		event->local_port_be = p->key.v6.local_port_be;
		event->remote_port_be = p->key.v6.remote_port_be;
	}
}

/* What the flow knows, and what this packet carries. */
OMR_INLINE void omr_event_flow(struct omr_event *event, const struct omr_packet *p,
                               const struct omr_flow *flow)
{
	event->family = p->family;
	event->tcp_flags = p->tcp_flags;
	event->mptcp = p->mptcp;
	if (flow->rx.flags & OMR_RX_KEY)
		event->key_be = flow->tx.connection.key_be;
	else
		event->token_be = flow->tx.connection.join.token_be;
	event->local_id = flow->tx.local_id;
	event->remote_id = flow->tx.remote_id;
	if (p->mptcp & OMR_MP_PRIO)
		event->backup = p->mp_prio;
	else if ((p->mptcp & OMR_MP_JOIN) && (p->tcp_flags & OMR_TCP_SYN))
		event->backup = p->mp_backup;
	omr_event_addresses(event, p);
}

/* Sends one event, or counts that it could not be sent. `flow` is NULL for OMR_EVENT_BUSY. */
OMR_RARE int omr_emit(struct omr_passage *w, __u32 kind, struct omr_flow *flow)
{
	struct omr_path_counters *counters;
	struct omr_event_gate *gate;
	struct omr_event *event;

	if (!w)
		return 0;
	counters = path_counters(w->frame.path - 1);
	gate = event_gate((w->frame.path - 1) * OMR_EVENT_KINDS + kind);
	if (!gate || !counters)
		return 0;
	event = omr_gate_passes(gate, w->now_j, omr_hz) ? event_reserve() : 0;
	if (!event) {
		counters->events_suppressed++;
		return 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->at_ns = now_ns();
	event->kind = kind;
	event->path = w->frame.path;
	event->direction = w->frame.direction;
	if (flow)
		omr_event_flow(event, &w->packet, flow);
	event_submit(event);
	return 1;
}

/* All that the packet has caused; of OMR_EVENT_BUSY the flow does not matter. */
OMR_RARE int omr_emit_all(struct omr_passage *w, struct omr_flow *flow)
{
	__u32 kind;

	if (!w)
		return 0;
#pragma GCC unroll 1
	for (kind = OMR_EVENT_FLOW_OPEN; kind < OMR_EVENT_KINDS; kind++)
		if (w->events >> kind & 1)
			omr_emit(w, kind, kind == OMR_EVENT_BUSY ? 0 : flow);
	return 0;
}

#endif
