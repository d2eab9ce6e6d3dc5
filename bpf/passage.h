/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state of one packet on its way through the programs. */
#ifndef OMR_PASSAGE_H
#define OMR_PASSAGE_H

#include "options.h"

/* What a packet has done, for the path's counters, events and clocks. */
struct omr_effect {
	__u32 sent_stamp; /* ingress: when the finished sample left; 0: none */
	__u32 echo_stamp; /* the same for a timestamp echo */
	__u32 repeated;   /* segments sent again (egress), refilled (ingress) */
	__u32 reordered;  /* ingress: segments that came late, but too soon for a repeat */
	__u32 spurious;   /* ingress: segments that a DSACK shows were repeated for nothing */
	__u8 gap_j;       /* ingress: gap between arrivals that bounds how late an echo may be */
	__u8 source;      /* ingress: of the sample that sent_stamp finishes; 0: data */
	__u8 syn_again;
	__u8 keep_alive; /* egress: without payload, yet calls for an answer */
};

/*
 * One packet on its way through: everything that its functions share. Kept in a per-CPU map; hooks
 * of one direction never interrupt each other on a CPU.
 */
struct omr_passage {
	struct omr_packet packet;
	struct omr_frame frame;
	struct omr_effect effect;
	__u32 sample_ack; /* egress: arm for this, if arm is OMR_ARM_SAMPLE */
	__u16 events;     /* 1 << enum omr_event_kind */
	__u8 arm;         /* egress: enum omr_arm */
	__u8 zero;
	__u64 now_j;
	__u64 bytes;    /* on the wire */
	__u32 segments; /* wire packets */
	struct omr_options options;
	struct omr_flow first; /* of a flow that begins */
};

/* Which sample a packet that leaves begins. */
enum omr_arm {
	OMR_ARM_NONE = 0,
	OMR_ARM_SAMPLE = 1,
	OMR_ARM_ECHO = 2,
};

#endif
