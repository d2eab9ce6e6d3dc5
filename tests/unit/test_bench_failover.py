# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts of the failover benchmark: what counts as reached, and what is shown as missed."""

from __future__ import annotations

from typing import Any

import pytest

from bench.failover_case import never_longer, pairs_longer, quantile
from bench.failover_ground import WITH, WITHOUT
from bench.failover_stalls import judge_stall
from bench.failover_table import markdown


def runs(without: list[float], with_agent: list[float], sign: float = 0.1) -> dict[str, Any]:
    agent = {"action": 0.11, "sign": sign, "srtt": 0.04}
    return {
        WITHOUT: [{"stall": stall} for stall in without],
        WITH: [{"stall": stall, **agent} for stall in with_agent],
    }


@pytest.mark.parametrize(
    ("count", "share", "rank"), [(7, 0.95, 7), (7, 0.5, 4), (100, 0.99, 99), (1, 0.99, 1)]
)
def test_quantiles_are_by_nearest_rank(count: int, share: float, rank: int) -> None:
    assert quantile(list(range(1, count + 1)), share) == rank


def test_longer_is_told_by_pair_and_by_distribution() -> None:
    assert pairs_longer([0.2, 0.5], [0.4, 0.3]) == 1
    assert not never_longer([0.2, 0.5], [0.4, 0.3])
    assert never_longer([0.3, 0.2], [0.2, 0.4])


def test_a_short_stall_reaches_every_target() -> None:
    (row,) = judge_stall("small-up", "small", runs([1.0, 1.1, 1.2], [0.15, 0.16, 0.17]))
    assert row.good
    assert "MISSED" not in markdown([row])


@pytest.mark.parametrize(
    ("figures", "missed"),
    [
        (runs([1.0, 1.1, 1.2], [0.15, 0.19, 0.2]), "190 ms"),
        (runs([0.5, 0.5, 0.5], [0.15, 0.16, 0.17]), "0.32 x"),
        (runs([1.0, 1.1, 1.2], [0.15, 0.16, 0.31]), "p95 310 ms"),
        (runs([1.0, 1.1, 0.1], [0.15, 0.16, 0.17]), "longer in 1 of 3 pairs"),
        (runs([1.0, 1.1, 1.2], [0.15, 0.16, 0.17], sign=0.21), "sign to action 210 ms"),
    ],
)
def test_each_missed_target_is_named(figures: dict[str, Any], missed: str) -> None:
    (row,) = judge_stall("small-up", "small", figures)
    shown = [check.shown for check in row.checks if not check.good]
    assert len(shown) == 1
    assert shown[0].startswith(missed)
    assert f"**{shown[0]}**" in markdown([row])
