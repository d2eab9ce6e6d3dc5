# SPDX-License-Identifier: GPL-2.0-or-later
"""What `omrfast explain` says, over simulated paths and over handmade states."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world import SERVER, WEB, SimPath, World

from omrfast.core.config import PathConfig, Quality
from omrfast.core.explain import Explanation, NothingKnown, explain
from omrfast.core.outcome import Wish
from omrfast.core.state import (
    NEVER,
    CoreState,
    Evidence,
    Override,
    PathRecord,
    Purse,
    ServerRecord,
    Suspicion,
    TargetRecord,
)
from omrfast.core.types import Origin, PathState, ProbeKind, Role, ServerState, Target
from omrfast.core.words import span, wish_words

PING = Target("icmp 203.0.113.10", ProbeKind.ICMP, "203.0.113.10", Origin.SERVER, "vps")
NOW = 1000.0


def of(found: Explanation, topic: str) -> list[str]:
    return [text for name, text in found.lines if name == topic]


def said(world: World, name: str) -> Explanation:
    return explain(world.state, name, world.now)


def one(**members: object) -> CoreState:
    """A path as described beside a good one."""
    quality = Quality(recover_after=5.0, half_life=120.0)
    described = PathRecord(PathConfig("wan1", "eth1", quality=quality))
    other = PathRecord(PathConfig("wan2", "eth2"), state=PathState.UP, since=NOW - 100)
    return CoreState((replace(described, **members), other), 0.0)


# --- over traffic ---------------------------------------------------------------------------------


def test_a_good_path_waits_for_nothing() -> None:
    world = World(SimPath("wan1", 0.040, upload=0.02), SimPath("wan2", 0.080))
    world.run(30)
    found = said(world, "wan1")
    assert found.state == "up"
    assert of(found, "waits for")[0].startswith("nothing; traffic measures it, which saves")
    assert any("RTT 40 ms (limit 250 ms" in text for text in of(found, "measured"))
    assert of(found, "wished") == ["endpoint active, routes in their place"]
    assert "answered in 40 ms" in of(found, "asked")[0]
    idle = said(world, "wan2")
    assert "the next probe is due in" in of(idle, "waits for")[0]


def test_a_dead_path_waits_for_an_answer_and_says_what_comes_then() -> None:
    world = World(SimPath("wan1", 0.040, upload=0.02), SimPath("wan2", 0.080, upload=0.02))
    world.run(30)
    world.paths["wan1"].dead = True
    world.run(3)
    found = said(world, "wan1")
    assert found.state == "down"
    assert "probes unanswered" in of(found, "why")[0]
    first, then = of(found, "waits for")[:2]
    assert first.startswith("an answer to a probe; the next probe is due")
    needed = dict(found.numbers)["needed_s"]
    assert 2.5 <= needed <= 5.0, "less after a clean record"
    words = "of good answers: half of it alone, half as backup"
    assert then == f"and then {needed:.1f} s {words}"
    assert of(found, "wished")[0].startswith("no endpoint, routes behind")
    assert "last packet or answer 3." in " ".join(of(found, "measured"))


def test_a_returning_path_says_how_long_it_still_takes() -> None:
    world = World(SimPath("wan1", 0.040, upload=0.02), SimPath("wan2", 0.080, upload=0.02))
    world.run(30)
    world.paths["wan1"].dead = True
    world.run(3)
    world.paths["wan1"].dead = False
    world.run(2)
    found = said(world, "wan1")
    assert found.state == "probation"
    numbers = dict(found.numbers)
    needed, good = numbers["needed_s"], numbers["good_for_s"]
    assert 0.5 < good < 2.1
    words = f"good for {span(good)} of {span(needed)}: up in {span(needed - good)} if it lasts"
    assert of(found, "waits for")[0] == words


def test_flapping_is_given_as_the_reason_for_waiting_longer() -> None:
    world = World(SimPath("wan1", 0.040, upload=0.02), SimPath("wan2", 0.080, upload=0.02))
    world.run(20)
    for _ in range(3):
        world.paths["wan1"].dead = True
        world.run(2)
        world.paths["wan1"].dead = False
        world.run(20)
    world.paths["wan1"].dead = True
    world.run(2)
    text = " ".join(of(said(world, "wan1"), "waits for"))
    assert "instead of 5.0 s because it was demoted before: penalty" in text
    assert "halves every 2 min 0 s" in text


# --- by hand --------------------------------------------------------------------------------------


def test_a_suspect_path_says_when_the_verdict_falls() -> None:
    doubt = Suspicion(NOW - 0.03, PathState.UP, "silent", 1, NOW, NOW + 0.05, NOW - 0.1, 0.07, 0.06)
    state = one(state=PathState.SUSPECT, since=NOW - 0.03, suspicion=doubt)
    assert of(explain(state, "wan1", NOW), "waits for") == [
        "an answer to 2 of 3 probes; verdict in 50 ms"
    ]


def test_what_holds_a_slow_path_is_the_limit_that_it_is_beyond() -> None:
    world = World(SimPath("wan1", 0.040, upload=0.02), SimPath("wan2", 0.080, upload=0.02))
    world.run(20)
    world.paths["wan1"].rtt = 0.340
    world.run(5)
    found = said(world, "wan1")
    assert found.state == "degraded"
    assert of(found, "held by") == ["RTT 340 ms > 250 ms"]
    assert of(found, "waits for")[0].startswith("good figures, and then ")
    world.paths["wan1"].rtt = 0.140  # within the limits, but not by enough
    world.run(5)
    assert "good is below 75% of the limits" in of(said(world, "wan1"), "held by")[0]
    assert of(said(world, "wan2"), "held by") == []


def test_a_limit_that_is_crossed_but_not_for_long_enough() -> None:
    state = one(state=PathState.UP, bad_since=NOW - 0.4)
    text = of(explain(state, "wan1", NOW), "waits for")
    assert text == ["better figures: beyond a limit for 400 ms, demoted after 700 ms"]


def test_a_clean_record_is_given_as_the_reason_for_waiting_less() -> None:
    state = one(state=PathState.DEGRADED, clean_for=1200.0, penalty=1.0, penalty_at=NOW)
    assert of(explain(state, "wan1", NOW), "waits for")[-1] == (
        "2.5 s instead of 5.0 s because it had been up for 20 min 0 s"
    )


def test_the_evidence_of_a_state_has_its_units() -> None:
    for what, measured, limit, words in (
        ("rtt", 0.300, 0.250, "rtt: measured 300 ms, limit 250 ms, first sign 1.5 s before"),
        ("loss", 0.1, 0.05, "loss: measured 10.0%, limit 5.0%, first sign 1.5 s before"),
        ("rise", 5.0, 4.0, "rise: measured 5.0 times, limit 4.0 times, first sign 1.5 s before"),
    ):
        evidence = Evidence(what, measured, limit, NOW - 11.5)
        state = one(state=PathState.DEGRADED, since=NOW - 10, evidence=evidence)
        found = explain(state, "wan1", NOW)
        assert of(found, "evidence") == [words]
        assert dict(found.numbers)["measured"] == measured


def test_services_that_fail_on_the_only_path_are_told_without_blame() -> None:
    world = World(SimPath("wan1", upload=0.02, gateway=True), targets=(SERVER, WEB))
    world.run(5)
    assert of(said(world, "wan1"), "services") == []
    world.paths["wan1"].failing = {"web"}
    world.run(60)
    found = said(world, "wan1")
    assert found.state == "up", "there is no path to compare it with"
    (told,) = of(found, "services")
    assert told.startswith("web does not work (")
    world.paths["wan1"].dead = True
    world.run(5)
    assert of(said(world, "wan1"), "services") == [], "nothing works on a dead one"
    world.paths["wan1"].dead, world.paths["wan1"].failing = False, set()
    world.run(60)
    assert of(said(world, "wan1"), "services") == []


def test_the_operators_word_and_its_end_are_told() -> None:
    for until, words in (
        (NOW + 300, "backup for 5 min 0 s more, whatever is measured"),
        (None, "backup until told otherwise, whatever is measured"),
    ):
        state = one(state=PathState.UP, override=Override(Role.BACKUP, until))
        found = explain(state, "wan1", NOW)
        assert of(found, "operator") == [words]
        assert dict(found.numbers)["override_left_s"] == (until and until - NOW)
    off = one(state=PathState.UP, override=Override(Role.OFF, None))
    (waits,) = of(explain(off, "wan1", NOW), "waits for")
    assert waits == "the operator: it is switched off; `omrfast path wan1 auto` ends that"
    off = one(state=PathState.UP, override=Override(Role.OFF, NOW + 60))
    (waits,) = of(explain(off, "wan1", NOW), "waits for")
    assert waits == "the end of the operator's word, in 1 min 0 s"
    off = one(state=PathState.UP, config=PathConfig("wan1", "eth1", role=Role.OFF))
    assert "`omrfast path wan1 up`" in of(explain(off, "wan1", NOW), "waits for")[0]


def test_a_path_on_which_nobody_ever_answered_is_tried_by_time() -> None:
    state = one(state=PathState.DOWN, since=NOW - 4, penalty=1.0, penalty_at=NOW - 4)
    assert of(explain(state, "wan1", NOW), "waits for") == [
        "a trial as backup in 6.0 s: nobody ever answered a probe on it"
    ]
    gone = replace(state.paths[0], link_up=False)
    state = replace(state, paths=(gone, state.paths[1]))
    assert of(explain(state, "wan1", NOW), "waits for") == ["its link"]


def test_a_server_is_explained_by_name_and_by_address() -> None:
    heard = TargetRecord(PING, NOW - 1, None, NOW - 1, rtt=0.04)
    silent = TargetRecord(PING, NOW - 1, NOW - 3, NOW - 9, rtt=0.08)
    paths = one().paths
    paths = (replace(paths[0], targets=(heard,)), replace(paths[1], targets=(silent,)))
    server = ServerRecord(
        "vps",
        ("203.0.113.10",),
        ServerState.UP,
        NOW - 60,
        "heard",
        unreachable_on=frozenset({"wan2"}),
    )
    state = CoreState(paths, 0.0, (server,))
    found = explain(state, "vps", NOW)
    assert found == explain(state, "203.0.113.10", NOW)
    assert found.kind == "server"
    first, second = of(found, "asked")
    assert first == "wan1, icmp 203.0.113.10: answered in 40 ms, 1.0 s ago"
    assert second.endswith("asked again 3.0 s ago; it answers on other paths, so this one does "
                           "not reach it")  # fmt: skip
    assert of(found, "waits for") == ["nothing"]
    down = replace(state, servers=(replace(server, state=ServerState.DOWN),))
    assert "an answer or a packet" in of(explain(down, "vps", NOW), "waits for")[0]


def test_a_name_that_nothing_has_is_answered_with_those_there_are() -> None:
    with pytest.raises(NothingKnown, match="nothing is named 'wan9'; paths: wan1, wan2; servers"):
        explain(one(), "wan9", NOW)


def test_the_budget_of_a_metered_path_is_told() -> None:
    config = PathConfig("lte", "wwan0", role=Role.BACKUP)
    found = explain(CoreState((PathRecord(config),), 0.0), "lte", NOW)
    assert of(found, "budget") == [
        "probes may take 5 MB in 30 days: 0.0 kB so far, 6.9 kB are there"
    ]
    poor = PathRecord(config, probe_bytes=8000, purse=Purse(-500.0, NOW, saving=True))
    said, saves = of(explain(CoreState((poor,), 0.0), "lte", NOW), "budget")
    assert said.endswith("8.0 kB so far, 0.5 kB are owed")
    assert saves.startswith("saving for 1 h ")
    free = of(explain(one(), "wan1", NOW), "budget")
    assert free == [], "an active path has no budget unless it is given one"


def test_local_trouble_is_told() -> None:
    state = replace(one(), trouble="all paths went silent", trouble_since=NOW - 2)
    assert of(explain(state, "wan1", NOW), "trouble") == ["for 2.0 s: all paths went silent"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 ms"),
        (0.0354, "35 ms"),
        (4.24, "4.2 s"),
        (187, "3 min 7 s"),
        (18120, "5 h 2 min"),
        (12 * 86400 + 3 * 3600, "12 d 3 h"),
    ],
)
def test_spans(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_every_wish_has_words() -> None:
    words = {
        wish_words(Wish(present, backup, penalty))
        for present in (None, True, False)
        for backup in (None, True, False)
        for penalty in (None, 0, 10_000)
    }
    assert len(words) >= 12
    assert "endpoint as it is, routes as they are" in words


# --- anything -------------------------------------------------------------------------------------

TIMES = st.floats(0, 2000) | st.just(NEVER)
PATHS = st.builds(
    PathRecord,
    config=st.builds(PathConfig, st.just("wan1"), st.just("eth1"), role=st.sampled_from(Role)),
    state=st.sampled_from([s for s in PathState if s is not PathState.SUSPECT]),
    since=st.floats(0, 2000),
    link_up=st.booleans(),
    bad_since=st.none() | st.floats(0, 2000),
    good_since=st.none() | st.floats(0, 2000),
    admitted=st.booleans(),
    answers=st.booleans(),
    answered_at=TIMES,
    next_probe=TIMES,
    penalty=st.floats(0, 20),
    penalty_at=st.floats(0, 2000),
    targets=st.lists(
        st.builds(
            TargetRecord,
            target=st.just(PING),
            asked_at=TIMES,
            waiting_since=st.none() | st.floats(0, 2000),
            answered_at=TIMES,
            rtt=st.none() | st.floats(0, 2),
            failures=st.integers(0, 3),
        ),
        max_size=1,
    ).map(tuple),
    override=st.none() | st.builds(Override, st.sampled_from(Role), st.none() | st.floats(0, 2000)),
    evidence=st.none() | st.builds(Evidence, st.sampled_from(["rtt", "loss", "silence"])),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PATHS)
def test_anything_can_be_explained(record: PathRecord) -> None:
    state = CoreState((record,), 0.0)
    found = explain(state, "wan1", NOW)
    assert of(found, "waits for")
    assert all(text and "inf" not in text and "None" not in text for _, text in found.lines)
