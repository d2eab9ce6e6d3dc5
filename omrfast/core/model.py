# SPDX-License-Identifier: GPL-2.0-or-later
"""What a path's counters and probe replies say about it: estimators, no judgement.

All functions are pure: they take a model and return a new one. Seconds everywhere; ``now`` is
CLOCK_MONOTONIC.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from omrfast.core.types import PathCounters

ALPHA = 1 / 8
BETA = 1 / 4
"""Gains of RFC 6298 section 2, per sample."""
SETTLED = 6
"""After this many samples RTTVAR has forgotten its initial half of the first RTT."""
JITTER_GAIN = 1 / 16
"""RFC 3550 section 6.4.1, per sample."""
MOST_SAMPLES = 8
"""A tick's samples beyond this many add no weight: they share one moment."""

RECENT = 0.35
"""Window of ``recent_rtt``: long enough for several samples, short beside any ``hold``."""
LOSS_STEP = 0.25
LOSS_WINDOW = 10.0
LOSS_LEAST = 30
LOSS_SHORT = 4.0
LOSS_MANY = 400
"""Windows of the loss ratio: the last LOSS_SHORT seconds if that many units were sent in them,
longer than a start-up's overshoot lasts; else LOSS_WINDOW and at least LOSS_LEAST units.
Units are segments and probes."""
PROBE_OVERDUE = 2.0
"""A probe without an answer for this long (or 4 smoothed RTTs, if longer) counts as lost."""
LOSS_MEMORY = 60.0
"""The window reaches back this far when LOSS_WINDOW holds too few units."""
SAME_PROBE = 0.004
"""Packets of one probe, to several targets, leave within this time."""
STEADY_FOR = 0.3
STEADY_GAP = 0.1
STEADY_END = 1.0
"""A stream: something for STEADY_FOR at least every STEADY_GAP on average; it has ended after
STEADY_END without any."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Something that arrives again and again."""

    gap: float | None = None
    """Mean spacing; None: nothing does."""
    since: float = 0.0
    at: float = 0.0
    """First and last read that found something new."""


@dataclass(frozen=True, slots=True)
class PathModel:
    counters: PathCounters | None = None
    at: float = 0.0
    srtt: float | None = None
    rttvar: float = 0.0
    jitter: float = 0.0
    """RFC 3550's, between successive samples of one flow, over all flows."""
    smoothed: int = 0
    """How many samples (ticks or probes) the estimate rests on; stops at SETTLED."""
    probe_min: float | None = None
    """Least probe reply; the data path's own minimum is in ``counters``."""
    passive_at: float = float("-inf")
    """When traffic last gave an RTT sample."""
    traffic_at: float = float("-inf")
    """Read at which TCP was last seen to have sent something that calls for an answer."""
    recent: tuple[tuple[float, int, float], ...] = ()
    """(at, samples, sum) of the last RECENT seconds, probes included."""
    losses: tuple[tuple[float, int, int], ...] = ()
    """(at, units sent, units lost) running totals; units are segments and probes."""
    data: Stream = field(default_factory=Stream)
    """Data segments that arrive."""
    arrivals: Stream = field(default_factory=Stream)
    """Packets of any kind that arrive."""
    counts_probes: bool = False
    """Somebody answers: a probe without an answer is a loss."""
    probes_sent: int = 0
    probes_lost: int = 0
    outstanding: tuple[float, ...] = field(default=())
    """When the probes left that were not answered yet, oldest first."""

    @property
    def rtt_min(self) -> float | None:
        known = [v for v in (self.counters and self.counters.rtt_min, self.probe_min) if v]
        return min(known) if known else None

    def recent_rtt(self, now: float) -> float | None:
        """Mean of the samples of the last RECENT seconds, or of the last ones within 2 s."""
        window = [s for s in self.recent if now - s[0] <= RECENT] or [
            s for s in self.recent[-1:] if now - s[0] <= 2.0
        ]
        samples = sum(s[1] for s in window)
        return sum(s[2] for s in window) / samples if samples else None

    @property
    def lost(self) -> tuple[int, int]:
        """(units sent, units lost) in the window; units are segments and probes."""
        if not self.losses:
            return 0, 0
        newest_at, all_sent, all_lost = self.losses[-1]
        sent = lost = 0
        for at, sent_then, lost_then in reversed(self.losses):
            sent, lost = all_sent - sent_then, all_lost - lost_then
            age = newest_at - at
            if sent >= LOSS_MANY and age >= LOSS_SHORT:
                break
            if sent >= LOSS_LEAST and age >= LOSS_WINDOW:
                break
        return sent, max(0, lost)

    @property
    def loss(self) -> float | None:
        """Share of segments and probes lost in the window; None with too few to tell."""
        sent, lost = self.lost
        return min(1.0, lost / sent) if sent >= LOSS_LEAST else None


def observe(model: PathModel, counters: PathCounters, now: float) -> PathModel:
    """Take in a path's counters as read at ``now``."""
    before = model.counters
    if before is None or counters.rtt_samples < before.rtt_samples:
        return replace(
            model, counters=counters, at=now, losses=(), data=Stream(), arrivals=Stream()
        )
    if _questions(counters) > _questions(before):
        model = replace(model, traffic_at=now)
    model = _observe_rtt(model, before, counters, now)
    model = _observe_streams(model, before, counters, now)
    model = _expire_probes(replace(model, counters=counters, at=now), now)
    return _observe_loss(model, now)


def _questions(counters: PathCounters) -> int:
    return counters.tx_segments + counters.flows_opened + counters.syn_retransmissions


