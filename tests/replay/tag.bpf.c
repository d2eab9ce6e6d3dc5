// SPDX-License-Identifier: GPL-2.0-or-later
/* 802.1Q by TC, for kernels without VLAN devices: a tag for what leaves, none for what arrives.
 * Packet sockets see the tag both ways: on the way out they come after TC, on the way in before. */

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define VLAN_ID 7

SEC("tc") int tag_push(struct __sk_buff *skb)
{
	bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), VLAN_ID);
	return TC_ACT_UNSPEC;
}

SEC("tc") int tag_pop(struct __sk_buff *skb)
{
	bpf_skb_vlan_pop(skb);
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "GPL";
