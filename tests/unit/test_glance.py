# SPDX-License-Identifier: GPL-2.0-or-later
"""Most ticks are not judged, and yet nothing that is silent, dead or alive is seen later."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from world import SimPath, World

from omrfast.core import glance, policy
from omrfast.core.config import PathConfig
from omrfast.core.events import Event, Tick
from omrfast.core.outcome import Decision, Outcome
from omrfast.core.recording import replay
from omrfast.core.state import CoreState
from omrfast.core.types import PathState
from omrfast.store.journal_format import read
from tests.journals.cases import CASES, Case
from tests.journals.record import file_of

_S = PathState
AT_ONCE = frozenset({_S.SUSPECT, _S.DOWN, _S.UNREACHABLE})
"""States that are entered at the very tick that finds why."""


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Of every step of the core: when it judged, or None."""
    found: list[float | None] = []
    step = policy.step

    def noted(state: CoreState, event: Event, now: float) -> Outcome:
        outcome = step(state, event, now)
        found.append(None if outcome.wishes is None else now)
        assert outcome.wishes is not None or isinstance(event, Tick)
        return outcome

    monkeypatch.setattr(policy, "step", noted)
    return found


def busy() -> World:
    world = World(
        SimPath("one", rtt=0.04, upload=0.008, download=0.008, gateway=True),
        SimPath("two", rtt=0.08, upload=0.008, download=0.008, gateway=True),
    )
    world.run(5.0)
    return world


def test_calm_ticks_are_not_judged_but_ten_times_a_second(judged: list[float | None]) -> None:
    world = busy()
    judged.clear()
    world.ticks = 0
    world.run(10.0)
    times = [at for at in judged if at is not None]
    assert world.ticks > 250, "they are frequent"
    assert len(times) < 0.5 * world.ticks
    pauses = [after - before for before, after in pairwise(times)]
    assert max(pauses) < 2 * glance.LEISURE, "and nothing waits for long"


def test_a_quiet_path_is_judged_at_every_tick(judged: list[float | None]) -> None:
    """There are few, and each may be the last for a second."""
    world = World(SimPath("one"), SimPath("two"))
    world.run(30.0)
    judged.clear()
    world.ticks = 0
    world.run(0.9)
    assert world.ticks <= 3
    assert None not in judged


def test_a_suspect_path_is_judged_at_every_tick(judged: list[float | None]) -> None:
    world = busy()
    world.paths["one"].dead = True
    while world.state.path("one").state is not _S.SUSPECT:
        world.run(0.001)
    judged.clear()
    while world.state.path("one").state is _S.SUSPECT:
        world.run(0.001)
    assert judged
    assert None not in judged


def test_other_paths_are_judged_at_once() -> None:
    world = busy()
    config = PathConfig("one", "one")
    state = policy.reconfigure(world.state, (config,), world.now)
    outcome = policy.step(state, Tick({"one": world.paths["one"].counters}), world.now + 0.001)
    assert outcome.wishes is not None
    assert [name for name, _ in outcome.wishes] == ["one"]


# --- nothing is seen later ------------------------------------------------------------------------


def found_at_once(decisions: list[Decision]) -> list[tuple[str, str, float]]:
    return [(d.path, str(d.state), d.at) for d in decisions if d.state in AT_ONCE]


def dying(seed: int) -> list[tuple[str, str, float]]:
    """What is found when paths die and come back, each for long enough to be up again."""
    random = Random(seed)
    world = busy()
    for _ in range(2):
        path = world.paths[random.choice(("one", "two"))]
        world.run(random.uniform(0.0, 0.2))
        path.dead = True
        world.run(2.0)
        path.dead = False
        world.run(12.0)
    return found_at_once(world.decisions)


@pytest.mark.parametrize("seed", range(3))
def test_death_is_found_at_the_same_instant(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = dying(seed)
    assert sum(state == "down" for _, state, _ in found) == 2
    monkeypatch.setattr(glance, "LEISURE", -1.0)
    assert found == dying(seed), "as if every tick were judged"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_recorded_silence_is_found_at_the_same_instant(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    (segment,) = read(file_of(case)).segments
    found = found_at_once(list(replay(segment)))
    assert found
    monkeypatch.setattr(glance, "LEISURE", -1.0)
    assert found == found_at_once(list(replay(segment)))
