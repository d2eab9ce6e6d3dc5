# SPDX-License-Identifier: GPL-2.0-or-later
"""Which limit a path that is alive is beyond, and whether that is its own fault. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from omrfast.core import shares
from omrfast.core.config import PathConfig, probe_budget
from omrfast.core.losses import MEMORY
from omrfast.core.state import Evidence, PathRecord
from omrfast.core.types import Objective, PathState

EXIT = 0.75
"""A path comes back below this share of the limit that it had crossed; and another path is
better if its RTT is below this share."""
BULK_LOSS = 0.22
"""Under `objective = "throughput"` a path must lose more than this. Measured with two uplinks of
20 Mbit/s, BBR: with one of them losing 20 % the bond carries 22 Mbit/s, with 25 % 16, without it
18."""
QUICK = 1.5
QUICK_ROUNDS = 10
QUICK_MOST = 4.0
"""Seconds, and round trips if they take longer: the window for losses well beyond the limit,"""
SURELY = 0.6
"""such as a path hardly shows that loses this share of it."""
ENOUGH = 140
"""Crossings in that window, where dense probes can make them up."""
MUTE = 0.5
MUTE_MOST = 10.0
"""Seconds without TCP from anywhere, after which losses may be those of a server; see servers.py,
which finds out."""
RISE_LEAST = 0.050
"""Seconds above the baseline that matter at all."""
TAIL_FRESH = 5.0
TAIL_SAMPLES = 200
"""A p99 of fewer samples is a matter of one or two of them."""
TAIL_LOAD = 20.0
"""The tail remembers for so long what our own load did."""


@dataclass(frozen=True, slots=True)
class Fault:
    evidence: Evidence
    words: str
    own: bool = False
    """Our own load may have made it."""
    moments: bool = False
    """It may rest on a single late sample: bad ones have to be read at several moments."""
    moment: float | None = None
    """When the newest sample was read, if it is bad itself."""
    probes: bool = False
    """Nothing but lost probes shows it."""


def loss_limit(config: PathConfig) -> float:
    """Share of one direction, by what the operator wants."""
    if config.objective is Objective.THROUGHPUT:
        return max(BULK_LOSS, config.quality.max_loss)
    return config.quality.max_loss


def find(record: PathRecord, others: Iterable[PathRecord], now: float) -> Fault | None:
    """The first limit that the path is beyond; one that is its own fault before all others."""
    others = tuple(others)
    found = [fault for fault in (check(record, others, now) for check in _CHECKS) if fault]
    return min(found, key=lambda fault: fault.own, default=None)


def better(record: PathRecord, others: Iterable[PathRecord], now: float) -> PathRecord | None:
    """Another path that is up and whose RTT is well below this one's."""
    rtt = record.model.recent_rtt(now) or record.model.last_rtt
    for other in others:
        theirs = other.model.recent_rtt(now) or other.model.last_rtt
        if other.state is PathState.UP and rtt and theirs and theirs <= EXIT * rtt:
            return other
    return None


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"


def _rtt(record: PathRecord, others: tuple[PathRecord, ...], now: float) -> Fault | None:
    most = record.config.quality.max_rtt
    rtt = record.model.recent_rtt(now)
    if rtt is None or rtt <= most:
        return None
    words = f"RTT {_ms(rtt)} > {_ms(most)}"
    return Fault(Evidence("rtt", rtt, most), words, _own(record, now), True, _late(record, most))


def _late(record: PathRecord, most: float) -> float | None:
    """When the newest samples were read, if they are beyond that."""
    at, samples, total = record.model.recent[-1]
    return at if total > most * samples else None


def _own(record: PathRecord, now: float) -> bool:
    floor = record.model.floor(now)
    return floor is not None and floor <= record.config.quality.max_rtt and record.model.loaded(now)


def _loss(record: PathRecord, others: tuple[PathRecord, ...], now: float) -> Fault | None:
    limit = loss_limit(record.config)
    rounds = QUICK_ROUNDS * (record.model.srtt or 0.0)
    window = QUICK_MOST if record.gentle else min(QUICK_MOST, max(QUICK, rounds))
    share = shares.beyond(record.model.losses, now, window, limit, SURELY * limit)
    if share is not None and share.crossed < ENOUGH and _can_ask(record):
        share = None
    if share is None and record.state is PathState.UP:
        share = shares.beyond(record.model.losses, now, MEMORY, limit, limit)
    if share is None or now - share.since < record.config.quality.hold:
        return None
    if _unheeded(record, others, now):
        return None
    words = f"loss {share.ratio:.1%} > {limit:.1%} ({share.lost} of {share.crossed})"
    evidence = Evidence("loss", share.ratio, limit, share.since)
    return Fault(evidence, words, probes=share.probes)


def _unheeded(record: PathRecord, others: tuple[PathRecord, ...], now: float) -> bool:
    """What leaves has no answer, on any path: that is no share of loss."""
    last = max(r.tcp_at for r in (record, *others))
    again = any(step.out_lost > 0 and step.at > last for step in record.model.losses.fine)
    return bool(others) and again and MUTE < now - last <= MUTE_MOST


def _can_ask(record: PathRecord) -> bool:
    return record.answers and not record.gentle and probe_budget(record.config) is None


def tail(record: PathRecord, now: float) -> float | None:
    """The 99th percentile of the RTT; None: it is old, or of too few samples."""
    known = record.model.tail
    old = now - record.model.tail_at > TAIL_FRESH
    return None if known is None or old or known.samples < TAIL_SAMPLES else known.p99


def _p99(record: PathRecord, others: tuple[PathRecord, ...], now: float) -> Fault | None:
    most = record.config.quality.max_p99
    p99 = tail(record, now)
    if p99 is None or p99 <= most:
        return None
    own = now - record.model.load.delayed_at < TAIL_LOAD
    words = f"99th percentile of the RTT {_ms(p99)} > {_ms(most)}"
    return Fault(Evidence("p99", p99, most), words, own)


def _rise(record: PathRecord, others: tuple[PathRecord, ...], now: float) -> Fault | None:
    most = record.config.quality.max_rise
    rtt, baseline = record.model.recent_rtt(now), record.model.baseline
    if rtt is None or not baseline:
        return None
    usual = max(most * baseline, baseline + RISE_LEAST)
    if rtt <= usual:
        return None
    other = better(record, others, now)
    if other is None:
        return None
    words = f"RTT {_ms(rtt)} is {rtt / baseline:.1f} times its {_ms(baseline)} (limit {most:g})"
    words += f", {other.config.name} is better"
    own = record.model.loaded(now)
    return Fault(Evidence("rise", rtt / baseline, most), words, own, True, _late(record, usual))


def _jitter(record: PathRecord, others: tuple[PathRecord, ...], now: float) -> Fault | None:
    most = record.config.quality.max_jitter
    jitter = record.model.jitter
    if jitter <= most or record.model.recent_rtt(now) is None:
        return None
    own = record.model.loaded(now)
    at, step = record.model.step
    words = f"jitter {_ms(jitter)} > {_ms(most)}"
    return Fault(Evidence("jitter", jitter, most), words, own, True, at if step > most else None)


_CHECKS: tuple[Callable[[PathRecord, tuple[PathRecord, ...], float], Fault | None], ...] = (
    _rtt,
    _loss,
    _p99,
    _rise,
    _jitter,
)
