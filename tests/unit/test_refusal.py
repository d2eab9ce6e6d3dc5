# SPDX-License-Identifier: GPL-2.0-or-later
"""A gateway says that somebody can't be reached: everything is, or one host or service only."""

from __future__ import annotations

import pytest
from world import GATEWAY_RTT, OTHER, SERVER, WEB, WITNESS, SimPath, World

from omrfast.core.types import Target

SETTLING = 60.0


def settled(upload: float | None = None, targets: tuple[Target, ...] = (SERVER,)) -> World:
    world = World(
        SimPath("one", upload=upload, gateway=True),
        SimPath("two", rtt=0.080, gateway=True),
        targets=targets,
    )
    world.run(SETTLING)
    return world


@pytest.mark.parametrize("upload", [None, 0.020])
def test_a_service_that_is_refused_is_no_proof_against_the_path(upload: float | None) -> None:
    world = settled(upload, (SERVER, WEB))
    at = world.now
    world.paths["one"].refuses = {"web"}
    world.run(120.0)
    assert world.states("one", at) == ["failing"]


@pytest.mark.parametrize("upload", [None, 0.020])
def test_a_witness_that_is_refused_has_the_others_asked(upload: float | None) -> None:
    world = settled(upload, (SERVER, WITNESS))
    at = world.now
    world.paths["one"].refuses = {"witness"}
    world.run(120.0)
    assert set(world.states("one", at)) <= {"up"}


@pytest.mark.parametrize("targets", [(SERVER,), (SERVER, WITNESS)])
def test_a_gateway_that_refuses_everybody_is_proof_at_once(targets: tuple[Target, ...]) -> None:
    world = settled(targets=targets)
    at = world.now
    world.paths["one"].cut = True
    world.paths["one"].refuses = {target.name for target in targets}
    world.run(30.0)
    took = world.entered("one", "down", at)
    assert took is not None
    asked = min(when for when, _ in world.paths["one"].asked if when > at)
    assert at + took - asked <= 2 * GATEWAY_RTT + 0.010
    assert "administratively prohibited" in world.decision("one", "down").reason


def test_while_traffic_is_silent_too_the_first_refusal_is_proof() -> None:
    world = settled(0.020)
    at = world.now
    world.paths["one"].cut = True
    world.paths["one"].refuses = {"vps"}
    world.run(5.0)
    suspect, down = world.entered("one", "suspect", at), world.entered("one", "down", at)
    assert suspect is not None
    assert down is not None
    assert down - suspect == pytest.approx(GATEWAY_RTT, abs=0.002)


@pytest.mark.parametrize("upload", [0.020, 0.100])
def test_echo_requests_refused_beside_traffic_that_is_answered_are_no_proof(upload: float) -> None:
    world = settled(upload, (SERVER, OTHER))
    at = world.now
    world.paths["one"].refuses = {"vps", "vps2"}
    world.run(60.0)
    assert any(key == OTHER.key for when, key in world.paths["one"].asked if when > at)
    assert "down" not in world.states("one", at)
