# SPDX-License-Identifier: GPL-2.0-or-later
"""Ticks that need no judgement: the counters are taken in, and that no path is silent is seen at a
glance. Pure.

Silence is judged at the tick that finds it; so are losses, which may call for probes at once, and
whatever may show that a path, or a server, is dead or alive. What else ticks say of a path's
quality may wait for LEISURE: it is held against limits for much longer than that.
"""

from __future__ import annotations

from omrfast.core import limits, servers
from omrfast.core.asking import heard_beyond
from omrfast.core.replacing import replace
from omrfast.core.schedule import due_at, look_at
from omrfast.core.state import NEVER, CoreState, PathRecord
from omrfast.core.types import PathState, Role

_S = PathState

LEISURE = 0.1
"""Seconds from a tick to the judgement of what it has measured, at most."""


def again_at(state: CoreState, now: float) -> float | None:
    """When the next tick is due if this one, whose counters the state has taken in, need not be
    judged now; None: it must be."""
    if now >= state.due_at:
        return None
    look = now + limits.BUSY
    for record in state.paths:
        if record.model.losses.lost_at >= now or _revived(record):
            return None
        look = min(look, look_at(record, now))
    again = min(look, state.due_at)
    since = now if state.unjudged_since is None else state.unjudged_since
    return again if now < again <= since + LEISURE else None


def unjudged(state: CoreState, now: float) -> CoreState:
    """The state after a tick that was not judged."""
    return state if state.unjudged_since is not None else replace(state, unjudged_since=now)


def judged(state: CoreState, now: float) -> CoreState:
    """The state after a step that was judged."""
    unsettled = any(_unsettled(record) for record in state.paths)
    return replace(
        state,
        unjudged_since=None,
        due_at=NEVER if unsettled else _due_at(state, now),
    )


def wake(state: CoreState, now: float) -> float:
    """When the next tick is due after a step that was judged."""
    due = state.due_at if state.due_at > NEVER else _due_at(state, now)
    return min((due, now + limits.BUSY, *(look_at(record, now) for record in state.paths)))


def _due_at(state: CoreState, now: float) -> float:
    return min((servers.wake(state), *(due_at(record, now) for record in state.paths)))


def _unsettled(record: PathRecord) -> bool:
    """Every moment may tell more: it is suspect, or somebody's answer is awaited."""
    return record.state is _S.SUSPECT or any(
        entry.waiting_since is not None and entry.answers and not entry.excused and entry.burstable
        for entry in record.targets
    )


def _revived(record: PathRecord) -> bool:
    """Packets arrive on a path that was not known to carry any."""
    if record.role is Role.OFF or not record.link_up:
        return False
    waits = record.state is _S.UNKNOWN or (record.state is _S.DOWN and not record.answers)
    return waits and heard_beyond(record, record.since)
