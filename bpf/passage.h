/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state of one packet on its way through the programs. */
#ifndef OMR_PASSAGE_H
#define OMR_PASSAGE_H

#include "flow.h"

/*
 * One packet on its way through: everything that its functions share. Kept in a per-CPU map; hooks
 * of one direction never interrupt each other on a CPU.
 */
struct omr_passage {
	struct omr_frame frame;
	struct omr_packet packet;
	struct omr_effect effect;
	struct omr_options options;
	struct omr_flow first; /* of a flow that begins */
	__u64 now_j;
	__u64 bytes;    /* on the wire */
	__u32 segments; /* wire packets */
};

#endif
