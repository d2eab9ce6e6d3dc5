# SPDX-License-Identifier: GPL-2.0-or-later
"""From states to what should be: endpoints and route penalties, with the last path protected."""

from __future__ import annotations

from omrfast.core import limits, overrides, quality
from omrfast.core.load import uploads
from omrfast.core.outcome import Wish
from omrfast.core.replacing import replace
from omrfast.core.state import CoreState, Front, PathRecord
from omrfast.core.types import PathState, Role

PENALTY_DEGRADED = 10_000
PENALTY_PROBATION = 20_000
PENALTY_FAILING = 30_000
PENALTY_DOWN = 40_000
"""Above every metric that the configuration admits, and apart from each other by the least one."""

LOST_ALL = 0.01
REPEATS_MOST = 4
LOST_FACTOR = 2.0
"""A single acknowledgement beside a stream is lost that much more often than a segment: measured
0.21 at a loss of 0.1 each way."""
TELL = 2.0
"""Seconds from a path's death in which the peer is told again; then it knows by itself."""

_RANK = {
    PathState.UP: 0,
    PathState.SUSPECT: 1,
    PathState.DEGRADED: 2,
    PathState.PROBATION: 3,
    PathState.FAILING: 4,
    PathState.UNKNOWN: 5,
    PathState.UNREACHABLE: 6,
    PathState.DOWN: 7,
}
_BELOW_SUSPECT = 1.5
_BAD = frozenset({PathState.DEGRADED, PathState.PROBATION, PathState.FAILING})
"""They carry, and how bad they are changes all the time: the one in front stays there unless
another is better by CLEARLY for STAY seconds."""
CLEARLY = 0.7
STAY = 2.0
STAY_DOUBLINGS = 5
STAY_FORGET = 60.0
"""Twice as long each time; the first one again after so long, and what it would have taken."""
_DEAD = frozenset({PathState.DOWN, PathState.UNREACHABLE})
_UNHEARD = _DEAD | {PathState.UNKNOWN}


def wishes(state: CoreState, now: float) -> tuple[tuple[str, Wish], ...]:
    """What every path's endpoint and routes should be, by path name.

    At least one path stays present, without the backup flag that a demotion would give it and
    without a penalty on its routes: the least bad one, if none is good. Nothing is taken away in
    favour of a path that was never heard. The operator's word (``override``) goes before what is
    measured; a path that is switched off stays nevertheless while no other is left, and is left as
    it was found while another has still to be heard.
    """
    records = _heeded(state.paths, now)
    usable = [record for record in records if record.role is not Role.OFF]
    someone_is_up = any(_sober(record) is PathState.UP for record in usable)
    wished = {record.config.name: _alone(record, someone_is_up, now) for record in records}
    if usable:
        _keep_one(wished, usable, _front(state.front, usable, now), now)
    for record in usable:
        name = record.config.name
        if wished[name].present is False and record.state in _DEAD:
            wished[name] = replace(wished[name], repeat=_repeats(record, usable, now))
    for record in state.paths:
        if record.role is Role.OFF and record not in records and _awaits(state.paths, now):
            wished[record.config.name] = Wish()
    return tuple(wished.items())


def _awaits(paths: tuple[PathRecord, ...], now: float) -> bool:
    """Whether one that may be used has not had the time to be heard yet: after a start."""
    return any(
        record.role is not Role.OFF
        and _sober(record) is PathState.UNKNOWN
        and now - record.since <= limits.UNHEARD
        for record in paths
    )


def _heeded(paths: tuple[PathRecord, ...], now: float) -> tuple[PathRecord, ...]:
    """The records, but the operator's OFF for the only path that is left does not count."""
    last = _last(paths, now)
    others = any(record.role is not Role.OFF for record in paths)
    if last is None or (others and _sober(last) in _DEAD):
        return paths
    return tuple(replace(r, override=None) if r is last else r for r in paths)


def _last(paths: tuple[PathRecord, ...], now: float) -> PathRecord | None:
    """The best of those switched off by word, where no other path is heard."""
    off = [r for r in paths if r.override and r.role is Role.OFF and r.config.role is not Role.OFF]
    if not off or any(r.role is not Role.OFF and _sober(r) not in _UNHEARD for r in paths):
        return None
    return min(off, key=lambda record: _order(record, now))


def _keep_last(state: CoreState, now: float) -> CoreState:
    """The state, with the path that is measured although it is switched off."""
    last = None if _awaits(state.paths, now) else _last(state.paths, now)
    if not any(record.kept is not (record is last) for record in state.paths):
        return state
    return replace(
        state,
        paths=tuple(
            overrides.follow(record, replace(record, kept=record is last), now)
            for record in state.paths
        ),
    )


def _repeats(dead: PathRecord, paths: list[PathRecord], now: float) -> int:
    """How many more REMOVE_ADDR than one: so many that all of them are lost with odds of
    LOST_ALL at most, on the worst of the paths that they may take.

    None while we send much: with the subflow that a repetition opens and closes the kernel sends
    all again that no DATA_ACK has covered (__mptcp_retransmit_pending_data), and a bulk upload
    stalls for another 60 to 170 ms; and it is the peer's data that waits for a lost REMOVE_ADDR.
    """
    if now - dead.since > TELL or any(uploads(record.model.load) for record in (dead, *paths)):
        return 0
    losses = (record.model.loss for record in paths if _sober(record) not in _UNHEARD)
    lost = min(1.0, LOST_FACTOR * max((loss for loss in losses if loss), default=0.0))
    return next((n for n in range(REPEATS_MOST) if lost ** (n + 1) <= LOST_ALL), REPEATS_MOST)


