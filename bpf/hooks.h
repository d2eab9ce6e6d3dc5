/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a hook's context to the logic of datapath.h. Only for BPF; both dialects include it after
 * datapath.h.
 */
#ifndef OMR_HOOKS_H
#define OMR_HOOKS_H

#include "datapath.h"

enum {
	OMR_HEADERS_PULLED = 256, /* made linear at once, when headers are not */
};

/* skb->data at TC begins with the link header in both directions. */
OMR_INLINE void omr_tc(struct __sk_buff *skb, int direction)
{
	struct omr_link *link = link_of(skb->ifindex);
	struct omr_passage *w;
	int parsed, pass;

	if (!link || !link->path)
		return;
	w = passage_of(direction);
	if (!w)
		return;
	__builtin_memset(&w->frame, 0, sizeof(w->frame));
	w->frame.len = skb->len;
	w->frame.gso_segs = skb->gso_segs;
	w->frame.gso_size = skb->gso_size;
	w->frame.l2 = link->l2;
	w->frame.path = link->path;
	w->frame.direction = direction;
	/* Headers are linear but for odd drivers and tunnels: look first, pull only if need be. */
#pragma GCC unroll 1
	for (pass = 0; pass < 2; pass++) {
		const __u8 *data = (const __u8 *)(long)skb->data;
		const __u8 *end = (const __u8 *)(long)skb->data_end;

		parsed = omr_parse(&w->packet, &w->options, &w->frame, data, end);
		if (parsed != OMR_REFUSE(OMR_UNPARSED_TRUNCATED) || data + skb->len <= end)
			break;
		if (bpf_skb_pull_data(skb, skb->len < OMR_HEADERS_PULLED ? skb->len
		                                                         : OMR_HEADERS_PULLED))
			break;
	}
	omr_packet_passed(w, parsed);
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
	__builtin_memset(&w->frame, 0, sizeof(w->frame));
	w->frame.len = end - data;
	w->frame.l2 = link->l2;
	w->frame.path = link->path;
	w->frame.direction = OMR_INGRESS;
	parsed = omr_parse(&w->packet, &w->options, &w->frame, data, end);
	omr_packet_passed(w, parsed);
}

#endif
