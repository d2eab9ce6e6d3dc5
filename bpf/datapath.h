/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The logic of one packet, written once. Whoever includes this file has defined before it, next to
 * its maps (bcc rewrites map methods only in its main file):
 *
 *   struct omr_passage *passage_of(__u32 direction)                   of this CPU, any content
 *   struct omr_link *link_of(__u32 ifindex)
 *   struct omr_flow *flow_lookup(struct omr_packet *p)
 *   int flow_insert(struct omr_packet *p, struct omr_flow *flow)      replaces; 0 or -errno
 *   struct omr_path_counters *path_counters(__u32 index)              of this CPU
 *   struct omr_path_rtt *path_rtt(__u32 index)                        of this CPU
 *   struct omr_path_live *path_live(__u32 index)
 *   struct omr_event_gate *event_gate(__u32 index)
 *   struct omr_knock *knock_of(__u32 slot)
 *   struct omr_replay *replay_packet(void)                            NULL unless replaying
 *   struct omr_event *event_reserve(void), void event_submit(struct omr_event *e)
 *   __u64 now_j(void), __u64 now_ns(void)
 *   omr_hz                                                            jiffies per second
 *
 * Pointers are NULL where there is nothing (or no room); `index` is the path's, from 0.
 */
#ifndef OMR_DATAPATH_H
#define OMR_DATAPATH_H

#include "arrived.h"
#include "parse.h"
#include "passage.h"
#include "path.h"
#include "replay.h"
#include "sent.h"

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

/* What the flow knows, and the B bit that this packet carries. */
OMR_INLINE void omr_event_flow(struct omr_event *event, const struct omr_packet *p,
                               const struct omr_flow *flow)
{
	event->family = p->family;
	event->tcp_flags = p->tcp_flags;
	event->key_be = flow->rx.flags & OMR_RX_KEY ? flow->tx.connection.key_be : 0;
	event->token_be = flow->rx.flags & OMR_RX_KEY ? 0 : flow->tx.connection.join.token_be;
	event->local_id = flow->tx.local_id;
	event->remote_id = flow->tx.remote_id;
	event->backup = (p->mptcp & OMR_MP_PRIO) ? p->mp_prio : p->mp_backup;
	omr_event_addresses(event, p);
}

