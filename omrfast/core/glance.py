# SPDX-License-Identifier: GPL-2.0-or-later
"""When the counters are to be looked at again after a step, and what may be overlooked then. Pure.

Silence has to be noticed within milliseconds, so that beside traffic the counters are read some
thirty times a second; what else they say, of quality above all, may wait for LEISURE, for it is
held against limits for much longer than that. So a step ends with a Watch, and the next tick comes
when a look shows more than that packets go on arriving (watch.py), or when LEISURE is over.
"""

from __future__ import annotations

from omrfast.core import limits, servers, signs
from omrfast.core.schedule import due_at, is_listened_to
from omrfast.core.state import NEVER, CoreState, PathRecord
from omrfast.core.types import NOTHING, PathState
from omrfast.core.watch import Watch, Watched, silent_at

_S = PathState

LEISURE = 0.2
"""Seconds from the first look after a tick to the next tick, at most; where looks are rarer than
that, each is a tick."""


def watch(state: CoreState, now: float) -> tuple[Watch, float]:
    """What looks from now on are held against, and when the next one is due."""
    heeded = [record for record in state.paths if is_listened_to(record) or _waits(record)]
    settled = not any(map(_unsettled, state.paths)) and all(map(_simple, heeded))
    due = min((servers.wake(state), *(due_at(record, now) for record in state.paths)))
    paths = tuple(map(_watched, heeded))
    latest = min((record.model.at for record in state.paths), default=now) + limits.BUSY
    wake_at = min((due, latest, *map(silent_at, paths)))
    if not settled:
        return Watch(NEVER, paths), wake_at
    at_leisure = wake_at < now + LEISURE
    return Watch(min(wake_at + LEISURE, due) if at_leisure else wake_at, paths), wake_at


def _unsettled(record: PathRecord) -> bool:
    """Every moment may tell more: it is suspect, or somebody's answer is awaited."""
    return record.state is _S.SUSPECT or any(
        entry.waiting_since is not None and entry.answers and not entry.excused and entry.burstable
        for entry in record.targets
    )


def _waits(record: PathRecord) -> bool:
    """Whether packets that arrive on it show that it carries any."""
    if record.unused or not record.link_up:
        return False
    return record.state is _S.UNKNOWN or (record.state is _S.DOWN and not record.answers)


def _simple(record: PathRecord) -> bool:
    """Whether its traffic alone says what is open."""
    if record.model.counters is None or record.by_gateway:
        return False
    return all(at <= record.heard for at in record.model.outstanding)


def _watched(record: PathRecord) -> Watched:
    counters = record.model.counters
    return Watched(
        record.config.name,
        signs.allowance(record) if is_listened_to(record) else signs.FOREVER,
        record.asked,
        record.heard,
        record.model.at,
        NOTHING if counters is None else counters.glimpse,
        _waits(record),
    )
