# SPDX-License-Identifier: GPL-2.0-or-later
"""The servers' records: known by name, heard by answers and by flows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from world import OTHER, PORT, SERVER, SimPath, World

from omrfast.core.events import ServersChanged, Walked
from omrfast.core.state import Evidence
from omrfast.core.transitions import enter
from omrfast.core.types import FlowSum, PathState, ServerState, Target


def world() -> World:
    made = World(SimPath("one", gateway=True), SimPath("two", rtt=0.080, gateway=True))
    made.run(3.0)
    return made


def test_a_server_is_unknown_until_it_is_heard() -> None:
    made = World(SimPath("one", dead=True))
    made.run(5.0)
    assert made.state.servers[0].state is ServerState.UNKNOWN
    made.paths["one"].dead = False
    made.run(5.0)
    assert made.state.servers[0].state is ServerState.UP
    assert made.server_states("vps") == ["up"]


def test_flows_that_receive_are_a_sign_of_life() -> None:
    made = World(SimPath("one", filters=True))
    made.run(2.0)
    made.tell(Walked({"203.0.113.10": FlowSum(open=1, arrived=made.now - 0.1)}))
    server = made.state.servers[0]
    assert server.state is ServerState.UP
    assert server.heard_at == made.now - 0.1


def test_flows_bring_a_server_back_that_answers_no_probe() -> None:
    made = world()
    made.hosts["vps"].dead = True
    made.paths["one"].upload = 0.020
    made.run(5.0)
    assert made.state.servers[0].state is ServerState.DOWN
    made.tell(Walked({"203.0.113.10": FlowSum(open=1, arrived=made.now)}))
    assert made.state.servers[0].state is ServerState.UP


def test_servers_that_stay_keep_what_is_known_of_them() -> None:
    made = world()
    made.tell(ServersChanged((("vps", ("203.0.113.10", "2001:db8::1")), ("new", ("192.0.2.9",)))))
    states = {server.name: server.state for server in made.state.servers}
    assert states == {"vps": ServerState.UP, "new": ServerState.UNKNOWN}
    made.tell(ServersChanged((("new", ("192.0.2.9",)),)))
    assert [server.name for server in made.state.servers] == ["new"]


def test_a_dead_server_is_not_talked_about_for_hours() -> None:
    made = World(
        SimPath("one", gateway=True), SimPath("two", gateway=True), targets=(SERVER, OTHER)
    )
    made.run(5.0)
    made.hosts["vps"].dead = True
    made.run(900.0)
    assert made.server_states("vps") == ["up", "down"]
    assert made.server_states("vps2") == ["up"]
    assert sum(d.at > 1100 for d in made.decisions) == 0
    made.hosts["vps"].dead = False
    at = made.now
    made.run(20.0)
    took = made.entered("vps", "up", at)
    assert took is not None
    assert took <= 6.5


def test_what_was_under_way_when_a_server_died_does_not_keep_it_alive() -> None:
    made = World(
        SimPath("one", gateway=True, upload=0.02),
        SimPath("two", rtt=0.080, gateway=True),
        targets=(SERVER, OTHER),
    )
    made.run(5.0)
    made.hosts["vps"].dead = True
    questions = 0
    for _ in range(600):  # until a first question has left, a moment after it died
        made.run(0.1)
        questions = len([at for at, key in made.paths["one"].asked if key == SERVER.key])
        open_ones = [r.targets[0].waiting_since for r in made.state.paths]
        if all(open_ones):
            break
    assert questions
    arrived = max(at for at in open_ones if at is not None) + 0.01
    made.tell(Walked({"203.0.113.10": FlowSum(open=1, arrived=arrived)}))
    made.run(60.0)
    assert made.entered("vps", "down", 0.0) is not None


def test_flows_that_only_send_again_have_their_server_asked_at_once() -> None:
    made = World(
        SimPath("one", gateway=True, upload=0.02, server="vps2"),
        SimPath("two", rtt=0.080, gateway=True),
        targets=(SERVER, OTHER),
    )
    made.run(20.0)
    died = made.now
    made.hosts["vps"].dead = True
    made.run(0.9)
    flows = FlowSum(open=1, retransmitted_segments=3, arrived=died)
    made.tell(Walked({"203.0.113.10": flows}))
    made.run(0.01)
    for path in made.paths.values():
        assert any(at >= died + 0.9 and key == SERVER.key for at, key in path.asked)
    made.run(3.0)
    assert made.entered("vps", "down", died) is not None
    assert {*made.states("one", died), *made.states("two", died)} <= {"up"}


def test_losses_on_the_way_to_a_server_that_is_gone_are_no_path_s_fault() -> None:
    made = World(
        SimPath("one", gateway=True, upload=0.02, server="vps2"),
        SimPath("two", rtt=0.080, gateway=True),
        targets=(SERVER, OTHER),
    )
    made.run(5.0)
    made.hosts["vps"].dead = True
    died = made.now
    record = made.state.path("one")
    record = enter(record, PathState.DEGRADED, "loss", died + 0.1, Evidence("loss", 0.1, 0.05))
    others = (r for r in made.state.paths if r.config.name != "one")
    made.state = replace(made.state, paths=(replace(record, lossy=True), *others))
    made.run(1.0)
    made.tell(Walked({"203.0.113.10": FlowSum(retransmitted_segments=9, arrived=died - 0.1)}))
    made.run(3.0)
    assert made.entered("vps", "down", died) is not None
    assert made.state.path("one").state is PathState.UP
    assert made.state.path("one").penalty < 0.1


# --- a service that takes nothing -----------------------------------------------------------------


def with_port() -> World:
    """Both paths carry an upload, and the server's port is asked."""
    made = World(
        SimPath("one", upload=0.02, gateway=True),
        SimPath("two", rtt=0.080, upload=0.02, gateway=True),
        targets=(SERVER, PORT),
    )
    made.run(20.0)
    return made


