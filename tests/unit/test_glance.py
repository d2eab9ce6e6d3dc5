# SPDX-License-Identifier: GPL-2.0-or-later
"""Most looks need no tick, and yet nothing that is silent, dead or alive is seen later."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from world import SERVER, SimPath, World

from omrfast.core import glance, policy
from omrfast.core.events import Event, Tick
from omrfast.core.model import PathModel, observe
from omrfast.core.outcome import Decision, Outcome
from omrfast.core.recording import replay
from omrfast.core.replacing import replace
from omrfast.core.signs import Allowance
from omrfast.core.state import NEVER, CoreState
from omrfast.core.types import PathCounters, PathState
from omrfast.core.watch import Watch, Watched, goes_on, look, with_looks
from omrfast.store.journal_format import read
from tests.journals.cases import CASES, Case
from tests.journals.record import file_of

_S = PathState
NEVER_MIND = float("inf")
AT_ONCE = frozenset({_S.SUSPECT, _S.DOWN, _S.UNREACHABLE})
"""States that are entered at the very moment that shows why."""
ALLOWED = 0.020
"""Seconds by which a verdict may fall elsewhere: what is measured less often is smoothed
otherwise."""


def busy(*, upload: float | None = 0.008, download: float | None = 0.008) -> World:
    world = World(
        SimPath("one", rtt=0.04, upload=upload, download=download, gateway=True),
        SimPath("two", rtt=0.08, upload=upload, download=download, gateway=True),
    )
    world.run(5.0)
    return world


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When there was one."""
    found: list[float] = []
    step = policy.step

    def noted(state: CoreState, event: Event, now: float) -> Outcome:
        if isinstance(event, Tick):
            found.append(now)
        return step(state, event, now)

    monkeypatch.setattr(policy, "step", noted)
    return found


def test_calm_traffic_is_judged_a_few_times_a_second(ticks: list[float]) -> None:
    world = busy()
    ticks.clear()
    world.looks = 0
    world.run(10.0)
    assert world.looks > 200, "they are frequent"
    assert 30 < len(ticks) < 70
    pauses = [after - before for before, after in pairwise(ticks)]
    assert max(pauses) <= 2 * glance.LEISURE + 1e-6, "and nothing waits for long"


def test_a_quiet_path_is_looked_at_once_a_second() -> None:
    world = World(SimPath("one"), SimPath("two"))
    world.run(30.0)
    world.looks = world.ticks = 0
    world.run(0.9)
    assert world.ticks <= world.looks <= 3


def test_a_suspect_path_is_judged_at_every_look() -> None:
    world = busy()
    world.paths["one"].dead = True
    while world.state.path("one").state is not _S.SUSPECT:
        world.run(0.001)
    world.looks = world.ticks = 0
    while world.state.path("one").state is _S.SUSPECT:
        world.run(0.001)
    assert world.ticks == world.looks > 0


def test_what_is_sent_again_is_judged_at_the_next_look(ticks: list[float]) -> None:
    world = busy()
    while world.watch.until - world.now < 0.09:
        world.run(0.001)
    until = world.watch.until
    world.resend(world.paths["one"])
    ticks.clear()
    world.run(0.08)
    assert ticks
    assert ticks[0] < until


def test_a_path_that_was_not_known_to_carry_anything_is_up_at_the_first_look() -> None:
    world = World(
        SimPath("one", upload=0.008, filters=True), SimPath("two", upload=0.008), targets=(SERVER,)
    )
    world.paths["one"].dead = True
    world.run(20.0)
    assert world.state.path("one").state is not _S.UP
    world.paths["one"].dead = False
    began = world.now
    world.run(1.2)
    assert world.state.path("one").since - began < 1.1


def test_looks_are_told_by_the_next_tick() -> None:
    counters = PathCounters(last_rx=10.0, last_tx=10.0, rtt_samples=7)
    allowed = Allowance(answers=0.5, arrivals=0.5, samples_at=NEVER_MIND, calm_until=0.0)
    path = Watched("one", allowed, None, 10.0, 10.0, counters.glimpse)
    watch = Watch(12.0, (path,))
    looked = look(watch, {"one": counters.glimpse}, 10.08)
    assert looked is not None
    watch, again = looked
    assert again == pytest.approx(10.5), "when the silence could be a sign"
    counters = replace(counters, last_rx=10.09, rx_packets=3, tx_segments=2)
    looked = look(watch, {"one": counters.glimpse}, 10.1)
    assert looked is not None
    watch, again = goes_on(looked[0], Watch(13.0, (path,)), 11.0)
    assert again == pytest.approx(10.59), "what the look has heard counts"
    told = with_looks(watch, {"one": counters, "two": PathCounters()})
    assert told["one"].looks == ((10.08, 10.0, 0, 0, 0, 7), (10.1, 10.09, 3, 0, 2, 7))
    assert told["two"] == PathCounters()


