/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libFuzzer target: any sequence of frames through the native build of the packet programs, with
 * what must hold after each of them (bpf/MEASUREMENT.md) checked here.
 *
 * Input: records of 10 bytes and a frame, numbers little-endian:
 *   0  bit 0 leaves, 1 XDP, 2 second path, 3 no link header, 4 super-packet, 5 cut by a capture
 *
 *   1  milliseconds since the record before; from 128 on 2^(value - 128) of them (at most 2^21)
 *
 *   2  gso_segs
 *
 *   4  gso_size
 *
 *   6  length on the wire beyond that of the frame
 *
 *   8  length of the frame, cut to what is left
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../omrfast/shim/native.h"

enum {
	RECORD = 10,
	LEAVES = 1,
	XDP = 2,
	SECOND = 4,
	BARE = 8,
	SUPER = 16,
	CUT = 32,
	FLOWS = 4, /* soon full */
	HZ = 250,
	DEVICE = 1,
};

#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "does not hold: %s (line %d)\n", #condition, __LINE__);    \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct frame {
	const __u8 *data;
	__u32 size;
	__u8 flags;
	__u8 after;
	__u16 gso_segs;
	__u16 gso_size;
	__u16 beyond;
};

/* What there was before a packet. */
struct before {
	struct omr_path_counters counters[OMR_MAX_PATHS];
	struct omr_path_live live[OMR_MAX_PATHS];
	__u32 entries;
	__u64 flows;
};

static struct omr_plane *plane;
static struct before before;
static __u64 now_ms;

/* --- input -------------------------------------------------------------------------------- */

static int next_frame(const __u8 **at, size_t *left, struct frame *f)
{
	const __u8 *head = *at;

	if (*left < RECORD)
		return 0;
	f->flags = head[0];
	f->after = head[1];
	f->gso_segs = head[2] | head[3] << 8;
	f->gso_size = head[4] | head[5] << 8;
	f->beyond = head[6] | head[7] << 8;
	f->size = head[8] | head[9] << 8;
	*at += RECORD;
	*left -= RECORD;
	if (f->size > *left)
		f->size = *left;
	f->data = *at;
	*at += f->size;
	*left -= f->size;
	return 1;
}

static void set_clock(const struct frame *f)
{
	struct omr_replay *replay = &plane->replay;
	__u32 octave = f->after - 128;

	now_ms += f->after < 128 ? f->after : 1ULL << (octave < 21 ? octave : 21);
	memset(replay, 0xee, sizeof(*replay)); /* results must be written, not left */
	replay->now.now_j = 4300000000ULL + now_ms * HZ / 1000;
	replay->now.now_ns = 777000000000ULL + now_ms * 1000000;
	replay->wire_len = f->flags & CUT ? f->size + f->beyond : 0;
}

/* --- what must hold ------------------------------------------------------------------------- */

static const struct omr_flow *entry(const struct omr_table *t, __u32 number)
{
	const __u8 *at = t->data + (size_t)number * t->stride;

	return (const struct omr_flow *)(at + t->stride - t->value_size);
}

/* FNV-1a over both tables. */
static __u64 flows_hash(void)
{
	const struct omr_table *tables[2] = {&plane->flows4, &plane->flows6};
	__u64 hash = 0xcbf29ce484222325ULL;
	size_t i;
	int t;

	for (t = 0; t < 2; t++)
		for (i = 0; i < (size_t)tables[t]->entries * tables[t]->stride; i++)
			hash = (hash ^ tables[t]->data[i]) * 0x100000001b3ULL;
	return hash;
}

static void remember(void)
{
	memcpy(before.counters, plane->counters, sizeof(before.counters));
	memcpy(before.live, plane->live, sizeof(before.live));
	before.entries = plane->flows4.entries + plane->flows6.entries;
	before.flows = flows_hash();
}

#define GREW(member) (now->member - was->member)

static void check_counters(const struct frame *f, __u32 path)
{
	const struct omr_path_counters *now = &plane->counters[path], *was = &before.counters[path];
	__u64 packets = f->flags & LEAVES ? GREW(tx_packets) : GREW(rx_packets);
	__u64 bytes = f->flags & LEAVES ? GREW(tx_bytes) : GREW(rx_bytes);
	__u64 unparsed = 0;
	int i;

	MUST(packets >= 1 && packets <= 65535);
	MUST(bytes >= f->size);
	MUST(f->flags & LEAVES ? !GREW(rx_bytes) : !GREW(tx_bytes));
	for (i = 0; i < OMR_UNPARSED_REASONS; i++)
		unparsed += GREW(unparsed[i]);
	MUST(unparsed <= 1);
	MUST(GREW(tx_segments) + GREW(rx_segments) <= packets);
	MUST(GREW(retransmitted_segments) <= packets);
	MUST(GREW(refilled_segments) + GREW(reordered_segments) <= packets);
	MUST(GREW(syn_retransmissions) + GREW(flows_opened) + GREW(flows_refused) <= 1);
	MUST(GREW(rtt_samples) <= 1 && GREW(icmp_errors) <= 1);
	MUST(GREW(rtt_samples) ||
	     !(GREW(rtt_sum_us) | GREW(rtt_dev_sum_us) | GREW(rtt_step_sum_us)));
	MUST(now->spurious_segments <=
	     plane->counters[5].retransmitted_segments + plane->counters[6].retransmitted_segments);
	MUST(!now->rtt_samples || now->rtt_sum_us >= now->rtt_samples);
}

