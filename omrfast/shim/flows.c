/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Walking the flow tables: the slow tick and the command line. bpf/fold.h says what is made of an
 * entry; here are the two ways to get at all of them. */
#include <stdlib.h>
#include <string.h>

#include "shim.h"

#define BATCH 4096

/* One table during a walk by batches. Keys and values are those of the current batch. */
struct walk {
	const struct omr_scan_order *order;
	struct omr_scan_cells *cells;
	struct omr_flow_row *rows; /* a heap, the last in order on top, until it is sorted */
	__u32 row_count;
	int fd;
	int family;
	void *keys;
	struct omr_flow *values;
};

void omr_scan_set_servers(struct omr_scan_order *order, const struct omr_scan_server *servers,
                          __u32 count)
{
	memset(order->slot, 0, sizeof(order->slot));
	memset(order->server, 0, sizeof(order->server));
	for (__u32 i = 0; i < count && i < OMR_SCAN_SERVERS; i++) {
		struct omr_scan_server *server = &order->server[i];
		__u8 *slot = &order->slot[omr_server_slot(servers[i].address_be,
		                                          servers[i].family == 4 ? 1 : 4)];

		*server = servers[i];
		server->next = *slot;
		*slot = (__u8)(i + 1);
	}
}

/* --- sums ----------------------------------------------------------------------------------- */

static void add(struct omr_flow_sum *sum, const struct omr_flow_sum *cell)
{
	sum->tx_bytes += cell->tx_bytes;
	sum->rx_bytes += cell->rx_bytes;
	sum->retransmitted_segments += cell->retransmitted_segments;
	sum->spurious_segments += cell->spurious_segments;
	sum->srtt_us8 += cell->srtt_us8;
	if (cell->sampled && (!sum->sampled || cell->srtt_us8_min < sum->srtt_us8_min))
		sum->srtt_us8_min = cell->srtt_us8_min;
	sum->sampled += cell->sampled;
	sum->open += cell->open;
	sum->subflows += cell->subflows;
	sum->handshakes += cell->handshakes;
	omr_sum_arrival(sum, cell->arrived_j);
}

static void sum_up(struct omr_scan_result *result, const struct omr_scan_cells *cells)
{
	memset(result, 0, sizeof(*result));
	memcpy(result->entries, cells->entries, sizeof(result->entries));
	result->collected = cells->collected;
	for (int server = 0; server < OMR_SCAN_SERVER_CELLS; server++)
		for (int path = 0; path < OMR_SCAN_PATH_CELLS; path++) {
			const struct omr_flow_sum *cell = &cells->cell[server][path];

			if (server)
				add(&result->server[server - 1], cell);
			if (path)
				add(&result->path[path - 1], cell);
		}
}

/* --- the rows with the most bytes ----------------------------------------------------------- */

static __u64 row_tie(const struct omr_flow_row *row)
{
	return omr_tie(row->local_be, row->remote_be, row->family == 4 ? 1 : 4,
	               omr_ports(row->local_port_be, row->remote_port_be));
}

static int row_after(const struct omr_flow_row *row, const struct omr_flow_row *other)
{
	__u64 bytes = omr_flow_bytes(&row->flow), other_bytes = omr_flow_bytes(&other->flow);

	if (bytes != other_bytes)
		return bytes < other_bytes;
	return row_tie(row) < row_tie(other);
}

static int in_order(const void *a, const void *b)
{
	return row_after(a, b) - row_after(b, a);
}

static void sink(struct omr_flow_row *heap, __u32 count, __u32 at)
{
	for (;;) {
		__u32 child = 2 * at + 1;
		struct omr_flow_row swap;

		if (child >= count)
			return;
		if (child + 1 < count && row_after(&heap[child + 1], &heap[child]))
			child++;
		if (!row_after(&heap[child], &heap[at]))
			return;
		swap = heap[at];
		heap[at] = heap[child];
		heap[child] = swap;
		at = child;
	}
}

static void fill_row(const struct walk *walk, const void *key, const struct omr_flow *flow,
                     struct omr_flow_row *row)
{
	omr_row_fill(row, flow, walk->family, walk->order->now_j);
	if (walk->family == 4)
		omr_row_key4(row, key);
	else
		omr_row_key6(row, key);
}

static void make_heap(struct walk *walk)
{
	for (__u32 i = walk->row_count / 2 + 1; i-- > 0;)
		sink(walk->rows, walk->row_count, i);
}

