# SPDX-License-Identifier: GPL-2.0-or-later
"""What a case of the failover benchmark is, and the statistics that its verdicts use."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Figures = dict[str, Any]
"""What one run found: plain data; seconds, bit/s and counts as named."""
Runs = Mapping[str, Sequence[Figures]]
"""Side to its runs, in order."""


@dataclass(frozen=True, slots=True)
class Check:
    """One figure with the agent beside its target."""

    shown: str
    target: str
    good: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    without: str
    """As shown; "-" where there is nothing to compare with."""
    checks: tuple[Check, ...]

    @property
    def good(self) -> bool:
        return all(check.good for check in self.checks)


@dataclass(frozen=True, slots=True)
class Case:
    """Runs of each side in turn, and what is asked of them."""

    name: str
    title: str
    sides: tuple[str, ...]
    measure: Callable[[str], Figures]
    """One run of a side."""
    judge: Callable[[Runs], list[Row]]
    seconds: float
    """That one round over all sides takes, about."""
    once: bool = False
    """One round says enough: it holds many samples, or takes very long."""
    long: bool = False
    """Only with --long."""


def median(values: Sequence[float]) -> float:
    """Of at least one value."""
    return statistics.median(values)


def quantile(values: Sequence[float], share: float) -> float:
    """Nearest rank: the least value that at least ``share`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def p95(values: Sequence[float]) -> float:
    """With fewer than 20 values it is the greatest."""
    return quantile(values, 0.95)


def known(runs: Sequence[Figures], key: str, missing: float) -> list[float]:
    """One figure of every run; ``missing`` where it is None."""
    return [missing if run[key] is None else float(run[key]) for run in runs]


def never_longer(with_agent: Sequence[float], without: Sequence[float]) -> bool:
    """By distribution: every quantile with the agent is at most that without it."""
    return all(a <= b for a, b in zip(sorted(with_agent), sorted(without), strict=True))


def pairs_longer(with_agent: Sequence[float], without: Sequence[float]) -> int:
    """Pairs of runs, in the order measured, in which the agent's was the longer one."""
    return sum(a > b for a, b in zip(with_agent, without, strict=True))


def ms(values: Sequence[float]) -> str:
    """Median and range in milliseconds."""
    return _spread([value * 1e3 for value in values], ".0f", " ms")


def seconds(values: Sequence[float]) -> str:
    return _spread(values, ".2f", " s")


def megabits(values: Sequence[float]) -> str:
    return _spread([value / 1e6 for value in values], ".1f", " Mbit/s")


def at_most(values: Sequence[float], limit: float) -> bool:
    """Their 95th percentile is within the limit."""
    return p95(values) <= limit


def _spread(values: Sequence[float], how: str, unit: str) -> str:
    middle = f"{median(values):{how}}{unit}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):{how}}-{max(values):{how}})"
