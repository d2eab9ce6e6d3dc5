# SPDX-License-Identifier: GPL-2.0-or-later
"""What probes cost: never more than the budget in any 30 days, and the most urgent ones go on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_healthy import Web
from world import GATEWAY, PORT, SERVER, WEB, WITNESS, SimPath, World

from omrfast.core import budget
from omrfast.core.config import BACKUP_PROBE_BUDGET, PathConfig, Quality
from omrfast.core.state import PathRecord, Purse
from omrfast.core.types import PathCounters, PathState, ProbeKind, Role

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


def test_traffic_pays_for_a_thousandth_of_itself() -> None:
    record = PathRecord(PathConfig("p", "p", probe_budget=LIMIT))

    def carried(record: PathRecord, number: int) -> PathRecord:
        return replace(record, model=replace(record.model, counters=PathCounters(rx_bytes=number)))

    record = budget.spend(carried(record, 10**9), 10_000, 0.0)
    owed = budget.level(record, 0.0)
    assert budget.level(carried(record, 10**9 + 5_000_000), 0.0) == owed + 5_000
    assert budget.level(carried(record, 5), 0.0) == owed, "counters that begin anew"
    assert budget.level(carried(record, 10**12), 0.0) == LIMIT * budget.CAPACITY


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


def test_a_service_that_fails_elsewhere_again_and_again_is_asked_within_the_budget() -> None:
    page = replace(WEB, kind=ProbeKind.HTTPS, cost=5500)
    world = World(
        SimPath("one", gateway=True, quality=QUICK),
        SimPath("two", rtt=0.080, gateway=True, role=Role.BACKUP),
        targets=(SERVER, page),
    )
    world.run(60.0)
    one, two = world.paths.values()

    for n in range(135):
        world.at(40.0 * n, lambda: one.failing.add("web"))
        world.at(40.0 * n + 12.0, one.failing.clear)
    began = world.now
    world.run(1.5 * 3600.0)
    record = world.state.path("two")
    assert record.probe_bytes <= spent_at_most(BACKUP_PROBE_BUDGET, world.now - began)
    assert budget.level(record, world.now) >= 0
    assert any(key == SERVER.key for at, key in two.asked if at > world.now - 120)
    one.failing = {"web"}
    failed = world.now
    world.run(120.0)
    took = world.entered("one", "failing", failed)
    assert took is not None, "a question that is worth it may be owed"
    assert took <= 36 + 60 + 5
    assert budget.level(world.state.path("two"), world.now) < 0
    world.run(300.0)
    regular = [key for at, key in two.asked if at > world.now - 300].count(SERVER.key)
    assert 1 <= regular <= 4, "half of what flows in pays for them, in debt too"


# --- when all is owed that may be -----------------------------------------------------------------


def owing(world: World, level: float) -> None:
    record = world.state.path("two")
    purse = Purse(level, world.now, saving=True, traffic=budget.carried(record))
    paths = (r if r is not record else replace(r, purse=purse) for r in world.state.paths)
    world.state = replace(world.state, paths=tuple(paths))


def in_use() -> World:
    """The backup carries everything."""
    world = World(
        SimPath("one", gateway=True),
        SimPath("two", rtt=0.080, gateway=True, role=Role.BACKUP),
        targets=(SERVER, WITNESS),
    )
    world.run(5.0)
    world.paths["one"].dead = True
    world.run(5.0)
    return world


def test_a_backup_in_use_is_never_blind() -> None:
    world = in_use()
    owing(world, -BACKUP_PROBE_BUDGET * budget.DEBT)
    _ = [Web(world, world.paths["two"], seed) for seed in (1, 2, 3)]
    blind = 0
    for _second in range(1200):
        world.run(1.0)
        blind += not budget.may_owe(world.state.path("two"), 0, world.now)
    assert blind <= 12
    assert sum(d.path == "two" and d.state == "suspect" for d in world.decisions) >= 10
    world.paths["one"].dead = False
    world.run(20.0)
    owing(world, -BACKUP_PROBE_BUDGET * budget.DEBT)
    two = world.paths["two"]
    two.upload = 0.020
    world.run(2.0)
    two.dead = True
    at = world.now
    world.run(2.0)
    took = world.entered("two", "down", at)
    assert took is not None
    assert took <= 0.5


def test_a_false_alarm_costs_one_question_when_little_is_left() -> None:
    world = in_use()
    two = world.paths["two"]
    two.upload = 0.020
    world.run(5.0)
    owing(world, -1000.0)
    asked = len(two.asked)
    two.paused_until = world.now + 0.18
    world.run(1.0)
    assert [d.before for d in world.decisions if d.path == "two"][-1] == "suspect"
    assert [key for _, key in two.asked[asked:]] == [SERVER.key]
    two.dead = True
    world.run(1.0)
    assert {key for _, key in two.asked[asked + 1 :]} == {SERVER.key, WITNESS.key, GATEWAY.key}
    assert world.state.path("two").state is PathState.DOWN
