# SPDX-License-Identifier: GPL-2.0-or-later
"""The operator's word over the state machine: given, and over. Pure."""

from __future__ import annotations

from omrfast.core.outcome import Decision
from omrfast.core.replacing import replace
from omrfast.core.state import CoreState, Evidence, Override, PathRecord
from omrfast.core.types import Role


def on_word(record: PathRecord, override: Override | None, now: float) -> PathRecord:
    """A path that is on again is asked at once."""
    was_off = record.role is Role.OFF
    record = replace(record, override=override)
    return replace(record, next_probe=now) if was_off else record


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
