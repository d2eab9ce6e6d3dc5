# SPDX-License-Identifier: GPL-2.0-or-later
"""Signs that are harder to see: loss in one direction, and the first packet after a quiet time."""

from __future__ import annotations

import pytest
from world import SimPath, World

from omrfast.core.config import Quality
from omrfast.core.events import ProbesLate
from omrfast.core.replacing import replace
from omrfast.core.signs import silence
from omrfast.core.types import PathState

QUICK = Quality(recover_after=2.0)


def two(**first: object) -> World:
    world = World(
        SimPath("one", rtt=0.040, quality=QUICK, gateway=True, **first),  # type: ignore[arg-type]
        SimPath("two", rtt=0.080, quality=QUICK, gateway=True),
    )
    world.run(4.0)
    assert [record.state for record in world.state.paths] == ["up", "up"]
    return world


def test_what_leaves_is_lost_while_things_arrive() -> None:
    world = two(upload=0.020, download=0.010)
    world.paths["one"].loses_ours = True
    at = world.now
    world.run(2.0)
    took = world.entered("one", "down", at)
    assert took is not None
    assert took <= 0.300
    assert "data unacknowledged" in world.decision("one", "down").reason
    assert world.states("two", at) == []


def test_data_without_samples_on_a_healthy_path_costs_a_burst_now_and_then() -> None:
    world = two(download=0.010)

    def again() -> None:
        world.resend(world.paths["one"])
        world.at(0.030, again)

    at = world.now
    world.at(0.0, again)
    world.run(60.0)
    assert set(world.states("one", at)) <= {"up", "degraded"}
    assert "down" not in world.states("one", at)
    assert sum(d.state == "suspect" for d in world.decisions if d.path == "one") <= 40


@pytest.mark.parametrize("idle", [3.0, 27.0])
def test_the_first_packet_into_a_black_hole_is_proof_within_round_trips(idle: float) -> None:
    world = two()
    world.run(idle)
    world.paths["one"].dead = True
    world.run(0.01)
    asked = world.now
    world.message(world.paths["one"])
    world.run(1.0)
    took = world.entered("one", "down", asked)
    assert took is not None
    assert took <= 0.330


def test_a_radio_may_wake_first() -> None:
    world = two()
    world.run(5.0)
    path = world.paths["one"]
    at = world.now
    for _ in range(5):
        path.paused_until = world.now + 0.220
        world.message(path)
        world.run(7.0)
    assert "down" not in world.states("one", at)
    assert world.state.path("one").state in (PathState.UP, PathState.DEGRADED)


def test_a_path_that_wakes_quickly_is_known_to() -> None:
    world = two()
    world.run(60.0)
    assert max(world.state.path("one").wakes) < 0.01
    world.paths["one"].dead = True
    asked = world.now
    world.message(world.paths["one"])
    world.run(1.0)
    took = world.entered("one", "down", asked)
    assert took is not None
    assert took <= 0.200


def test_a_standstill_is_no_part_of_what_is_lost_while_things_arrive() -> None:
    world = two(download=0.010)
    world.run(3.0)
    record = world.state.path("one")
    unsampled = replace(record, unsampled=5, unsampled_at=world.now - 2.0)
    lost = silence(unsampled, world.now)
    assert lost is not None
    assert "data unacknowledged" in lost.words
    resumed = replace(record.model.arrivals, since=world.now - 0.05)
    model = replace(record.model, arrivals=resumed)
    assert silence(replace(unsampled, model=model), world.now) is None


@pytest.mark.parametrize(("late", "falls"), [(0.0, True), (0.050, False)])
def test_the_time_of_a_burst_begins_when_it_leaves(late: float, falls: bool) -> None:
    """20 ms after the deadline of probes that left on time, it is over only for those."""
    world = two(upload=0.020)
    world.paths["one"].dead = True
    while world.state.path("one").suspicion is None:
        world.run(0.001)
    suspicion = world.state.path("one").suspicion
    assert suspicion is not None
    began = suspicion.since
    world.tell(ProbesLate(("one",), began, began + late))
    world.run(suspicion.deadline + 0.020 - world.now)
    assert (world.state.path("one").state is PathState.DOWN) is falls
    world.run(0.050)
    assert world.state.path("one").state is PathState.DOWN
