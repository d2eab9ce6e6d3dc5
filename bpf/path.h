/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Accounting of one path: sizes on the wire, RTT histogram and windowed minimum, liveness.
 *
 * Liveness invariant. Let `ask` be a TCP packet that calls for an answer and `arrival` any packet
 * that counts (unicast IP, no neighbour discovery), both dated in jiffies. An echo request does
 * not ask: anybody may ping a dead address, and the agent keeps watch over its own probes.
 *
 *   asked_j > last_rx_j   nothing has arrived since asked_j, when the first ask after the last
 *                         arrival left: the path has been silent for (now - asked_j).
 *   asked_j <= last_rx_j  nothing is open: never asked, or something arrived since.
 *
 * Egress writes asked_j only while nothing is open, ingress only moves last_rx_j forward: the first
 * form can only end by an arrival, and an open question is never made younger. An ask that leaves
 * within the jiffy of the last arrival counts as answered; its repeat, or the next one, opens.
 */
#ifndef OMR_PATH_H
#define OMR_PATH_H

#include "rtt.h"

enum {
	OMR_HIST_SUB = 1 << OMR_HIST_SUB_BITS,
};

/* Wire packets that a super-packet stands for; devices may leave gso_segs out (virtio). */
OMR_INLINE __u32 omr_wire_packets(const struct omr_frame *f, const struct omr_packet *p)
{
	if (f->gso_segs > 1)
		return f->gso_segs;
	if (f->gso_segs || !f->gso_size || p->payload <= f->gso_size)
		return 1;
	return (p->payload + f->gso_size - 1) / f->gso_size;
}

/* Bytes on the wire: each segment repeats the headers. */
OMR_INLINE __u64 omr_wire_bytes(const struct omr_frame *f, const struct omr_packet *p,
                                __u32 packets)
{
	return f->len + (__u64)(packets - 1) * p->headers;
}

OMR_INLINE void omr_path_unparsed(struct omr_path_counters *c, __u64 reason)
{
	if (reason < OMR_UNPARSED_REASONS)
		c->unparsed[reason]++;
}

/* Index into omr_path_rtt.bucket. */
OMR_RARE int omr_hist_bucket(__u32 us)
{
	__u32 octave = 0, bucket, step;

	if (us < OMR_HIST_SUB)
		return us;
	/* floor(log2(us)) by halving: BPF has no instruction for it */
	bucket = us;
#pragma GCC unroll 5
	for (step = 16; step; step >>= 1) {
		if (bucket >> step) {
			bucket >>= step;
			octave += step;
		}
	}
	octave -= OMR_HIST_SUB_BITS;
	bucket = OMR_HIST_SUB * (octave + 1) + ((us >> octave) & (OMR_HIST_SUB - 1));
	return bucket < OMR_HIST_BUCKETS ? bucket : OMR_HIST_BUCKETS - 1;
}

/* `surprise`: what the sample was to its flow. */
OMR_INLINE void omr_path_rtt_sample(struct omr_path_counters *c, __u32 us,
                                    struct omr_surprise surprise, __u64 now_j)
{
	__u32 epoch = now_j >> OMR_MIN_RTT_WINDOW_SHIFT;

	if (c->min_rtt_epoch != epoch) {
		c->min_rtt_prev_us = c->min_rtt_epoch + 1 == epoch ? c->min_rtt_us : 0;
		c->min_rtt_us = 0;
		c->min_rtt_epoch = epoch;
	}
	if (!c->min_rtt_us || us < c->min_rtt_us)
		c->min_rtt_us = us;
	c->rtt_samples++;
	c->rtt_sum_us += us;
	c->rtt_dev_sum_us += surprise.deviation_us;
	c->rtt_step_sum_us += surprise.step_us;
}

/* Returns whether an ask ends a quiet second (OMR_EVENT_BUSY). `hz`: jiffies per second. */
OMR_INLINE int omr_live_sent(struct omr_path_live *live, int asks, __u64 now_j, __u64 hz)
{
	__u64 last = OMR_READ(live->tx.last_tx_j);

	if (last != now_j)
		OMR_WRITE(live->tx.last_tx_j, now_j);
	if (!asks)
		return 0;
	if (OMR_READ(live->tx.asked_j) <= OMR_READ(live->rx.last_rx_j) ||
	    !OMR_READ(live->tx.asked_j))
		OMR_WRITE(live->tx.asked_j, now_j);
	return !last || now_j - last >= hz;
}

OMR_INLINE void omr_live_arrived(struct omr_path_live *live, __u64 now_j)
{
	if (OMR_READ(live->rx.last_rx_j) < now_j)
		OMR_WRITE(live->rx.last_rx_j, now_j);
}

/* Whether another event of this path and kind may pass within this second. */
OMR_INLINE int omr_gate_passes(struct omr_event_gate *gate, __u64 now_j, __u64 hz)
{
	if (now_j - gate->window_j >= hz) {
		gate->window_j = now_j;
		gate->passed = 0;
	}
	if (gate->passed >= OMR_EVENTS_PER_SECOND)
		return 0;
	gate->passed++;
	return 1;
}

#endif
