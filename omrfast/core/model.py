# SPDX-License-Identifier: GPL-2.0-or-later
"""What a path's counters and probe replies say about it: estimators, no judgement.

All functions are pure: they take a model and return a new one. Seconds everywhere; ``now`` is
CLOCK_MONOTONIC.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from omrfast.core import load as loads
from omrfast.core import losses as lossy
from omrfast.core import shares, streams
from omrfast.core.load import Load
from omrfast.core.losses import Losses
from omrfast.core.replacing import replace
from omrfast.core.streams import Stream
from omrfast.core.types import PathCounters, RttTail

ALPHA = 1 / 8
BETA = 1 / 4
"""Gains of RFC 6298 section 2, per sample."""
SETTLED = 10
"""After this many samples RTTVAR has forgotten its initial half of the first RTT."""
JITTER_GAIN = 1 / 16
"""RFC 3550 section 6.4.1, per sample."""
MOST_SAMPLES = 8
"""A tick's samples beyond this many add no weight: they share one moment."""

RECENT = 0.35
"""Window of ``recent_rtt``: long enough for several samples, short beside any ``hold``."""
FLOOR_STEP = 60.0
FLOORS = 15
"""The baseline is the least RTT of so many steps: what a path was like a quarter of an hour ago."""
PROBE_OVERDUE = 2.0
"""A probe without an answer is waited for so long, or 4 smoothed RTTs, if longer."""
PROBE_SLACK = 0.02
"""Beyond SRTT and 4 RTTVAR, before one that others have overtaken counts as lost."""
LOW_STEP = 2.5
LOWS = 5
"""The least RTT of late is that of so many steps: ten seconds or a little more, in which BBR lets
its queue run empty once."""
SAME_PROBE = 0.004
"""Packets of one probe, to several targets, leave within this time."""


@dataclass(frozen=True, slots=True)
class PathModel:
    counters: PathCounters | None = None
    at: float = 0.0
    srtt: float | None = None
    rttvar: float = 0.0
    jitter: float = 0.0
    """RFC 3550's, between successive samples of one flow, over all flows."""
    step: tuple[float, float] = (float("-inf"), 0.0)
    """When the newest of these differences was read, and the mean of those read with it."""
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
    floors: tuple[tuple[float, float], ...] = ()
    """(begin, least RTT) of the last FLOORS steps of FLOOR_STEP seconds in which there was one."""
    lows: tuple[tuple[float, float], ...] = ()
    """The same of the last LOWS steps of LOW_STEP seconds."""
    tail: RttTail | None = None
    tail_at: float = float("-inf")
    """Of the samples of the last seconds, and when it was taken."""
    losses: Losses = field(default_factory=Losses)
    load: Load = field(default_factory=Load)
    data: Stream = field(default_factory=Stream)
    """Data segments that arrive."""
    arrivals: Stream = field(default_factory=Stream)
    """Packets of any kind that arrive."""
    ends: tuple[float, ...] = ()
    """When streams stopped that no fault had stopped, the last few."""
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
    def last_rtt(self) -> float | None:
        """Mean of the newest samples, however old."""
        return self.recent[-1][2] / self.recent[-1][1] if self.recent else self.srtt

    @property
    def loss(self) -> float | None:
        """Share of what crossed the path lately that was lost, our own overload included; None
        with too little to tell."""
        crossed, lost = shares.shown(self.losses)
        return min(1.0, lost / crossed) if crossed >= shares.SHOWN_LEAST else None

    @property
    def baseline(self) -> float | None:
        """The least RTT of the last quarter of an hour."""
        return min((least for _, least in self.floors), default=None)

    def floor(self, now: float) -> float | None:
        """The least RTT of the last minute or two."""
        return min((r for at, r in self.floors if now - at < 2 * FLOOR_STEP), default=None)

    def low(self, now: float) -> float | None:
        """The least RTT of the last ten seconds or a little more."""
        return min((r for at, r in self.lows if now - at < LOWS * LOW_STEP), default=None)

    def loaded(self, now: float) -> bool:
        """Whether our own load may be what delays."""
        return loads.loaded(self.load, self.floor(now))


def observe(model: PathModel, counters: PathCounters, now: float) -> PathModel:
    """Take in a path's counters as read at ``now``."""
    before = model.counters
    if before is None or counters.rtt_samples < before.rtt_samples:
        return replace(
            model,
            counters=counters,
            at=now,
            losses=replace(lossy.forget(model.losses), seen=lossy.counts(counters)),
            load=loads.observe(model.load, counters, None, now),
            data=Stream(),
            arrivals=Stream(),
        )
    model = _observe_rtt(model, before, counters, now)
    floor = model.floor(now)
    load = loads.observe(model.load, counters, floor, now)
    losses = lossy.expire(model.losses, now, _patience(model))
    data, arrivals = _streams(model, before, counters, now)
    asked = _questions(counters) > _questions(before)
    return replace(
        model,
        counters=counters,
        at=now,
        traffic_at=now if asked else model.traffic_at,
        load=load,
        losses=lossy.observe(losses, counters, now, full=loads.full(load, floor)),
        data=data,
        arrivals=arrivals,
        outstanding=_outstanding(model, now),
    )


def unread(model: PathModel, now: float) -> PathModel:
    """A read without this path's counters: only its probes tell of it."""
    losses = lossy.expire(model.losses, now, _patience(model))
    return replace(model, at=now, losses=losses, outstanding=_outstanding(model, now))


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
    return _sampled(
        model,
        total / samples,
        spread,
        samples,
        now,
        passive_at=now,
        jitter=step + (model.jitter - step) * (1 - JITTER_GAIN) ** samples,
        step=(now, step),
        recent=_keep_recent(model, (now, samples, total), now),
    )


