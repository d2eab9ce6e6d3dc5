# SPDX-License-Identifier: GPL-2.0-or-later
"""Paths that carry packets while services do not work, and servers whose port is dead."""

from __future__ import annotations

from itertools import pairwise

import pytest
from world import PORT, SERVER, WEB, SimPath, World

from omrfast.core.config import Quality
from omrfast.core.types import ServerState, Target

QUICK = Quality(recover_after=2.0)


def two(*services: Target, upload: float | None = 0.020) -> World:
    world = World(
        SimPath("one", upload=upload, gateway=True, quality=QUICK),
        SimPath("two", rtt=0.080, gateway=True, quality=QUICK),
        targets=(SERVER, *services),
    )
    world.run(5.0)
    assert [record.state for record in world.state.paths] == ["up", "up"]
    return world


def test_services_are_asked_by_their_own_interval() -> None:
    world = two(WEB)
    world.run(300.0)
    for path in world.paths.values():
        times = [at for at, key in path.asked if key == WEB.key]
        gaps = [b - a for a, b in pairwise(times)]
        assert 8 <= len(times) <= 13
        assert all(24 <= gap <= 36.5 for gap in gaps)
        assert len({round(gap, 3) for gap in gaps}) > 3, "not in step"


def test_a_path_over_which_the_service_fails_is_failing_and_comes_back() -> None:
    world = two(WEB)
    world.paths["one"].failing = {"web"}
    at = world.now
    world.run(60.0)
    took = world.entered("one", "failing", at)
    assert took is not None
    assert took < 36 + 2 * 2 + 1 + 1
    assert world.states("one", at) == ["failing"]
    assert world.states("two", at) == []
    wish = world.wishes["one"]
    assert (wish.present, wish.backup) == (True, True)
    assert wish.penalty
    evidence = world.decision("one", "failing").evidence
    assert evidence is not None
    assert (evidence.what, evidence.measured, evidence.limit) == ("service", 0.0, 0.5)
    world.paths["one"].failing = set()
    healed = world.now
    world.run(20.0)
    assert world.states("one", healed) == ["probation", "up"]


def test_traffic_without_answers_has_the_services_asked_at_once() -> None:
    world = two(WEB)
    world.run(15.0)
    path = world.paths["one"]
    path.failing = {"web"}
    path.blocked_tcp = True
    at = world.now
    world.run(10.0)
    took = world.entered("one", "failing", at)
    assert took is not None
    assert took < 0.3 + 2 * 2 + 1 + 1


def test_a_service_that_works_nowhere_is_no_path_s_fault() -> None:
    world = two(WEB)
    world.hosts["web"].broken = True
    at = world.now
    world.run(120.0)
    assert {*world.states("one", at), *world.states("two", at)} <= {"up"}


@pytest.mark.parametrize("service", [WEB, PORT])
def test_a_service_that_comes_back_everywhere_is_no_path_s_fault(service: Target) -> None:
    """One path hears of it before the other does."""
    for step in range(5):
        world = two(service)
        for path in world.paths.values():
            path.failing = {service.name}
        at = world.now
        world.run(45.0 + step * 0.7)
        for path in world.paths.values():
            path.failing = set()
        world.run(20.0)
        assert {*world.states("one", at), *world.states("two", at)} <= {"up"}


def test_one_failure_says_nothing() -> None:
    world = two(WEB)
    world.paths["one"].failing = {"web"}
    web = world.state.path("one").targets[1]
    for _ in range(400):
        world.run(0.1)
        web = world.state.path("one").targets[1]
        if web.failures:
            break
    assert web.failures == 1
    world.paths["one"].failing = set()
    world.run(60.0)
    assert "failing" not in world.states("one")


def test_a_quorum_of_services_must_work() -> None:
    heavy = WEB
    light = Target(
        "dns 192.0.2.53", WEB.kind, "192.0.2.53", WEB.origin, "dns", weight=0.5, interval=30.0
    )
    world = two(heavy, light)
    world.paths["one"].failing = {"dns"}
    at = world.now
    world.run(90.0)
    assert world.states("one", at) == [], "two thirds of the weights work"
    world.paths["one"].failing = {"web"}
    world.run(90.0)
    assert world.states("one", at) == ["failing"], "one third does"


def test_a_port_that_failed_is_not_well_when_no_path_is_left_to_ask_it_on() -> None:
    world = two(PORT)
    for path in world.paths.values():
        path.failing = {"vps"}
    world.run(60.0)
    assert world.state.servers[0].state is ServerState.FAILING
    for path in world.paths.values():
        path.dead = True
    world.run(20.0)
    assert world.state.servers[0].state is not ServerState.UP


def test_a_server_whose_port_is_dead_everywhere_is_failing() -> None:
    world = two(PORT)
    for path in world.paths.values():
        path.failing = {"vps"}
    at = world.now
    world.run(60.0)
    server = world.state.servers[0]
    assert server.state is ServerState.FAILING
    assert {*world.states("one", at), *world.states("two", at)} <= {"up"}
    for path in world.paths.values():
        path.failing = set()
    world.run(20.0)
    assert world.state.servers[0].state is ServerState.UP


def test_a_path_over_which_the_port_of_the_server_is_dead_is_failing() -> None:
    world = two(PORT)
    world.paths["one"].failing = {"vps"}
    at = world.now
    world.run(60.0)
    assert world.states("one", at) == ["failing"]
    assert world.state.servers[0].state is ServerState.UP


def test_a_dead_server_s_port_is_not_the_path_s_fault() -> None:
    world = two(PORT)
    world.hosts["vps"].dead = True
    at = world.now
    world.run(60.0)
    assert world.server_states("vps", at) == ["down"]
    assert {*world.states("one", at), *world.states("two", at)} <= {"up"}


def test_the_port_stands_in_for_a_host_that_answers_no_echo_request() -> None:
    world = World(
        SimPath("one", gateway=True, quality=QUICK),
        SimPath("two", rtt=0.080, gateway=True, quality=QUICK),
        targets=(SERVER, PORT),
    )
    world.hosts["vps"].mute = True
    world.run(5.0)
    assert [record.state for record in world.state.paths] == ["up", "up"]
    assert all(record.answers for record in world.state.paths)
    world.paths["one"].upload = 0.020
    world.run(3.0)
    world.paths["one"].dead = True
    at = world.now
    world.run(1.0)
    took = world.entered("one", "down", at)
    assert took is not None
    assert took <= 0.170
