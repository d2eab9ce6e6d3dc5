# SPDX-License-Identifier: GPL-2.0-or-later
"""What probes cost: never more than the budget in any 30 days, and the most urgent ones go on."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import PORT, SERVER, WEB, SimPath, World

from omrfast.core import budget
from omrfast.core.config import BACKUP_PROBE_BUDGET, PathConfig, Quality
from omrfast.core.state import PathRecord
from omrfast.core.types import PathState, Role

DAY = 86_400.0
LIMIT = 1_000_000
QUICK = Quality(recover_after=2.0)


def spent_at_most(limit: int, seconds: float) -> float:
    """Of a bucket that starts as it does, with all that may be owed."""
    return limit * (budget.START + budget.DEBT + budget.RATE * seconds / budget.MONTH)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 5 * DAY), st.integers(1, 400)), min_size=1, max_size=80))
def test_no_thirty_days_exceed_the_limit(history: list[tuple[float, int]]) -> None:
    record = PathRecord(PathConfig("p", "p", probe_budget=LIMIT))
    now = 0.0
    spent: list[tuple[float, int]] = []
    for pause, questions in history:
        now += pause
        for _ in range(questions):
            if not budget.may_owe(record, 720, now):
                break
            record = budget.spend(record, 720, now)
            spent.append((now, 720))
    for end, _ in spent:
        window = sum(cost for at, cost in spent if end - budget.MONTH < at <= end)
        assert window <= LIMIT
    assert record.probe_bytes == sum(cost for _, cost in spent)


def test_a_path_without_a_budget_owes_nothing() -> None:
    record = budget.spend(PathRecord(PathConfig("p", "p")), 10**9, 0.0)
    assert budget.may_owe(record, 10**9, 0.0)
    assert not budget.is_saving(record, 0.0)
    assert record.probe_bytes == 10**9


def backup(**more: object) -> World:
    world = World(
        SimPath("one", gateway=True, quality=QUICK),
        SimPath("two", rtt=0.080, gateway=True, quality=QUICK, role=Role.BACKUP, **more),  # type: ignore[arg-type]
        targets=(SERVER, PORT, WEB),
    )
    world.run(5.0)
    return world


def test_an_idle_backup_stays_within_its_month() -> None:
    world = backup()
    world.run(2 * 3600.0)
    record = world.state.path("two")
    assert record.state is PathState.UP
    assert record.probe_bytes <= BACKUP_PROBE_BUDGET / 30 / 12
    assert sum(key == SERVER.key for _, key in world.paths["two"].asked) >= 95, "once a minute"
    assert any(key == WEB.key for _, key in world.paths["two"].asked)
    assert world.state.path("one").probe_bytes > record.probe_bytes


@pytest.mark.slow
def test_a_long_outage_of_a_metered_path_costs_little_and_its_end_is_noticed() -> None:
    limit = 500_000
    world = backup(budget=limit)
    world.paths["two"].dead = True
    began = world.now
    world.run(4 * 3600.0)
    record = world.state.path("two")
    assert record.state is PathState.DOWN
    assert record.probe_bytes <= spent_at_most(limit, world.now - began)
    world.paths["two"].dead = False
    healed = world.now
    world.run(3600.0)
    took = world.entered("two", "up", healed)
    assert took is not None
    assert took < 2400


def test_a_burst_is_paid_even_when_there_is_little_left() -> None:
    limit = 500_000
    world = backup(budget=limit)
    world.paths["two"].dead = True
    world.run(600.0)
    assert budget.is_saving(world.state.path("two"), world.now)
    world.paths["two"].dead = False
    while world.state.path("two").state is not PathState.UP:
        world.run(30.0)
    world.paths["two"].upload = 0.020
    world.run(5.0)
    world.paths["two"].dead = True
    at = world.now
    world.run(1.0)
    took = world.entered("two", "down", at)
    assert took is not None
    assert took <= 0.3
