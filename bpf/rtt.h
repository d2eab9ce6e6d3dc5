/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Round-trip samples of one flow, armed by egress and finished by ingress without a lock.
 *
 * A sample is open while its number on the egress line differs from the one on the ingress line.
 * Egress arms only a closed one and writes the number last; ingress closes it by copying the
 * number. While it is open egress touches nothing of it but the time. Karn's rule makes it 0, or
 * even (all readings of the clock are odd), in one store; ingress reads it once. Either ingress has
 * read it before the store: then the acknowledgement came before the repeat, and the sample was
 * good. Or it finds 0, which gives no sample, or an even time, which gives one only by SACK. If
 * ingress closes the sample between egress's look at the numbers and its store, the store changes
 * a time that nobody reads: the next arming writes all of it.
 *
 * Should ingress, on a weakly ordered CPU, see a new number with old contents, the old
 * acknowledgement number is mostly one that snd_una has passed: it closes without measuring, which
 * costs one sample. Where a SACK had completed it, ingress may measure the old one again.
 *
 * The marks beside the numbers of an echo, OMR_ECHO_PASSED and OMR_ECHO_LATE, are written by the
 * side whose number it is, and only while the echo is closed; writing a number clears its mark. A
 * mark that is seen late makes egress arm a TSval earlier than it could know better: that echo may
 * be refused, but gives no wrong sample.
 */
#ifndef OMR_RTT_H
#define OMR_RTT_H

#include "passage.h"

enum {
	OMR_RTT_LONGEST_US = 1 << 28, /* so that srtt_us8 fits; nothing real takes four minutes */
	OMR_ECHO_DENSE = 8,
	OMR_GAP_LONGEST = 255, /* jiffies: as many as echo_gap_j holds */
	OMR_WEIGHT_MOST = 4,   /* packets */
	OMR_SACK_BLOCKS = 4,   /* as many as fit into a header */
};

OMR_INLINE int omr_sample_open(struct omr_flow *flow)
{
	return OMR_READ(flow->tx.sample_no) != OMR_READ(flow->rx.sample_done);
}

OMR_INLINE int omr_echo_open(struct omr_flow *flow)
{
	__u8 differs = OMR_READ(flow->tx.tsecho_no) ^ OMR_READ(flow->rx.tsecho_done);

	return differs & OMR_ECHO_NUMBER;
}

/* A reading of the clock as the flow keeps it; odd, so never 0. */
OMR_INLINE __u32 omr_stamp(__u64 now_ns)
{
	return (__u32)(now_ns >> OMR_STAMP_SHIFT) | 1;
}

OMR_INLINE void omr_sample_arm(struct omr_flow *flow, __u32 ack, __u64 now_ns)
{
	OMR_WRITE(flow->tx.sample_ack, ack);
	OMR_WRITE(flow->tx.sample_stamp, omr_stamp(now_ns));
	OMR_WRITE(flow->tx.sample_no, flow->tx.sample_no + 1);
}

OMR_INLINE void omr_echo_arm(struct omr_flow *flow, __u32 tsval, __u64 now_ns)
{
	OMR_WRITE(flow->tx.tsecho_val, tsval);
	OMR_WRITE(flow->tx.tsecho_stamp, omr_stamp(now_ns));
	OMR_WRITE(flow->tx.tsecho_no, (flow->tx.tsecho_no + 1) & OMR_ECHO_NUMBER);
}

/*
 * A newer TSval leaves and no echo is open: whether it is passed over, as one is after an echo that
 * came too late. What comes first after a pause echoes what left first before it; of a sender that
 * sends a burst a round trip only the middle of the burst can tell anything.
 */
OMR_INLINE int omr_echo_passes_over(struct omr_flow *flow)
{
	if (!(OMR_READ(flow->rx.tsecho_done) & OMR_ECHO_LATE) ||
	    (flow->tx.tsecho_no & OMR_ECHO_PASSED))
		return 0;
	OMR_WRITE(flow->tx.tsecho_no, flow->tx.tsecho_no | OMR_ECHO_PASSED);
	return 1;
}

/*
 * Karn's rule: [seq, end) is sent again. If the sample's last byte is in it, nothing tells which of
 * the two arrived. If all of it lies below, the acknowledgement waits for the repeat, but a SACK
 * still tells when the sample arrived.
 */
