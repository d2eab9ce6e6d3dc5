# SPDX-License-Identifier: GPL-2.0-or-later
"""How often a path's targets are asked: by state, by role, and by what it may cost. Pure."""

from __future__ import annotations

from zlib import crc32

from omrfast.core import budget, limits
from omrfast.core import model as measure
from omrfast.core.services import is_service
from omrfast.core.state import PathRecord, TargetRecord
from omrfast.core.transitions import GIVEN_UP
from omrfast.core.types import PathState

_S = PathState
REGULAR_SHARE = 0.75
SERVICE_SHARE = 0.2
"""Of what flows into a budget: what regular probes and services take at most."""


def is_watched(record: PathRecord, now: float) -> bool:
    """Losses were noticed and denser probes asked for, which a budget does not pay."""
    return now < record.watch_until and budget.limit(record.config) is None


def interval(record: PathRecord, cost: int, now: float) -> float:
    """Seconds between two of the path's own probes of so many bytes."""
    lasts_long = now - record.since > limits.SLOW_AFTER
    if is_watched(record, now):
        return limits.LOSS_PROBES[record.gentle]
    if record.sober in GIVEN_UP:
        wanted = limits.DOWN_PROBE_SLOW if lasts_long else limits.DOWN_PROBE
        return budget.stretch(record, wanted, cost, now)
    if record.sober in (_S.DEGRADED, _S.PROBATION):
        return limits.WATCH_PROBE_SLOW if lasts_long else limits.WATCH_PROBE
    if record.sober in (_S.UNKNOWN, _S.FAILING) or (_is_new(record) and not lasts_long):
        wanted = limits.WATCH_PROBE_SLOW if lasts_long else limits.WATCH_PROBE
        return budget.stretch(record, wanted, cost, now)
    if record.bad_since is not None:
        return budget.stretch(record, limits.WATCH_PROBE, cost, now)
    return budget.stretch(record, _idle(record, cost, now), cost, now)


def _is_new(record: PathRecord) -> bool:
    """Nobody has answered or ignored us yet, or too few samples say what is normal."""
    known = record.answers or record.deaf
    return not known or record.model.smoothed < measure.SETTLED


def _idle(record: PathRecord, cost: int, now: float) -> float:
    own = record.config.probe_interval
    wanted = limits.IDLE_PROBE[record.role] if own is None else own
    most = budget.limit(record.config)
    if most is not None:
        wanted = max(wanted, _least(most, cost, REGULAR_SHARE))
    else:
        gone = [e.waiting_since or now for e in record.targets if e.excused and e.burstable]
        if gone:
            just = now - max(gone) < limits.SLOW_AFTER
            wanted = min(wanted, limits.GONE_PROBE if just else limits.GONE_PROBE_SLOW)
    return wanted * spread(record, str(record.rounds))


def _least(most: int, cost: int, share: float) -> float:
    """The interval at which probes of that cost take that share of what flows in."""
    return cost * budget.MONTH / (most * budget.RATE * share)


def service_interval(record: PathRecord, entry: TargetRecord) -> float:
    """Seconds between two questions to a service."""
    wanted = entry.target.interval or limits.SERVICE_PROBE
    most = budget.limit(record.config)
    if most is not None:
        all_of_them = sum(e.target.cost for e in record.targets if is_service(e))
        wanted = max(wanted, _least(most, all_of_them, SERVICE_SHARE))
    return wanted * spread(record, f"{entry.target.key} {entry.asked_at}")


def spread(record: PathRecord, seed: str) -> float:
    """A factor that differs from probe to probe and from path to path, but not by chance."""
    share = crc32(f"{record.config.name} {seed}".encode()) / 2**32
    return 1 + limits.SPREAD * (2 * share - 1)
