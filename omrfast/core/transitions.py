# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of the path state machine, and what entering a state means for what is remembered."""

from __future__ import annotations

from dataclasses import replace

from omrfast.core import damping
from omrfast.core import model as measure
from omrfast.core.state import PathRecord
from omrfast.core.types import PathState

_S = PathState
TRANSITIONS: dict[PathState, frozenset[PathState]] = {
    _S.UNKNOWN: frozenset({_S.UP, _S.SUSPECT, _S.DOWN}),
    _S.UP: frozenset({_S.SUSPECT, _S.DEGRADED, _S.DOWN}),
    _S.SUSPECT: frozenset({_S.UNKNOWN, _S.UP, _S.DEGRADED, _S.PROBATION, _S.DOWN}),
    _S.DEGRADED: frozenset({_S.UP, _S.SUSPECT, _S.DOWN}),
    _S.DOWN: frozenset({_S.PROBATION, _S.DEGRADED}),
    _S.PROBATION: frozenset({_S.UP, _S.DEGRADED, _S.SUSPECT, _S.DOWN}),
    _S.FAILING: frozenset(),
    _S.UNREACHABLE: frozenset(),
}


class IllegalTransition(Exception):
    """The policy asked for a change that TRANSITIONS does not have: a defect."""


def enter(record: PathRecord, state: PathState, reason: str, now: float) -> PathRecord:
    """The record in another state. Raises IllegalTransition."""
    if state not in TRANSITIONS[record.state]:
        raise IllegalTransition(f"{record.config.name}: {record.state} -> {state} ({reason})")
    returns = record.suspicion is not None and record.suspicion.before is state
    rises = state is _S.DEGRADED and record.state in (_S.DOWN, _S.PROBATION)
    falls = state in (_S.DOWN, _S.DEGRADED) and not rises
    unheard = record.state is _S.UNKNOWN
    record = replace(record, state=state, since=now, reason=reason)
    if state is _S.SUSPECT:
        return record
    record = replace(record, suspicion=None)
    if returns:
        return record
    record = replace(record, admitted=False, good_since=None, bad_since=None)
    if falls:
        record = damping.charge(record, now)
    if unheard or state in (_S.DOWN, _S.PROBATION):
        record = replace(record, model=measure.forget_losses(record.model), next_probe=now)
    return record
