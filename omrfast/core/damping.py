# SPDX-License-Identifier: GPL-2.0-or-later
"""How flapping makes coming back slower: RFC 2439's idea, exponential decay. Pure."""

from __future__ import annotations

from omrfast.core.config import Quality

TRIAL = 10.0
"""A dead path on which no target ever answered a probe is tried again after this long."""


DAMPING_HALF_LIFE = 120.0
DAMPING_MOST = 4.0
"""RFC 2439's idea: each demotion counts one, the sum halves every half-life, and the time to
come back doubles with every count beyond the first, at most 2 ** DAMPING_MOST times."""


def damped(penalty: float, elapsed: float) -> float:
    return float(penalty * 0.5 ** (elapsed / DAMPING_HALF_LIFE))


def trial_time(quality: Quality, penalty: float) -> float:
    return max(TRIAL, recover_time(quality, penalty))


def recover_time(quality: Quality, penalty: float) -> float:
    return float(quality.recover_after * 2 ** min(max(0.0, penalty - 1), DAMPING_MOST))
