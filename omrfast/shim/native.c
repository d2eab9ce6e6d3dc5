/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The packet programs outside the kernel: datapath.h over tables in memory. Planes do not share
 * anything, and a plane is for one thread at a time.
 */
#include <string.h>

#include "native.h"

/* Whose packet this thread has at hand: datapath.h asks its questions without saying. */
static _Thread_local struct omr_plane *plane;

#define omr_hz (plane->hz)

static struct omr_passage *passage_of(__u32 direction)
{
	return &plane->passage[direction];
}

static struct omr_replay *replay_packet(void)
{
	return &plane->replay;
}

static __u64 now_j(void)
{
	return plane->replay.now.now_j;
}

static __u64 now_ns(void)
{
	return plane->replay.now.now_ns;
}

static struct omr_link *link_of(__u32 ifindex)
{
	return ifindex < OMR_MAX_IFINDEX ? &plane->links[ifindex] : NULL;
}

static struct omr_flow *flow_lookup(struct omr_packet *p)
{
	if (p->family == 4)
		return omr_table_find(&plane->flows4, &p->key.v4);
	return omr_table_find(&plane->flows6, &p->key.v6);
}

static int flow_insert(struct omr_packet *p, struct omr_flow *flow)
{
	if (p->family == 4)
		return omr_table_put(&plane->flows4, &p->key.v4, flow);
	return omr_table_put(&plane->flows6, &p->key.v6, flow);
}

static struct omr_path_counters *path_counters(__u32 index)
{
	return index < OMR_MAX_PATHS ? &plane->counters[index] : NULL;
}

static struct omr_path_rtt *path_rtt(__u32 index)
{
	return index < OMR_MAX_PATHS ? &plane->rtt[index] : NULL;
}

static struct omr_path_live *path_live(__u32 index)
{
	return index < OMR_MAX_PATHS ? &plane->live[index] : NULL;
}

static struct omr_event_gate *event_gate(__u32 index)
{
	return index < OMR_MAX_PATHS * OMR_EVENT_KINDS ? &plane->gates[index] : NULL;
}

static struct omr_knock *knock_of(__u32 slot)
{
	return slot < OMR_KNOCKS ? &plane->knocks[slot] : NULL;
}

static struct omr_event *event_reserve(void)
{
	return plane->event_count < EVENTS_ROOM ? &plane->events[plane->event_count] : NULL;
}

static void event_submit(struct omr_event *event)
{
	plane->event_count++;
}

#include "../../bpf/datapath.h"

/* --- packets ------------------------------------------------------------------------------ */

/* What hooks.h does with a context of the kernel's. */
static void pass(const struct omr_run *run, int direction)
{
	const __u8 *data = run->data;
	struct omr_link *link = link_of(run->ifindex);
	struct omr_passage *w = passage_of(direction);
	int parsed;

	if (!link || !link->path)
		return;
	memset(&w->frame, 0, sizeof(w->frame));
	w->frame.len = omr_replay_length(run->data_len);
	w->frame.gso_segs = run->gso_segs;
	w->frame.gso_size = run->gso_size;
	w->frame.l2 = link->l2;
	w->frame.path = link->path;
	w->frame.direction = direction;
	parsed = omr_parse(&w->packet, &w->options, &w->frame, data, data + run->data_len);
	omr_packet_passed(w, parsed, direction);
}

int omr_plane_run(struct omr_plane *of, __u32 hook, const struct omr_run *run)
{
	struct omr_run bare = *run;

	plane = of;
	if (hook == OMR_NATIVE_EGRESS) {
		pass(run, OMR_EGRESS);
	} else if (hook == OMR_NATIVE_INGRESS) {
		pass(run, OMR_INGRESS);
	} else if (hook == OMR_NATIVE_XDP) {
		bare.gso_segs = bare.gso_size = 0;
		pass(&bare, OMR_INGRESS);
	} else {
		return -EINVAL;
	}
	return 0;
}

int omr_plane_events(struct omr_plane *of, struct omr_event *out, __u32 room)
{
	__u32 count = of->event_count < room ? of->event_count : room;

	memcpy(out, of->events, count * sizeof(*out));
	of->event_count -= count;
	memmove(of->events, of->events + count, of->event_count * sizeof(*out));
	return count;
}
