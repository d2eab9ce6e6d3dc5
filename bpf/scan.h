/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The walk over the flow tables inside the kernel. Only for the libbpf dialect: bcc compiles no
 * callbacks. omrfast.bpf.c includes it and has the entry point, omr_scan.
 *
 * The kernel walks whole buckets under RCU, without a lock. Deleting the entry at hand is
 * allowed; its memory is used again by the next insertion, and if that falls between the deletion
 * and the kernel's step to the next entry (before 6.15), the rest of this bucket is left out or
 * another's is seen twice: one walk counts some flows wrongly, the next one is right again.
 */
#ifndef OMR_SCAN_H
#define OMR_SCAN_H

#include "fold.h"

/* Written and read by whoever asks for a walk over the flow tables. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct omr_scan_state);
} omr_scan_state SEC(".maps");

OMR_INLINE struct omr_scan_state *scan_state(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&omr_scan_state, &key);
}

OMR_INLINE void omr_top_find_least(struct omr_scan_top *top)
{
	__u64 bytes = top->bytes[0], tie = top->tie[0];
	__u32 i;

	top->least = 0;
	for (i = 1; i < OMR_SCAN_ROWS; i++) {
		if (i >= top->count)
			break;
		if (omr_row_after(top->bytes[i], top->tie[i], bytes, tie)) {
			bytes = top->bytes[i];
			tie = top->tie[i];
			top->least = i;
		}
	}
	top->least_bytes = bytes;
	top->least_tie = tie;
}

/* Room for a row of (bytes, tie), NULL if it is not among the greatest. */
OMR_INLINE struct omr_flow_row *omr_top_place(struct omr_scan_state *state, __u64 bytes, __u64 tie)
{
	struct omr_scan_top *top = &state->top;
	__u32 at = top->count;

	if (at < state->order.rows && at < OMR_SCAN_ROWS) {
		top->count = at + 1;
	} else {
		if (omr_row_after(bytes, tie, top->least_bytes, top->least_tie))
			return 0;
		at = top->least;
	}
	at &= OMR_SCAN_ROWS - 1;
	top->bytes[at] = bytes;
	top->tie[at] = tie;
	if (top->count >= state->order.rows || top->count >= OMR_SCAN_ROWS)
		omr_top_find_least(top);
	return &top->row[at];
}

static __attribute__((noinline)) int omr_top_offer4(struct omr_flow_key4 *key,
                                                    struct omr_flow *flow, __u64 bytes)
{
	struct omr_scan_state *state = scan_state();
	struct omr_flow_row *row;

	row = state ? omr_top_place(state, bytes, omr_tie4(key)) : 0;
	if (!row)
		return 0;
	omr_row_fill(row, flow, 4, state->order.now_j);
	omr_row_key4(row, key);
	return 0;
}

static __attribute__((noinline)) int omr_top_offer6(struct omr_flow_key6 *key,
                                                    struct omr_flow *flow, __u64 bytes)
{
	struct omr_scan_state *state = scan_state();
	struct omr_flow_row *row;

	row = state ? omr_top_place(state, bytes, omr_tie6(key)) : 0;
	if (!row)
		return 0;
	omr_row_fill(row, flow, 6, state->order.now_j);
	omr_row_key6(row, key);
	return 0;
}

static long omr_scan_flow4(void *map, struct omr_flow_key4 *key, struct omr_flow *flow)
{
	struct omr_scan_state *state = scan_state();
	__u64 bytes;

	if (!state)
		return 1;
	if (omr_flow_due(&state->order, flow) && !bpf_map_delete_elem(map, key)) {
		state->cells.collected++;
		return 0;
	}
	omr_fold(&state->order, &state->cells, &key->remote_be, 1, flow);
	bytes = omr_flow_bytes(flow);
	if (bytes >= state->top.least_bytes)
		omr_top_offer4(key, flow, bytes);
	return 0;
}

static long omr_scan_flow6(void *map, struct omr_flow_key6 *key, struct omr_flow *flow)
{
	struct omr_scan_state *state = scan_state();
	__u64 bytes;

	if (!state)
		return 1;
	if (omr_flow_due(&state->order, flow) && !bpf_map_delete_elem(map, key)) {
		state->cells.collected++;
		return 0;
	}
	omr_fold(&state->order, &state->cells, key->remote_be, 4, flow);
	bytes = omr_flow_bytes(flow);
	if (bytes >= state->top.least_bytes)
		omr_top_offer6(key, flow, bytes);
	return 0;
}

#endif