static void keep_row(struct walk *walk, const void *key, const struct omr_flow *flow)
{
	__u32 room = walk->order->rows;
	struct omr_flow_row row;

	if (walk->row_count < room) {
		fill_row(walk, key, flow, &walk->rows[walk->row_count++]);
		if (walk->row_count == room)
			make_heap(walk);
	} else if (room && omr_flow_bytes(flow) >= omr_flow_bytes(&walk->rows[0].flow)) {
		fill_row(walk, key, flow, &row);
		if (row_after(&walk->rows[0], &row)) {
			walk->rows[0] = row;
			sink(walk->rows, room, 0);
		}
	}
}

/* --- by batches of look-ups ----------------------------------------------------------------- */

/* The entry may have come to life since the batch was read: look again before deleting it. */
static int collect(const struct walk *walk, const void *key)
{
	struct omr_flow now;

	if (bpf_map_lookup_elem(walk->fd, key, &now) || !omr_flow_due(walk->order, &now))
		return 0;
	return bpf_map_delete_elem(walk->fd, key) == 0;
}

static void fold(struct walk *walk, const void *key, const struct omr_flow *flow)
{
	const struct omr_flow_key4 *key4 = key;
	const struct omr_flow_key6 *key6 = key;

	if (omr_flow_due(walk->order, flow) && collect(walk, key)) {
		walk->cells->collected++;
		return;
	}
	if (walk->family == 4)
		omr_fold(walk->order, walk->cells, &key4->remote_be, 1, flow);
	else
		omr_fold(walk->order, walk->cells, key6->remote_be, 4, flow);
	keep_row(walk, key, flow);
}

/* A batch holds whole hash buckets, so a bucket larger than BATCH would give -ENOSPC: with the
 * kernel's load factor of at most one that does not happen. */
static int walk_table(struct walk *walk)
{
	size_t key_size =
	        walk->family == 4 ? sizeof(struct omr_flow_key4) : sizeof(struct omr_flow_key6);
	__u32 in = 0, out = 0;
	int first = 1, error;

	do {
		__u32 count = BATCH;

		error = bpf_map_lookup_batch(walk->fd, first ? NULL : &in, &out, walk->keys,
		                             walk->values, &count, NULL);
		if (error && error != -ENOENT)
			return error;
		for (__u32 i = 0; i < count; i++)
			fold(walk, (const __u8 *)walk->keys + i * key_size, &walk->values[i]);
		in = out;
		first = 0;
	} while (!error);
	return 0;
}

static int walk_by_batches(struct walk *walk, const struct omr_scan_place *place)
{
	int error = -ENOMEM;

	walk->keys = malloc(BATCH * sizeof(struct omr_flow_key6));
	walk->values = malloc(BATCH * sizeof(struct omr_flow));
	if (walk->keys && walk->values)
		error = 0;
	if (!error && !(walk->order->in_kernel & OMR_SCAN_FLOWS4)) {
		walk->fd = place->flows4_fd;
		walk->family = 4;
		error = walk_table(walk);
	}
	if (!error && !(walk->order->in_kernel & OMR_SCAN_FLOWS6)) {
		walk->fd = place->flows6_fd;
		walk->family = 6;
		error = walk_table(walk);
	}
	free(walk->keys);
	free(walk->values);
	return error;
}

/* --- inside the kernel ---------------------------------------------------------------------- */

static int walk_in_kernel(struct walk *walk, const struct omr_scan_place *place,
                          struct omr_scan_state *state)
{
	__u32 zero = 0, retval = 0;
	int error;

	if (walk->order->rows > OMR_SCAN_ROWS)
		return -E2BIG;
	state->top.least_bytes = walk->order->rows ? 0 : ~0ULL;
	error = bpf_map_update_elem(place->state_fd, &zero, state, BPF_ANY);
	if (!error)
		error = omr_run_syscall(place->program_fd, NULL, 0, &retval);
	if (!error)
		error = bpf_map_lookup_elem(place->state_fd, &zero, state);
	if (error)
		return error;
	walk->row_count = state->top.count;
	memcpy(walk->rows, state->top.row, walk->row_count * sizeof(*walk->rows));
	if (walk->row_count == walk->order->rows)
		make_heap(walk);
	return 0;
}

int omr_scan_flows(const struct omr_scan_place *place, const struct omr_scan_order *order,
                   struct omr_scan_result *result, struct omr_flow_row *rows)
{
	struct omr_scan_state *state = calloc(1, sizeof(*state));
	struct walk walk = {.order = order, .rows = rows};
	int error = 0;

	if (!state)
		return -ENOMEM;
	state->order = *order;
	walk.cells = &state->cells;
	if (order->in_kernel)
		error = walk_in_kernel(&walk, place, state);
	if (!error)
		error = walk_by_batches(&walk, place);
	if (!error) {
		sum_up(result, &state->cells);
		qsort(rows, walk.row_count, sizeof(*rows), in_order);
		error = (int)walk.row_count;
	}
	free(state);
	return error;
}
