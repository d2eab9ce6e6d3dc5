/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a walk over the flow tables makes of one entry: which flows are due for removal, sums per
 * path and per server, the flows with the most bytes. Pure functions, the same for the walk inside
 * the kernel (omr_scan) and for the one in userspace (batch look-ups), which must agree.
 */
#ifndef OMR_FOLD_H
#define OMR_FOLD_H

#include "abi.h"
#include "scan_types.h"

OMR_ASSERT_SIZE(omr_scan_server, 20);
OMR_ASSERT_SIZE(omr_scan_order, 32 + OMR_SCAN_SLOTS + 20 * OMR_SCAN_SERVERS);
OMR_ASSERT_SIZE(omr_flow_sum, 64);
_Static_assert(OMR_SCAN_SERVER_CELLS == OMR_SCAN_SERVERS + 1, "a cell for each server, and one");
_Static_assert(OMR_SCAN_PATH_CELLS == OMR_MAX_PATHS + 1, "a cell for each path, and one");
OMR_ASSERT_SIZE(omr_flow_row, 176);
OMR_ASSERT_AT(omr_flow_row, local_port_be, 160);

/* We sent a SYN or SYN-ACK that nothing which arrived has acknowledged. */
OMR_INLINE int omr_flow_half_open(const struct omr_flow *flow)
{
	return !(flow->rx.flags & OMR_RX_ACK) && (flow->tx.flags & OMR_TX_SYN);
}

OMR_INLINE int omr_flow_closed(const struct omr_flow *flow)
{
	__u16 tx = flow->tx.flags, rx = flow->rx.flags;

	return (tx & (OMR_TX_RST | OMR_TX_FASTCLOSE)) || (rx & (OMR_RX_RST | OMR_RX_FASTCLOSE)) ||
	       ((tx & OMR_TX_FIN) && (rx & OMR_RX_FIN));
}

OMR_INLINE enum omr_flow_state omr_flow_state(const struct omr_flow *flow)
{
	if (omr_flow_closed(flow))
		return OMR_FLOW_CLOSED;
	if ((flow->tx.flags & OMR_TX_FIN) || (flow->rx.flags & OMR_RX_FIN))
		return OMR_FLOW_CLOSING;
	return omr_flow_half_open(flow) ? OMR_FLOW_HANDSHAKE : OMR_FLOW_ESTABLISHED;
}

/*
 * Jiffies since the last arrival or, before the first one, since the entry was made: a SYN or
 * SYN-ACK that is sent again does not make a handshake younger.
 */
OMR_INLINE __u32 omr_flow_idle(const struct omr_flow *flow, __u64 now_j)
{
	__u32 then = flow->rx.last_rx_j ? flow->rx.last_rx_j : flow->tx.unacked_since_j;
	__s32 age = (__s32)((__u32)now_j - then);

	return age > 0 ? (__u32)age : 0;
}

/* To be deleted. */
OMR_INLINE int omr_flow_due(const struct omr_scan_order *order, const struct omr_flow *flow)
{
	__u32 idle;

	if (!order->collect)
		return 0;
	idle = omr_flow_idle(flow, order->now_j);
	return idle > order->idle_age_j ||
	       (idle > order->half_open_age_j && omr_flow_half_open(flow)) ||
	       (idle > order->closed_age_j && omr_flow_closed(flow));
}

OMR_INLINE __u64 omr_flow_bytes(const struct omr_flow *flow)
{
	return flow->tx.tx_bytes + flow->rx.rx_bytes;
}

/* --- sums ----------------------------------------------------------------------------------- */

OMR_INLINE __u32 omr_server_slot(const __u32 *words, int count)
{
	__u32 mix = 0;
	int i;

	for (i = 0; i < count; i++)
		mix ^= words[i];
	return (mix * 0x9e3779b1) >> 24;
}

/* Index + 1 of a server by its address (1 or 4 words), 0 if it is none. */
OMR_INLINE __u32 omr_server_of(const struct omr_scan_order *order, const __u32 *words, int count)
{
	__u32 at = order->slot[omr_server_slot(words, count) & (OMR_SCAN_SLOTS - 1)];
	int i;

	for (i = 0; i < OMR_SCAN_SERVERS && at; i++) {
		__u32 index = (at - 1) & (OMR_SCAN_SERVERS - 1);
		const struct omr_scan_server *server = &order->server[index];
		__u32 other = server->address_be[0] ^ words[0];

		if (count == 4)
			other |= (server->address_be[1] ^ words[1]) |
			         (server->address_be[2] ^ words[2]) |
			         (server->address_be[3] ^ words[3]);
		if (!other && server->family == (count == 4 ? 6 : 4))
			return index + 1;
		at = server->next;
	}
	return 0;
}

