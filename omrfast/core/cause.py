# SPDX-License-Identifier: GPL-2.0-or-later
"""What an action is for: the reason it gives, and since when it has been due. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from omrfast.core.outcome import Decision
from omrfast.core.state import PathRecord


@dataclass(frozen=True, slots=True)
class Cause:
    """CLOCK_MONOTONIC seconds."""

    reason: str
    decided_at: float | None = None
    """Of the decision that brought the action; None: it repairs what others changed."""
    sign_at: float | None = None
    """Of the first sign that led to the decision; None: it had none, such as a clean record."""


def causes(records: Iterable[PathRecord], fresh: Mapping[str, Decision]) -> dict[str, Cause]:
    """By path name. ``fresh``: the last decision of each path that nothing was done about yet.

    A path without one of its own acts for the latest of the others: one that dies lets another
    take its place.
    """
    latest = max(fresh.values(), key=lambda decision: decision.at, default=None)
    found = {}
    for record in records:
        name = record.config.name
        if record.unused:
            at = fresh[name].at if name in fresh else None
            found[name] = Cause(_off(record, at), at)
        elif name in fresh:
            found[name] = _of(fresh[name], fresh[name].reason)
        elif latest is not None:
            change = f" {latest.before} -> {latest.state}"
            words = f"{latest.path}{'' if latest.before is latest.state else change}"
            found[name] = _of(latest, f"{words}: {latest.reason}")
        else:
            found[name] = Cause(record.reason)
    return found


def _off(record: PathRecord, at: float | None) -> str:
    """Whatever is measured on it."""
    override = record.override
    if override is None:
        return "its role is off"
    if override.until is None or at is None:
        return "operator: off"
    return f"operator: off for {override.until - at:.0f} s"


def _of(decision: Decision, reason: str) -> Cause:
    sign = None if decision.evidence is None else decision.evidence.sign_at
    return Cause(reason, decision.at, sign)
