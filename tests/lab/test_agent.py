# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent on a real router with real Multipath TCP: what it sees, does, and puts back."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
import urllib.request
from typing import Any

import pytest

from omrfast.export import client
from omrfast.lab import diag, netns
from omrfast.lab.agentproc import Agent
from omrfast.lab.faults import NO_INTERFACE
from omrfast.lab.topology import Lab, TopologySpec, UplinkSpec
from omrfast.lab.traffic import Stream, StreamSpec
from tests.lab.conftest import QUICK, Router, entered, eventually

UPLOAD = StreamSpec("upload", "bulk-up")
SMALL = StreamSpec("small", "paced-up")


def path(status: dict[str, Any], name: str) -> dict[str, Any]:
    return next(p for p in status["paths"] if p["name"] == name)


def states(agent: Agent, name: str) -> list[str]:
    """Every state that the path entered, oldest first; suspicions that came to nothing left out."""
    return entered(agent.events(), name)


def uses(lab: Lab, *addresses: str) -> bool:
    """Whether there is an established subflow from each of the addresses, and from no other."""
    found = {s.local for s in diag.subflow_info(lab.ns("router")) if s.state == "established"}
    return found == set(addresses)


def test_a_black_hole_takes_the_endpoint_and_the_route_and_healing_gives_them_back(
    lab: Lab, router: Router, agent: Agent
) -> None:
    before = router.found()
    with Stream(lab, SMALL) as stream:
        eventually(lambda: uses(lab, "10.1.0.2", "10.2.0.2"), "both uplinks in use")
        lab.links["wan1"].change(blackhole=True)
        agent.wait_state("wan1", "down")
        eventually(lambda: list(router.endpoints()) == ["10.2.0.2"], "endpoint removed")
        eventually(lambda: router.default_routes()[0][1] == "wan2", "default route moved")
        delivered = stream.delivered()
        eventually(lambda: stream.delivered() > delivered, "data over the other uplink")
        lab.links["wan1"].change(blackhole=False)
        agent.wait_state("wan1", "up")
        eventually(lambda: router.found() == before, "everything as before")
        eventually(lambda: uses(lab, "10.1.0.2", "10.2.0.2"), "the subflow is there again")
        assert not stream.record().errors
    assert states(agent, "wan1") == ["up", "down", "probation", "up"]


def test_a_slow_uplink_becomes_backup_and_active_again_once(
    lab: Lab, router: Router, agent: Agent
) -> None:
    before = router.found()
    with Stream(lab, UPLOAD):
        eventually(lambda: uses(lab, "10.1.0.2", "10.2.0.2"), "both uplinks in use")
        lab.links["wan1"].change(delay=0.170)
        agent.wait_state("wan1", "degraded")
        eventually(
            lambda: "backup" in router.endpoints().get("10.1.0.2", (0, frozenset()))[1],
            "endpoint is backup",
        )
        eventually(lambda: router.default_routes()[0][1] == "wan2", "default route moved")
        lab.links["wan1"].change(delay=0.020)
        agent.wait_state("wan1", "up")
        eventually(lambda: router.found() == before, "everything as before")
        after = [s for s in states(agent, "wan1") if s not in ("up", "down")]
        assert after == ["degraded"], "once, without flapping"


def test_link_down_is_acted_on_at_once(lab: Lab, router: Router, agent: Agent) -> None:
    subprocess.run(["ip", "-n", lab.ns("router"), "link", "set", "wan1", "down"], check=True)
    status = agent.wait_state("wan1", "down")
    assert "down" in path(status, "wan1")["reason"]


def test_clean_stop_puts_everything_back_even_in_the_middle_of_an_outage(
    lab: Lab, router: Router
) -> None:
    before = router.found()
    agent = Agent(lab, QUICK)
    agent.start()
    agent.wait_state("wan1", "up")
    with Stream(lab, SMALL):
        lab.links["wan1"].change(blackhole=True)
        agent.wait_state("wan1", "down")
        eventually(lambda: router.found() != before, "changed")
        assert agent.stop() == 0
    assert router.found() == before


