/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MP_JOIN on the accepting side: token, address id and backup bit are in a SYN that arrives, which
 * makes no flow entry. It is noted here, and read by our SYN-ACK alone. Included by datapath.h.
 */
#ifndef OMR_KNOCK_H
#define OMR_KNOCK_H

#include "subflow.h"

enum {
	OMR_KEY_WORDS = sizeof(struct omr_flow_key6) / 4,
	OMR_KEY_WORDS_V4 = sizeof(struct omr_flow_key4) / 4,
};

/* Word i of the packet's key, as struct omr_knock has it: IPv4 zero-padded. */
OMR_INLINE __u32 omr_knock_word(const struct omr_packet *p, int i)
{
	return p->family == 4 && i >= OMR_KEY_WORDS_V4 ? 0 : ((const __u32 *)&p->key)[i];
}

OMR_INLINE struct omr_knock *omr_knock_slot(const struct omr_packet *p)
{
	__u32 mix = 0;
	int i;

#pragma GCC unroll 9
	for (i = 0; i < OMR_KEY_WORDS; i++)
		mix = (mix ^ omr_knock_word(p, i)) * 0x9e3779b1;
	return knock_of(mix >> 24);
}

/* An MP_JOIN SYN arrives: what it says may be wanted by our answer. */
OMR_RARE int omr_knock_note(struct omr_passage *w)
{
	struct omr_knock *knock;
	int i;

	if (!w)
		return 0;
	knock = omr_knock_slot(&w->packet);
	if (!knock)
		return 0;
	OMR_WRITE(knock->family, 0);
#pragma GCC unroll 9
	for (i = 0; i < OMR_KEY_WORDS; i++)
		((__u32 *)&knock->key)[i] = omr_knock_word(&w->packet, i);
	knock->token_be = w->packet.mp_token_be;
	knock->remote_id = w->packet.mp_id;
	knock->backup = w->packet.mp_backup;
	OMR_WRITE(knock->family, w->packet.family);
	return 0;
}

/* Our SYN-ACK to an MP_JOIN leaves and begins the flow w->first. */
OMR_INLINE void omr_knock_answer(struct omr_passage *w)
{
	struct omr_flow *flow = &w->first;
	struct omr_knock *knock = omr_knock_slot(&w->packet);
	int i;

	if (!knock || OMR_READ(knock->family) != w->packet.family)
		return;
#pragma GCC unroll 9
	for (i = 0; i < OMR_KEY_WORDS; i++)
		if (((const __u32 *)&knock->key)[i] != omr_knock_word(&w->packet, i))
			return;
	flow->tx.connection.join.token_be = knock->token_be;
	flow->tx.remote_id = knock->remote_id;
	flow->rx.flags |= OMR_RX_MPTCP | OMR_RX_JOIN | (knock->backup ? OMR_RX_BACKUP : 0);
	OMR_WRITE(knock->family, 0);
}

#endif
