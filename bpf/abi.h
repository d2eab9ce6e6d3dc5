/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The shared structs of abi_types.h for C: guard, types, and a proof at compile time that every
 * compiler that reads them lays them out alike. Loaders compare the same numbers again.
 */
#ifndef OMR_ABI_H
#define OMR_ABI_H

#include <linux/types.h>

#include "abi_types.h"

#define OMR_INLINE static inline __attribute__((always_inline))

#define OMR_ASSERT_SIZE(type, bytes)                                                               \
	_Static_assert(sizeof(struct type) == (bytes), #type " has changed its size")
#define OMR_ASSERT_AT(type, member, bytes)                                                         \
	_Static_assert(__builtin_offsetof(struct type, member) == (bytes),                         \
	               #type "." #member " has moved")

OMR_ASSERT_SIZE(omr_link, 4);
OMR_ASSERT_SIZE(omr_config, 48);
OMR_ASSERT_SIZE(omr_clock, 16);

/* Hash keys: no padding anywhere. */
OMR_ASSERT_SIZE(omr_flow_key4, 12);
OMR_ASSERT_SIZE(omr_flow_key6, 36);
OMR_ASSERT_AT(omr_flow_key4, local_port_be, 8);
OMR_ASSERT_AT(omr_flow_key6, local_port_be, 32);

/* A cache line per direction. */
OMR_ASSERT_SIZE(omr_flow_tx, 64);
OMR_ASSERT_SIZE(omr_flow_rx, 64);
OMR_ASSERT_SIZE(omr_flow, 128);
OMR_ASSERT_AT(omr_flow, rx, 64);
OMR_ASSERT_AT(omr_flow_tx, connection, 8);
OMR_ASSERT_AT(omr_flow_tx, sample_ack, 24);
OMR_ASSERT_AT(omr_flow_tx, snd_nxt, 36);
OMR_ASSERT_AT(omr_flow_tx, sample_no, 56);
OMR_ASSERT_AT(omr_flow_tx, flags, 58);
OMR_ASSERT_AT(omr_flow_tx, path, 60);
OMR_ASSERT_AT(omr_flow_rx, srtt_us8, 8);
OMR_ASSERT_AT(omr_flow_rx, snd_una, 32);
OMR_ASSERT_AT(omr_flow_rx, sample_done, 56);
OMR_ASSERT_AT(omr_flow_rx, flags, 58);
OMR_ASSERT_AT(omr_flow_rx, hole_j, 60);

OMR_ASSERT_SIZE(omr_path_counters, 232);
OMR_ASSERT_AT(omr_path_counters, rx_bytes, 64);
OMR_ASSERT_AT(omr_path_counters, min_rtt_epoch, 152);
OMR_ASSERT_AT(omr_path_counters, unparsed, 168);
OMR_ASSERT_SIZE(omr_path_rtt, 4 * OMR_HIST_BUCKETS);
OMR_ASSERT_SIZE(omr_path_live, 128);
OMR_ASSERT_AT(omr_path_live, rx, 64);

OMR_ASSERT_SIZE(omr_event, 72);
OMR_ASSERT_AT(omr_event, kind, 16);
OMR_ASSERT_AT(omr_event, local_port_be, 32);
OMR_ASSERT_AT(omr_event, local_be, 40);
OMR_ASSERT_SIZE(omr_event_gate, 16);
OMR_ASSERT_SIZE(omr_knock, 44);
OMR_ASSERT_SIZE(omr_replay, 160);

/* One access, neither torn nor repeated: members that the other direction reads. */
#define OMR_READ(member) (*(const volatile __typeof__(member) *)&(member))
#define OMR_WRITE(member, value) (*(volatile __typeof__(member) *)&(member) = (value))

#endif
