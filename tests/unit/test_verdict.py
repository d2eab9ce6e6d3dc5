# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is silent: the path, the server, the carrier behind the gateway, or everything at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from world import OTHER, SERVER, WITNESS, SimPath, World

from omrfast.core.config import Quality
from omrfast.core.events import PathProof, ProbeFailed
from omrfast.core.types import PathState, Role, ServerState, Target

SECOND = replace(SERVER, key="icmp 203.0.113.11", address="203.0.113.11")
THIRD = replace(OTHER, key="icmp 203.0.113.30", address="203.0.113.30", name="vps3")
QUICK = Quality(recover_after=2.0)
SETTLING = 3.0


def two(targets: tuple[Target, ...] = (SERVER,), **first: object) -> World:
    """A 40 ms path with the given traffic beside an idle 80 ms one; gateways answer."""
    world = World(
        SimPath("one", rtt=0.040, quality=QUICK, gateway=True, **first),  # type: ignore[arg-type]
        SimPath("two", rtt=0.080, quality=QUICK, gateway=True),
        targets=targets,
    )
    world.run(SETTLING)
    assert [record.state for record in world.state.paths] == ["up", "up"]
    return world


TRAFFIC = [
    {"upload": 0.020},
    {"download": 0.020},
    {"upload": 0.001},
    {"download": 0.001},
]


@pytest.mark.parametrize("traffic", TRAFFIC)
def test_a_path_whose_gateway_is_silent_too_is_dead_as_fast_as_ever(
    traffic: dict[str, float],
) -> None:
    world = two(**traffic)
    world.paths["one"].dead = True
    at = world.now
    world.run(1.0)
    took = world.entered("one", "down", at)
    assert took is not None
    assert took <= 0.170
    assert world.states("two", at) == []
    assert world.server_states("vps", at) == []
    evidence = world.decision("one", "down").evidence
    assert evidence is not None
    assert evidence.what == "silence"
    assert evidence.sign_at is not None
    assert at - 0.060 <= evidence.sign_at <= at + 0.030


@pytest.mark.parametrize("traffic", TRAFFIC)
def test_a_carrier_that_is_cut_behind_its_gateway_is_unreachable_within_round_trips(
    traffic: dict[str, float],
) -> None:
    world = two(**traffic)
    world.paths["one"].cut = True
    at = world.now
    world.run(1.0)
    took = world.entered("one", "unreachable", at)
    assert took is not None
    assert took <= 0.250
    assert world.wishes["one"].present is False
    assert world.aborted == ["one"]
    assert world.states("two", at) == []
    assert world.server_states("vps", at) == []
    assert "and vps does on two" in world.decision("one", "unreachable").reason


def test_a_cut_carrier_comes_back_through_probation() -> None:
    world = two(upload=0.020)
    world.paths["one"].cut = True
    world.run(5.0)
    world.paths["one"].cut = False
    healed = world.now
    world.run(6.0)
    assert world.states("one", healed) == ["probation", "up"]


@pytest.mark.parametrize("traffic", TRAFFIC)
@pytest.mark.parametrize("both", [False, True])
def test_a_dead_server_is_no_path_s_fault(traffic: dict[str, float], both: bool) -> None:
    world = two(**traffic)
    if both:
        for name, value in traffic.items():
            setattr(world.paths["two"], name, value)
        world.run(3.0)
    world.hosts["vps"].dead = True
    at = world.now
    world.run(20.0)
    took = world.entered("vps", "down", at)
    assert took is not None
    assert took < 2.0
    assert {"down", "unreachable"} & {*world.states("one", at), *world.states("two", at)} == set()
    assert [r.penalty for r in world.state.paths] == [0, 0]
    assert all(world.wishes[name].present for name in ("one", "two"))
    assert sum(d.at > at + 2 for d in world.decisions) <= 2, "no talk about it for ever"
    world.hosts["vps"].dead = False
    healed = world.now
    world.run(10.0)
    back = world.entered("vps", "up", healed)
    assert back is not None
    assert back < 3.0
    assert world.states("one", healed) in ([], ["up"])


def test_a_path_that_dies_while_the_server_is_down_is_noticed_by_its_gateway() -> None:
    world = two(upload=0.020)
    world.hosts["vps"].dead = True
    world.run(10.0)
    world.paths["one"].dead = True
    at = world.now
    world.run(15.0)
    took = world.entered("one", "down", at)
    assert took is not None
    assert world.state.path("two").state is PathState.UP


