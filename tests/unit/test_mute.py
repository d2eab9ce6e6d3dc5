# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts that have answered echo requests and come to drop them: paths come back all the same."""

from __future__ import annotations

import pytest
from world import PORT, SERVER, SimPath, World

from omrfast.core.types import Target

SETTLING = 20.0


def muted(*paths: SimPath, targets: tuple[Target, ...] = (SERVER,)) -> World:
    """Half a minute after the server began to drop echo requests."""
    world = World(*paths, targets=targets)
    world.run(SETTLING)
    world.hosts["vps"].mute = True
    world.run(30.0)
    return world


def busy(gateway: bool = True) -> tuple[SimPath, SimPath]:
    return (
        SimPath("one", upload=0.020, gateway=gateway),
        SimPath("two", rtt=0.080, upload=0.050, gateway=gateway),
    )


@pytest.mark.parametrize("targets", [(SERVER,), (SERVER, PORT)])
def test_traffic_or_a_port_brings_back_a_path_after_an_outage(targets: tuple[Target, ...]) -> None:
    world = muted(*busy(), targets=targets)
    world.paths["one"].dead = True
    at = world.now
    world.run(2.0)
    world.paths["one"].dead = False
    world.run(120.0)
    assert world.states("one", at) == ["down", "probation", "up"]
    took = world.entered("one", "probation", at)
    assert took is not None
    assert 2.0 < took < 12.0
    assert world.states("two", at) == []


def test_the_port_brings_back_idle_paths() -> None:
    world = muted(SimPath("one"), SimPath("two", rtt=0.080), targets=(SERVER, PORT))
    world.run(600.0)
    for name in ("one", "two"):
        assert world.states(name, SETTLING)[-3:] == ["down", "probation", "up"]
        assert world.states(name).count("down") == 1
    assert len(world.decisions) < 20, "no alarm at each question that is ignored"


def test_traffic_brings_back_idle_paths() -> None:
    world = muted(SimPath("one"), SimPath("two", rtt=0.080))
    assert [r.state for r in world.state.paths] == ["down", "down"]
    for path in world.paths.values():
        path.upload = 0.020
    world.run(20.0)
    assert [r.state for r in world.state.paths] == ["up", "up"]


@pytest.mark.parametrize("pause", [0.5, 1.5, 4.0])
def test_what_was_under_way_when_a_path_died_does_not_bring_it_back(pause: float) -> None:
    world = muted(SimPath("one", upload=0.020))
    at = world.now
    path = world.paths["one"]
    path.paused_until = at + pause
    world.run(0.25)
    assert world.states("one", at) == ["down"]
    path.upload = None
    world.run(pause)
    path.dead, path.upload = True, 0.020
    world.run(60.0)
    assert path.counters.last_rx is not None
    assert path.counters.last_rx >= at + pause - 0.004
    assert world.states("one", at) == ["down"]


def test_what_arrives_unasked_does_not_bring_back_a_path_that_loses_what_leaves() -> None:
    world = muted(*busy())
    path = world.paths["one"]
    at = world.now
    path.dead = True
    world.run(5.0)
    path.dead, path.loses_ours, path.download = False, True, 0.2
    world.run(60.0)
    assert world.states("one", at) == ["down"]


def test_a_host_that_answers_echo_requests_again_is_asked_as_before() -> None:
    world = muted(SimPath("one"), SimPath("two", rtt=0.080), targets=(SERVER, PORT))
    world.run(60.0)
    world.hosts["vps"].mute = False
    world.run(300.0)
    at = world.now
    world.run(60.0)
    asked = [key for when, key in world.paths["one"].asked if when > at]
    assert asked.count(PORT.key) <= 3, "as a service, each half minute"
    assert asked.count(SERVER.key) >= 5