/* Sends one event, or counts that it could not be sent. `flow` is NULL for OMR_EVENT_BUSY. */
OMR_INLINE void omr_emit(struct omr_passage *w, struct omr_path_counters *counters, __u32 kind,
                         const struct omr_flow *flow)
{
	__u32 index = (w->frame.path - 1) * OMR_EVENT_KINDS + kind;
	struct omr_event_gate *gate = event_gate(index);
	struct omr_event *event;

	if (!gate)
		return;
	event = omr_gate_passes(gate, w->now_j, omr_hz) ? event_reserve() : 0;
	if (!event) {
		counters->events_suppressed++;
		return;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->at_ns = now_ns();
	event->kind = kind;
	event->path = w->frame.path;
	event->direction = w->frame.direction;
	if (flow)
		omr_event_flow(event, &w->packet, flow);
	event_submit(event);
}

OMR_INLINE void omr_emit_all(struct omr_passage *w, struct omr_path_counters *counters,
                             const struct omr_flow *flow)
{
	__u32 kind;

#pragma GCC unroll 4
	for (kind = OMR_EVENT_FLOW_OPEN; kind <= OMR_EVENT_PRIORITY; kind++)
		if (w->effect.events >> kind & 1)
			omr_emit(w, counters, kind, flow);
}

OMR_INLINE struct omr_knock *omr_knock_slot(const struct omr_packet *p)
{
	const __u32 *words = (const __u32 *)&p->key.v6;
	__u32 mix = 0;
	int i;

#pragma GCC unroll 9
	for (i = 0; i < 9; i++)
		mix = (mix ^ words[i]) * 0x9e3779b1;
	return knock_of(mix >> 24);
}

/* An MP_JOIN SYN arrives: what it says may be wanted by our answer. */
OMR_INLINE void omr_knock_note(const struct omr_packet *p)
{
	struct omr_knock *knock = omr_knock_slot(p);

	if (!knock)
		return;
	knock->family = 0;
	__builtin_memcpy(&knock->key, &p->key, sizeof(knock->key));
	knock->token_be = p->mp_token_be;
	knock->remote_id = p->mp_id;
	knock->backup = p->mp_backup;
	knock->family = p->family;
}

/* Our SYN-ACK to an MP_JOIN leaves. */
OMR_INLINE void omr_knock_answer(struct omr_flow *flow, const struct omr_packet *p)
{
	struct omr_knock *knock = omr_knock_slot(p);
	const __u32 *words = (const __u32 *)&p->key.v6;
	int i;

	if (!knock || knock->family != p->family)
		return;
#pragma GCC unroll 9
	for (i = 0; i < 9; i++)
		if (((const __u32 *)&knock->key)[i] != words[i])
			return;
	flow->tx.connection.join.token_be = knock->token_be;
	flow->tx.remote_id = knock->remote_id;
	flow->rx.flags |= OMR_RX_MPTCP | OMR_RX_JOIN | (knock->backup ? OMR_RX_BACKUP : 0);
	knock->family = 0;
}

/* The flow of a packet that leaves, made if need be; NULL if it has none. */
OMR_INLINE struct omr_flow *omr_flow_of_sent(struct omr_passage *w,
                                             struct omr_path_counters *counters)
{
	struct omr_flow *flow = flow_lookup(&w->packet);

	if (flow && !omr_flow_is_stale(flow, &w->packet)) {
		omr_flow_sent(flow, &w->packet, &w->frame, w->segments, w->now_j, &w->effect);
		return flow;
	}
	if (w->packet.tcp_flags & OMR_TCP_RST)
		return 0;
	omr_flow_begin(&w->first, &w->packet, w->now_j, &w->effect);
	if ((w->packet.mptcp & OMR_MP_JOIN) && (w->first.tx.flags & OMR_TX_SERVER))
		omr_knock_answer(&w->first, &w->packet);
	if (flow)
		omr_replay_replaced(flow);
	if (flow_insert(&w->packet, &w->first)) {
		counters->flows_refused++;
		w->effect.events = 0;
		return 0;
	}
	counters->flows_opened++;
	omr_replay_began();
	return flow_lookup(&w->packet);
}

OMR_INLINE void omr_tcp_sent(struct omr_passage *w, struct omr_path_counters *counters)
{
	struct omr_flow *flow = omr_flow_of_sent(w, counters);

	if (w->packet.payload)
		counters->tx_segments += w->segments;
	if (!flow)
		return;
	omr_flow_sent_volume(&flow->tx, &w->packet, &w->frame, w->bytes, w->segments);
	counters->retransmitted_segments += w->effect.repeated;
	counters->syn_retransmissions += w->effect.syn_again;
	if (w->effect.arm_sample)
		omr_sample_arm(flow, w->effect.sample_ack, now_ns());
	else if (w->effect.arm_echo)
		omr_echo_arm(flow, w->packet.tsval, now_ns());
	if (w->effect.events)
		omr_emit_all(w, counters, flow);
}

OMR_INLINE void omr_rtt_measured(struct omr_passage *w, struct omr_path_counters *counters,
                                 struct omr_flow *flow, __u32 us, __u8 source)
{
	struct omr_path_rtt *histogram = path_rtt(w->frame.path - 1);
	__u64 bucket = omr_hist_bucket(us);

	omr_replay_sample(us, source);
	omr_path_rtt_sample(counters, us, omr_estimate(&flow->rx, us), w->now_j);
	/* The compiler knows that the bound holds; the verifier must see it checked (64 bits, so
	 * that what is compared is what indexes). */
	__asm__ __volatile__("" : "+r"(bucket));
	if (histogram && bucket < OMR_HIST_BUCKETS)
		histogram->bucket[bucket]++;
}

/* A sample may have ended by acknowledgement, by echo, or by both: one measurement is enough. */
OMR_INLINE void omr_sample_ended(struct omr_passage *w, struct omr_path_counters *counters,
                                 struct omr_flow *flow)
{
	int first = w->effect.events >> OMR_EVENT_FLOW_READY & 1; /* acknowledgement */
	__u64 now = now_ns();
	__u32 us;

	if (w->effect.sent_stamp) {
		omr_rtt_measured(w, counters, flow, omr_sample_us(w->effect.sent_stamp, now),
		                 first ? OMR_SAMPLE_HANDSHAKE : OMR_SAMPLE_DATA);
		return;
	}
	us = omr_sample_us(w->effect.echo_stamp, now);
	if (omr_echo_dense(w->effect.gap_j, us, omr_hz))
		omr_rtt_measured(w, counters, flow, us, OMR_SAMPLE_ECHO);
}

OMR_INLINE void omr_tcp_arrived(struct omr_passage *w, struct omr_path_counters *counters)
{
	struct omr_flow *flow;

	if (w->packet.payload)
		counters->rx_segments += w->segments;
	if ((w->packet.mptcp & OMR_MP_JOIN) &&
	    (w->packet.tcp_flags & (OMR_TCP_SYN | OMR_TCP_ACK)) == OMR_TCP_SYN)
		omr_knock_note(&w->packet);
	flow = flow_lookup(&w->packet);
	if (!flow || !omr_flow_arrived(flow, &w->packet, &w->frame, w->segments, w->bytes, w->now_j,
	                               &w->effect))
		return;
	/* What still comes after we closed is the rest of an outage, not the path's loss. */
	if (!(OMR_READ(flow->tx.flags) & (OMR_TX_FIN | OMR_TX_RST)))
		counters->refilled_segments += w->effect.repeated;
	counters->spurious_segments += w->effect.spurious;
	if (w->effect.sent_stamp || w->effect.echo_stamp)
		omr_sample_ended(w, counters, flow);
	if (w->effect.events)
		omr_emit_all(w, counters, flow);
}

OMR_INLINE void omr_packet_left(struct omr_passage *w, struct omr_path_counters *counters,
                                int parsed)
{
	struct omr_path_live *live;
	int asks = 0;

	counters->tx_bytes += w->bytes;
	counters->tx_packets += w->segments;
	if (parsed == OMR_PARSED_TCP) {
		omr_tcp_sent(w, counters);
		asks = omr_tcp_asks(&w->packet) || w->effect.keep_alive;
	}
	live = w->packet.alive ? path_live(w->frame.path - 1) : 0;
	if (live && omr_live_sent(live, asks, w->now_j, omr_hz))
		omr_emit(w, counters, OMR_EVENT_BUSY, 0);
}

OMR_INLINE void omr_packet_arrived(struct omr_passage *w, struct omr_path_counters *counters,
                                   int parsed)
{
	struct omr_path_live *live;

	counters->rx_bytes += w->bytes;
	counters->rx_packets += w->segments;
	live = w->packet.alive ? path_live(w->frame.path - 1) : 0;
	if (live)
		omr_live_arrived(live, w->now_j);
	if (parsed == OMR_PARSED_TCP)
		omr_tcp_arrived(w, counters);
}

OMR_INLINE void omr_count_unparsed(struct omr_path_counters *counters, __u32 reason)
{
	omr_path_unparsed(counters, reason);
	omr_replay_unparsed(reason);
}

/*
 * The rest of a packet's way, once w->frame and w->packet are filled; `parsed` is omr_parse()'s
 * result. Nothing here changes the packet.
 */
OMR_INLINE void omr_packet_passed(struct omr_passage *w, int parsed)
{
	struct omr_path_counters *counters = path_counters(w->frame.path - 1);

	if (!counters)
		return;
	omr_replay_clear();
	w->now_j = now_j();
	w->segments = omr_wire_packets(&w->frame, &w->packet);
	w->bytes = omr_wire_bytes(&w->frame, &w->packet, w->segments);
	__builtin_memset(&w->effect, 0, sizeof(w->effect));
	if (parsed < 0)
		omr_count_unparsed(counters, -1 - parsed);
	if (w->packet.options & OMR_OPTION_BAD)
		omr_count_unparsed(counters, OMR_UNPARSED_OPTIONS);
	if (w->frame.direction == OMR_EGRESS)
		omr_packet_left(w, counters, parsed);
	else
		omr_packet_arrived(w, counters, parsed);
}

#endif
