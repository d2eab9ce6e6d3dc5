# SPDX-License-Identifier: GPL-2.0-or-later
"""From states to what should be: endpoints and route penalties, with the last path protected."""

from __future__ import annotations

from dataclasses import replace

from omrfast.core import limits, quality
from omrfast.core.state import CoreState, PathRecord, Wish
from omrfast.core.types import PathState, Role

PENALTY_DEGRADED = 10_000
PENALTY_PROBATION = 20_000
PENALTY_DOWN = 30_000
"""Above every metric that the configuration admits, and apart from each other."""

_RANK = {
    PathState.UP: 0,
    PathState.SUSPECT: 1,
    PathState.DEGRADED: 2,
    PathState.PROBATION: 3,
    PathState.FAILING: 4,
    PathState.UNREACHABLE: 5,
    PathState.UNKNOWN: 6,
    PathState.DOWN: 7,
}


def wishes(state: CoreState, now: float) -> tuple[tuple[str, Wish], ...]:
    """What every path's endpoint and routes should be, by path name.

    At least one path stays present, without the backup flag that a demotion would give it and
    without a penalty on its routes: the least bad one, if none is good. Nothing is taken away in
    favour of a path that was never heard.
    """
    usable = [record for record in state.paths if record.config.role is not Role.OFF]
    someone_is_up = any(record.sober is PathState.UP for record in usable)
    wished = {record.config.name: _alone(record, someone_is_up, now) for record in state.paths}
    if usable:
        _keep_one(wished, usable, now)
    return tuple(wished.items())


def _alone(record: PathRecord, someone_is_up: bool, now: float) -> Wish:
    """The wish for a path by its own state."""
    if record.config.role is Role.OFF:
        return Wish(present=False, penalty=PENALTY_DOWN)
    backup = record.config.role is Role.BACKUP
    match record.sober:
        case PathState.UP:
            return Wish(present=True, backup=backup, penalty=0)
        case PathState.DEGRADED:
            return Wish(present=True, backup=True, penalty=PENALTY_DEGRADED)
        case PathState.PROBATION:
            return Wish(present=record.admitted, backup=True, penalty=PENALTY_PROBATION)
        case PathState.DOWN:
            return Wish(present=False, penalty=PENALTY_DOWN)
    if someone_is_up and now - record.since > limits.UNHEARD:
        return Wish(backup=True, penalty=PENALTY_DEGRADED)
    return Wish()


def _keep_one(wished: dict[str, Wish], usable: list[PathRecord], now: float) -> None:
    best = min(usable, key=lambda record: _order(record, now))
    if best.sober is PathState.UNKNOWN:
        for record in usable:
            if record.sober in (PathState.DOWN, PathState.UNKNOWN):
                wished[record.config.name] = Wish()
        return
    name = best.config.name
    wish = replace(wished[name], penalty=0)
    if wish.present is False:
        wish = replace(wish, present=True, backup=best.config.role is Role.BACKUP)
    wished[name] = wish
    if best.sober is PathState.PROBATION and not best.admitted:
        # It answers, no more: what is left of a dead path goes when this one has proved itself.
        for record in usable:
            if record.sober is PathState.DOWN:
                other = record.config.name
                wished[other] = replace(wished[other], present=None)
    carries = any(
        record.sober is PathState.UP and not wished[record.config.name].backup for record in usable
    )
    demoted = any(
        wished[record.config.name].backup and record.sober is PathState.DEGRADED
        for record in usable
    )
    if not carries and (demoted or best.config.role is Role.ACTIVE):
        wished[name] = replace(wish, backup=False)


def _order(record: PathRecord, now: float) -> tuple[float, ...]:
    """Least is best. Of the dead, the last one to die: it is still there, and may come back."""
    rank = max(_RANK[record.state], _RANK[record.sober])
    preferred = float(record.config.role is Role.BACKUP)
    if record.state is PathState.DOWN:
        return (rank, float(not record.link_up), -record.since)
    if record.state is PathState.UP:
        return (rank, preferred)
    return (rank, quality.badness(record.model, record.config.quality, now), preferred)
