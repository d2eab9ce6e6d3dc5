/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the programs tell whoever replays a capture (struct omr_replay). Without a replay
 * replay_packet() is NULL, which the compiler or the verifier knows: nothing of this remains.
 */
#ifndef OMR_REPLAY_H
#define OMR_REPLAY_H

#include "passage.h"

OMR_INLINE void omr_replay_clear(void)
{
	struct omr_replay *replay = replay_packet();

	if (!replay)
		return;
	replay->sample_us = 0;
	replay->sample_source = OMR_SAMPLE_NONE;
	replay->began = 0;
	replay->replaced = 0;
	replay->unparsed = 0;
}

/* Length on the wire of a packet of which `len` bytes are there. */
OMR_INLINE __u32 omr_replay_length(__u32 len)
{
	struct omr_replay *replay = replay_packet();

	return replay && replay->wire_len ? replay->wire_len : len;
}

OMR_INLINE void omr_replay_unparsed(__u32 reason)
{
	struct omr_replay *replay = replay_packet();

	if (replay)
		replay->unparsed = reason + 1;
}

OMR_INLINE void omr_replay_sample(__u32 us, __u8 source)
{
	struct omr_replay *replay = replay_packet();

	if (!replay)
		return;
	replay->sample_us = us;
	replay->sample_source = source;
}

/* A new entry is about to take the place of this one. */
OMR_INLINE void omr_replay_replaced(const struct omr_flow *flow)
{
	struct omr_replay *replay = replay_packet();

	if (!replay)
		return;
	__builtin_memcpy(&replay->before, flow, sizeof(replay->before));
	replay->replaced = 1;
}

OMR_INLINE void omr_replay_began(void)
{
	struct omr_replay *replay = replay_packet();

	if (replay)
		replay->began = 1;
}

#endif
