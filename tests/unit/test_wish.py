# SPDX-License-Identifier: GPL-2.0-or-later
"""Wishes: what each state and each word of the operator means for endpoints and routes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import SimPath, World

from omrfast.core.config import PathConfig
from omrfast.core.load import Load, Rate
from omrfast.core.model import PathModel, observe
from omrfast.core.outcome import Wish
from omrfast.core.state import CoreState, Override, PathRecord, Suspicion
from omrfast.core.types import PathCounters, PathState, Role
from omrfast.core.wish import (
    CLEARLY,
    PENALTY_DEGRADED,
    PENALTY_DOWN,
    PENALTY_FAILING,
    PENALTY_PROBATION,
    STAY,
    settle,
    wishes,
)

NOW = 1000.0
_S = PathState
UP = Wish(present=True, backup=False, penalty=0)
STANDBY = Wish(present=True, backup=True, penalty=0)
GONE = Wish(present=False, penalty=PENALTY_DOWN)
DEMOTED = Wish(present=True, backup=True, penalty=PENALTY_DEGRADED)


def path(
    name: str,
    state: PathState = _S.UP,
    role: Role = Role.ACTIVE,
    *,
    word: Role | None = None,
    since: float = NOW - 100,
    admitted: bool = False,
) -> PathRecord:
    return PathRecord(
        PathConfig(name, name, role=role),
        state,
        since=since,
        admitted=admitted,
        override=None if word is None else Override(word, None),
    )


def losing(share: float) -> PathModel:
    """A model that has seen that share of 2,000 segments lost."""
    counters = PathCounters(tx_segments=2000, retransmitted_segments=round(2000 * share))
    return observe(observe(PathModel(), PathCounters(), NOW - 1), counters, NOW - 0.5)


def wished(*records: PathRecord) -> tuple[Wish, ...]:
    return tuple(wish for _, wish in wishes(CoreState(records, 0.0), NOW))


@pytest.mark.parametrize(
    ("state", "wish"),
    [
        (_S.UP, UP),
        (_S.DEGRADED, DEMOTED),
        (_S.FAILING, Wish(present=True, backup=True, penalty=PENALTY_FAILING)),
        (_S.PROBATION, Wish(present=False, backup=True, penalty=PENALTY_PROBATION)),
        (_S.UNREACHABLE, GONE),
        (_S.DOWN, GONE),
    ],
)
def test_each_state_beside_a_good_path(state: PathState, wish: Wish) -> None:
    assert wished(path("one", state), path("two")) == (wish, UP)


@pytest.mark.parametrize("state", [_S.DEGRADED, _S.FAILING, _S.UNREACHABLE, _S.DOWN])
def test_a_backup_takes_over(state: PathState) -> None:
    one, two = wished(path("one", state), path("two", role=Role.BACKUP))
    assert one.backup is not False
    assert two == (STANDBY if state in (_S.DOWN, _S.UNREACHABLE) else UP)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (_S.DEGRADED, _S.FAILING),
        (_S.FAILING, _S.UNREACHABLE),
        (_S.FAILING, _S.DOWN),
        (_S.UNREACHABLE, _S.DOWN),
    ],
)
def test_of_two_bad_paths_the_better_one_carries(better: PathState, worse: PathState) -> None:
    two, one = wished(path("two", worse), path("one", better))
    assert one == UP
    assert two.present is False or two.backup is True
    assert two.penalty


def test_penalties_keep_the_order_of_the_states() -> None:
    penalties = [0, PENALTY_DEGRADED, PENALTY_PROBATION, PENALTY_FAILING, PENALTY_DOWN]
    assert all(b - a >= 10_000 for a, b in pairwise(penalties))


@pytest.mark.parametrize("state", [_S.UNKNOWN, _S.UP, _S.DEGRADED, _S.UNREACHABLE, _S.DOWN])
def test_active_by_the_operator_is_taken_for_good(state: PathState) -> None:
    for role in Role:
        assert wished(path("one", state, role, word=Role.ACTIVE), path("two"))[0] == UP


def test_backup_by_the_operator() -> None:
    one, two = wished(path("one", word=Role.BACKUP), path("two"))
    assert (one, two) == (DEMOTED, UP)
    one, two = wished(path("one", word=Role.BACKUP), path("two", role=Role.BACKUP))
    assert (one, two) == (DEMOTED, UP), "the backup takes over"
    one, two = wished(path("one", role=Role.BACKUP, word=Role.BACKUP), path("two"))
    assert (one, two) == (STANDBY, UP)
    one, two = wished(path("one", word=Role.BACKUP), path("two", _S.DOWN))
    assert (one, two) == (UP, GONE), "the last one that lives carries"
    one, two = wished(path("one", _S.DOWN, word=Role.BACKUP), path("two"))
    assert (one, two) == (GONE, UP), "its state still counts"
    one, two = wished(path("one", role=Role.OFF, word=Role.BACKUP), path("two"))
    assert (one, two) == (DEMOTED, UP)


def test_backup_by_the_operator_outlasts_a_suspicion_of_the_other() -> None:
    suspicion = Suspicion(NOW, _S.UP, "silent", 3, NOW, NOW + 0.06, NOW - 0.06, 0.06, 0.06)
    suspect = replace(path("two", _S.SUSPECT), suspicion=suspicion)
    assert wished(path("one", word=Role.BACKUP), suspect) == (DEMOTED, UP)


@pytest.mark.parametrize("state", [_S.UP, _S.DEGRADED, _S.DOWN, _S.UNKNOWN])
def test_off_by_the_operator_where_another_is_left(state: PathState) -> None:
    assert wished(path("one", state, word=Role.OFF), path("two"))[0] == GONE
    for other in (_S.DEGRADED, _S.FAILING, _S.PROBATION):
        one, two = wished(path("one", state, word=Role.OFF), path("two", other))
        assert one == GONE
        assert two.penalty == 0
        assert two.present is True or other is _S.PROBATION


def test_who_is_back_on_probation_shares_nothing_with_a_backup_that_carries() -> None:
    """Where all are backup the kernel takes any of them."""
    lte = path("lte", role=Role.BACKUP)
    dead = path("two", _S.DOWN)
    assert wished(path("one", _S.PROBATION), dead, lte)[2] == STANDBY
    one, _, third = wished(path("one", _S.PROBATION, admitted=True), dead, lte)
    assert (one.present, one.backup) == (True, True)
    assert third == UP
    assert wished(path("one"), dead, lte)[2] == STANDBY


@pytest.mark.parametrize("other", [_S.DOWN, _S.UNREACHABLE, _S.UNKNOWN])
def test_off_by_the_operator_waits_while_no_other_is_left(other: PathState) -> None:
    one, two = wished(path("one", word=Role.OFF), path("two", other))
    assert one == UP
    if other is not _S.UNKNOWN:
        assert two == GONE


def switched_off(*, dead_since: bool) -> World:
    """One of two paths is switched off, and the other dies."""
    world = World(SimPath("one"), SimPath("two", 0.040, upload=0.02))
    world.run(20.0)
    world.override("one", Role.OFF)
    assert world.state.path("one").state == "unknown", "nothing is learnt of it any more"
    world.paths["one"].dead = dead_since
    asked = world.paths["one"].probes
    world.run(100.0)
    assert world.paths["one"].probes == asked
    world.paths["two"].dead = True
    world.run(12.0)
    return world


def test_who_died_while_switched_off_takes_no_place() -> None:
    world = switched_off(dead_since=True)
    assert world.wishes["two"].present is not False
    assert world.wishes["two"].penalty == 0
    assert "two" not in world.aborted


def test_who_answers_although_switched_off_is_the_last_that_is_left() -> None:
    world = switched_off(dead_since=False)
    assert (world.state.path("one").state, world.state.path("one").kept) == ("up", True)
    assert (world.wishes["one"], world.wishes["two"]) == (UP, GONE)
    world.paths["two"].dead = False
    world.run(15.0)
    assert (world.wishes["one"], world.wishes["two"]) == (GONE, UP)
    assert (world.state.path("one").state, world.state.path("one").kept) == ("unknown", False)


def test_switched_on_again_it_is_asked_before_it_is_used() -> None:
    world = World(SimPath("one", upload=0.02), SimPath("two", 0.040, upload=0.02))
    world.run(20.0)
    world.paths["one"].dead = True
    while world.state.path("one").state is not _S.SUSPECT:
        world.run(0.002)
    world.override("one", Role.OFF)
    assert world.state.path("one").suspicion is None
    world.paths["one"].upload = None
    world.run(600.0)
    world.override("one", None)
    assert world.wishes["one"] == Wish(), "it is left away"
    world.run(5.0)
    assert world.state.path("one").state == "down"
    world.paths["one"].dead = False
    world.run(20.0)
    world.override("one", Role.OFF)
    world.run(600.0)
    at = world.now
    world.override("one", None)
    world.run(5.0)
    assert world.states("one", at)[-1] == "up"
    assert "down" not in world.states("one", at)
    assert world.wishes["one"] == UP


def test_off_by_the_operator_after_a_start_waits_until_the_other_is_heard() -> None:
    for state in (_S.UNKNOWN, _S.UP):
        off = path("one", state, word=Role.OFF, since=NOW - 0.04)
        assert wished(off, path("two", _S.UNKNOWN, since=NOW - 0.04))[0] == Wish()
        assert wished(off, path("two", since=NOW - 0.04))[0] == GONE
        assert wished(off, path("two", _S.DOWN, since=NOW - 0.04))[0].present is not False


def test_off_for_all_keeps_the_best_and_off_for_the_dead_keeps_the_other() -> None:
    one, two = wished(path("one", _S.DEGRADED, word=Role.OFF), path("two", word=Role.OFF))
    assert (one, two) == (GONE, UP)
    one, two = wished(path("one", _S.DOWN, word=Role.OFF), path("two", _S.DOWN))
    assert one == GONE
    assert two == UP


def test_off_by_the_configuration_is_final() -> None:
    assert wished(path("one", role=Role.OFF), path("two", _S.DOWN)) == (GONE, UP)


@pytest.mark.parametrize(
    ("loss", "repeats"), [(None, 0), (0.0, 0), (0.01, 1), (0.04, 1), (0.1, 2), (0.2, 4), (0.6, 4)]
)
def test_a_removal_is_repeated_as_the_surviving_paths_lose(
    loss: float | None, repeats: int
) -> None:
    good = path("two")
    if loss is not None:
        good = replace(good, model=losing(loss))
        assert good.model.loss == pytest.approx(loss, abs=0.001)
    dead = path("one", _S.DOWN, since=NOW - 0.1)
    assert wished(dead, good) == (replace(GONE, repeat=repeats), UP)
    assert wished(replace(dead, since=NOW - 10), good) == (GONE, UP), "then it knows by itself"
    dying = replace(path("three", _S.DOWN), model=losing(0.9))
    assert wished(dead, good, dying)[0].repeat == repeats, "over the dead nothing is told"


@pytest.mark.parametrize(("tx", "rx", "repeats"), [(2e6, 1e5, 0), (1e5, 2e6, 1), (2e4, 1e3, 1)])
def test_no_removal_is_repeated_into_an_upload(tx: float, rx: float, repeats: int) -> None:
    model = losing(0.04)
    busy = replace(model, load=Load(recent=(Rate(NOW - 0.2, tx, rx, 0.08),)))
    dead = path("one", _S.DOWN, since=NOW - 0.1)
    assert wished(dead, replace(path("two"), model=busy))[0].repeat == repeats


# --- the least bad one ----------------------------------------------------------------------------


def slow(name: str, rtt: float, state: PathState = _S.DEGRADED) -> PathRecord:
    return replace(path(name, state), model=PathModel(srtt=rtt))


class Fronts:
    """Who carries of two paths that are bad, step by step."""

    def __init__(self, one: PathState = _S.DEGRADED, two: PathState = _S.DEGRADED) -> None:
        self.state = CoreState((), 0.0)
        self.states = one, two
        self.changes: list[float] = []
        self.carries = ""

    def step(self, now: float, one: float, two: float) -> str:
        """RTTs; the limit is 0.25 s."""
        records = (slow("one", one, self.states[0]), slow("two", two, self.states[1]))
        self.state = settle(replace(self.state, paths=records), now)
        wished = wishes(self.state, now)
        (carries,) = (name for name, wish in wished if wish.present and not wish.backup)
        if self.carries not in ("", carries):
            self.changes.append(now)
        self.carries = carries
        return carries


def test_the_one_that_was_good_last_stays_in_front() -> None:
    fronts = Fronts(_S.UP, _S.DEGRADED)
    assert fronts.step(0.0, 0.04, 0.3) == "one"
    fronts.states = _S.DEGRADED, _S.DEGRADED
    for number in range(1, 100):
        assert fronts.step(number * 0.1, 0.35 + 0.05 * (number % 2), 0.3) == "one"
    fronts.states = _S.DEGRADED, _S.UP
    assert fronts.step(10.0, 0.3, 0.04) == "two", "a good one is preferred at once"


def test_a_clearly_better_one_takes_over_after_a_while() -> None:
    fronts = Fronts()
    assert fronts.step(0.0, 0.5, 0.6) == "one"
    for number in range(1, 100):
        fronts.step(number * 0.1, 0.9, 0.3)
    (change,) = fronts.changes
    assert STAY <= change <= STAY + 0.3


@pytest.mark.parametrize("worse", [_S.FAILING, _S.DOWN, _S.UNREACHABLE])
def test_one_that_gets_into_a_worse_state_is_left_at_once(worse: PathState) -> None:
    fronts = Fronts()
    assert fronts.step(0.0, 0.3, 0.9) == "one"
    fronts.states = worse, _S.DEGRADED
    assert fronts.step(0.1, 0.3, 0.9) == "two"


@given(
    st.lists(
        st.tuples(st.floats(0.01, 1.0), st.floats(0.26, 5.0), st.floats(0.26, 5.0)), max_size=200
    )
)
def test_between_bad_paths_nothing_oscillates(steps: list[tuple[float, float, float]]) -> None:
    """However they alternate: never sooner than STAY, and ever later; never for little."""
    fronts, now = Fronts(), 0.0
    for pause, one, two in steps:
        now += pause
        before = fronts.carries
        fronts.step(now, one, two)
        if fronts.changes and fronts.changes[-1] == now:
            kept, taken = (one, two) if before == "one" else (two, one)
            assert taken <= CLEARLY * kept
    assert all(second - first >= 2 * STAY for first, second in pairwise(fronts.changes))
    for change in fronts.changes:
        assert sum(change <= other < change + 60 for other in fronts.changes) <= 5
    fresh = Fronts()
    for number, (_, one, _) in enumerate(steps):
        fresh.step(float(number), one, one * (0.75 + 0.5 * (number % 2)))
    assert not fresh.changes


records = st.builds(
    path,
    st.just(""),
    st.sampled_from([s for s in PathState if s is not _S.SUSPECT]),
    st.sampled_from(Role),
    word=st.sampled_from([None, *Role]),
    since=st.floats(0, NOW),
    admitted=st.booleans(),
)


@given(st.lists(records, min_size=1, max_size=4))
def test_something_is_always_left(drawn: list[PathRecord]) -> None:
    """As long as a path may be used at all, one is not taken away and has no penalty."""
    given_wishes = wished(
        *(
            PathRecord(
                PathConfig(str(n), str(n), role=r.config.role),
                r.state,
                r.since,
                admitted=r.admitted,
                override=r.override,
            )
            for n, r in enumerate(drawn)
        )
    )
    word_or_role = [(r.role, r.config.role) for r in drawn]
    if any(role is not Role.OFF or configured is not Role.OFF for role, configured in word_or_role):
        assert any(w.present is not False and not w.penalty for w in given_wishes)
    for record, wish in zip(drawn, given_wishes, strict=True):
        if record.config.role is Role.OFF and record.override is None:
            assert wish == GONE
