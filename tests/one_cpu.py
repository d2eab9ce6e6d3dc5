# SPDX-License-Identifier: GPL-2.0-or-later
"""For tests that run packet programs and read their per-CPU counters."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def one_cpu() -> Iterator[None]:
    """Per-CPU minima do not add up: stay where we are."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)
