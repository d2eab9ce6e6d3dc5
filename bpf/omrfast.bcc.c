// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The packet programs for bcc: maps, the accessors that datapath.h asks for, entry points. The
 * libbpf dialect of the same is omrfast.bpf.c; what one has, the other has.
 *
 * The loader defines OMR_HZ, OMR_REPLAY (see omrfast.bpf.c) and OMR_FLOWS, the capacity of each
 * flow table. Map methods work only here, in the main file, and not in macros.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/pkt_cls.h>

#include "abi.h"
#include "passage.h"

/* Not macros: struct omr_replay exists. */
enum {
	omr_hz = OMR_HZ,
	omr_replay = OMR_REPLAY,
};

BPF_TABLE("array", __u32, struct omr_link, omr_links, OMR_MAX_IFINDEX);
BPF_TABLE("array", __u32, struct omr_config, omr_config, 1);
BPF_TABLE("hash", struct omr_flow_key4, struct omr_flow, omr_flows4, OMR_FLOWS);
BPF_TABLE("hash", struct omr_flow_key6, struct omr_flow, omr_flows6, OMR_FLOWS);
BPF_TABLE("percpu_array", __u32, struct omr_path_counters, omr_path_counters, OMR_MAX_PATHS);
BPF_TABLE("percpu_array", __u32, struct omr_path_rtt, omr_path_rtt, OMR_MAX_PATHS);
BPF_TABLE("array", __u32, struct omr_path_live, omr_path_live, OMR_MAX_PATHS);
BPF_RINGBUF_OUTPUT(omr_events, 64); /* pages */
BPF_TABLE("array", __u32, struct omr_event_gate, omr_event_gate, OMR_MAX_PATHS *OMR_EVENT_KINDS);
BPF_TABLE("array", __u32, struct omr_replay, omr_replay_packet, 1);
BPF_TABLE("array", __u32, struct omr_knock, omr_knocks, OMR_KNOCKS);
BPF_TABLE("percpu_array", __u32, struct omr_passage, omr_passage, 2);

OMR_INLINE struct omr_passage *passage_of(__u32 direction)
{
	return omr_passage.lookup(&direction);
}

OMR_INLINE struct omr_replay *replay_packet(void)
{
	__u32 key = 0;

	return omr_replay ? omr_replay_packet.lookup(&key) : 0;
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
	return omr_links.lookup(&ifindex);
}

/*
 * The verifier inlines a look-up whose table it knows. Were both joined into one call with either
 * table, which clang does unless kept from it, it would go by an indirect call: 20 ns more.
 */
OMR_INLINE struct omr_flow *flow_lookup(struct omr_packet *p)
{
	struct omr_flow *flow;

	if (p->family != 4)
		return omr_flows6.lookup(&p->key.v6);
	flow = omr_flows4.lookup(&p->key.v4);
	__asm__ __volatile__("" : "+r"(flow));
	return flow;
}

OMR_INLINE int flow_insert(struct omr_packet *p, struct omr_flow *flow)
{
	if (p->family == 4)
		return omr_flows4.update(&p->key.v4, flow);
	return omr_flows6.update(&p->key.v6, flow);
}

OMR_INLINE struct omr_path_counters *path_counters(__u32 index)
{
	return omr_path_counters.lookup(&index);
}

OMR_INLINE struct omr_path_rtt *path_rtt(__u32 index)
{
	return omr_path_rtt.lookup(&index);
}

OMR_INLINE struct omr_path_live *path_live(__u32 index)
{
	return omr_path_live.lookup(&index);
}

OMR_INLINE struct omr_event_gate *event_gate(__u32 index)
{
	return omr_event_gate.lookup(&index);
}

OMR_INLINE struct omr_knock *knock_of(__u32 slot)
{
	return omr_knocks.lookup(&slot);
}

OMR_INLINE struct omr_event *event_reserve(void)
{
	return omr_events.ringbuf_reserve(sizeof(struct omr_event));
}

OMR_INLINE void event_submit(struct omr_event *event)
{
	omr_events.ringbuf_submit(event, 0);
}

#include "datapath.h"
#include "hooks.h"

int omr_egress(struct __sk_buff *skb)
{
	omr_tc(skb, OMR_EGRESS);
	return TC_ACT_UNSPEC;
}

int omr_ingress(struct __sk_buff *skb)
{
	omr_tc(skb, OMR_INGRESS);
	return TC_ACT_UNSPEC;
}

int omr_xdp(struct xdp_md *xdp)
{
	omr_xdp_ingress(xdp);
	return XDP_PASS;
}

int omr_clock_read(struct omr_clock *clock)
{
	clock->now_j = bpf_jiffies64();
	clock->now_ns = bpf_ktime_get_ns();
	return 0;
}
