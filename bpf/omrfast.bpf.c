// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The packet programs for libbpf: maps, the accessors that datapath.h asks for, entry points.
 * The bcc dialect of the same is omrfast.bcc.c; what one has, the other has.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

#define OMR_RARE __attribute__((noinline))
#include "passage.h"

/* Filled in by the loader before the programs are verified. */
const volatile __u64 omr_hz = 250; /* jiffies per second */
const volatile __u8 omr_replay;    /* 1: the time is omr_replay_packet's */

/* By ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OMR_MAX_IFINDEX);
	__type(key, __u32);
	__type(value, struct omr_link);
} omr_links SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct omr_config);
} omr_config SEC(".maps");

/* Not LRU: it would throw out flows long before it is full. The loader may change the size. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OMR_DEFAULT_FLOWS);
	__type(key, struct omr_flow_key4);
	__type(value, struct omr_flow);
} omr_flows4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OMR_DEFAULT_FLOWS);
	__type(key, struct omr_flow_key6);
	__type(value, struct omr_flow);
} omr_flows6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OMR_MAX_PATHS);
	__type(key, __u32);
	__type(value, struct omr_path_counters);
} omr_path_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OMR_MAX_PATHS);
	__type(key, __u32);
	__type(value, struct omr_path_rtt);
} omr_path_rtt SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OMR_MAX_PATHS);
	__type(key, __u32);
	__type(value, struct omr_path_live);
} omr_path_live SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} omr_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OMR_MAX_PATHS *OMR_EVENT_KINDS);
	__type(key, __u32);
	__type(value, struct omr_event_gate);
} omr_event_gate SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct omr_replay);
} omr_replay_packet SEC(".maps");

/* By a hash of the addresses and ports. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OMR_KNOCKS);
	__type(key, __u32);
	__type(value, struct omr_knock);
} omr_knocks SEC(".maps");

/* By direction: room to work in, larger than a stack. Means nothing between packets. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct omr_passage);
} omr_passage SEC(".maps");

OMR_INLINE struct omr_passage *passage_of(__u32 direction)
{
	return bpf_map_lookup_elem(&omr_passage, &direction);
}

OMR_INLINE struct omr_replay *replay_packet(void)
{
	__u32 key = 0;

	return omr_replay ? bpf_map_lookup_elem(&omr_replay_packet, &key) : 0;
}

OMR_INLINE __u64 now_j(void)
{
	struct omr_replay *packet = replay_packet();

	if (!omr_replay)
		return bpf_jiffies64();
	return packet ? packet->now.now_j : 0;
}

OMR_INLINE __u64 now_ns(void)
{
	struct omr_replay *packet = replay_packet();

	if (!omr_replay)
		return bpf_ktime_get_ns();
	return packet ? packet->now.now_ns : 0;
}

OMR_INLINE struct omr_link *link_of(__u32 ifindex)
{
	return bpf_map_lookup_elem(&omr_links, &ifindex);
}

/*
 * The verifier inlines a look-up whose table it knows. Were both joined into one call with either
 * table, which clang does unless kept from it, it would go by an indirect call: 20 ns more.
 */
OMR_INLINE struct omr_flow *flow_lookup(struct omr_packet *p)
{
	struct omr_flow *flow;

	if (p->family != 4)
		return bpf_map_lookup_elem(&omr_flows6, &p->key.v6);
	flow = bpf_map_lookup_elem(&omr_flows4, &p->key.v4);
	__asm__ __volatile__("" : "+r"(flow));
	return flow;
}

OMR_INLINE int flow_insert(struct omr_packet *p, struct omr_flow *flow)
{
	if (p->family == 4)
		return bpf_map_update_elem(&omr_flows4, &p->key.v4, flow, BPF_ANY);
	return bpf_map_update_elem(&omr_flows6, &p->key.v6, flow, BPF_ANY);
}

OMR_INLINE struct omr_path_counters *path_counters(__u32 index)
{
	return bpf_map_lookup_elem(&omr_path_counters, &index);
}

OMR_INLINE struct omr_path_rtt *path_rtt(__u32 index)
{
	return bpf_map_lookup_elem(&omr_path_rtt, &index);
}

OMR_INLINE struct omr_path_live *path_live(__u32 index)
{
	return bpf_map_lookup_elem(&omr_path_live, &index);
}

OMR_INLINE struct omr_event_gate *event_gate(__u32 index)
{
	return bpf_map_lookup_elem(&omr_event_gate, &index);
}

OMR_INLINE struct omr_knock *knock_of(__u32 slot)
{
	return bpf_map_lookup_elem(&omr_knocks, &slot);
}

OMR_INLINE struct omr_event *event_reserve(void)
{
	return bpf_ringbuf_reserve(&omr_events, sizeof(struct omr_event), 0);
}

OMR_INLINE void event_submit(struct omr_event *event)
{
	bpf_ringbuf_submit(event, 0);
}

#include "datapath.h"
#include "hooks.h"
#include "scan.h"

SEC("tc")
int omr_egress(struct __sk_buff *skb)
{
	omr_tc(skb, OMR_EGRESS);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int omr_ingress(struct __sk_buff *skb)
{
	omr_tc(skb, OMR_INGRESS);
	return TC_ACT_UNSPEC;
}

SEC("xdp")
int omr_xdp(struct xdp_md *xdp)
{
	omr_xdp_ingress(xdp);
	return XDP_PASS;
}

/* Reads both clocks at one moment, so that userspace can turn jiffies into seconds. */
SEC("syscall")
int omr_clock_read(struct omr_clock *clock)
{
	clock->now_j = bpf_jiffies64();
	clock->now_ns = bpf_ktime_get_ns();
	return 0;
}

/* Walks the flow tables as omr_scan_state says. The loader leaves it out where it is refused. */
SEC("syscall")
int omr_scan(void)
{
	struct omr_scan_state *state = scan_state();

	if (state && (state->order.in_kernel & OMR_SCAN_FLOWS4))
		bpf_for_each_map_elem(&omr_flows4, omr_scan_flow4, 0, 0);
	if (state && (state->order.in_kernel & OMR_SCAN_FLOWS6))
		bpf_for_each_map_elem(&omr_flows6, omr_scan_flow6, 0, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