OMR_INLINE void omr_sample_repeated(struct omr_flow *flow, __u32 seq, __u32 end)
{
	if (!omr_sample_open(flow) || !omr_before(seq, flow->tx.sample_ack))
		return;
	if (omr_before(end, flow->tx.sample_ack))
		OMR_WRITE(flow->tx.sample_stamp, flow->tx.sample_stamp & ~1U);
	else
		OMR_WRITE(flow->tx.sample_stamp, 0);
}

/*
 * Whether the peer says that it holds the sample's last byte, beyond a hole. It may do so in any
 * block: the one that says it first may have been lost, and receivers that send fewer of them
 * (Linux, tcp_comp_sack_nr) tell of several arrivals at once. A block that reaches beyond what was
 * sent is forged.
 */
OMR_RARE int omr_sample_sacked(struct omr_passage *w, struct omr_flow *flow, __u32 sample_ack)
{
	__u32 snd_nxt, start, end, i;

	if (!w || !flow)
		return 0;
	snd_nxt = OMR_READ(flow->tx.snd_nxt);
#pragma GCC unroll 1
	for (i = 0; i < OMR_SACK_BLOCKS; i++) {
		if (i >= w->packet.sack_blocks)
			break;
		start = omr_option32(&w->options, w->packet.sack_at + 8 * i);
		end = omr_option32(&w->options, w->packet.sack_at + 8 * i + 4);
		if (omr_before(w->packet.ack, start) && omr_before(start, sample_ack) &&
		    !omr_before(end, sample_ack) && !omr_before(snd_nxt, end))
			return 1;
	}
	return 0;
}

/*
 * An acknowledgement in window arrived; `una` is snd_una before it. Returns when the sample left
 * that it completes by its number or by a SACK block, 0 if it completes none that counts.
 */
OMR_INLINE __u32 omr_sample_finish(struct omr_passage *w, struct omr_flow *flow, __u32 una)
{
	const struct omr_packet *p = &w->packet;
	__u8 number = OMR_READ(flow->tx.sample_no);
	__u32 sample_ack, stamp;

	if (OMR_LIKELY(number == flow->rx.sample_done))
		return 0;
	sample_ack = OMR_READ(flow->tx.sample_ack);
	if (omr_before(p->ack, sample_ack)) {
		if (OMR_LIKELY(!(p->options & OMR_OPTION_SACK)) || (p->tcp_flags & OMR_TCP_RST) ||
		    !omr_sample_sacked(w, flow, sample_ack))
			return 0;
		w->effect.source = OMR_SAMPLE_SACK;
	}
	stamp = OMR_READ(flow->tx.sample_stamp);
	OMR_WRITE(flow->rx.sample_done, number);
	if (w->effect.source == OMR_SAMPLE_SACK)
		return stamp ? stamp | 1 : 0;
	return (stamp & 1) && omr_before(una, sample_ack) ? stamp : 0;
}

OMR_INLINE __u32 omr_gap_counted(__u32 gap_j)
{
	return gap_j < OMR_GAP_LONGEST ? gap_j : OMR_GAP_LONGEST;
}

/*
 * A packet arrives gap_j jiffies after the one before. Returns the longest such gap since the echo
 * was armed, this one included, whether the packet echoes or not; 0 if none is open.
 */
OMR_INLINE __u32 omr_echo_gap(struct omr_flow *flow, __u32 gap_j)
{
	if (!omr_echo_open(flow))
		return 0;
	gap_j = omr_gap_counted(gap_j);
	if (gap_j > flow->rx.echo_gap_j)
		flow->rx.echo_gap_j = gap_j;
	return flow->rx.echo_gap_j;
}

/*
 * A timestamp comes back (RFC 7323), gap_j jiffies after the packet before; TSecr 0 says nothing,
 * and what was never sent is forged. Only the first packet that echoes it tells the time, and only
 * with payload: a bare acknowledgement may have been delayed.
 *
 * The packet before did not echo it. If this one echoes exactly that TSval, it reached the peer
 * between the two (RFC 7323 section 4.3), and only the gap between them can be in the sample. If it
 * echoes a newer one, the armed TSval was lost or not kept: then any gap can be.
 */