def send_again(made: World, path: SimPath, flows: int) -> None:
    """So many flows that have no answer any more, each on its time-outs of 0.25, 0.5, ... s."""
    path.upload = None
    for time_outs in range(5):
        for flow in range(flows):
            delay = 0.25 * (2 ** (time_outs + 1) - 1) + 0.03 * flow
            made.at(delay, lambda: made.resend(path))


def take_nothing(made: World, seconds: float, flows: int) -> None:
    """The service of the server takes nothing on any path; then it does, and what is left over
    comes again."""
    made.hosts["vps"].broken = True
    for path in made.paths.values():
        path.blocked_tcp = True
        send_again(made, path, flows)
    made.run(seconds)
    made.hosts["vps"].broken = False
    for path in made.paths.values():
        path.blocked_tcp, path.upload = False, 0.02
        for segment in range(3 * flows):
            made.at(0.1 + 0.06 * segment, lambda path=path: made.resend(path))  # type: ignore[misc]
    made.run(30.0)


@pytest.mark.parametrize("flows", [3, 8])
@pytest.mark.parametrize("seconds", [1.2, 3.0, 8.0])
def test_a_service_that_takes_nothing_makes_no_path_lossy(seconds: float, flows: int) -> None:
    made = with_port()
    began = made.now
    take_nothing(made, seconds, flows)
    assert {*made.states("one", began), *made.states("two", began)} <= {"up"}
    assert made.server_states("vps", began) == (["failing", "up"] if seconds == 8.0 else [])


def test_a_flow_may_send_its_rest_long_after_the_others() -> None:
    made = with_port()
    began = made.now
    for path in made.paths.values():
        for segment in range(30):
            made.at(14.0 + 0.03 * segment, lambda path=path: made.resend(path))  # type: ignore[misc]
    take_nothing(made, 8.0, 3)
    assert {*made.states("one", began), *made.states("two", began)} <= {"up"}


def test_what_is_sent_again_when_a_service_takes_it_at_last_is_pardoned_at_once() -> None:
    made = with_port()
    began = made.now
    take_nothing(made, 60.0, 8)
    for name in ("one", "two"):
        demoted = made.entered(name, "degraded", began)
        assert made.states(name, began).count("degraded") <= 1
        if demoted is not None:
            back = made.entered(name, "up", began + demoted)
            assert back is not None
            assert back < 1.0
        assert made.state.path(name).penalty == 0.0


def test_a_demotion_before_the_service_was_known_to_fail_is_pardoned() -> None:
    """All that is sent again is on one path, so that only the port, asked on both, tells why."""
    made = with_port()
    one, two = made.paths.values()
    two.upload = None
    made.run(1.0)
    began = made.now
    made.hosts["vps"].broken = True
    one.blocked_tcp = two.blocked_tcp = True
    send_again(made, one, 8)
    made.run(0.6)
    lossy = enter(
        made.state.path("one"), PathState.DEGRADED, "loss", made.now, Evidence("loss", 0.1, 0.05)
    )
    made.state = replace(made.state, paths=(replace(lossy, lossy=True), *made.state.paths[1:]))
    made.run(40.0)
    assert made.server_states("vps", began) == ["failing"]
    assert "withdrawn: vps works on no path" in [d.reason for d in made.decisions]
    assert made.state.path("one").state is PathState.UP
    assert made.state.path("one").penalty == 0.0


