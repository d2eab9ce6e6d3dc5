# SPDX-License-Identifier: GPL-2.0-or-later
"""How flapping makes coming back slower: RFC 2439's idea, exponential decay. Pure."""

from __future__ import annotations

from omrfast.core.replacing import replace
from omrfast.core.state import PathRecord

TRIAL = 10.0
"""A dead path on which no target ever answered a probe is tried again after this long."""
DOUBLINGS = 4.0
"""The time to come back doubles with every demotion beyond the first that is not forgotten yet,
at most so many times."""


CLEAN = 10.0
"""A path that was up for so many half-lives before a demotion comes back in half the time."""


def penalty(record: PathRecord, now: float) -> float:
    """Demotions of late: each counts one, and halves every ``half_life``."""
    elapsed = max(0.0, now - record.penalty_at)
    return float(record.penalty * 0.5 ** (elapsed / record.config.quality.half_life))


def charge(record: PathRecord, now: float) -> PathRecord:
    """One more demotion."""
    clean = 0.0 if record.clean_since is None else max(0.0, now - record.clean_since)
    return replace(
        record,
        penalty=penalty(record, now) + 1,
        penalty_at=now,
        clean_since=None,
        clean_for=clean,
    )


def trial_time(record: PathRecord, now: float) -> float:
    """Seconds after which a dead path on which nobody answers is tried again."""
    return max(TRIAL, recover_time(record, now))


def recover_time(record: PathRecord, now: float) -> float:
    """Seconds that a path must be good for before it comes back."""
    quality = record.config.quality
    doublings = min(max(0.0, penalty(record, now) - 1), DOUBLINGS)
    doublings -= min(1.0, record.clean_for / (CLEAN * quality.half_life))
    return float(quality.recover_after * 2**doublings)
