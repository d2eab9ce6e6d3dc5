/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a hook's context to the logic of datapath.h. Only for BPF; both dialects include it after
 * datapath.h.
 */
#ifndef OMR_HOOKS_H
#define OMR_HOOKS_H

#include "datapath.h"

enum {
	OMR_HEADERS_LEAST = OMR_ETH_HEADER + OMR_IPV4_HEADER + OMR_TCP_HEADER,
	OMR_HEADERS_PULLED = 256, /* made linear at once, when headers are not */
};

/*
 * Whoever makes headers linear makes all of them linear: stacks, GRO, and drivers that parse. What
 * is left are drivers that leave all in fragments, or all behind the Ethernet header.
 */
OMR_INLINE void omr_tc_make_linear(struct __sk_buff *skb)
{
	const __u8 *data = (const __u8 *)(long)skb->data;
	__u32 len = skb->len;

	if (data + OMR_HEADERS_LEAST <= (const __u8 *)(long)skb->data_end)
		return;
	if ((const __u8 *)(long)skb->data_end - data < len)
		bpf_skb_pull_data(skb, len < OMR_HEADERS_PULLED ? len : OMR_HEADERS_PULLED);
}

/* skb->data at TC begins with the link header in both directions. */
OMR_INLINE void omr_tc(struct __sk_buff *skb, int direction)
{
	struct omr_link *link = link_of(skb->ifindex);
	struct omr_passage *w;
	int parsed;

	if (!link || !link->path)
		return;
	w = passage_of(direction);
	if (!w)
		return;
	omr_tc_make_linear(skb);
	w->frame.len = omr_replay_length(skb->len);
	w->frame.gso_segs = skb->gso_segs;
	w->frame.gso_size = skb->gso_size;
	w->frame.l2 = link->l2;
	w->frame.path = link->path;
	w->frame.direction = direction;
	parsed = omr_parse(&w->packet, &w->options, &w->frame, (const __u8 *)(long)skb->data,
	                   (const __u8 *)(long)skb->data_end);
	omr_packet_passed(w, parsed, direction);
}

/* One frame as it came from the wire; before GRO. */
OMR_INLINE void omr_xdp_ingress(struct xdp_md *xdp)
{
	const __u8 *data = (const __u8 *)(long)xdp->data;
	const __u8 *end = (const __u8 *)(long)xdp->data_end;
	struct omr_link *link = link_of(xdp->ingress_ifindex);
	struct omr_passage *w;
	int parsed;

	if (!link || !link->path)
		return;
	w = passage_of(OMR_INGRESS);
	if (!w)
		return;
	w->frame.len = omr_replay_length(end - data);
	w->frame.gso_segs = 0;
	w->frame.gso_size = 0;
	w->frame.l2 = link->l2;
	w->frame.path = link->path;
	w->frame.direction = OMR_INGRESS;
	parsed = omr_parse(&w->packet, &w->options, &w->frame, data, end);
	omr_packet_passed(w, parsed, OMR_INGRESS);
}

#endif