@pytest.mark.parametrize("kind", ["data", "arrivals"])
def test_streams_are_followed_from_look_to_look(kind: str) -> None:
    """As if every look were a tick."""
    random = Random(kind)
    each = whole = observe(PathModel(), PathCounters(last_rx=9.9), 10.0)
    counters, looks = PathCounters(last_rx=9.9), []
    for step in range(1, 200):
        now = 10.0 + step / 30
        count = random.choice((0, 0, 1, 4))
        if count:
            counters = replace(
                counters,
                last_rx=now - random.uniform(0.0, 0.03),
                rx_packets=counters.rx_packets + count,
                rx_segments=counters.rx_segments + random.choice((0, count)),
            )
        each = observe(each, counters, now)
        if step % 4:
            looks.append((now, counters.last_rx or 0.0, counters.rx_packets, counters.rx_segments))
        else:
            whole = observe(whole, replace(counters, looks=[(*x, 0, 0) for x in looks]), now)
            looks.clear()
            assert getattr(whole, kind) == getattr(each, kind)


# --- nothing is seen later ------------------------------------------------------------------------


def found_at_once(decisions: list[Decision]) -> list[tuple[str, str, float]]:
    return [(d.path, str(d.state), d.at) for d in decisions if d.state in AT_ONCE]


def deadly(decisions: list[Decision]) -> list[tuple[str, float]]:
    """Paths that died, and when each was suspected of it. Its proof, in a replay, rests on probes
    that were recorded at moments of their own."""
    suspected: dict[str, float] = {}
    result = []
    for path, state, at in found_at_once(decisions):
        if state == _S.SUSPECT:
            suspected[path] = at
        elif path in suspected:
            result.append((path, suspected.pop(path)))
    return result


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


def alike(some: list[tuple[str, str, float]], others: list[tuple[str, str, float]]) -> bool:
    return [one[:2] for one in some] == [other[:2] for other in others] and all(
        abs(one[2] - other[2]) < ALLOWED for one, other in zip(some, others, strict=True)
    )


@pytest.mark.parametrize("seed", range(3))
def test_death_is_found_at_the_same_instant(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = dying(seed)
    assert sum(state == "down" for _, state, _ in found) == 2
    monkeypatch.setattr(glance, "LEISURE", -1.0)
    assert alike(found, dying(seed)), "as if every look were a tick"


def overlooks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """From now on steps leave out the ticks which a look would have spared; when they were."""
    spared: list[float] = []
    step = policy.step
    last: list[Outcome] = []

    def sparing(state: CoreState, event: Event, now: float) -> Outcome:
        watch = last[0].watch if last and last[0].state is state else Watch(NEVER, ())
        if isinstance(event, Tick):
            seen = {name: counters.glimpse for name, counters in event.counters.items()}
            looked = look(watch, seen, now) if now < watch.until else None
            if looked is not None:
                spared.append(now)
                last[0] = replace(last[0], watch=looked[0], decisions=(), probes=())
                return last[0]
            event = Tick(with_looks(watch, event.counters))
        outcome = step(state, event, now)
        if not isinstance(event, Tick):
            outcome = replace(outcome, watch=goes_on(watch, outcome.watch, outcome.wake_at)[0])
        last[:] = [outcome]
        return outcome

    monkeypatch.setattr(policy, "step", sparing)
    return spared


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_recorded_silence_is_found_at_the_same_instant(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    (segment,) = read(file_of(case)).segments
    died = deadly(list(replay(segment)))
    spared = overlooks(monkeypatch)
    found = found_at_once(list(replay(segment)))
    assert spared
    for path, at in died:
        assert any(p == path and s == _S.SUSPECT and abs(t - at) < ALLOWED for p, s, t in found), at