OMR_INLINE __u32 omr_echo_finish(struct omr_passage *w, struct omr_flow *flow, __u32 gap_j)
{
	const struct omr_packet *p = &w->packet;
	__u8 number = OMR_READ(flow->tx.tsecho_no) & OMR_ECHO_NUMBER;
	__u32 stamp, value;

	if (number == (flow->rx.tsecho_done & OMR_ECHO_NUMBER) || !p->tsecr)
		return 0;
	value = OMR_READ(flow->tx.tsecho_val);
	if (omr_before(p->tsecr, value) || omr_before(OMR_READ(flow->tx.tsval_max), p->tsecr))
		return 0;
	stamp = OMR_READ(flow->tx.tsecho_stamp);
	if (p->tsecr == value)
		w->effect.gap_j = omr_gap_counted(gap_j);
	flow->rx.echo_gap_j = 0;
	OMR_WRITE(flow->rx.tsecho_done, number);
	return p->payload ? stamp : 0;
}

/* The echo that has just ended told nothing, because of a pause. */
OMR_INLINE void omr_echo_late(struct omr_flow *flow)
{
	OMR_WRITE(flow->rx.tsecho_done, flow->rx.tsecho_done | OMR_ECHO_LATE);
}

/*
 * A sender that paused answers late, by its pause at most. So an echo counts only if no gap that
 * can be in it was longer than one jiffy or an eighth of the sample: of the sample and not of SRTT,
 * or a link that is slow enough to space the packets out would never show that its queue has grown.
 */
OMR_INLINE int omr_echo_dense(__u32 gap_j, __u32 us, __u64 hz)
{
	return gap_j <= 1 ||
	       (gap_j < OMR_GAP_LONGEST && (__u64)gap_j * 1000000 * OMR_ECHO_DENSE <= us * hz);
}

/* Microseconds since a stamp, to the nearest, at least 1. */
OMR_INLINE __u32 omr_sample_us(__u32 stamp, __u64 now_ns)
{
	__s32 passed = omr_stamp(now_ns) - stamp;
	__u64 us = passed > 0 ? (((__u64)passed << OMR_STAMP_SHIFT) + 500) / 1000 : 0;

	if (us > OMR_RTT_LONGEST_US)
		us = OMR_RTT_LONGEST_US;
	return us ? us : 1;
}

/* How far a sample is from what was expected; both 0 for the first one. */
struct omr_surprise {
	__u32 deviation_us; /* from SRTT */
	__u32 step_us;      /* from the sample before */
};

/*
 * RFC 6298 section 2 with alpha 1/8 and beta 1/4. Linux feeds it at every acknowledgement
 * (net/ipv4/tcp_input.c, tcp_rtt_estimator), we once a round trip: so a sample for which several
 * packets arrived since the one before moves SRTT as far as nearly as many would, by 1/4 or 1/2.
 * Jitter: RFC 3550 section 6.4.1, samples in the place of transit times.
 */
OMR_INLINE struct omr_surprise omr_estimate(struct omr_flow_rx *rx, __u32 us)
{
	__s32 error = us - (rx->srtt_us8 >> 3), step = us - rx->last_rtt_us;
	__u32 alpha_us8 = rx->since_sample >= OMR_WEIGHT_MOST ? 4 : rx->since_sample >= 2 ? 2 : 1;
	struct omr_surprise surprise = {
	        .deviation_us = error < 0 ? -error : error,
	        .step_us = step < 0 ? -step : step,
	};

	if (!rx->rtt_samples || us < rx->min_rtt_us)
		rx->min_rtt_us = us;
	if (!rx->rtt_samples) {
		rx->srtt_us8 = us << 3;
		rx->rttvar_us4 = us << 1;
		surprise.deviation_us = surprise.step_us = 0;
	} else {
		rx->srtt_us8 += error * (__s32)alpha_us8;
		rx->rttvar_us4 += surprise.deviation_us - (rx->rttvar_us4 >> 2);
		rx->jitter_us16 += surprise.step_us - (rx->jitter_us16 >> 4);
	}
	rx->last_rtt_us = us;
	rx->since_sample = 0;
	rx->rtt_samples++;
	return surprise;
}

#endif