def test_what_only_one_path_does_not_carry_is_that_path_s_loss() -> None:
    made = World(
        SimPath("one", upload=0.02, gateway=True),
        SimPath("two", rtt=0.080, upload=0.02, gateway=True),
    )
    made.run(20.0)
    began = made.now
    made.paths["one"].blocked_tcp = True
    made.run(0.3)
    send_again(made, made.paths["one"], 10)
    made.run(5.0)
    assert made.states("one", began)[-1] == "degraded"
    assert "degraded" not in made.states("two", began)


# --- traffic with others --------------------------------------------------------------------------


def with_strangers(*targets: Target) -> World:
    """Both paths carry traffic, none of it with the server."""
    made = World(
        SimPath("one", gateway=True, upload=0.02, server="elsewhere"),
        SimPath("two", rtt=0.080, gateway=True, upload=0.02, server="elsewhere"),
        targets=targets,
    )
    made.run(20.0)
    return made


@pytest.mark.parametrize("targets", [(SERVER,), (SERVER, PORT)])
def test_traffic_with_others_does_not_hide_that_a_path_reaches_no_server(
    targets: tuple[Target, ...],
) -> None:
    made = with_strangers(*targets)
    began = made.now
    made.paths["one"].blocked = {"vps"}
    made.run(60.0)
    took = made.entered("one", "unreachable", began)
    assert took is not None
    assert took <= 12 + 3
    assert made.states("two", began) == []
    made.paths["one"].blocked = set()
    made.run(30.0)
    assert made.states("one", began)[-1] == "up"


@pytest.mark.parametrize("targets", [(SERVER,), (SERVER, PORT)])
def test_traffic_with_others_does_not_hide_that_a_server_is_dead(
    targets: tuple[Target, ...],
) -> None:
    made = with_strangers(*targets)
    began = made.now
    made.hosts["vps"].dead = True
    made.run(60.0)
    took = made.entered("vps", "down", began)
    assert took is not None
    assert took <= 12 + 3
    assert made.server_states("vps", began) == ["down"], "its host does not answer"
    assert {*made.states("one", began), *made.states("two", began)} <= {"up"}


def test_a_path_is_probed_as_if_idle_beside_traffic_with_others_only() -> None:
    made = with_strangers(SERVER)
    began = made.now
    made.run(600.0)
    for path in made.paths.values():
        asked = sum(at > began and key == SERVER.key for at, key in path.asked)
        assert 600 / 12 - 1 <= asked <= 600 / 8
        path.server = "vps"
    made.run(20.0)
    began = made.now
    made.run(60.0)
    assert not any(at > began for path in made.paths.values() for at, _ in path.asked)


def test_handshakes_without_an_answer_have_their_server_asked_at_once() -> None:
    made = with_strangers(SERVER)
    made.run(2.5)
    made.tell(Walked({"203.0.113.10": FlowSum(open=1, arrived=made.now)}))
    made.run(2.5)
    made.hosts["vps"].dead = True
    died = made.now
    made.run(0.1)
    made.tell(Walked({"203.0.113.10": FlowSum(open=1, handshakes=1)}))
    assert not any(at > died for path in made.paths.values() for at, _ in path.asked)
    path = made.paths["one"]
    path.counters = replace(path.counters, syn_retransmissions=1)
    made.run(0.3)
    made.tell(Walked({"203.0.113.10": FlowSum(open=1, handshakes=1)}))
    for path in made.paths.values():
        assert any(at > died and key == SERVER.key for at, key in path.asked)
    made.run(3.0)
    assert made.entered("vps", "down", died) is not None


def test_a_server_whose_port_fails_is_failing_only_if_its_host_answers() -> None:
    made = World(SimPath("one", gateway=True), SimPath("two", gateway=True), targets=(SERVER, PORT))
    made.run(20.0)
    began = made.now
    made.hosts["vps"].broken = True
    made.run(60.0)
    assert made.server_states("vps", began) == ["failing"]
    assert made.decision("vps", "failing").reason.startswith("its host answers")
