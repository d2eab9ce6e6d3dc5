# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of the path state machine, and what entering a state means for what is remembered."""

from __future__ import annotations

from omrfast.core import damping
from omrfast.core import losses as lossy
from omrfast.core import model as measure
from omrfast.core.replacing import replace
from omrfast.core.state import Evidence, Fall, PathRecord
from omrfast.core.types import PathState

_S = PathState
TRANSITIONS: dict[PathState, frozenset[PathState]] = {
    _S.UNKNOWN: frozenset({_S.UP, _S.SUSPECT, _S.UNREACHABLE, _S.DOWN}),
    _S.UP: frozenset({_S.SUSPECT, _S.DEGRADED, _S.FAILING, _S.UNREACHABLE, _S.DOWN}),
    _S.SUSPECT: frozenset(
        {_S.UNKNOWN, _S.UP, _S.DEGRADED, _S.PROBATION, _S.FAILING, _S.UNREACHABLE, _S.DOWN}
    ),
    _S.DEGRADED: frozenset({_S.UP, _S.SUSPECT, _S.FAILING, _S.UNREACHABLE, _S.DOWN}),
    _S.FAILING: frozenset({_S.PROBATION, _S.SUSPECT, _S.UNREACHABLE, _S.DOWN}),
    _S.UNREACHABLE: frozenset({_S.PROBATION, _S.DEGRADED, _S.DOWN, _S.UP, _S.FAILING, _S.UNKNOWN}),
    _S.DOWN: frozenset({_S.PROBATION, _S.DEGRADED, _S.UP, _S.FAILING, _S.UNKNOWN}),
    _S.PROBATION: frozenset({_S.UP, _S.DEGRADED, _S.SUSPECT, _S.FAILING, _S.UNREACHABLE, _S.DOWN}),
}
"""From DOWN or UNREACHABLE straight to UP, FAILING or UNKNOWN: the verdict was withdrawn."""

GIVEN_UP = frozenset({_S.DOWN, _S.UNREACHABLE})


class IllegalTransition(Exception):
    """The policy asked for a change that TRANSITIONS does not have: a defect."""


def enter(
    record: PathRecord,
    state: PathState,
    reason: str,
    now: float,
    evidence: Evidence | None = None,
) -> PathRecord:
    """The record in another state. Raises IllegalTransition."""
    if state not in TRANSITIONS[record.state]:
        raise IllegalTransition(f"{record.config.name}: {record.state} -> {state} ({reason})")
    suspicion = record.suspicion
    returns = suspicion is not None and suspicion.before is state
    rises = state is _S.DEGRADED and record.state in (*GIVEN_UP, _S.PROBATION)
    falls = state in (*GIVEN_UP, _S.DEGRADED, _S.FAILING) and not rises
    unheard = record.state is _S.UNKNOWN
    fall = None
    if state in GIVEN_UP:
        since = now if suspicion is None else suspicion.sign_at
        fall = record.fall or Fall(record.sober, record.penalty, record.penalty_at, since)
    charged = falls and record.state not in GIVEN_UP
    record = replace(record, state=state, since=now, reason=reason, evidence=evidence)
    if state is _S.SUSPECT:
        return record
    record = replace(record, suspicion=None, fall=fall)
    if suspicion is not None and returns:
        record = replace(record, cleared=reason)
        if state is not _S.UP:  # why it is not is told on
            record = replace(record, reason=suspicion.reason, evidence=suspicion.evidence)
        return record
    record = replace(record, admitted=False, good_since=None, bad_since=None, bad_moments=())
    if state is _S.UP:
        record = replace(record, clean_since=now)
    if charged:
        record = damping.charge(record, now)
    if unheard or state in (*GIVEN_UP, _S.PROBATION):
        model = measure.forget_losses(record.model)
        record = replace(record, model=model, next_probe=now, unsampled=0)
    return record


def restore(record: PathRecord, reason: str, now: float, evidence: Evidence) -> PathRecord:
    """Take back that a path was given up: as if it had not happened. Raises IllegalTransition."""
    fall = record.fall
    if fall is None:
        raise IllegalTransition(f"{record.config.name}: nothing to go back to ({reason})")
    record = enter(record, fall.before, reason, now, evidence)
    admitted = fall.before is _S.PROBATION
    return replace(
        record, penalty=fall.penalty, penalty_at=fall.penalty_at, admitted=admitted, next_probe=now
    )


def pardon(record: PathRecord, since: float, reason: str, now: float) -> PathRecord:
    """Take back that a path was demoted for losses since then: they were those of a server. What is
    sent to somebody who does not take it is sent again and again."""
    demoted = record.state is PathState.DEGRADED and record.lossy
    if not demoted or record.penalty_at < since:
        return record
    record = enter(record, PathState.UP, reason, now, Evidence("answers"))
    penalty = max(0.0, damping.penalty(record, now) - 1)
    model = replace(record.model, losses=lossy.forget(record.model.losses))
    return replace(record, model=model, penalty=penalty, penalty_at=now, lossy=False)