def test_killed_at_a_random_moment_it_goes_on_where_it_was(lab: Lab, router: Router) -> None:
    before = router.found()
    agent = Agent(lab, QUICK)
    agent.start()
    agent.wait_state("wan1", "up")
    attached = router.hooks()
    assert [count for _, _, count in attached] == [1] * 4, "two paths, two hooks each"
    with Stream(lab, SMALL):
        for _ in range(3):
            eventually(lambda: path(agent.status() or {}, "wan2")["tx_bytes"] > 0, "traffic")
            lab.links["wan1"].change(blackhole=True)
            time.sleep(random.uniform(0, 0.5))  # a random moment of the fail-over
            counted = {p["name"]: p["tx_bytes"] for p in (agent.status() or {})["paths"]}
            agent.kill()
            assert router.hooks() == attached, "measuring goes on without the agent"
            agent.start()
            status = agent.status() or {}
            for name, count in counted.items():
                assert path(status, name)["tx_bytes"] >= count, "counters go on"
            assert router.hooks() == attached, "nothing is attached twice"
            lab.links["wan1"].change(blackhole=False)
            agent.wait_state("wan1", "up")
            eventually(lambda: router.found() == before, "everything as before")
        lab.links["wan1"].change(blackhole=True)
        agent.wait_state("wan1", "down")
        eventually(lambda: router.found() != before, "changed")
        agent.kill()
    command = [sys.executable, "-m", "omrfast.cli.main", "restore"]
    config = ["--config", str(agent.config_path)]
    restored = netns.spawn(lab.ns("router"), [*command, *config])
    assert restored.wait(30) == 0
    assert router.found() == before
    detached = netns.spawn(lab.ns("router"), [*command[:-1], "detach", *config])
    assert detached.wait(30) == 0
    assert router.hooks() == []


def test_a_dry_run_measures_and_decides_but_changes_nothing(lab: Lab, router: Router) -> None:
    before = router.found()
    agent = Agent(lab, QUICK, ["--dry-run"])
    agent.start()
    agent.wait_state("wan1", "up")
    with Stream(lab, SMALL):
        lab.links["wan1"].change(blackhole=True)
        agent.wait_state("wan1", "down")
        actions = eventually(lambda: (agent.status() or {})["actions"], "what it would do")
        assert {"metric", "delete"} <= {a["kind"] for a in actions}
        assert router.found() == before
    assert agent.stop() == 0
    assert "would be" in agent.log_path.read_text()


def test_without_configuration_it_finds_the_paths(lab: Lab) -> None:
    agent = Agent(lab, QUICK)
    text = agent.config_path.read_text()
    agent.config_path.write_text(text.partition("[[path]]")[0])
    agent.start()
    agent.wait_state("wan2", "up")
    status = agent.wait_state("wan1", "up")
    assert [p["address"] for p in status["paths"]] == ["10.1.0.2", "10.2.0.2"]
    with Stream(lab, SMALL):
        lab.links["wan1"].change(blackhole=True)
        agent.wait_state("wan1", "down")
    assert agent.stop() == 0
    assert "found path wan1 (active): MPTCP endpoint 10.1.0.2" in agent.log_path.read_text()


def test_the_last_uplink_is_kept(lab: Lab, router: Router, agent: Agent) -> None:
    with Stream(lab, SMALL) as stream:
        eventually(lambda: uses(lab, "10.1.0.2", "10.2.0.2"), "both uplinks in use")
        lab.links["wan1"].change(blackhole=True)
        agent.wait_state("wan1", "down")
        lab.links["wan2"].change(blackhole=True)
        agent.wait_state("wan2", "down")
        assert list(router.endpoints()) == ["10.2.0.2"]
        lab.links["wan2"].change(blackhole=False)
        delivered = stream.delivered()
        eventually(lambda: stream.delivered() > delivered, "data again")