static void check_live(__u32 path)
{
	const struct omr_path_live *now = &plane->live[path], *was = &before.live[path];
	__u64 now_j = plane->replay.now.now_j;

	MUST(now->tx.asked_j <= now_j && now->tx.last_tx_j <= now_j && now->rx.last_rx_j <= now_j);
	MUST(now->rx.last_rx_j >= was->rx.last_rx_j && now->tx.last_tx_j >= was->tx.last_tx_j);
	/* An open question is never made younger. */
	if (was->tx.asked_j > was->rx.last_rx_j)
		MUST(now->tx.asked_j == was->tx.asked_j);
}

static void check_flow(const struct omr_flow *flow)
{
	const struct omr_flow_tx *tx = &flow->tx;
	const struct omr_flow_rx *rx = &flow->rx;

	MUST(tx->spurious_segments <= tx->retransmitted_segments);
	MUST(tx->path == 6 || tx->path == 7);
	MUST(tx->tx_bytes && !!rx->rtt_samples == !!rx->srtt_us8);
	MUST(!rx->rtt_samples || (rx->min_rtt_us && rx->min_rtt_us <= rx->last_rtt_us));
	MUST(rx->rtt_samples > 1 || !rx->jitter_us16);
	MUST(rx->rx_bytes || !(rx->rx_segments | rx->refilled_segments | rx->rtt_samples));
	MUST(rx->refilled_segments + (__u64)rx->reordered_segments <= rx->rx_segments);
	MUST(!(tx->flags & OMR_TX_SERVER) || (tx->flags & OMR_TX_SYN));
	MUST(!tx->tx_segments == !tx->segment_64b);
	MUST((tx->flags & OMR_TX_MPTCP) ||
	     !(tx->flags & (OMR_TX_JOIN | OMR_TX_CAPABLE | OMR_TX_FASTCLOSE | OMR_TX_ADD_ADDR)));
}

static void check_flows(const struct frame *f, const struct omr_path_counters *was,
                        const struct omr_path_counters *now)
{
	const struct omr_replay *replay = &plane->replay;
	__u32 entries = plane->flows4.entries + plane->flows6.entries, i;

	MUST(entries >= before.entries && entries - before.entries <= 1);
	MUST(plane->flows4.entries <= FLOWS && plane->flows6.entries <= FLOWS);
	MUST(replay->began == GREW(flows_opened));
	MUST(!replay->replaced || replay->began);
	MUST(entries - before.entries == (__u32)(replay->began && !replay->replaced));
	MUST(!!replay->sample_source == GREW(rtt_samples));
	MUST(!replay->sample_source || replay->sample_us == GREW(rtt_sum_us));
	if (!(f->flags & LEAVES))
		MUST(!replay->began && !replay->replaced);
	else
		MUST(!replay->sample_source);
	if (replay->unparsed && replay->unparsed != OMR_UNPARSED_OPTIONS + 1)
		MUST(flows_hash() == before.flows);
	for (i = 0; i < plane->flows4.entries; i++)
		check_flow(entry(&plane->flows4, i));
	for (i = 0; i < plane->flows6.entries; i++)
		check_flow(entry(&plane->flows6, i));
}

static void check_packet(const struct frame *f)
{
	const struct omr_passage *w = &plane->passage[f->flags & LEAVES ? OMR_EGRESS : OMR_INGRESS];
	__u32 reason = plane->replay.unparsed;

	MUST(reason <= OMR_UNPARSED_OPTIONS + 1);
	if ((!reason || reason == OMR_UNPARSED_OPTIONS + 1) && w->packet.protocol == 6 &&
	    w->packet.family) {
		MUST(w->packet.headers <= f->size);
		MUST(w->packet.headers + w->packet.payload <= w->frame.len);
	}
}

static void check_histogram(__u32 path)
{
	__u64 sum = 0;
	int i;

	for (i = 0; i < OMR_HIST_BUCKETS; i++)
		sum += plane->rtt[path].bucket[i];
	MUST(sum == plane->counters[path].rtt_samples);
}

/* --- one input ------------------------------------------------------------------------------ */

static void pass(const struct frame *f)
{
	__u32 path = f->flags & SECOND ? 6 : 5, hook = OMR_NATIVE_INGRESS, other = 11 - path;
	struct omr_run run = {.ifindex = DEVICE, .data_len = f->size};
	__u8 *copy = malloc(f->size ? f->size : 1); /* of its own, so that its end is watched */

	MUST(copy);
	memcpy(copy, f->data, f->size);
	run.data = copy;
	if (f->flags & SUPER) {
		run.gso_segs = f->gso_segs;
		run.gso_size = f->gso_size;
	}
	if (f->flags & LEAVES)
		hook = OMR_NATIVE_EGRESS;
	else if (f->flags & XDP)
		hook = OMR_NATIVE_XDP;
	plane->links[DEVICE].path = path + 1;
	plane->links[DEVICE].l2 = f->flags & BARE ? OMR_L2_NONE : OMR_L2_ETHERNET;
	set_clock(f);
	remember();
	MUST(omr_plane_run(plane, hook, &run) == 0);
	MUST(!memcmp(copy, f->data, f->size));
	free(copy);
	check_counters(f, path);
	MUST(!memcmp(&before.counters[other], &plane->counters[other], sizeof(before.counters[0])));
	check_live(path);
	check_flows(f, &before.counters[path], &plane->counters[path]);
	check_packet(f);
	plane->event_count = 0;
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
	struct frame f;

	if (!plane)
		plane = omr_plane_new(FLOWS, HZ);
	MUST(plane);
	omr_plane_reset(plane);
	now_ms = 0;
	while (next_frame(&data, &size, &f))
		pass(&f);
	check_histogram(5);
	check_histogram(6);
	return 0;
}