def _sampled(
    model: PathModel, rtt: float, spread: float, samples: int, now: float, **more: object
) -> PathModel:
    """After so many samples, in the mean ``rtt``; ``more``: other members that change.

    RFC 6298 section 2.2 and 2.3, its gains compounded over the tick's samples.
    """
    if model.srtt is None:
        srtt, rttvar, smoothed = rtt, rtt / 2, 1
    else:
        weight = min(samples, MOST_SAMPLES)
        beta = 1 - (1 - BETA) ** weight
        alpha = 1 - (1 - ALPHA) ** weight
        deviation = max(abs(rtt - model.srtt), spread)
        rttvar = (1 - beta) * model.rttvar + beta * deviation
        srtt = (1 - alpha) * model.srtt + alpha * rtt
        smoothed = min(SETTLED, model.smoothed + 1)
    return replace(
        model,
        srtt=srtt,
        rttvar=rttvar,
        smoothed=smoothed,
        floors=_least(model.floors, FLOORS, FLOOR_STEP, rtt, now),
        lows=_least(model.lows, LOWS, LOW_STEP, rtt, now),
        **more,
    )


def _least(
    steps: tuple[tuple[float, float], ...], most: int, length: float, rtt: float, now: float
) -> tuple[tuple[float, float], ...]:
    """(begin, least) of up to ``most`` steps after one more value."""
    if not steps or now - steps[-1][0] >= length:
        return (*steps[1 - most :], (now, rtt))
    begin, least = steps[-1]
    return steps if rtt >= least else (*steps[:-1], (begin, rtt))


def _keep_recent(
    model: PathModel, sample: tuple[float, int, float], now: float
) -> tuple[tuple[float, int, float], ...]:
    return (*(s for s in model.recent if now - s[0] <= RECENT), sample)


def _streams(
    model: PathModel, before: PathCounters, counters: PathCounters, now: float
) -> tuple[Stream, Stream]:
    """Data, and arrivals of any kind, from look to look."""
    data, arrivals, at = model.data, model.arrivals, model.at
    packets, segments = before.rx_packets, before.rx_segments
    last_rx = now if counters.last_rx is None else counters.last_rx
    read = (now, last_rx, counters.rx_packets, counters.rx_segments, 0, 0)
    for look_at, last, packets_then, segments_then, _, _ in (*counters.looks, read):
        data = streams.follow(data, segments_then - segments, last, at, look_at)
        arrivals = streams.follow(arrivals, packets_then - packets, last, at, look_at)
        at, packets, segments = look_at, packets_then, segments_then
    return data, arrivals


def end_streams(model: PathModel, now: float) -> PathModel:
    """They stopped and the path is alive: the far end had no more to say."""
    return replace(
        model,
        data=streams.end(model.data),
        arrivals=streams.end(model.arrivals),
        ends=(*model.ends[1 - streams.ENDS_KNOWN :], now),
    )


def _patience(model: PathModel) -> float:
    """How long an answer may take before one that was overtaken counts as lost."""
    return (model.srtt or 0.0) + 4 * model.rttvar + PROBE_SLACK


def _outstanding(model: PathModel, now: float) -> tuple[float, ...]:
    """The probes that are still waited for."""
    if not model.outstanding:
        return ()
    limit = max(PROBE_OVERDUE, 4 * (model.srtt or 0.0))
    return tuple(at for at in model.outstanding if now - at <= limit)


def probe_sent(model: PathModel, now: float, whom: Iterable[str] = ("",)) -> PathModel:
    """Asked, at the same moment, are ``whom``, by their keys."""
    losses = model.losses
    for key in whom:
        losses = lossy.ask(losses, key, now)
    return replace(model, outstanding=(*model.outstanding, now), losses=losses)


def probe_unsent(model: PathModel, whom: str = "") -> PathModel:
    """The last probe, or the last one to them, never left."""
    return replace(
        model, outstanding=model.outstanding[:-1], losses=lossy.unask(model.losses, whom)
    )


def probe_answered(
    model: PathModel,
    rtt: float,
    at: float,
    now: float,
    whom: str = "",
    before: float | None = None,
) -> PathModel:
    """A probe came back at ``at``. Its RTT is smoothed only while traffic gives none.

    ``before``: RTT of the answer before it from the same target; None: there was none.
    """
    least = rtt if model.probe_min is None else min(model.probe_min, rtt)
    waiting = tuple(sent for sent in model.outstanding if abs(sent - (at - rtt)) > SAME_PROBE)
    losses = lossy.answer(model.losses, whom, at - rtt)
    model = replace(model, outstanding=waiting, probe_min=least, losses=losses)
    if now - model.passive_at < 1.0:
        return model
    step, jitter = model.step, model.jitter
    if before is not None:
        step = now, abs(rtt - before)
        jitter += JITTER_GAIN * (step[1] - jitter)
    recent = _keep_recent(model, (now, 1, rtt), now)
    return _sampled(model, rtt, 0.0, 1, now, step=step, jitter=jitter, recent=recent)


def tail_seen(model: PathModel, tail: RttTail, now: float) -> PathModel:
    return replace(model, tail=tail, tail_at=now)


def forget_losses(model: PathModel) -> PathModel:
    """After an outage: what was lost in it says nothing about the path as it is now."""
    losses = lossy.forget(model.losses)
    return replace(model, losses=losses, recent=(), outstanding=(), tail=None)
