/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Round-trip samples of one flow, armed by egress and finished by ingress without a lock.
 *
 * A sample is open while its number on the egress line differs from the one on the ingress line.
 * Egress arms only a closed one and writes the number last; ingress closes it by copying the
 * number. While it is open egress touches nothing of it but the time, which it zeroes when Karn's
 * rule forbids the sample: ingress then either has read the time already (the acknowledgement came
 * before the repeat, so the sample was good) or finds 0 and closes without measuring. Should
 * ingress, on a weakly ordered CPU, see a new number with old contents, the old acknowledgement
 * number is one that snd_una has passed: it closes without measuring, which costs one sample.
 */
#ifndef OMR_RTT_H
#define OMR_RTT_H

#include "packet.h"

enum {
	OMR_RTT_LONGEST_US = 1 << 28, /* so that srtt_us8 fits; nothing real takes four minutes */
	OMR_ECHO_DENSE = 8,
	OMR_GAP_LONGEST = 255, /* jiffies: as many as echo_gap_j holds */
	OMR_WEIGHT_MOST = 4,   /* packets */
};

OMR_INLINE int omr_sample_open(struct omr_flow *flow)
{
	return OMR_READ(flow->tx.sample_no) != OMR_READ(flow->rx.sample_done);
}

OMR_INLINE int omr_echo_open(struct omr_flow *flow)
{
	return OMR_READ(flow->tx.tsecho_no) != OMR_READ(flow->rx.tsecho_done);
}

/* A reading of the clock as the flow keeps it; never 0. */
OMR_INLINE __u32 omr_stamp(__u64 now_ns)
{
	__u32 stamp = now_ns >> OMR_STAMP_SHIFT;

	return stamp ? stamp : 1;
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
	OMR_WRITE(flow->tx.tsecho_no, flow->tx.tsecho_no + 1);
}

/* Karn's rule: something that begins at `seq` is sent again. */
OMR_INLINE void omr_sample_cancel(struct omr_flow *flow, __u32 seq)
{
	if (omr_sample_open(flow) && omr_before(seq, flow->tx.sample_ack))
		OMR_WRITE(flow->tx.sample_stamp, 0);
}

/*
 * An acknowledgement in window arrived; `una` is snd_una before it. Returns when the sample left
 * that it completes, 0 if it completes none that counts.
 */
OMR_INLINE __u32 omr_sample_finish(struct omr_flow *flow, __u32 una, __u32 ack)
{
	__u8 number = OMR_READ(flow->tx.sample_no);
	__u32 sample_ack, stamp;

	if (OMR_LIKELY(number == flow->rx.sample_done))
		return 0;
	sample_ack = OMR_READ(flow->tx.sample_ack);
	if (omr_before(ack, sample_ack))
		return 0;
	stamp = OMR_READ(flow->tx.sample_stamp);
	OMR_WRITE(flow->rx.sample_done, number);
	return omr_before(una, sample_ack) ? stamp : 0;
}

/*
 * A packet arrives gap_j jiffies after the one before. Returns the longest such gap since the echo
 * was armed, this one included, whether the packet echoes or not; 0 if none is open.
 */
OMR_INLINE __u32 omr_echo_gap(struct omr_flow *flow, __u32 gap_j)
{
	if (!omr_echo_open(flow))
		return 0;
	if (gap_j > OMR_GAP_LONGEST)
		gap_j = OMR_GAP_LONGEST;
	if (gap_j > flow->rx.echo_gap_j)
		flow->rx.echo_gap_j = gap_j;
	return flow->rx.echo_gap_j;
}

/*
 * A timestamp comes back (RFC 7323); TSecr 0 says nothing, and what was never sent is forged. Only
 * the first packet that echoes it tells the time, and only with payload: a bare acknowledgement may
 * have been delayed.
 */
OMR_INLINE __u32 omr_echo_finish(struct omr_flow *flow, const struct omr_packet *p)
{
	__u8 number = OMR_READ(flow->tx.tsecho_no);
	__u32 stamp;

	if (number == flow->rx.tsecho_done || !p->tsecr ||
	    omr_before(p->tsecr, OMR_READ(flow->tx.tsecho_val)) ||
	    omr_before(OMR_READ(flow->tx.tsval_max), p->tsecr))
		return 0;
	stamp = OMR_READ(flow->tx.tsecho_stamp);
	flow->rx.echo_gap_j = 0;
	OMR_WRITE(flow->rx.tsecho_done, number);
	return p->payload ? stamp : 0;
}

/*
 * A sender that paused answers late, by its pause at most. So an echo counts only if no gap during
 * it was longer than one jiffy or an eighth of the sample: of the sample and not of SRTT, or a link
 * that is slow enough to space the packets out would never show that its queue has grown.
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
