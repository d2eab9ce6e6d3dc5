# SPDX-License-Identifier: GPL-2.0-or-later
"""When a path's next probe is due, and when its judgement could next change without an event."""

from __future__ import annotations

from dataclasses import replace

from omrfast.core import limits
from omrfast.core import model as measure
from omrfast.core.state import PathRecord
from omrfast.core.targets import choose
from omrfast.core.types import PathState, Role

_S = PathState
_NEVER = float("inf")


def answer_limit(record: PathRecord, asked: float) -> float:
    """How long what was asked at that moment may stay unanswered."""
    return limits.unanswered_limit(record.model, after_quiet=asked - record.heard > limits.BUSY)


def send_due(record: PathRecord, now: float) -> tuple[PathRecord, tuple[str, ...]]:
    """Keys of the targets to ask now, and the record that has taken note of it."""
    if not record.link_up or now < _probe_at(record, now):
        return record, ()
    suspicion = record.suspicion
    if suspicion is not None:
        spacing = limits.burst_spacing(record.model)
        suspicion = replace(
            suspicion, burst_left=suspicion.burst_left - 1, next_probe=now + spacing
        )
    chosen = choose(record)
    model = measure.probe_sent(record.model, now) if chosen else record.model
    due = now + _interval(record, now)
    return replace(record, suspicion=suspicion, model=model, next_probe=due), chosen


def _probe_at(record: PathRecord, now: float) -> float:
    """When the next probe is due: never while traffic measures a good path that is known."""
    if record.suspicion is not None:
        return record.suspicion.next_probe if record.suspicion.burst_left else _NEVER
    if record.state is _S.UP and (record.answers or record.deaf):
        return max(record.next_probe, record.model.passive_at + _interval(record, now))
    return record.next_probe


def _interval(record: PathRecord, now: float) -> float:
    lasts_long = now - record.since > limits.SLOW_AFTER
    if record.sober is _S.DOWN:
        return limits.DOWN_PROBE_SLOW if lasts_long else limits.DOWN_PROBE
    if record.sober in (_S.DEGRADED, _S.PROBATION, _S.UNKNOWN):
        return limits.WATCH_PROBE_SLOW if lasts_long else limits.WATCH_PROBE
    unknown = not (record.answers or record.deaf)
    if (unknown or record.model.smoothed < measure.SETTLED) and not lasts_long:
        return limits.WATCH_PROBE
    return limits.IDLE_PROBE[record.config.role]


def wake(record: PathRecord, now: float) -> float:
    """The earliest moment at which this path's judgement could change without an event."""
    if not record.link_up or record.config.role is Role.OFF:
        return now + limits.BUSY
    due = min(_probe_at(record, now), now + limits.BUSY)
    if record.suspicion is not None:
        return min(due, record.suspicion.deadline)
    if record.state is _S.DOWN:
        return due
    asked = record.asked
    last_tx = record.model.counters.last_tx if record.model.counters else None
    if asked is not None:
        due = min(due, max(asked + answer_limit(record, asked), record.calm_until))
    elif last_tx is not None and now - last_tx < limits.BUSY:
        due = min(due, now + limits.unanswered_limit(record.model, after_quiet=False))
    most = limits.quiet_limit(record.model)
    if most is not None:
        due = min(due, max(record.heard + most, record.calm_until))
    return due
