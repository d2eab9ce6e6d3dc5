# SPDX-License-Identifier: GPL-2.0-or-later
"""The operator's word over the state machine: given, and over. Pure."""

from __future__ import annotations

from omrfast.core import model as measure
from omrfast.core.outcome import Decision
from omrfast.core.replacing import replace
from omrfast.core.state import CoreState, Evidence, Override, PathRecord
from omrfast.core.types import PathState


def on_word(record: PathRecord, override: Override | None, now: float) -> PathRecord:
    return follow(record, replace(record, override=override), now)


def follow(before: PathRecord, record: PathRecord, now: float) -> PathRecord:
    """After its role, or its being kept, may have changed: a path that is not used any more is set
    aside, and one that is used again is asked at once."""
    if record.unused:
        return record if before.unused else _set_aside(record, now)
    if not before.unused:
        return record
    record = replace(record, next_probe=now)
    if record.state is not PathState.UNKNOWN:
        return record
    return replace(record, since=now, model=measure.forget_losses(record.model))


def _set_aside(record: PathRecord, now: float) -> PathRecord:
    """Nothing is learnt of it any more: in time a good one may have died. Only where nobody answers
    probes it could not show that it has not, and is taken for good."""
    doubt = record.suspicion
    if doubt is not None:
        record = replace(record, state=doubt.before, reason=doubt.reason, evidence=doubt.evidence)
        record = replace(record, suspicion=None)
    if record.state is not PathState.UP or not record.answers:
        return record
    reason = "was up when it was switched off, not measured since"
    record = replace(record, state=PathState.UNKNOWN, since=now, reason=reason, evidence=None)
    return replace(record, fall=None, bad_since=None, bad_moments=())


def expire(state: CoreState, now: float) -> CoreState:
    """Words whose time is up do not count any more."""
    if not any(_is_over(record, now) for record in state.paths):
        return state
    return replace(
        state,
        paths=tuple(on_word(r, None, now) if _is_over(r, now) else r for r in state.paths),
    )


def _is_over(record: PathRecord, now: float) -> bool:
    override = record.override
    return override is not None and override.until is not None and now >= override.until


def decisions(before: CoreState, after: CoreState, now: float) -> tuple[Decision, ...]:
    """What is said when the operator's word changes; the state of the path does not."""
    known = {record.config.name: record for record in before.paths}
    return tuple(
        Decision(
            now,
            record.config.name,
            record.state,
            record.state,
            _words(known[record.config.name].override, record.override, now),
            evidence=Evidence("operator"),
        )
        for record in after.paths
        if record.config.name in known and known[record.config.name].override != record.override
    )


def _words(before: Override | None, after: Override | None, now: float) -> str:
    if after is None:
        role = "" if before is None else f": no longer {before.role}"
        over = before is not None and before.until is not None and now >= before.until
        return f"{'time is up' if over else 'operator'}{role}, decided by itself again"
    if after.until is None:
        return f"operator: {after.role} until told otherwise"
    return f"operator: {after.role} for {after.until - now:.0f} s"


def wake(record: PathRecord) -> float:
    """When the operator's word is over."""
    override = record.override
    return float("inf") if override is None or override.until is None else override.until