OMR_INLINE void omr_sum_arrival(struct omr_flow_sum *sum, __u32 arrived_j)
{
	if (arrived_j && (!sum->arrived_j || (__s32)(arrived_j - sum->arrived_j) > 0))
		sum->arrived_j = arrived_j;
}

OMR_INLINE void omr_sum_open(struct omr_flow_sum *sum, const struct omr_flow *flow)
{
	__u32 srtt = flow->rx.srtt_us8;

	sum->open++;
	sum->tx_bytes += flow->tx.tx_bytes;
	sum->rx_bytes += flow->rx.rx_bytes;
	sum->retransmitted_segments += flow->tx.retransmitted_segments;
	sum->spurious_segments += flow->tx.spurious_segments;
	sum->subflows += !!(flow->tx.flags & OMR_TX_MPTCP) & !!(flow->rx.flags & OMR_RX_MPTCP);
	sum->handshakes += !!omr_flow_half_open(flow);
	sum->sampled += !!srtt;
	sum->srtt_us8 += srtt;
	if (srtt && (!sum->srtt_us8_min || srtt < sum->srtt_us8_min))
		sum->srtt_us8_min = srtt;
}

/* An entry that remains. remote: 1 word (IPv4) or 4 (IPv6). */
OMR_INLINE void omr_fold(const struct omr_scan_order *order, struct omr_scan_cells *cells,
                         const __u32 *remote, int words, const struct omr_flow *flow)
{
	__u32 path = flow->tx.path <= OMR_MAX_PATHS ? flow->tx.path : 0;
	__u32 server = omr_server_of(order, remote, words);
	struct omr_flow_sum *sum = &cells->cell[server][path];

	cells->entries[words == 4]++;
	omr_sum_arrival(sum, flow->rx.last_rx_j);
	if (!omr_flow_closed(flow))
		omr_sum_open(sum, flow);
}

/* --- rows ----------------------------------------------------------------------------------- */

/* Decides between flows of as many bytes, whatever the order of the walk. */
OMR_INLINE __u64 omr_tie(const __u32 *local, const __u32 *remote, int words, __u32 ports)
{
	__u64 mix = ports;
	int i;

	for (i = 0; i < words; i++) {
		mix = (mix ^ local[i]) * 0x9e3779b97f4a7c15ULL;
		mix = (mix ^ (mix >> 32) ^ remote[i]) * 0xbf58476d1ce4e5b9ULL;
	}
	return mix ^ (mix >> 29);
}

/* Everything but the addresses and ports. */
OMR_INLINE void omr_row_fill(struct omr_flow_row *row, const struct omr_flow *flow, int family,
                             __u64 now_j)
{
	row->flow = *flow;
	row->family = (__u8)family;
	row->state = (__u8)omr_flow_state(flow);
	row->idle_j = omr_flow_idle(flow, now_j);
	row->zero = 0;
	row->zero2 = 0;
}

OMR_INLINE void omr_row_key4(struct omr_flow_row *row, const struct omr_flow_key4 *key)
{
	int i;

	row->local_be[0] = key->local_be;
	row->remote_be[0] = key->remote_be;
	for (i = 1; i < 4; i++)
		row->local_be[i] = row->remote_be[i] = 0;
	row->local_port_be = key->local_port_be;
	row->remote_port_be = key->remote_port_be;
}

OMR_INLINE void omr_row_key6(struct omr_flow_row *row, const struct omr_flow_key6 *key)
{
	int i;

	for (i = 0; i < 4; i++) {
		row->local_be[i] = key->local_be[i];
		row->remote_be[i] = key->remote_be[i];
	}
	row->local_port_be = key->local_port_be;
	row->remote_port_be = key->remote_port_be;
}

OMR_INLINE __u32 omr_ports(__u16 local_port_be, __u16 remote_port_be)
{
	return ((__u32)local_port_be << 16) | remote_port_be;
}

OMR_INLINE __u64 omr_tie4(const struct omr_flow_key4 *key)
{
	return omr_tie(&key->local_be, &key->remote_be, 1,
	               omr_ports(key->local_port_be, key->remote_port_be));
}

OMR_INLINE __u64 omr_tie6(const struct omr_flow_key6 *key)
{
	return omr_tie(key->local_be, key->remote_be, 4,
	               omr_ports(key->local_port_be, key->remote_port_be));
}

/* Does a flow of (bytes, tie) come after one of (other_bytes, other_tie)? */
OMR_INLINE int omr_row_after(__u64 bytes, __u64 tie, __u64 other_bytes, __u64 other_tie)
{
	return bytes < other_bytes || (bytes == other_bytes && tie < other_tie);
}

#endif
