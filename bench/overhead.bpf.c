// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What bench/overhead.py measures the packet programs beside, and what makes packets advance.
 *
 * The data path is included whole, so that every program here works on the very same maps. One
 * packet handed to BPF_PROG_TEST_RUN would be the same packet a million times, to a meter a
 * million retransmissions: bench_advance_* give it the next flow, sequence number, acknowledgement
 * and timestamp and tail-call the program under test, whichever it is. What they cost by
 * themselves is told by bench_empty_* behind them.
 */
#include "omrfast.bpf.c"

enum {
	BENCH_ORDER = 1 << 20, /* entries; a power of two, for the bound's sake */
	BENCH_TS_SHIFT = 8,
	BENCH_IPV4_TCP = OMR_ETH_HEADER + OMR_IPV4_HEADER,
	BENCH_IPV6_TCP = OMR_ETH_HEADER + OMR_IPV6_HEADER,
	BENCH_TCP_HEADER = OMR_TCP_HEADER + OMR_ALIGNED_TIMESTAMP_SIZE,
	BENCH_TIMESTAMP = OMR_TCP_HEADER + 4,
};

/* The next packet; userspace sets it before each run. Host order. */
struct bench_state {
	__u32 next;  /* place in the order */
	__u32 count; /* length of the order */
	__u32 egress;
	__u32 seq;
	__u32 seq_step;
	__u32 ack;
	__u32 ack_step;
	__u32 ts; /* TSval << BENCH_TS_SHIFT: many packets leave within one of its ticks */
	__u32 ts_step;
	__u32 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bench_state);
} bench_state SEC(".maps");

struct bench_order {
	__u32 flow[BENCH_ORDER];
};

/* Numbers of flows in the order in which their packets come. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bench_order);
} bench_order SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} bench_next_tc SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} bench_next_xdp SEC(".maps");

/* --- the next packet ------------------------------------------------------------------------ */

OMR_INLINE void bench_write(struct bench_state *s, __u32 flow, __u8 *local, __u8 *tcp)
{
	*(__u16 *)local = flow >> 16;
	*(__u16 *)(tcp + (s->egress ? 0 : 2)) = flow;
	*(__u32 *)(tcp + 4) = omr_host32(s->seq);
	*(__u32 *)(tcp + 8) = omr_host32(s->ack);
	*(__u32 *)(tcp + BENCH_TIMESTAMP) = omr_host32(s->ts >> BENCH_TS_SHIFT);
	s->seq += s->seq_step;
	s->ack += s->ack_step;
	s->ts += s->ts_step;
}

/* The flow's number goes into the local port and the last two bytes of the local address. */
OMR_INLINE int bench_advance(__u8 *data, __u8 *end)
{
	__u32 zero = 0, ipv6, flow;
	struct bench_state *s = bpf_map_lookup_elem(&bench_state, &zero);
	struct bench_order *order = bpf_map_lookup_elem(&bench_order, &zero);
	__u8 *local, *tcp;

	if (!s || !order || data + OMR_ETH_HEADER > end)
		return 0;
	flow = order->flow[s->next & (BENCH_ORDER - 1)];
	s->next = s->next + 1 < s->count ? s->next + 1 : 0;
	ipv6 = data[12] == 0x86;
	if (ipv6)
		local = data + (s->egress ? 36 : 52);
	else
		local = data + (s->egress ? 28 : 32);
	tcp = data + (ipv6 ? BENCH_IPV6_TCP : BENCH_IPV4_TCP);
	if (local + 2 > end || tcp + BENCH_TCP_HEADER > end)
		return 0;
	bench_write(s, flow, local, tcp);
	return 1;
}

/* A verdict that no program under test gives says that nothing ran. */
SEC("tc")
int bench_advance_tc(struct __sk_buff *skb)
{
	if (bench_advance((__u8 *)(long)skb->data, (__u8 *)(long)skb->data_end))
		bpf_tail_call(skb, &bench_next_tc, 0);
	return TC_ACT_SHOT;
}

SEC("xdp")
int bench_advance_xdp(struct xdp_md *xdp)
{
	if (bench_advance((__u8 *)(long)xdp->data, (__u8 *)(long)xdp->data_end))
		bpf_tail_call(xdp, &bench_next_xdp, 0);
	return XDP_ABORTED;
}

/* --- what omrfast is compared with ---------------------------------------------------------- */

struct bench_lean {
	union {
		struct omr_flow_key4 v4;
		struct omr_flow_key6 v6;
		__u32 words_be[9];
		__u64 longs_be[4];
	} key;
	__u32 family;
	__u32 seq;
	__u32 ack;
	__u32 tsval;
	__u32 tsecr;
};

/*
 * Ports, numbers, and timestamps where nearly all put them; nothing is checked but the bounds. Both
 * ports go into the key at once: its hash reads them as one word.
 */
OMR_INLINE int bench_lean_tcp(struct bench_lean *l, const __u8 *tcp, const __u8 *end, int egress)
{
	__u32 ports_be;

	if (tcp + OMR_TCP_HEADER > end)
		return 0;
	ports_be = omr_load32_be(tcp);
	if (!egress)
		ports_be = ports_be >> 16 | ports_be << 16;
	l->key.words_be[l->family == 4 ? 2 : 8] = ports_be;
	l->seq = omr_load32(tcp + 4);
	l->ack = omr_load32(tcp + 8);
	if (tcp[12] >> 4 >= BENCH_TCP_HEADER / 4 && tcp + BENCH_TCP_HEADER <= end &&
	    omr_load32(tcp + OMR_TCP_HEADER) == OMR_ALIGNED_TIMESTAMP) {
		l->tsval = omr_load32(tcp + BENCH_TIMESTAMP);
		l->tsecr = omr_load32(tcp + BENCH_TIMESTAMP + 4);
	}
	return 1;
}

