# SPDX-License-Identifier: GPL-2.0-or-later
"""How flapping makes coming back slower: RFC 2439's idea, exponential decay. Pure."""

from __future__ import annotations

from omrfast.core import faults
from omrfast.core.replacing import replace
from omrfast.core.state import PathRecord
from omrfast.core.types import PathState

TRIAL = 10.0
"""A dead path on which no target ever answered a probe is tried again after this long."""
DOUBLINGS = 4.0
"""The time to come back doubles with every demotion beyond the first that is not forgotten yet,
at most so many times."""
CLEAN = 10.0
"""A path that was up for so many half-lives before a demotion comes back in half the time."""
TAIL_AFTER = 60.0
TAIL_DOUBLINGS = 6
"""A path whose slowest hundredth was too slow must be good for so long, in which probes would show
one late answer of a hundred, and twice as long after each further such demotion in a row, since
probes may not show what traffic suffers."""


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


def tail_time(record: PathRecord) -> float:
    """Seconds for which a path that is demoted for its 99th percentile must be good."""
    return float(TAIL_AFTER * 2 ** min(max(0, record.tails - 1), TAIL_DOUBLINGS))


def note_tail(record: PathRecord) -> PathRecord:
    """It has just been demoted for its 99th percentile."""
    again = record.tails > 0 and record.clean_for <= tail_time(record)
    return replace(record, tailed=True, tails=record.tails + 1 if again else 1)


def trial_time(record: PathRecord, now: float) -> float:
    """Seconds after which a dead path on which nobody answers is tried again."""
    return max(TRIAL, recover_time(record, now))


def recover_time(record: PathRecord, now: float) -> float:
    """Seconds that a path must be good for before it comes back; less where enough traffic crosses
    it to show its 99th percentile."""
    quality = record.config.quality
    doublings = min(max(0.0, penalty(record, now) - 1), DOUBLINGS)
    doublings -= min(1.0, record.clean_for / (CLEAN * quality.half_life))
    usual = float(quality.recover_after * 2**doublings)
    if not holds_tail(record, now):
        return usual
    return max(usual, tail_time(record))


def holds_tail(record: PathRecord, now: float) -> bool:
    """It is held back for its 99th percentile, of which nothing tells that it is good again."""
    return record.tailed and record.state is PathState.DEGRADED and faults.tail(record, now) is None
