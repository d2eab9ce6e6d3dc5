# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes a path suspect: signs of silence in its own traffic. Pure."""

from __future__ import annotations

from omrfast.core import limits
from omrfast.core.schedule import answer_limit
from omrfast.core.state import PathRecord


def silence(record: PathRecord, now: float) -> str | None:
    """Why the path is suspect, or None: RFC 6298's deviation decides what is too long.

    Silence is measured up to the moment of the last read; what came later is not known yet.
    """
    seen = record.model.at
    if now < record.calm_until:
        return None
    asked = record.asked
    if asked is not None:
        limit = answer_limit(record, asked)
        if seen - asked > limit:
            return f"unanswered for {(seen - asked) * 1e3:.0f} ms (limit {limit * 1e3:.0f} ms)"
    if not record.answers:
        return None  # a stream that ends could not be told from a path that died
    most = limits.quiet_limit(record.model)
    quiet = seen - record.heard
    if most is not None and quiet > most:
        return f"silent for {quiet * 1e3:.0f} ms (limit {most * 1e3:.0f} ms)"
    return None
