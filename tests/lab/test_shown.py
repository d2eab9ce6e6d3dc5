# SPDX-License-Identifier: GPL-2.0-or-later
"""What an agent shows of a real outage: numbers behind decisions, delays, servers, overrides."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from typing import Any

import pytest

from omrfast.cli.status import WIDTH
from omrfast.export import client
from omrfast.lab import netns
from omrfast.lab.agentproc import Agent
from omrfast.lab.topology import Lab
from omrfast.lab.traffic import Stream, StreamSpec
from tests.lab.conftest import eventually


def omrfast(agent: Agent, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "omrfast.cli.main", *args, "--config", str(agent.config_path)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def events(agent: Agent, kind: str, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.request(agent.run_dir, "events")
    return [event for event in found if event["kind"] == kind and event["path"] == path]


def shown(agent: Agent, path: str) -> dict[str, Any]:
    status = agent.status()
    assert status is not None
    return next(entry for entry in status["paths"] if entry["name"] == path)


def metrics(lab: Lab) -> dict[str, float]:
    def scrape() -> str:
        with urllib.request.urlopen("http://127.0.0.1:9477/metrics", timeout=5) as answer:
            return str(answer.read(), "utf-8")

    lines = netns.call(lab.ns("router"), scrape).splitlines()
    pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in pairs}


def test_an_outage_with_its_numbers(lab: Lab, agent: Agent) -> None:
    with Stream(lab, StreamSpec("small", "paced-up")) as stream:
        eventually(lambda: stream.delivered() > 0, "traffic")
        eventually(
            lambda: shown(agent, "wan1")["subflows"] and shown(agent, "wan2")["subflows"],
            "a subflow on each",
        )
        lab.links["wan1"].change(blackhole=True)
        agent.wait_state("wan1", "down")
        done = eventually(
            lambda: (
                {e["message"].split()[0]: e for e in events(agent, "action", "wan1")}
                if shown(agent, "wan1")["endpoint"] == "absent"
                and any("removed" in e["message"] for e in events(agent, "action", "wan1"))
                else None
            ),
            "the endpoint is removed",
        )
    down = next(e for e in events(agent, "decision", "wan1") if "-> down" in e["message"])
    numbers = down["details"]
    assert (numbers["what"], numbers["unit"]) == ("silence", "ms")
    assert numbers["measured"] >= numbers["limit"] > 0
    assert numbers["sign_ms"] == pytest.approx(numbers["measured"], abs=1)
    for action in done.values():
        took = action["details"]
        assert took["took_ms"] > 0
        assert took["decision_ms"] >= 0
        assert took["sign_ms"] - took["decision_ms"] == pytest.approx(numbers["sign_ms"], abs=1)

    path = shown(agent, "wan1")
    assert path["evidence"]["measured"] == numbers["measured"]
    assert path["routes_behind"] is True
    assert path["penalty"] > 0.5
    status = agent.status()
    assert status is not None
    (server,) = status["servers"]
    assert (server["name"], server["state"], server["addresses"]) == (
        "vps1",
        "up",
        ["203.0.113.10"],
    )

    text = omrfast(agent, "status").stdout
    assert max(map(len, text.splitlines())) <= WIDTH
    assert path["reason"] in " ".join(text.split())
    assert f"measured {numbers['measured']:.4g} ms" in text
    counted = metrics(lab)
    assert counted['omrfast_servers{state="up"}'] == 1
    assert counted['omrfast_path_endpoint{path="wan1",state="absent"}'] == 1
    removal = '{path="wan1",reason="delete"}'
    assert counted[f"omrfast_action_sign_delay_seconds_count{removal}"] == 1
    delay = counted[f"omrfast_action_sign_delay_seconds_sum{removal}"]
    assert delay * 1e3 == pytest.approx(numbers["sign_ms"], abs=50)


ETHERNET = 14


def test_what_probes_cost_is_what_crosses_an_idle_path(lab: Lab, agent: Agent) -> None:
    eventually(lambda: shown(agent, "wan2")["probe_bytes"] > 500, "several probes")

    def settled() -> tuple[float, dict[str, float]] | None:
        """Cost and counters of one moment: no probe left in between."""
        cost, counted = shown(agent, "wan2")["probe_bytes"], metrics(lab)
        if counted['omrfast_path_probe_bytes_total{path="wan2"}'] != cost:
            return None
        return cost, counted

    cost, counted = eventually(settled, "a quiet moment")
    sides = [f'{{direction="{side}",path="wan2"}}' for side in ("tx", "rx")]
    packets = sum(counted[f"omrfast_path_packets_total{side}"] for side in sides)
    crossed = sum(counted[f"omrfast_path_bytes_total{side}"] for side in sides)
    assert cost == pytest.approx(crossed - packets * ETHERNET, rel=0.2)


def test_local_trouble(lab: Lab, agent: Agent) -> None:
    """Both uplinks go silent at once: that is told as such, and so is its end."""
    with Stream(lab, StreamSpec("bulk", "bulk-up")) as stream:
        eventually(
            lambda: shown(agent, "wan1")["subflows"] and shown(agent, "wan2")["subflows"],
            "a subflow on each",
        )
        eventually(lambda: stream.delivered() > 1_000_000, "traffic on both")
        for name in ("wan1", "wan2"):
            lab.links[name].change(blackhole=True)
        status = agent.wait_for(lambda status: status["trouble"] is not None, 30, "trouble")
        assert status["trouble"]["reason"]
        assert "TROUBLE for " in omrfast(agent, "status").stdout
        assert metrics(lab)["omrfast_local_trouble"] == 1
        for name in ("wan1", "wan2"):
            lab.links[name].change(blackhole=False)
        agent.wait_for(lambda status: status["trouble"] is None, 30, "the end of it")
    told = [
        event["message"].partition(":")[0]
        for event in client.request(agent.run_dir, "events")
        if event["kind"] == "agent" and "trouble" in event["message"]
    ]
    assert told == ["trouble", "trouble is over"]


def test_a_repair_has_no_decision_behind_it(lab: Lab, agent: Agent) -> None:
    """Somebody deletes an endpoint: it comes back, and is not counted as a reaction."""
    command = ["ip", "-n", lab.ns("router"), "mptcp", "endpoint"]
    # No flow that has a decision behind it is under way any more.
    before = len(events(agent, "action", "wan2"))
    subprocess.run([*command, "delete", "id", "2"], check=True)
    (added, *_) = eventually(
        lambda: [e for e in events(agent, "action", "wan2")[before:] if "added" in e["message"]],
        "the endpoint is there again",
    )
    assert added["details"]["decision_ms"] is None
    assert added["details"]["sign_ms"] is None
    delay = 'omrfast_action_sign_delay_seconds_count{path="wan2",reason="add"}'
    assert delay not in metrics(lab)


def test_the_operators_word_is_shown(lab: Lab, agent: Agent) -> None:
    done = omrfast(agent, "path", "wan2", "off", "--for", "10m")
    assert done.returncode == 0, done.stderr
    word = eventually(lambda: shown(agent, "wan2")["override"], "the override")
    assert word["role"] == "off"
    assert 500 < word["left_s"] <= 600
    eventually(lambda: shown(agent, "wan2")["endpoint"] == "absent", "and is acted on")
    assert "OPERATOR: off for 9m" in omrfast(agent, "status").stdout
    assert metrics(lab)['omrfast_path_override{path="wan2",state="off"}'] == 1
    removed = eventually(
        lambda: [e for e in events(agent, "action", "wan2") if "removed" in e["message"]],
        "the endpoint is removed",
    )
    assert removed[0]["details"]["reason"].startswith("operator: off for 600 s")
    assert removed[0]["details"]["decision_ms"] is not None
    assert omrfast(agent, "path", "wan2", "auto").returncode == 0
    eventually(lambda: shown(agent, "wan2")["override"] is None, "no override")
    words = [event["message"] for event in events(agent, "operator", "wan2")]
    assert words[0] == "operator: off for 600 s"
    assert len(words) == 2