/* Both addresses at once as well: comparing keys reads eight bytes at a time. */
OMR_INLINE int bench_lean_ipv4(struct bench_lean *l, const __u8 *ip, const __u8 *end, int egress)
{
	__u64 addresses_be;

	if (ip + OMR_IPV4_HEADER > end || ip[9] != OMR_PROTO_TCP)
		return 0;
	addresses_be = *(const __u64 *)(ip + 12);
	if (!egress)
		addresses_be = addresses_be >> 32 | addresses_be << 32;
	l->family = 4;
	l->key.longs_be[0] = addresses_be;
	return bench_lean_tcp(l, ip + (ip[0] & 15) * 4, end, egress);
}

OMR_INLINE int bench_lean_ipv6(struct bench_lean *l, const __u8 *ip, const __u8 *end, int egress)
{
	const __u64 *local_be = (const __u64 *)(ip + (egress ? 8 : 24));
	const __u64 *remote_be = (const __u64 *)(ip + (egress ? 24 : 8));

	if (ip + OMR_IPV6_HEADER > end || ip[6] != OMR_PROTO_TCP)
		return 0;
	l->family = 6;
	l->key.longs_be[0] = local_be[0];
	l->key.longs_be[1] = local_be[1];
	l->key.longs_be[2] = remote_be[0];
	l->key.longs_be[3] = remote_be[1];
	return bench_lean_tcp(l, ip + OMR_IPV6_HEADER, end, egress);
}

OMR_INLINE int bench_lean_parse(struct bench_lean *l, const __u8 *data, const __u8 *end, int egress)
{
	int parsed = 0;

	l->tsval = l->tsecr = 0;
	if (data + OMR_ETH_HEADER > end)
		return 0;
	if (omr_load16(data + 12) == 0x0800)
		parsed = bench_lean_ipv4(l, data + OMR_ETH_HEADER, end, egress);
	else if (omr_load16(data + 12) == 0x86dd)
		parsed = bench_lean_ipv6(l, data + OMR_ETH_HEADER, end, egress);
	/* The compiler must believe that all of it is wanted. */
	__asm__ __volatile__("" : : "r"(l) : "memory");
	return parsed;
}

/* One look-up in omrfast's own table, one word of the value changed. */
OMR_INLINE void bench_lookup(const __u8 *data, const __u8 *end, int egress)
{
	struct bench_lean l;
	__u64 *value;

	if (!bench_lean_parse(&l, data, end, egress))
		return;
	/*
	 * Two calls and not one with either table: the verifier inlines a look-up only where it
	 * knows the table, and what it cannot inline goes by an indirect call.
	 */
	if (l.family == 4) {
		value = bpf_map_lookup_elem(&omr_flows4, &l.key.v4);
		__asm__ __volatile__("" : "+r"(value));
	} else {
		value = bpf_map_lookup_elem(&omr_flows6, &l.key.v6);
	}
	if (value)
		*value += 1;
}

/* omrfast's parser, and what it needs to be called. */
OMR_INLINE void bench_parse_ours(const __u8 *data, const __u8 *end, __u32 len, int direction)
{
	struct omr_passage *w = passage_of(direction);

	if (!w)
		return;
	__builtin_memset(&w->frame, 0, sizeof(w->frame));
	w->frame.len = len;
	w->frame.direction = direction;
	omr_parse(&w->packet, &w->options, &w->frame, data, end);
}

OMR_INLINE void bench_parse(const __u8 *data, const __u8 *end, int egress)
{
	struct bench_lean l;

	bench_lean_parse(&l, data, end, egress);
}

#define BENCH_TC(name, work)                                                                       \
	SEC("tc") int name(struct __sk_buff *skb)                                                  \
	{                                                                                          \
		const __u8 *data = (const __u8 *)(long)skb->data;                                  \
		const __u8 *end = (const __u8 *)(long)skb->data_end;                               \
                                                                                                   \
		work;                                                                              \
		return TC_ACT_UNSPEC;                                                              \
	}

SEC("tc")
int bench_empty_tc(struct __sk_buff *skb __attribute__((unused)))
{
	return TC_ACT_UNSPEC;
}

BENCH_TC(bench_parse_tx, bench_parse(data, end, 1))
BENCH_TC(bench_parse_rx, bench_parse(data, end, 0))
BENCH_TC(bench_ours_tx, bench_parse_ours(data, end, skb->len, OMR_EGRESS))
BENCH_TC(bench_ours_rx, bench_parse_ours(data, end, skb->len, OMR_INGRESS))
BENCH_TC(bench_lookup_tx, bench_lookup(data, end, 1))
BENCH_TC(bench_lookup_rx, bench_lookup(data, end, 0))

#define BENCH_XDP(name, work)                                                                      \
	SEC("xdp") int name(struct xdp_md *xdp)                                                    \
	{                                                                                          \
		const __u8 *data = (const __u8 *)(long)xdp->data;                                  \
		const __u8 *end = (const __u8 *)(long)xdp->data_end;                               \
                                                                                                   \
		work;                                                                              \
		return XDP_PASS;                                                                   \
	}

SEC("xdp")
int bench_empty_xdp(struct xdp_md *xdp __attribute__((unused)))
{
	return XDP_PASS;
}

BENCH_XDP(bench_parse_xdp, bench_parse(data, end, 0))
BENCH_XDP(bench_ours_xdp, bench_parse_ours(data, end, end - data, OMR_INGRESS))
BENCH_XDP(bench_lookup_xdp, bench_lookup(data, end, 0))
