/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Walking the flow tables: the slow tick and the command line. */
#include <stdlib.h>
#include <string.h>

#include "shim.h"

#define BATCH 4096

/* One table during a walk. Keys and values are those of the current batch. */
struct walk {
	const struct omr_scan *scan;
	struct omr_scan_result *result;
	struct omr_flow_row *rows; /* a heap, least bytes on top, until it is sorted */
	int fd;
	int family;
	size_t key_size;
	__u8 *keys;
	struct omr_flow *values;
};

/* We sent a SYN or SYN-ACK that nothing which arrived has acknowledged. */
static int is_half_open(const struct omr_flow *flow)
{
	return !(flow->rx.flags & OMR_RX_ACK) && (flow->tx.flags & OMR_TX_SYN);
}

static int state_of(const struct omr_flow *flow)
{
	__u16 tx = flow->tx.flags, rx = flow->rx.flags;
	int ended_out = (tx & OMR_TX_FIN) != 0, ended_in = (rx & OMR_RX_FIN) != 0;

	if (tx & (OMR_TX_RST | OMR_TX_FASTCLOSE) || rx & (OMR_RX_RST | OMR_RX_FASTCLOSE))
		return OMR_FLOW_CLOSED;
	if (ended_out && ended_in)
		return OMR_FLOW_CLOSED;
	if (ended_out || ended_in)
		return OMR_FLOW_CLOSING;
	return is_half_open(flow) ? OMR_FLOW_HANDSHAKE : OMR_FLOW_ESTABLISHED;
}

/*
 * Jiffies since the last arrival or, before the first one, since the entry was made: a SYN or
 * SYN-ACK that is sent again does not make a handshake younger.
 */
static __u32 idle_of(const struct omr_flow *flow, __u64 now_j)
{
	__u32 then = flow->rx.last_rx_j ? flow->rx.last_rx_j : flow->tx.unacked_since_j;
	__s32 age = (__s32)((__u32)now_j - then);

	return age > 0 ? (__u32)age : 0;
}

static int is_due(const struct omr_scan *scan, const struct omr_flow *flow)
{
	__u32 idle = idle_of(flow, scan->now_j);

	if (!scan->collect)
		return 0;
	return idle > scan->idle_age_j || (is_half_open(flow) && idle > scan->half_open_age_j) ||
	       (state_of(flow) == OMR_FLOW_CLOSED && idle > scan->closed_age_j);
}

/* The entry may have come to life since the batch was read: look again before deleting it. */
static int collect(struct walk *walk, const void *key)
{
	struct omr_flow now;

	if (bpf_map_lookup_elem(walk->fd, key, &now) || !is_due(walk->scan, &now))
		return 0;
	return bpf_map_delete_elem(walk->fd, key) == 0;
}

static __u64 bytes_of(const struct omr_flow *flow)
{
	return flow->tx.tx_bytes + flow->rx.rx_bytes;
}

static void sink(struct omr_flow_row *heap, __u32 count, __u32 at)
{
	for (;;) {
		__u32 child = 2 * at + 1;
		struct omr_flow_row swap;

		if (child >= count)
			return;
		if (child + 1 < count &&
		    bytes_of(&heap[child + 1].flow) < bytes_of(&heap[child].flow))
			child++;
		if (bytes_of(&heap[at].flow) <= bytes_of(&heap[child].flow))
			return;
		swap = heap[at];
		heap[at] = heap[child];
		heap[child] = swap;
		at = child;
	}
}

static void fill_row(const struct walk *walk, const __u8 *key, const struct omr_flow *flow,
                     struct omr_flow_row *row)
{
	size_t address = walk->family == 4 ? 4 : 16;

	memset(row, 0, sizeof(*row));
	row->flow = *flow;
	memcpy(row->local_be, key, address);
	memcpy(row->remote_be, key + address, address);
	memcpy(&row->local_port_be, key + 2 * address, 2);
	memcpy(&row->remote_port_be, key + 2 * address + 2, 2);
	row->family = (__u8)walk->family;
	row->state = (__u8)state_of(flow);
	row->idle_j = idle_of(flow, walk->scan->now_j);
}

static void keep_row(struct walk *walk, const __u8 *key, const struct omr_flow *flow)
{
	__u32 *count = &walk->result->rows;

	if (*count < walk->scan->room) {
		fill_row(walk, key, flow, &walk->rows[(*count)++]);
		if (*count == walk->scan->room)
			for (__u32 i = *count / 2 + 1; i-- > 0;)
				sink(walk->rows, *count, i);
	} else if (*count && bytes_of(flow) > bytes_of(&walk->rows[0].flow)) {
		fill_row(walk, key, flow, &walk->rows[0]);
		sink(walk->rows, *count, 0);
	}
}

static void fold(struct walk *walk, const __u8 *key, const struct omr_flow *flow)
{
	__u32 path = (__u32)flow->tx.path - 1;

	if (is_due(walk->scan, flow) && collect(walk, key)) {
		walk->result->collected++;
		return;
	}
	walk->result->entries++;
	if (path < OMR_MAX_PATHS && state_of(flow) != OMR_FLOW_CLOSED) {
		walk->result->open[path]++;
		if (flow->tx.flags & OMR_TX_MPTCP && flow->rx.flags & OMR_RX_MPTCP)
			walk->result->subflows[path]++;
	}
	keep_row(walk, key, flow);
}

/* A batch holds whole hash buckets, so a bucket larger than BATCH would give -ENOSPC: with the
 * kernel's load factor of at most one that does not happen. */
static int walk_table(struct walk *walk)
{
	__u32 in = 0, out = 0;
	int first = 1, error;

	do {
		__u32 count = BATCH;

		error = bpf_map_lookup_batch(walk->fd, first ? NULL : &in, &out, walk->keys,
		                             walk->values, &count, NULL);
		if (error && error != -ENOENT)
			return error;
		for (__u32 i = 0; i < count; i++)
			fold(walk, walk->keys + i * walk->key_size, &walk->values[i]);
		in = out;
		first = 0;
	} while (!error);
	return 0;
}

static int more_bytes(const void *a, const void *b)
{
	__u64 left = bytes_of(&((const struct omr_flow_row *)a)->flow);
	__u64 right = bytes_of(&((const struct omr_flow_row *)b)->flow);

	return left < right ? 1 : left > right ? -1 : 0;
}

int omr_scan_flows(const struct omr_scan *scan, struct omr_flow_row *rows,
                   struct omr_scan_result *result)
{
	struct walk walk = {.scan = scan, .result = result, .rows = rows};
	int error = -ENOMEM;

	memset(result, 0, sizeof(*result));
	walk.keys = malloc(BATCH * sizeof(struct omr_flow_key6));
	walk.values = malloc(BATCH * sizeof(struct omr_flow));
	if (walk.keys && walk.values) {
		walk.fd = scan->flows4_fd;
		walk.family = 4;
		walk.key_size = sizeof(struct omr_flow_key4);
		error = walk_table(&walk);
	}
	if (!error) {
		walk.fd = scan->flows6_fd;
		walk.family = 6;
		walk.key_size = sizeof(struct omr_flow_key6);
		error = walk_table(&walk);
	}
	free(walk.keys);
	free(walk.values);
	if (!error && result->rows)
		qsort(rows, result->rows, sizeof(*rows), more_bytes);
	return error;
}