def _forced(record: PathRecord) -> bool:
    """To be taken for good, whatever is measured."""
    return record.override is not None and record.override.role is Role.ACTIVE


def _demanded(record: PathRecord) -> bool:
    """Demoted by the operator."""
    return (
        record.override is not None
        and record.override.role is Role.BACKUP
        and record.config.role is not Role.BACKUP
    )


def _sober(record: PathRecord) -> PathState:
    return PathState.UP if _forced(record) else record.sober


def _alone(record: PathRecord, someone_is_up: bool, now: float) -> Wish:
    """The wish for a path by its own state."""
    if record.role is Role.OFF:
        return Wish(present=False, penalty=PENALTY_DOWN)
    match _sober(record):
        case PathState.UP if _demanded(record):
            return Wish(present=True, backup=True, penalty=PENALTY_DEGRADED)
        case PathState.UP:
            return Wish(present=True, backup=record.role is Role.BACKUP, penalty=0)
        case PathState.DEGRADED:
            return Wish(present=True, backup=True, penalty=PENALTY_DEGRADED)
        case PathState.PROBATION:
            return Wish(present=record.admitted, backup=True, penalty=PENALTY_PROBATION)
        case PathState.FAILING:
            return Wish(present=True, backup=True, penalty=PENALTY_FAILING)
        case PathState.DOWN | PathState.UNREACHABLE:
            return Wish(present=False, penalty=PENALTY_DOWN)
    if someone_is_up and now - record.since > limits.UNHEARD:
        return Wish(backup=True, penalty=PENALTY_DEGRADED)
    return Wish()


def settle(state: CoreState, now: float) -> CoreState:
    """The state, with the path that is kept as the last, and the one that carries while none is
    good; part of every step."""
    state = _keep_last(state, now)
    usable = [record for record in _heeded(state.paths, now) if record.role is not Role.OFF]
    if not any(_sober(record) in _BAD for record in usable):
        return state if state.front is None else replace(state, front=None)
    best = min(usable, key=lambda record: _order(record, now))
    held = _front(state.front, usable, now)
    front = state.front or Front(held.config.name)
    if held is best or CLEARLY * _visible(held, now) < _visible(best, now):
        front = replace(front, path=held.config.name, beaten_since=None)
    elif front.beaten_since is None:
        front = replace(front, beaten_since=now)
    elif now - front.beaten_since >= _stay(front.changes):
        remembered = now - front.changed_at <= STAY_FORGET + _stay(front.changes)
        changes = front.changes + 1 if remembered else 1
        front = Front(best.config.name, None, changes, now)
    return state if front == state.front else replace(state, front=front)


def _stay(changes: int) -> float:
    return STAY * 2.0 ** min(changes, STAY_DOUBLINGS)


def _visible(record: PathRecord, now: float) -> float:
    """Its badness; whatever is within the limits is as good as any."""
    return max(1.0, quality.badness(record.model, record.config.quality, now))


def _front(front: Front | None, usable: list[PathRecord], now: float) -> PathRecord:
    """The best one, or the one that was in front if no worse state than that has befallen it."""
    best = min(usable, key=lambda record: _order(record, now))
    for record in usable:
        if front is not None and record.config.name == front.path and _sober(best) in _BAD:
            as_bad = _order(record, now)[0] == _order(best, now)[0]
            return record if as_bad else best
    return best


def _keep_one(
    wished: dict[str, Wish], usable: list[PathRecord], best: PathRecord, now: float
) -> None:
    if _sober(best) is PathState.UNKNOWN:
        for record in usable:
            if _sober(record) in _UNHEARD:
                wished[record.config.name] = Wish()
        return
    name = best.config.name
    wish = replace(wished[name], penalty=0)
    if wish.present is False:
        wish = replace(wish, present=True, backup=best.role is Role.BACKUP)
    wished[name] = wish
    if _sober(best) is PathState.PROBATION and not best.admitted:
        # It answers, no more: what is left of a dead path goes when this one has proved itself.
        for record in usable:
            if _sober(record) in _DEAD:
                other = record.config.name
                wished[other] = replace(wished[other], present=None)
    carries = any(
        _sober(record) is PathState.UP and not wished[record.config.name].backup
        for record in usable
    )
    demoted = any(
        wished[record.config.name].backup
        and wished[record.config.name].present
        and (_demanded(record) or _sober(record) in _BAD)
        for record in usable
    )
    if not carries and (demoted or best.role is Role.ACTIVE):
        wished[name] = replace(wish, backup=False)


def _order(record: PathRecord, now: float) -> tuple[float, ...]:
    """Least is best. Of the dead, the last one to die: it is still there, and may come back."""
    preferred = 2.0 if _demanded(record) else float(record.role is Role.BACKUP)
    if _forced(record):
        return (0.0, preferred)
    rank = max(_RANK[record.state], _RANK[record.sober])
    if record.state in _DEAD:
        return (rank, float(not record.link_up), -record.since)
    if record.state is PathState.UP:
        # A good path does not lose its place to one that was demoted by word for a mere suspicion.
        return (_BELOW_SUSPECT if _demanded(record) else rank, preferred)
    return (rank, quality.badness(record.model, record.config.quality, now), preferred)
