/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets of a capture through the programs, in batches: in the kernel or outside it. */
#include <string.h>

#include "native.h"

#include "../../bpf/fold.h"
#include "../../bpf/parse.h"

enum {
	LOOPBACK = 1, /* BPF_PROG_TEST_RUN passes packets off as this device's */
};

static void addresses_of(struct omr_replay_item *item, const struct omr_packet *p)
{
	item->family = p->family;
	if (p->family == 4) {
		memcpy(item->source, &p->key.v4.local_be, 4);
		memcpy(item->destination, &p->key.v4.remote_be, 4);
		item->source_port_be = p->key.v4.local_port_be;
		item->destination_port_be = p->key.v4.remote_port_be;
	} else {
		memcpy(item->source, p->key.v6.local_be, 16);
		memcpy(item->destination, p->key.v6.remote_be, 16);
		item->source_port_be = p->key.v6.local_port_be;
		item->destination_port_be = p->key.v6.remote_port_be;
	}
}

void omr_replay_look(const void *data, struct omr_replay_item *items, __u32 count)
{
	struct omr_options options;
	__u32 i;

	for (i = 0; i < count; i++) {
		struct omr_replay_item *item = &items[i];
		struct omr_packet p = {0}; /* ports are written for TCP alone */
		struct omr_frame frame = {
		        .len = item->wire_len, .l2 = item->l2, .direction = OMR_EGRESS};
		const __u8 *at = (const __u8 *)data + item->offset;
		int parsed = omr_parse(&p, &options, &frame, at, at + item->captured);

		item->known = parsed < 0 || p.family;
		item->tcp_flags = parsed == OMR_PARSED_TCP ? p.tcp_flags : 0;
		addresses_of(item, &p);
	}
}

static int set_framing(const struct omr_replay_target *target, __u8 l2)
{
	struct omr_link link = {.path = 1, .l2 = l2};
	__u32 key = LOOPBACK;

	if (target->plane)
		return omr_plane_update(target->plane, OMR_NATIVE_LINKS, &key, &link);
	return bpf_map_update_elem(target->links_fd, &key, &link, BPF_ANY);
}

static int pass_native(const struct omr_replay_target *target, struct omr_run *run, int direction,
                       struct omr_replay *packet)
{
	int error;

	target->plane->replay = *packet;
	error = omr_plane_run(target->plane, direction, run);
	*packet = target->plane->replay;
	return error;
}

static int pass_kernel(const struct omr_replay_target *target, struct omr_run *run, int direction,
                       struct omr_replay *packet)
{
	__u32 key = 0;
	int error;

	run->prog_fd = direction == OMR_EGRESS ? target->egress_fd : target->ingress_fd;
	error = bpf_map_update_elem(target->replay_fd, &key, packet, BPF_ANY);
	if (!error)
		error = omr_run_skb(run);
	return error ? error : bpf_map_lookup_elem(target->replay_fd, &key, packet);
}

static int note(struct omr_replay_note *out, __u32 item, const struct omr_replay *packet)
{
	if (!packet->sample_source && !packet->began && !packet->unparsed)
		return 0;
	out->item = item;
	out->sample_us = packet->sample_us;
	out->sample_source = packet->sample_source;
	out->began = packet->began;
	out->replaced = packet->replaced;
	out->unparsed = packet->unparsed;
	out->before = packet->before;
	return 1;
}

int omr_replay_pass(struct omr_replay_target *target, const void *data,
                    const struct omr_replay_item *items, __u32 count, struct omr_replay_note *notes)
{
	__u32 i, noted = 0;
	int error;

	for (i = 0; i < count; i++) {
		const struct omr_replay_item *item = &items[i];
		struct omr_replay packet = {.now = {.now_j = item->at_j, .now_ns = item->at_ns},
		                            .wire_len = item->wire_len};
		struct omr_run run = {.data = (const __u8 *)data + item->offset,
		                      .data_len = item->captured,
		                      .ifindex = LOOPBACK};

		if (item->direction != OMR_EGRESS && item->direction != OMR_INGRESS)
			continue;
		error = item->l2 == target->l2 ? 0 : set_framing(target, item->l2);
		if (error)
			return error;
		target->l2 = item->l2;
		error = target->plane ? pass_native(target, &run, item->direction, &packet)
		                      : pass_kernel(target, &run, item->direction, &packet);
		if (error)
			return error;
		noted += note(&notes[noted], i, &packet);
	}
	return noted;
}

int omr_replay_row(struct omr_flow_row *row, const void *key, __u32 key_size,
                   const struct omr_flow *flow)
{
	const struct omr_flow_key4 *v4 = key;
	const struct omr_flow_key6 *v6 = key;

	memset(row, 0, sizeof(*row));
	if (key_size == sizeof(*v4)) {
		memcpy(row->local_be, &v4->local_be, sizeof(v4->local_be));
		memcpy(row->remote_be, &v4->remote_be, sizeof(v4->remote_be));
		memcpy(&row->local_port_be, &v4->local_port_be, 4);
	} else if (key_size == sizeof(*v6)) {
		memcpy(row->local_be, v6->local_be, sizeof(v6->local_be));
		memcpy(row->remote_be, v6->remote_be, sizeof(v6->remote_be));
		memcpy(&row->local_port_be, &v6->local_port_be, 4);
	} else {
		return -EINVAL;
	}
	row->family = key_size == sizeof(*v4) ? 4 : 6;
	row->flow = *flow;
	row->state = (__u8)omr_flow_state(flow);
	return 0;
}
