# SPDX-License-Identifier: GPL-2.0-or-later
"""Twenty outages later, every connection that has lived through them uses both uplinks."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from dataclasses import replace

import pytest

from omrfast.act.mptcp import EndpointManager
from omrfast.lab import devices as dev
from omrfast.lab import diag, netns
from omrfast.lab.addresses import uplink_address
from omrfast.lab.agentproc import Agent
from omrfast.lab.topology import Lab, TopologySpec, UplinkSpec
from omrfast.lab.traffic import Stream, StreamSpec
from tests.lab.conftest import Router, eventually

CYCLES = 20
FORGIVING = {"quality": {"recover_after": "0.5s", "half_life": "1s"}}
"""Outages are forgotten soon, so that twenty of them take a minute."""
BOTH = {"10.1.0.2", "10.2.0.2"}
STREAMS = (
    StreamSpec("up", "paced-up"),
    StreamSpec("down", "paced-down"),
    StreamSpec("up2", "paced-up", source="10.2.0.2"),
    StreamSpec("down2", "paced-down", source="10.2.0.2"),
)
"""Two with the initial subflow on wan1, two on wan2."""


def uplinks(lab: Lab) -> dict[int, set[str]]:
    """Addresses of the established subflows of each connection."""
    found: dict[int, set[str]] = {}
    for flow in diag.subflow_info(lab.ns("router")):
        if flow.state == "established":
            found.setdefault(flow.token_local, set()).add(flow.local)
    return found


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_twenty_outages_leave_every_connection_with_both_uplinks(lab: Lab, router: Router) -> None:
    before = router.found()
    agent = Agent(lab, FORGIVING)
    agent.start()
    try:
        for name in ("wan1", "wan2"):
            agent.wait_state(name, "up")
        with ExitStack() as stack:
            streams = [stack.enter_context(Stream(lab, spec)) for spec in STREAMS]
            eventually(
                lambda: list(uplinks(lab).values()) == [BOTH] * len(STREAMS), "both uplinks in use"
            )
            tokens = set(uplinks(lab))
            for cycle in range(CYCLES):
                name = "wan2" if cycle % 4 == 3 else "wan1"
                lab.links[name].change(blackhole=True)
                agent.wait_state(name, "down")
                eventually(lambda: len(router.endpoints()) == 1, "endpoint removed")
                lab.links[name].change(blackhole=False)
                agent.wait_state(name, "up")
                eventually(lambda: router.found() == before, "everything as before")
                eventually(
                    lambda: uplinks(lab) == dict.fromkeys(tokens, BOTH),
                    f"both uplinks in use after outage {cycle + 1}",
                )
            for stream in streams:
                delivered = stream.delivered()
                eventually(
                    lambda stream=stream, delivered=delivered: stream.delivered() > delivered,
                    "data still arrives",
                )
                assert stream.record().errors == ()
    finally:
        agent.stop()
        print(agent.log_path.read_text())


def test_a_former_initial_subflow_finds_room() -> None:
    """It comes back as a join and counts: three uplinks need three extra subflows, not two."""
    uplinks_of_three = TopologySpec(uplinks=(UplinkSpec(), UplinkSpec(), UplinkSpec()))
    everywhere = {uplink_address(n) for n in (1, 2, 3)}
    with Lab(replace(uplinks_of_three, subflow_limit=2)) as lab:
        dev.mptcp_limits(lab.ns("vps1"), dev.SUBFLOW_LIMIT, dev.SUBFLOW_LIMIT)
        agent = Agent(lab, FORGIVING)
        agent.start()
        try:
            for name in ("wan1", "wan2", "wan3"):
                agent.wait_state(name, "up")
            with Stream(lab, STREAMS[0]):
                eventually(lambda: list(uplinks(lab).values()) == [everywhere], "all in use")
                lab.links["wan1"].change(blackhole=True)
                agent.wait_state("wan1", "down")
                eventually(lambda: list(uplinks(lab).values()) != [everywhere], "closed")
                lab.links["wan1"].change(blackhole=False)
                agent.wait_state("wan1", "up")
                eventually(lambda: list(uplinks(lab).values()) == [everywhere], "all again")
        finally:
            agent.stop()
            print(agent.log_path.read_text())
        assert limits(lab) == 2, "put back"


def test_an_initial_subflow_without_endpoint_comes_back_too(lab: Lab, router: Router) -> None:
    """The operator has named no paths and made no endpoint for wan1; when the agent ends, there is
    none again."""
    subprocess.run(
        ["ip", "-n", lab.ns("router"), "mptcp", "endpoint", "delete", "id", "1"], check=True
    )
    before = router.found()
    agent = Agent(lab, FORGIVING)
    text = agent.config_path.read_text()
    agent.config_path.write_text(text.partition("[[path]]")[0])
    agent.start()
    try:
        for name in ("wan1", "wan2"):
            agent.wait_state(name, "up")
        with Stream(lab, STREAMS[0]) as stream:
            eventually(lambda: list(uplinks(lab).values()) == [BOTH], "both uplinks in use")
            assert list(router.endpoints()) == ["10.2.0.2"]
            lab.links["wan1"].change(blackhole=True)
            agent.wait_state("wan1", "down")
            eventually(lambda: list(uplinks(lab).values()) == [{"10.2.0.2"}], "closed")
            lab.links["wan1"].change(blackhole=False)
            agent.wait_state("wan1", "up")
            eventually(lambda: list(uplinks(lab).values()) == [BOTH], "both again")
            assert not stream.record().errors
    finally:
        agent.stop()
        print(agent.log_path.read_text())
    assert router.found() == before


def limits(lab: Lab) -> int:
    """Extra subflows that the router allows."""

    def read() -> int:
        with EndpointManager() as manager:
            return manager.limits().subflows

    return netns.call(lab.ns("router"), read)
