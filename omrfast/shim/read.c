/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Per-path aggregates: the fast tick. */
#include <stdlib.h>
#include <string.h>

#include "shim.h"

int omr_clock_now(const struct omr_clock_source *source, struct omr_clock *now)
{
	__u32 zero = 0, retval = 0;
	int error;

	if (source->replay_fd >= 0) {
		struct omr_replay packet = {0};

		error = bpf_map_lookup_elem(source->replay_fd, &zero, &packet);
		*now = packet.now;
		return error;
	}
	error = omr_run_syscall(source->program_fd, now, sizeof(*now), &retval);
	if (error)
		return error;
	return now->now_j ? 0 : -EPROTO;
}

static void least(__u32 *target, __u32 value)
{
	if (value && (!*target || value < *target))
		*target = value;
}

/* A CPU that saw no packet since keeps an old window: bring it to the present one. */
static void merge_min_rtt(struct omr_path_counters *sum, const struct omr_path_counters *cpu)
{
	if (cpu->min_rtt_epoch == sum->min_rtt_epoch) {
		least(&sum->min_rtt_us, cpu->min_rtt_us);
		least(&sum->min_rtt_prev_us, cpu->min_rtt_prev_us);
	} else if (cpu->min_rtt_epoch + 1 == sum->min_rtt_epoch) {
		least(&sum->min_rtt_prev_us, cpu->min_rtt_us);
	}
}

static void merge(struct omr_path_counters *sum, const struct omr_path_counters *cpu)
{
	sum->tx_bytes += cpu->tx_bytes;
	sum->tx_packets += cpu->tx_packets;
	sum->tx_segments += cpu->tx_segments;
	sum->retransmitted_segments += cpu->retransmitted_segments;
	sum->syn_retransmissions += cpu->syn_retransmissions;
	sum->flows_opened += cpu->flows_opened;
	sum->flows_refused += cpu->flows_refused;
	sum->events_suppressed += cpu->events_suppressed;
	sum->rx_bytes += cpu->rx_bytes;
	sum->rx_packets += cpu->rx_packets;
	sum->rx_segments += cpu->rx_segments;
	sum->spurious_segments += cpu->spurious_segments;
	sum->refilled_segments += cpu->refilled_segments;
	sum->reordered_segments += cpu->reordered_segments;
	sum->icmp_errors += cpu->icmp_errors;
	sum->rtt_samples += cpu->rtt_samples;
	sum->rtt_sum_us += cpu->rtt_sum_us;
	sum->rtt_dev_sum_us += cpu->rtt_dev_sum_us;
	sum->rtt_step_sum_us += cpu->rtt_step_sum_us;
	merge_min_rtt(sum, cpu);
	for (int i = 0; i < OMR_UNPARSED_REASONS; i++)
		sum->unparsed[i] += cpu->unparsed[i];
}

int omr_read_paths(const struct omr_clock_source *source, int counters_fd, int live_fd, __u32 count,
                   struct omr_path_row *rows, struct omr_clock *now)
{
	int cpus = libbpf_num_possible_cpus();
	struct omr_path_counters *values;
	int error;

	if (cpus < 0)
		return cpus;
	error = omr_clock_now(source, now);
	if (error)
		return error;
	values = calloc((size_t)cpus, sizeof(*values));
	if (!values)
		return -ENOMEM;
	for (__u32 path = 0; !error && path < count; path++) {
		struct omr_path_row *row = &rows[path];
		struct omr_path_live live;

		error = bpf_map_lookup_elem(counters_fd, &path, values);
		if (!error)
			error = bpf_map_lookup_elem(live_fd, &path, &live);
		if (error)
			break;
		memset(&row->sum, 0, sizeof(row->sum));
		row->sum.min_rtt_epoch = (__u32)(now->now_j >> OMR_MIN_RTT_WINDOW_SHIFT);
		for (int cpu = 0; cpu < cpus; cpu++)
			merge(&row->sum, &values[cpu]);
		row->asked_j = live.tx.asked_j;
		row->last_tx_j = live.tx.last_tx_j;
		row->last_rx_j = live.rx.last_rx_j;
	}
	free(values);
	return error;
}

int omr_read_rtt(int rtt_fd, __u32 count, __u64 *buckets)
{
	int cpus = libbpf_num_possible_cpus();
	struct omr_path_rtt *values;
	int error = 0;

	if (cpus < 0)
		return cpus;
	values = calloc((size_t)cpus, sizeof(*values));
	if (!values)
		return -ENOMEM;
	memset(buckets, 0, (size_t)count * OMR_HIST_BUCKETS * sizeof(*buckets));
	for (__u32 path = 0; !error && path < count; path++) {
		__u64 *sum = buckets + (size_t)path * OMR_HIST_BUCKETS;

		error = bpf_map_lookup_elem(rtt_fd, &path, values);
		for (int cpu = 0; !error && cpu < cpus; cpu++)
			for (int i = 0; i < OMR_HIST_BUCKETS; i++)
				sum[i] += values[cpu].bucket[i];
	}
	free(values);
	return error;
}

int omr_read_links(int links_fd, struct omr_link_row *out, __u32 room)
{
	struct omr_link *values = calloc(OMR_MAX_IFINDEX, sizeof(*values));
	__u32 *keys = calloc(OMR_MAX_IFINDEX, sizeof(*keys));
	__u32 count = OMR_MAX_IFINDEX, next = 0, used = 0;
	int error = -ENOMEM;

	if (values && keys)
		error = bpf_map_lookup_batch(links_fd, NULL, &next, keys, values, &count, NULL);
	if (error == -ENOENT) /* the end was reached */
		error = 0;
	for (__u32 i = 0; !error && i < count && used < room; i++) {
		if (!values[i].path)
			continue;
		out[used].ifindex = keys[i];
		out[used++].link = values[i];
	}
	free(values);
	free(keys);
	return error ? error : (int)used;
}