def test_new_connections_start_on_the_living_uplink(lab: Lab, agent: Agent) -> None:
    lab.links["wan1"].change(blackhole=True)
    agent.wait_state("wan1", "down", 60)
    eventually(
        lambda: any(a["kind"] == "metric" for a in (agent.status() or {"actions": []})["actions"]),
        "route moved",
    )
    with Stream(lab, SMALL) as stream:
        eventually(lambda: stream.delivered() > 0, "a new connection works")
        # What is listed is Multipath TCP; a fallback would not be.
        flows = [s for s in diag.subflow_info(lab.ns("router")) if s.remote_port == stream.port]
        assert {s.local for s in flows if s.state == "established"} == {"10.2.0.2"}


def test_agents_in_two_namespaces_do_not_disturb_each_other() -> None:
    with Lab(TopologySpec()) as one, Lab(TopologySpec()) as two:
        first, second = Agent(one, QUICK), Agent(two, QUICK)
        try:
            first.start()
            second.start()
            for agent in (first, second):
                agent.wait_state("wan1", "up")
            with Stream(one, SMALL):
                one.links["wan1"].change(blackhole=True)
                first.wait_state("wan1", "down")
                assert path(second.status() or {}, "wan1")["state"] == "up"
            assert first.stop() == 0
            assert path(second.status() or {}, "wan1")["state"] == "up"
            assert len(Router(two).hooks()) == 4
        finally:
            first.stop()
            second.stop()


def test_sighup_takes_a_good_configuration_and_refuses_a_bad_one(lab: Lab, agent: Agent) -> None:
    good = agent.config_path.read_text()
    agent.config_path.write_text(good.replace('recover_after = "1s"', 'max_rtt = "10ms"'))
    agent.send_signal(signal.SIGHUP)
    agent.wait_state("wan1", "degraded")
    agent.config_path.write_text(good.replace("recover_after", "recover_atfer"))
    agent.send_signal(signal.SIGHUP)
    eventually(lambda: "did you mean recover_after?" in agent.log_tail(), "refused with a hint")
    assert path(agent.status() or {}, "wan1")["state"] == "degraded"
    agent.config_path.write_text(good)
    agent.send_signal(signal.SIGHUP)
    agent.wait_state("wan1", "up")


def test_prometheus_scrapes_what_status_shows(lab: Lab, agent: Agent) -> None:
    with Stream(lab, SMALL) as stream:
        eventually(lambda: stream.delivered() > 0, "traffic")

        def scrape() -> str:
            with urllib.request.urlopen("http://127.0.0.1:9477/metrics", timeout=5) as answer:
                return str(answer.read(), "utf-8")

        text = netns.call(lab.ns("router"), scrape)
    assert 'omrfast_path_state{path="wan1",state="up"} 1.0' in text
    assert "omrfast_path_rtt_seconds_bucket" in text
    assert "203.0.113.10" not in text, "no addresses in labels"


@pytest.mark.parametrize("loader", ["prebuilt", "bcc"])
def test_both_loaders_and_both_ingress_hooks_carry_the_agent(lab: Lab, loader: str) -> None:
    for ingress in ("tc", "xdp"):
        agent = Agent(lab, QUICK, ["--loader", loader, "--ingress", ingress])
        agent.start()
        try:
            status = agent.wait_state("wan1", "up")
            assert status["loader"] == loader
            with Stream(lab, SMALL):
                lab.links["wan1"].change(blackhole=True)
                agent.wait_state("wan1", "down")
                lab.links["wan1"].change(blackhole=False)
                agent.wait_state("wan1", "up")
        finally:
            agent.stop()


def test_ipv6_paths_are_measured_too() -> None:
    with Lab(TopologySpec(ipv6=True)) as lab:
        agent = Agent(lab, QUICK)
        agent.start()
        try:
            agent.wait_state("wan1", "up")
            with Stream(lab, StreamSpec("six", "paced-up", ipv6=True)):
                flow = eventually(
                    lambda: next(
                        (
                            f
                            for f in client.request(agent.run_dir, "flows")
                            if f["family"] == 6 and f["rtt_ms"]["samples"] > 20
                        ),
                        None,
                    ),
                    "an IPv6 flow with RTT samples",
                )
            assert flow["mptcp"]
            assert flow["rtt_ms"]["min"] == pytest.approx(40, abs=8)
        finally:
            agent.stop()