@pytest.mark.parametrize("both", [False, True])
def test_a_server_whose_machine_pauses_costs_no_path_where_gateways_answer(both: bool) -> None:
    world = two(upload=0.020)
    world.paths["two"].upload = 0.05 if both else None
    world.run(2.0)
    at = world.now
    for pause in (0.3, 0.6, 0.9, 2.0, 3.0):
        world.hosts["vps"].paused_until = world.now + pause
        began = world.now
        world.run(pause + 20.0)
        gone = world.server_states("vps", began)
        assert gone in ([[]] if pause < 1 else [[], ["down", "up"]]), pause
    seen = {*world.states("one", at), *world.states("two", at)}
    assert {"down", "unreachable"} & seen == set()


def test_a_verdict_is_withdrawn_when_the_server_turns_out_to_answer_nowhere() -> None:
    world = World(
        SimPath("one", upload=0.020, quality=QUICK),
        SimPath("two", rtt=0.080, gateway=True, quality=QUICK),
    )
    world.run(4.0)
    world.hosts["vps"].dead = True
    at = world.now
    world.run(4.0)
    assert world.states("one", at) == ["down", "up"]
    assert "withdrawn" in world.decision("one", "up").reason
    assert world.server_states("vps")[-1] == "down"
    assert world.state.path("one").penalty == 0
    assert "down" not in world.states("two", at)


def test_a_server_that_is_lost_on_one_path_only_is_said_so() -> None:
    world = two((SERVER, OTHER), upload=0.020)
    world.paths["two"].upload = 0.020
    world.paths["one"].server = world.paths["two"].server = "vps2"
    world.run(2.0)
    world.paths["one"].blocked = {"vps"}
    at = world.now
    world.run(90.0)
    servers = {server.name: server for server in world.state.servers}
    assert servers["vps"].unreachable_on == {"one"}
    assert servers["vps"].state is ServerState.UP
    assert world.states("one", at) == []
    world.paths["one"].blocked = set()
    world.run(90.0)
    assert {s.name: s.unreachable_on for s in world.state.servers}["vps"] == frozenset()


def test_a_path_on_which_no_server_answers_is_unreachable_though_a_witness_does() -> None:
    world = two((SERVER, WITNESS), upload=0.020)
    world.paths["one"].blocked = {"vps"}
    at = world.now
    world.run(5.0)
    took = world.entered("one", "unreachable", at)
    assert took is not None
    assert took < 2.0
    assert world.states("one", at)[-1:] == ["unreachable"]
    assert world.states("one", at).count("unreachable") <= 2
    world.paths["one"].blocked = set()
    world.run(6.0)
    assert world.state.path("one").state is PathState.UP


def test_a_witness_tells_a_dead_server_from_a_dead_path_where_there_is_one_path_only() -> None:
    world = World(
        SimPath("one", upload=0.020, gateway=True, quality=QUICK), targets=(SERVER, WITNESS)
    )
    world.run(3.0)
    world.hosts["vps"].dead = True
    at = world.now
    world.run(10.0)
    assert world.server_states("vps", at) == ["down"]
    assert set(world.states("one", at)) <= {"up"}


@pytest.mark.parametrize("gateway", [False, True])
@pytest.mark.parametrize("targets", [(SERVER, SECOND, WITNESS), (SERVER, OTHER, WITNESS)])
def test_a_witness_is_asked_beside_all_that_may_die_with_the_server(
    targets: tuple[Target, ...], gateway: bool
) -> None:
    world = World(
        SimPath("one", upload=0.020, gateway=gateway),
        SimPath("two", rtt=0.080, gateway=gateway),
        targets=targets,
    )
    world.run(SETTLING)
    dead = {target.name for target in targets} - {"witness"}
    for name in dead:
        world.hosts[name].dead = True
    at = world.now
    world.run(60.0)
    assert {*world.states("one", at), *world.states("two", at)} <= {"up"}
    assert {d.server for d in world.decisions if d.state == "down"} == dead


def test_a_server_that_was_not_asked_is_not_blamed() -> None:
    world = two((SERVER, OTHER, THIRD, WITNESS), upload=0.020)
    world.run(60.0)
    at = world.now
    for name in ("vps", "vps2", "witness"):
        world.hosts[name].dead = True
    world.run(60.0)
    assert world.server_states("vps", at) == world.server_states("vps2", at) == ["down"]
    assert not any("vps3" in d.reason for d in world.decisions if d.at >= at)
    assert {*world.states("one", at), *world.states("two", at)} <= {"up"}


def test_a_path_that_reaches_one_server_of_three_is_kept() -> None:
    world = two((SERVER, OTHER, THIRD))
    at = world.now
    world.paths["one"].blocked = {"vps", "vps2"}
    world.run(120.0)
    assert set(world.states("one", at)) <= {"up"}
    lost = {s.name for s in world.state.servers if s.unreachable_on}
    assert lost == {"vps", "vps2"}


