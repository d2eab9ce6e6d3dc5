# SPDX-License-Identifier: GPL-2.0-or-later
"""Our own load on a path: its rates, what it has carried, and how full that makes its queue. Pure.

What a path does under our own load is no fault of its own: its queue grows (bufferbloat), and
where the queue is full it drops. Bytes a second, seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from omrfast.core.replacing import replace
from omrfast.core.types import PathCounters

STEP = 0.25
LOOK_BACK = 1.0
"""A queue is there for so long after the load that filled it."""
FORGET = 300.0
"""Half-life of what is remembered of a path's capacity."""
LEAST = 48_000.0
"""Less is no load for any uplink (384 kbit/s)."""
WINDOW = 15_000.0
"""Nor is less than this in a round trip: the initial window of one connection (RFC 6928)."""
MORE = 1.5
"""So much more than a path was ever seen to carry without delay may be too much for it."""
NEAR = 0.7
"""A share of the most it ever carried: it may be full."""
SEGMENT, ACKNOWLEDGEMENT = 1500, 100
"""Bytes that an IP packet with TCP data, and one that acknowledges some, has at most."""
UNDELAYED = 1.25
UNDELAYED_LEAST = 0.010
"""An RTT up to this factor, or this much, above the least of late is no delay."""
FULL = 0.4
FULL_RISE = 0.020
FULL_LEAST = 0.004
"""A queue is full when the RTT has risen by this share of the most that our load ever made it
rise, or by FULL_RISE, and at least by FULL_LEAST."""


@dataclass(frozen=True, slots=True)
class Rate:
    at: float
    tx: float
    rx: float
    rtt: float | None
    """Mean in this step; None: no sample."""
    unanswered: float = 0.0
    """What left and was neither TCP data nor its acknowledgement: nobody need answer it."""


@dataclass(frozen=True, slots=True)
class Load:
    at: float = 0.0
    """When the present step began, and the counters then:"""
    tx_bytes: int = 0
    rx_bytes: int = 0
    rtt_sum: float = 0.0
    rtt_samples: int = 0
    tx_segments: int = 0
    rx_segments: int = 0
    recent: tuple[Rate, ...] = ()
    """Steps that ended in the last LOOK_BACK seconds, and one more."""
    peak: tuple[float, float] = (0.0, 0.0)
    """The most it carried (out, in); fades."""
    proven: tuple[float, float] = (0.0, 0.0)
    """The most it carried without a delay; fades."""
    queue: float = 0.0
    """The most that load made the RTT rise; fades."""
    delayed_at: float = float("-inf")
    """When it last made it rise."""


def uploads(load: Load) -> bool:
    """Whether, of late, more left than arrived, and enough for it to lie in queues."""
    return any(step.tx > max(step.rx, LEAST) for step in load.recent)


def observe(load: Load, counters: PathCounters, floor: float | None, now: float) -> Load:
    """Take in the counters; ``floor``: the least RTT of late."""
    elapsed = now - load.at
    again = counters.tx_bytes < load.tx_bytes or counters.rx_bytes < load.rx_bytes or not load.at
    if elapsed < STEP and not again:
        return load
    started = replace(
        load,
        at=now,
        tx_bytes=counters.tx_bytes,
        rx_bytes=counters.rx_bytes,
        rtt_sum=counters.rtt_sum,
        rtt_samples=counters.rtt_samples,
        tx_segments=counters.tx_segments,
        rx_segments=counters.rx_segments,
    )
    if again:
        return replace(started, recent=())
    samples = counters.rtt_samples - load.rtt_samples
    rtt = (counters.rtt_sum - load.rtt_sum) / samples if samples > 0 else None
    tx = (counters.tx_bytes - load.tx_bytes) / elapsed
    rx = (counters.rx_bytes - load.rx_bytes) / elapsed
    kept = tuple(rate for rate in load.recent if now - rate.at <= LOOK_BACK + STEP)
    known = SEGMENT * (counters.tx_segments - load.tx_segments)
    known += ACKNOWLEDGEMENT * (counters.rx_segments - load.rx_segments)
    unanswered = max(0.0, tx - known / elapsed)
    started = replace(started, recent=(*kept, Rate(now, tx, rx, rtt, unanswered)))
    return _learn(started, (tx, rx), rtt, floor, 0.5 ** (elapsed / FORGET))


def _learn(
    load: Load, rates: tuple[float, float], rtt: float | None, floor: float | None, fade: float
) -> Load:
    load = replace(
        load,
        peak=_most(load.peak, fade, rates),
        proven=_most(load.proven, fade, (0.0, 0.0)),
        queue=load.queue * fade,
    )
    if rtt is None or floor is None:
        return load
    if rtt <= max(UNDELAYED * floor, floor + UNDELAYED_LEAST):
        return replace(load, proven=_most(load.proven, 1.0, rates))
    if loaded(load, floor):
        load = replace(load, delayed_at=load.at)
    if any(_busy(load, way, floor, NEAR) for way in (0, 1)):
        load = replace(load, queue=max(load.queue, rtt - floor))
    return load


def _most(known: tuple[float, float], fade: float, now: tuple[float, float]) -> tuple[float, float]:
    return max(known[0] * fade, now[0]), max(known[1] * fade, now[1])


def _rate(load: Load, way: int) -> float:
    return max(((r.tx, r.rx)[way] for r in load.recent), default=0.0)


def _busy(load: Load, way: int, floor: float, share: float) -> bool:
    """Near the most that it ever carried, and more than a few connections' first window."""
    rate = _rate(load, way)
    return rate >= max(LEAST, WINDOW / max(floor, 1e-4), share * load.peak[way])


def loaded(load: Load, floor: float | None) -> bool:
    """Whether our own load may be what delays: more than the path is known to carry without, or
    about as much as it ever carried."""
    if floor is None:
        return False
    return any(
        _busy(load, way, floor, NEAR) or _rate(load, way) > max(LEAST, MORE * load.proven[way])
        for way in (0, 1)
    )


def answered(load: Load, floor: float | None) -> bool:
    """Whether the path is busy with what is answered: as long as its queue is not empty, something
    arrives. Outbound load of other kinds may fill a queue without a sign."""
    if floor is None or not any(_busy(load, way, floor, NEAR / 2) for way in (0, 1)):
        return False
    return all(rate.unanswered < LEAST for rate in load.recent)


def full(load: Load, floor: float | None) -> tuple[bool, bool]:
    """Whether our own load fills the queue of the path (outbound, inbound)."""
    if floor is None:
        return False, False
    rise = max((r.rtt - floor for r in load.recent if r.rtt is not None), default=0.0)
    if rise < max(FULL_LEAST, min(FULL * load.queue, FULL_RISE)):
        return False, False
    return _busy(load, 0, floor, NEAR / 2), _busy(load, 1, floor, NEAR / 2)
