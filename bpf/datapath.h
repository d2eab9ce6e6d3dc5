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
 * OMR_RARE may be defined as well, before passage.h: see packet.h.
 */
#ifndef OMR_DATAPATH_H
#define OMR_DATAPATH_H

#include "arrived.h"
#include "event.h"
#include "knock.h"
#include "parse.h"
#include "path.h"
#include "replay.h"
#include "sent.h"

/*
 * A packet that leaves begins a flow; `before` is the entry of an earlier connection, or NULL.
 * Returns whether there is an entry now.
 */
OMR_RARE int omr_flow_open(struct omr_passage *w, struct omr_flow *before)
{
	struct omr_path_counters *counters;
	struct omr_passage *own;

	if (!w)
		return 0;
	counters = path_counters(w->frame.path - 1);
	if (!counters || (w->packet.tcp_flags & OMR_TCP_RST))
		return 0;
	omr_flow_begin(w, &w->first);
	if ((w->packet.mptcp & OMR_MP_JOIN) && (w->first.tx.flags & OMR_TX_SERVER))
		omr_knock_answer(w);
	if (before)
		omr_replay_replaced(before);
	/* A pointer into a map: 6.1 takes no argument of a global function as key or value. */
	own = passage_of(OMR_EGRESS);
	if (!own || flow_insert(&own->packet, &own->first)) {
		counters->flows_refused++;
		w->events = 0;
		w->arm = OMR_ARM_NONE;
		return 0;
	}
	counters->flows_opened++;
	omr_replay_began();
	return 1;
}

OMR_INLINE void omr_tcp_sent(struct omr_passage *w, struct omr_path_counters *counters)
{
	struct omr_flow *flow = flow_lookup(&w->packet);

	if (w->packet.payload)
		counters->tx_segments += w->segments;
	if (OMR_LIKELY(flow && !omr_flow_is_stale(flow, &w->packet)))
		omr_flow_sent(w, flow);
	else
		flow = omr_flow_open(w, flow) ? flow_lookup(&w->packet) : 0;
	if (!flow)
		return;
	omr_flow_sent_volume(w, &flow->tx);
	if (OMR_UNLIKELY(w->effect.repeated))
		counters->retransmitted_segments += w->effect.repeated;
	if (OMR_UNLIKELY(w->effect.syn_again))
		counters->syn_retransmissions++;
	if (w->arm == OMR_ARM_SAMPLE)
		omr_sample_arm(flow, w->sample_ack, now_ns());
	else if (w->arm == OMR_ARM_ECHO)
		omr_echo_arm(flow, w->packet.tsval, now_ns());
	if (OMR_UNLIKELY(w->events))
		omr_emit_all(w, flow);
}

OMR_INLINE void omr_rtt_measured(struct omr_passage *w, struct omr_flow *flow, __u32 us,
                                 __u8 source)
{
	struct omr_path_counters *counters = path_counters(w->frame.path - 1);
	struct omr_path_rtt *histogram = path_rtt(w->frame.path - 1);
	__u64 bucket = (__u32)omr_hist_bucket(us);

	if (!counters || !histogram)
		return;
	omr_path_rtt_sample(counters, us, omr_estimate(&flow->rx, us), w->now_j);
	/* The compiler knows that the bound holds; the verifier must see it checked (64 bits, so
	 * that what is compared is what indexes). */
	__asm__ __volatile__("" : "+r"(bucket));
	if (bucket < OMR_HIST_BUCKETS)
		histogram->bucket[bucket]++;
	omr_replay_sample(us, source);
}

/* A sample may have ended by acknowledgement, by echo, or by both: one measurement is enough. */
OMR_RARE int omr_sample_ended(struct omr_passage *w, struct omr_flow *flow)
{
	__u8 source = OMR_SAMPLE_ECHO;
	__u32 us, stamp;

	if (!w || !flow)
		return 0;
	stamp = w->effect.echo_stamp;
	if (w->effect.sent_stamp) {
		stamp = w->effect.sent_stamp;
		source = w->effect.source ? w->effect.source : OMR_SAMPLE_DATA;
	}
	us = omr_sample_us(stamp, now_ns());
	if (source != OMR_SAMPLE_ECHO || omr_echo_dense(w->effect.gap_j, us, omr_hz))
		omr_rtt_measured(w, flow, us, source);
	else
		omr_echo_late(flow);
	return 1;
}