def test_everything_at_once_is_local_trouble() -> None:
    world = two(upload=0.020)
    for path in world.paths.values():
        path.dead = True
    at = world.now
    world.run(3.0)
    assert [r.state for r in world.state.paths] == ["down", "down"]
    assert world.state.trouble is not None
    assert all("all 2 paths went silent" in r.reason for r in world.state.paths)
    assert sum(world.wishes[name].present is not False for name in ("one", "two")) >= 1
    assert world.server_states("vps", at) == []
    assert world.entered("one", "down", at) is not None
    for path in world.paths.values():
        path.dead = False
    world.run(5.0)
    assert world.state.trouble is None
    assert [r.state for r in world.state.paths] == ["up", "up"]


def test_links_that_are_lost_at_once_are_local_trouble() -> None:
    world = two(upload=0.020)
    for name in world.paths:
        world.link(name, up=False)
    world.run(1.0)
    assert world.state.trouble == "all 2 paths lost their link within 0 ms: local trouble"
    assert all("all 2 paths lost their link" in r.reason for r in world.state.paths)
    world.link("two", up=True)
    world.run(3.0)
    assert world.state.trouble is None
    world.run(30.0)
    world.link("two", up=False)
    world.run(3.0)
    assert world.state.trouble is None, "one after the other"


def test_one_that_was_dead_before_does_not_hide_local_trouble() -> None:
    world = World(
        SimPath("one", upload=0.020, gateway=True),
        SimPath("two", rtt=0.080, upload=0.020, gateway=True),
        SimPath("three", rtt=0.060, gateway=True),
    )
    world.run(5.0)
    world.paths["three"].dead = True
    world.run(60.0)
    assert world.state.trouble is None
    world.paths["one"].dead = world.paths["two"].dead = True
    world.run(3.0)
    assert world.state.trouble is not None
    assert world.state.trouble.startswith("the last 2 of 3 paths went silent within")
    assert "the last 2" not in world.state.path("three").reason
    world.paths["two"].dead = False
    world.run(5.0)
    assert world.state.trouble is None


def test_an_idle_alternative_that_is_dead_is_found_out_with_the_first() -> None:
    world = two(upload=0.020)
    world.paths["two"].dead = True
    world.run(0.1)
    world.paths["one"].dead = True
    at = world.now
    world.run(2.0)
    took = world.entered("two", "down", at)
    assert took is not None
    assert took < 1.0


def test_the_kernel_s_proof_needs_no_burst() -> None:
    world = two()
    world.paths["one"].dead = True
    world.run(0.5)
    at = world.now
    world.tell(PathProof("one", "neighbour 10.0.0.1 FAILED"))
    assert world.entered("one", "down", at) == 0
    assert world.decision("one", "down").reason == "neighbour 10.0.0.1 FAILED"


def test_proof_is_not_believed_of_a_path_that_is_heard() -> None:
    world = two(upload=0.020)
    world.tell(PathProof("one", "neighbour 10.0.0.1 FAILED"))
    world.tell(ProbeFailed("one", SERVER.key, "unreachable", proof=True, sent=True))
    assert world.state.path("one").state is PathState.UP


def test_proof_during_a_suspicion_ends_it() -> None:
    world = two(upload=0.020)
    world.paths["one"].dead = True
    at = world.now
    while world.state.path("one").state is PathState.UP:
        world.run(0.002)
    assert world.state.path("one").state is PathState.SUSPECT
    world.tell(ProbeFailed("one", SERVER.key, "no route", proof=True, sent=True))
    assert world.state.path("one").state is PathState.DOWN
    assert world.now - at < 0.120


def test_the_operator_s_word_counts_until_its_time_is_up() -> None:
    world = two(upload=0.020)
    world.override("one", Role.BACKUP, 5.0)
    assert world.wishes["one"].backup is True
    world.run(4.9)
    assert world.wishes["one"].backup is True
    world.run(0.2)
    assert world.wishes["one"].backup is False
    words = [d.reason for d in world.decisions if d.evidence and d.evidence.what == "operator"]
    assert words == [
        "operator: backup for 5 s",
        "time is up: no longer backup, decided by itself again",
    ]


def test_a_path_that_the_operator_switched_off_is_not_probed() -> None:
    world = two()
    world.override("two", Role.OFF)
    asked = len(world.paths["two"].asked)
    world.run(60.0)
    assert len(world.paths["two"].asked) == asked
    world.override("two", None)
    world.run(0.5)
    assert len(world.paths["two"].asked) > asked
