# SPDX-License-Identifier: GPL-2.0-or-later
"""How long things took, counted as they happen, for a histogram."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate

from omrfast.core.views import DelaysView

BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, math.inf)
"""Seconds: from an action that follows its decision at once to a slow drift that was watched."""


class Delays:
    """Counts of one kind of delay."""

    def __init__(self) -> None:
        self._counts = [0] * len(BOUNDS)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._sum += seconds

    def view(self) -> DelaysView:
        """As of now."""
        return DelaysView(tuple(zip(BOUNDS, accumulate(self._counts), strict=True)), self._sum)
