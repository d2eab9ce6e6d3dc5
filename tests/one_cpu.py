# SPDX-License-Identifier: GPL-2.0-or-later
"""For tests that run packet programs and read their per-CPU counters."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def one_cpu() -> Iterator[None]:
    """Per-CPU minima do not add up: stay on one, each worker of pytest-xdist on its own."""
    before = os.sched_getaffinity(0)
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.sched_setaffinity(0, {sorted(before)[worker % len(before)]})
    yield
    os.sched_setaffinity(0, before)