@pytest.mark.parametrize("roles", [("active", "backup"), ("backup", "active")])
def test_a_backup_stays_backup(roles: tuple[str, str]) -> None:
    uplinks = (UplinkSpec(rtt=0.04, role=roles[0]), UplinkSpec(rtt=0.08, role=roles[1]))
    with Lab(TopologySpec(uplinks=uplinks)) as lab:
        router = Router(lab)
        before = router.found()
        agent = Agent(lab, QUICK)
        agent.start()
        try:
            agent.wait_state("wan1", "up")
            agent.wait_state("wan2", "up")
            assert router.found() == before
        finally:
            agent.stop()
        assert router.found() == before


def test_an_address_that_goes_takes_its_endpoint_along(
    lab: Lab, router: Router, agent: Agent
) -> None:
    before = router.endpoints()
    table = router.ip("route", "show", "table", "101")
    command = ["ip", "-n", lab.ns("router")]
    subprocess.run([*command, "addr", "del", "10.1.0.2/24", "dev", "wan1"], check=True)
    status = agent.wait_state("wan1", "down")
    assert "no address 10.1.0.2" in path(status, "wan1")["reason"]
    eventually(lambda: list(router.endpoints()) == ["10.2.0.2"], "endpoint removed")
    subprocess.run([*command, "addr", "add", "10.1.0.2/24", "dev", "wan1"], check=True)
    default = ["route", "add", "default", "via", "10.1.0.1", "dev", "wan1"]
    subprocess.run([*command, *default, "metric", "100"], check=True)
    if table:
        subprocess.run([*command, *default, "table", "101"], check=False)
    agent.wait_state("wan1", "up")
    eventually(lambda: router.endpoints() == before, "endpoint as it was")


def test_a_path_that_a_reload_takes_away_is_left_as_it_was_found(
    lab: Lab, router: Router, agent: Agent
) -> None:
    before = router.found()
    with Stream(lab, SMALL):
        lab.links["wan1"].change(blackhole=True)
        agent.wait_state("wan1", "down")
        eventually(lambda: router.found() != before, "changed")
        first, second, rest = agent.config_path.read_text().split("[[path]]")
        agent.config_path.write_text(f"{first}[[path]]{rest}")
        assert "wan1" in second
        agent.send_signal(signal.SIGHUP)
        agent.wait_for(lambda status: len(status["paths"]) == 1, 30, "one path")
        eventually(lambda: router.found() == before, "as it was found")


def test_a_path_that_comes_with_another_name_is_one_path(
    lab: Lab, router: Router, agent: Agent
) -> None:
    text = agent.config_path.read_text()
    assert text.count('"wan1"') == 2, "name and interface"
    agent.config_path.write_text(text.replace('name = "wan1"', 'name = "fibre"'))
    agent.send_signal(signal.SIGHUP)
    agent.wait_state("fibre", "up")
    with Stream(lab, SMALL) as stream:
        eventually(lambda: stream.delivered() > 0, "traffic")
        lab.links["wan1"].change(blackhole=True)
        agent.wait_state("fibre", "down")
        eventually(lambda: list(router.endpoints()) == ["10.2.0.2"], "endpoint removed")
        change = ["ip", "-n", lab.ns("router"), "mptcp", "endpoint", "change", "id", "2"]
        subprocess.run([*change, "backup"], check=True)
        wished = {"10.2.0.2": (2, frozenset({"subflow"}))}
        eventually(lambda: router.endpoints() == wished, "another pass")
    done = [e["message"] for e in agent.events() if e["kind"] == "action"]
    assert not [text for text in done if "10.1.0.2 added" in text], done


