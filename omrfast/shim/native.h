/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A plane: what the maps of the packet programs hold, in memory. */
#ifndef OMR_NATIVE_H
#define OMR_NATIVE_H

#include "shim.h"
#include "table.h"

#include "../../bpf/passage.h"

enum {
	/* As many as the kernel's ring of 256 KiB takes, 8 bytes of header each. */
	EVENTS_ROOM = (256 * 1024 - 1) / (sizeof(struct omr_event) + 8),
};

struct omr_plane {
	__u64 hz;
	struct omr_table flows4, flows6;
	struct omr_link links[OMR_MAX_IFINDEX];
	struct omr_path_counters counters[OMR_MAX_PATHS];
	struct omr_path_rtt rtt[OMR_MAX_PATHS];
	struct omr_path_live live[OMR_MAX_PATHS];
	struct omr_event_gate gates[OMR_MAX_PATHS * OMR_EVENT_KINDS];
	struct omr_knock knocks[OMR_KNOCKS];
	struct omr_replay replay;
	struct omr_passage passage[2];
	struct omr_event events[EVENTS_ROOM];
	__u32 event_count;
};

#endif