/* What of a packet that arrived out of the ordinary the path counts. */
OMR_INLINE void omr_path_oddities(struct omr_path_counters *counters, const struct omr_effect *e,
                                  const struct omr_flow *flow)
{
	/* What still comes after we closed is the rest of an outage, not the path's loss. */
	if (e->repeated && !(OMR_READ(flow->tx.flags) & (OMR_TX_FIN | OMR_TX_RST)))
		counters->refilled_segments += e->repeated;
	if (e->reordered)
		counters->reordered_segments += e->reordered;
	if (e->spurious)
		counters->spurious_segments += e->spurious;
}

OMR_INLINE void omr_tcp_arrived(struct omr_passage *w, struct omr_path_counters *counters)
{
	struct omr_flow *flow = flow_lookup(&w->packet);

	if (w->packet.payload)
		counters->rx_segments += w->segments;
	if (OMR_UNLIKELY((w->packet.mptcp & OMR_MP_JOIN) &&
	                 (w->packet.tcp_flags & (OMR_TCP_SYN | OMR_TCP_ACK)) == OMR_TCP_SYN))
		omr_knock_note(w);
	if (!flow || !omr_flow_arrived(w, flow, omr_hz))
		return;
	omr_path_oddities(counters, &w->effect, flow);
	if (w->effect.sent_stamp || w->effect.echo_stamp)
		omr_sample_ended(w, flow);
	if (OMR_UNLIKELY(w->events))
		omr_emit_all(w, flow);
}

OMR_INLINE void omr_packet_left(struct omr_passage *w, struct omr_path_counters *counters,
                                int parsed)
{
	struct omr_path_live *live;
	int asks = 0;

	counters->tx_bytes += w->bytes;
	counters->tx_packets += w->segments;
	if (OMR_LIKELY(parsed == OMR_PARSED_TCP)) {
		omr_tcp_sent(w, counters);
		asks = omr_tcp_asks(&w->packet) || w->effect.keep_alive;
	}
	live = omr_proves_life(&w->packet, parsed) ? path_live(w->frame.path - 1) : 0;
	if (live && OMR_UNLIKELY(omr_live_sent(live, asks, w->now_j, omr_hz))) {
		w->events = 1 << OMR_EVENT_BUSY;
		omr_emit_all(w, 0);
	}
}

OMR_INLINE void omr_packet_arrived(struct omr_passage *w, struct omr_path_counters *counters,
                                   int parsed)
{
	struct omr_path_live *live;

	counters->rx_bytes += w->bytes;
	counters->rx_packets += w->segments;
	live = omr_proves_life(&w->packet, parsed) ? path_live(w->frame.path - 1) : 0;
	if (live)
		omr_live_arrived(live, w->now_j);
	if (OMR_LIKELY(parsed == OMR_PARSED_TCP))
		omr_tcp_arrived(w, counters);
	else if (w->packet.icmp_error)
		counters->icmp_errors++;
}

/* Why the packet, or an option of it, is not used; -1: all is. */
OMR_INLINE int omr_unused(const struct omr_packet *p, int parsed)
{
	if (OMR_UNLIKELY(parsed < 0))
		return -1 - parsed;
	return p->options & OMR_OPTION_BAD ? OMR_UNPARSED_OPTIONS : -1;
}

/*
 * The rest of a packet's way, once w->frame and w->packet are filled; `parsed` is omr_parse()'s
 * result, `direction` a constant, that half of the code may go. Nothing here changes the packet.
 */
OMR_INLINE void omr_packet_passed(struct omr_passage *w, int parsed, int direction)
{
	struct omr_path_counters *counters;
	int reason;

	OMR_FORGET();
	counters = path_counters(w->frame.path - 1);
	reason = omr_unused(&w->packet, parsed);
	if (!counters)
		return;
	w->now_j = now_j();
	w->segments = omr_wire_packets(&w->frame, &w->packet);
	w->bytes = omr_wire_bytes(&w->frame, &w->packet, w->segments);
	w->events = 0;
	w->arm = OMR_ARM_NONE;
	__builtin_memset(&w->effect, 0, sizeof(w->effect));
	omr_replay_clear();
	if (OMR_UNLIKELY(reason >= 0)) {
		omr_path_unparsed(counters, reason);
		omr_replay_unparsed(reason);
	}
	if (direction == OMR_EGRESS)
		omr_packet_left(w, counters, parsed);
	else
		omr_packet_arrived(w, counters, parsed);
}

#endif