def test_what_a_killed_agent_did_to_a_path_that_its_successor_has_not_is_put_back(
    lab: Lab, router: Router, agent: Agent
) -> None:
    before = router.found()
    with Stream(lab, SMALL):
        lab.links["wan1"].change(blackhole=True)
        agent.wait_state("wan1", "down")
        eventually(lambda: list(router.endpoints()) == ["10.2.0.2"], "endpoint removed")
        agent.kill()
        first, _, rest = agent.config_path.read_text().split("[[path]]")
        agent.config_path.write_text(f"{first}[[path]]{rest}")
        agent.start(paths=1)
        assert router.found() == before


def test_a_path_found_by_a_killed_agents_successor_has_the_role_that_it_had() -> None:
    uplinks = (UplinkSpec(rtt=0.04), UplinkSpec(rtt=0.08, role="backup"))
    with Lab(TopologySpec(uplinks=uplinks)) as lab:
        router = Router(lab)
        before = router.found()
        agent = Agent(lab, QUICK)
        first, _, _ = agent.config_path.read_text().partition("[[path]]")
        agent.config_path.write_text(first)
        agent.start()
        try:
            agent.wait_state("wan2", "up")
            NO_INTERFACE.begin(lab, 2)
            eventually(lambda: list(router.endpoints()) == ["10.1.0.2"], "endpoint removed")
            agent.kill()
            NO_INTERFACE.end(lab, 2)
            agent.start()
            assert path(agent.wait_state("wan2", "up"), "wan2")["role"] == "backup"
            eventually(lambda: router.found() == before, "as it was found")
        finally:
            agent.stop()


def test_nobody_answers_pings_and_nothing_is_taken_away(lab: Lab, router: Router) -> None:
    rule = "type filter hook input priority 0; meta l4proto icmp drop;"
    for part in ("vps1", "carrier1", "carrier2"):
        deaf = netns.spawn(lab.ns(part), ["nft", f"table inet deaf {{\nchain in {{ {rule} }}\n}}"])
        assert deaf.wait(10) == 0
    before = router.found()
    agent = Agent(lab, QUICK)
    agent.start()
    try:
        with Stream(lab, SMALL) as stream:
            agent.wait_state("wan1", "up")
            agent.wait_state("wan2", "up")
            time.sleep(5)  # longer than any verdict takes
            assert router.found() == before
            assert {"down", "degraded"}.isdisjoint(states(agent, "wan1") + states(agent, "wan2"))
            lab.links["wan1"].change(blackhole=True)
            agent.wait_state("wan1", "down")
            eventually(lambda: list(router.endpoints()) == ["10.2.0.2"], "endpoint removed")
            delivered = stream.delivered()
            eventually(lambda: stream.delivered() > delivered, "data over the other uplink")
            lab.links["wan1"].change(blackhole=False)
            agent.wait_state("wan1", "up", 60)
            eventually(lambda: router.found() == before, "everything as before")
    finally:
        agent.stop()
        print(agent.log_path.read_text())


def test_a_second_agent_in_the_same_namespace_is_refused(
    lab: Lab, router: Router, agent: Agent
) -> None:
    hooks = router.hooks()
    other = lab.directory / "other.toml"
    run_dir, state_dir = lab.directory / "run2", lab.directory / "state2"
    other.write_text(f'[agent]\nrun_dir = "{run_dir}"\nstate_dir = "{state_dir}"\n')
    command = [sys.executable, "-m", "omrfast.cli.main", "run", "--dry-run", "--config", str(other)]
    second = netns.spawn(lab.ns("router"), command, stderr=subprocess.PIPE)
    assert second.wait(60) == 1
    assert second.stderr is not None
    assert f"another agent (process {agent.pid})" in second.stderr.read()
    assert router.hooks() == hooks
    received = path(agent.status() or {}, "wan1")["rx_bytes"]
    with Stream(lab, SMALL):
        agent.wait_for(lambda s: path(s, "wan1")["rx_bytes"] > received, 30, "measuring goes on")
