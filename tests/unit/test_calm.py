# SPDX-License-Identifier: GPL-2.0-or-later
"""What must not upset a path, or what is told of it: false alarms, pauses, our own load."""

from __future__ import annotations

import random
import statistics
from dataclasses import replace

import pytest
from rough import RoughPath, RoughWorld
from test_quality import rough, start, two
from world import SimPath

from omrfast.core.config import Quality
from omrfast.core.types import PathState


def test_a_false_alarm_leaves_why_a_path_is_degraded() -> None:
    world = two()
    start(world, "requests")
    rough(world).rtt = 0.340
    world.run(3.0)
    before = world.state.path("one")
    assert before.state == "degraded"
    at = world.now
    rough(world).upload = 0.2
    world.run(3.0)
    world.paths["one"].paused_until = world.now + 0.5
    world.run(3.0)
    alarms = [d for d in world.decisions if d.at > at and d.before == "suspect"]
    assert alarms, "it was suspect"
    assert all(d.path == "one" and d.state == "degraded" for d in alarms)
    assert all("alive after all" in d.reason for d in alarms)
    after = world.state.path("one")
    assert (after.reason, after.evidence) == (before.reason, before.evidence)
    assert "alive after all" not in after.reason


def test_a_radio_that_pauses_under_requests_is_met_with_patience() -> None:
    world = two()
    world.requests(0.2)
    world.run(10.0)
    at, chance = world.now, random.Random(5)
    for _ in range(8):
        world.paths["one"].paused_until = world.now + chance.uniform(0.20, 0.29)
        world.run(19.0 + 2 * chance.random())
    assert world.states("one", at).count("down") <= 2, "at first it could be dead"
    assert world.state.path("one").state is PathState.UP


def test_patience_does_not_slow_the_first_black_hole() -> None:
    world = two()
    start(world, "requests")
    rough(world).dead = True
    at = world.now
    world.run(1.0)
    took = world.entered("one", "down", at)
    assert took is not None
    assert took < 0.2


@pytest.mark.parametrize("pause", [0.3, 0.5, 0.7, 1.0, 2.0, 3.0])
def test_a_server_that_pauses_demotes_no_path(pause: float) -> None:
    world = RoughWorld(
        RoughPath("one", gateway=True), RoughPath("two", rtt=0.080, gateway=True, upload=0.5)
    )
    world.run(3.0)
    world.requests(0.2)
    world.requests(0.31)
    world.run(10.0)
    at = world.now
    world.hosts["vps"].paused_until = world.now + pause
    world.run(10.0)
    assert {*world.states("one", at), *world.states("two", at)} <= {"up"}


@pytest.mark.parametrize("interval", [None, 0.2, 0.5])
def test_one_path_that_is_slow_for_good_is_demoted(interval: float | None) -> None:
    world = two(quality=Quality(recover_after=5.0))
    rough(world).rtt = 0.160
    if interval is not None:
        world.requests(interval)
    world.run(30.0)
    at = world.now
    rough(world).rtt = 0.300  # an answer comes before it would count as dead
    world.run(15.0)
    took = world.entered("one", "degraded", at)
    assert took is not None
    assert interval is None or took < 2.0


def test_a_queue_of_our_own_making_does_not_flap() -> None:
    world = two(buffer=1e6, capacity=2.5e6)
    start(world, "requests")
    began = world.now

    def connection() -> None:
        path = rough(world)
        path.counters = replace(path.counters, flows_opened=path.counters.flows_opened + 1)
        world.at(0.5, connection)

    connection()
    for _ in range(6):
        world.bulk("one", lambda now: 2.8e6)
        world.run(10.0)
        world.bulk("one", None)
        world.run(10.0)
    own = [d for d in world.decisions if d.at > began and "our own load" in d.reason]
    assert len(own) == 1
    assert world.states("one", began) == ["degraded", "up"]


class Flows(RoughWorld):
    """RTT samples belong in turn to one of sixteen flows, each of which counts its own steps."""

    def __init__(self, *paths: RoughPath) -> None:
        self.last: dict[tuple[str, int], float] = {}
        self.turn = 0
        super().__init__(*paths)

    def _arrive(self, path: SimPath, **more: float) -> None:
        if "rtt_sum" in more:
            self.turn += 1
            flow, rtt = (path.name, self.turn // 2 % 16), more["rtt_sum"]
            more["rtt_step_sum"] = abs(rtt - self.last.get(flow, rtt))
            self.last[flow] = rtt
        super()._arrive(path, **more)


def many_flows() -> Flows:
    world = Flows(
        RoughPath("one", gateway=True, upload=0.03),
        RoughPath("two", rtt=0.080, gateway=True, upload=0.03),
    )
    world.run(15.0)
    return world


@pytest.mark.parametrize("pause", [0.5, 0.9, 2.0])
def test_delays_that_all_paths_share_are_the_server_s(pause: float) -> None:
    world = many_flows()
    at = world.now
    world.hosts["vps"].paused_until = world.now + pause
    world.run(10.0)
    assert {*world.states("one", at), *world.states("two", at)} <= {"up"}


def test_jitter_of_one_path_is_its_own() -> None:
    """Some drawings of lots look worse than others from the start: the middle one counts."""
    delays = []
    for seed in range(7):
        world = many_flows()
        at = world.now
        chance = random.Random(seed)
        for _ in range(100):
            rough(world).rtt = chance.choice((0.040, 0.400))
            world.run(0.06)
        took = world.entered("one", "degraded", at)
        assert took is not None
        delays.append(took)
        assert world.states("two", at) == []
    assert statistics.median(delays) < 2.5


@pytest.mark.parametrize("pause", [0.2, 0.3, 0.5])
def test_a_pause_of_all_paths_leaves_none_degraded(pause: float) -> None:
    """Where no gateway answers that would show that the paths live."""
    world = RoughWorld(RoughPath("one", upload=0.03), RoughPath("two", rtt=0.080, upload=0.03))
    world.run(10.0)
    at = world.now
    world.hosts["vps"].paused_until = world.now + pause
    world.run(10.0)
    for name in ("one", "two"):
        assert world.states(name, at) == ["down", "up"]
        assert world.entered(name, "up", at + 0.1) is not None
        assert world.state.path(name).penalty == 0