def _observe_rtt(
    model: PathModel, before: PathCounters, counters: PathCounters, now: float
) -> PathModel:
    samples = counters.rtt_samples - before.rtt_samples
    if samples <= 0:
        return model
    total = counters.rtt_sum - before.rtt_sum
    spread = (counters.rtt_dev_sum - before.rtt_dev_sum) / samples
    step = (counters.rtt_step_sum - before.rtt_step_sum) / samples
    model = _smooth(model, total / samples, spread, samples, now)
    return replace(
        model,
        passive_at=now,
        jitter=step + (model.jitter - step) * (1 - JITTER_GAIN) ** samples,
        recent=_keep_recent(model, (now, samples, total), now),
    )


def _smooth(model: PathModel, rtt: float, spread: float, samples: int, now: float) -> PathModel:
    """RFC 6298 section 2.2 and 2.3, its gains compounded over the tick's samples."""
    if model.srtt is None:
        return replace(model, srtt=rtt, rttvar=rtt / 2, smoothed=1)
    weight = min(samples, MOST_SAMPLES)
    beta = 1 - (1 - BETA) ** weight
    alpha = 1 - (1 - ALPHA) ** weight
    deviation = max(abs(rtt - model.srtt), spread)
    return replace(
        model,
        rttvar=(1 - beta) * model.rttvar + beta * deviation,
        srtt=(1 - alpha) * model.srtt + alpha * rtt,
        smoothed=min(SETTLED, model.smoothed + 1),
    )


def _keep_recent(
    model: PathModel, sample: tuple[float, int, float], now: float
) -> tuple[tuple[float, int, float], ...]:
    return (*(s for s in model.recent if now - s[0] <= RECENT), sample)


def _observe_streams(
    model: PathModel, before: PathCounters, counters: PathCounters, now: float
) -> PathModel:
    segments = counters.rx_segments - before.rx_segments
    packets = counters.rx_packets - before.rx_packets
    elapsed = now - model.at
    return replace(
        model,
        data=_follow(model.data, segments, elapsed, now),
        arrivals=_follow(model.arrivals, packets, elapsed, now),
    )


def _follow(stream: Stream, count: int, elapsed: float, now: float) -> Stream:
    """The stream after ``count`` more arrivals in ``elapsed`` seconds."""
    if count <= 0 or elapsed <= 0:
        return Stream() if now - stream.at > STEADY_END else stream
    gap = elapsed / count
    if stream.gap is None:
        return Stream(gap, now, now)
    share = min(1.0, elapsed / STEADY_FOR)
    return Stream((1 - share) * stream.gap + share * gap, stream.since, now)


def steady(stream: Stream) -> float | None:
    """Mean spacing (s) of a stream that has lasted; None when there is none."""
    if stream.gap is None or stream.gap > STEADY_GAP or stream.at - stream.since < STEADY_FOR:
        return None
    return stream.gap


def end_streams(model: PathModel) -> PathModel:
    """They stopped and the path is alive: the far end had no more to say."""
    return replace(model, data=Stream(), arrivals=Stream())


def _observe_loss(model: PathModel, now: float) -> PathModel:
    counters = model.counters
    if counters is None or (model.losses and now - model.losses[-1][0] < LOSS_STEP):
        return model
    outbound = max(0, counters.retransmitted_segments - counters.spurious_segments)
    sent = counters.tx_segments + counters.rx_segments
    lost = outbound + counters.refilled_segments
    if model.counts_probes:
        sent, lost = sent + model.probes_sent, lost + model.probes_lost
    kept = tuple(entry for entry in model.losses if now - entry[0] <= LOSS_MEMORY)
    return replace(model, losses=(*kept, (now, sent, lost)))


def _expire_probes(model: PathModel, now: float) -> PathModel:
    limit = max(PROBE_OVERDUE, 4 * (model.srtt or 0.0))
    waiting = tuple(at for at in model.outstanding if now - at <= limit)
    overdue = len(model.outstanding) - len(waiting)
    if not overdue:
        return model
    return replace(model, outstanding=waiting, probes_lost=model.probes_lost + overdue)


def probe_sent(model: PathModel, now: float) -> PathModel:
    return replace(model, outstanding=(*model.outstanding, now), probes_sent=model.probes_sent + 1)


def probe_unsent(model: PathModel) -> PathModel:
    """The last probe never left."""
    if not model.outstanding:
        return model
    return replace(model, outstanding=model.outstanding[:-1], probes_sent=model.probes_sent - 1)


def forget_questions(model: PathModel) -> PathModel:
    """Whoever was asked is not there: that says nothing about the path."""
    sent = max(0, model.probes_sent - len(model.outstanding))
    return replace(model, outstanding=(), probes_sent=sent)


def probe_answered(model: PathModel, rtt: float, at: float, now: float) -> PathModel:
    """A probe came back at ``at``. Its RTT is smoothed only while traffic gives none."""
    least = rtt if model.probe_min is None else min(model.probe_min, rtt)
    waiting = tuple(sent for sent in model.outstanding if abs(sent - (at - rtt)) > SAME_PROBE)
    if not model.counts_probes:
        model = replace(model, counts_probes=True, losses=(), probes_sent=0, probes_lost=0)
    model = replace(model, outstanding=waiting, probe_min=least)
    if now - model.passive_at < 1.0:
        return model
    model = _smooth(model, rtt, 0.0, 1, now)
    return replace(model, recent=_keep_recent(model, (now, 1, rtt), now))


def forget_losses(model: PathModel) -> PathModel:
    """After an outage: what was lost in it says nothing about the path as it is now."""
    return replace(model, losses=(), recent=(), outstanding=())
