# SPDX-License-Identifier: GPL-2.0-or-later
"""The operator's word and the journal of a real agent on real Multipath TCP."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omrfast.core.recording import replay, told
from omrfast.lab import netns
from omrfast.lab.addresses import LAN_CLIENT
from omrfast.lab.agentproc import Agent
from omrfast.lab.devices import LabError
from omrfast.lab.topology import Lab, TopologySpec
from omrfast.lab.traffic import Stream, StreamSpec
from omrfast.store.journal_format import Recording, read
from tests.lab.conftest import QUICK, Router, eventually

SMALL = StreamSpec("small", "paced-up")


def omrfast(lab: Lab, agent: Agent, *words: str) -> tuple[int, str]:
    """Exit code and output of a command in the router."""
    command = [sys.executable, "-m", "omrfast.cli.main", *words, "--config"]
    running = netns.spawn(
        lab.ns("router"),
        [*command, str(agent.config_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    text, _ = running.communicate(timeout=30)
    return running.returncode, text


def explained(lab: Lab, agent: Agent, name: str) -> dict[str, Any]:
    code, text = omrfast(lab, agent, "explain", name, "--json")
    assert code == 0, text
    found: dict[str, Any] = json.loads(text)
    return found


def replayed(place: Path) -> Recording:
    """A journal or recording, whose replay decides the same at the same instants."""
    found = read(place)
    assert not found.problems
    for segment in found.segments:
        assert replay(segment) == segment.decisions
    return found


def test_the_operators_word_moves_traffic_and_outlasts_the_agent(
    lab: Lab, router: Router, agent: Agent
) -> None:
    before = router.found()
    with Stream(lab, SMALL) as stream:
        assert omrfast(lab, agent, "path", "wan1", "off", "--for", "10m")[0] == 0
        eventually(lambda: list(router.endpoints()) == ["10.2.0.2"], "endpoint removed")
        eventually(lambda: router.default_routes()[0][1] == "wan2", "default route moved")
        code, text = omrfast(lab, agent, "path", "wan2", "off")
        assert code == 1
        assert "would leave no path: wan1 is off by the operator" in text
        found = explained(lab, agent, "wan1")
        assert found["numbers"]["override"] == "off"
        assert 300 < found["numbers"]["override_left_s"] <= 600
        agent.kill()
        agent.start()
        agent.wait_state("wan2", "up")
        assert explained(lab, agent, "wan1")["numbers"]["override"] == "off", "taken up again"
        assert list(router.endpoints()) == ["10.2.0.2"]
        done = [e["message"] for e in agent.events() if e["kind"] == "action"]
        assert not [t for t in done if t.startswith("endpoint 10.1.0.2")], "it was not there"
        assert omrfast(lab, agent, "path", "wan1", "auto")[0] == 0
        eventually(lambda: router.found() == before, "everything as before")
        assert explained(lab, agent, "wan1")["numbers"]["override"] is None
        assert not stream.record().errors


def test_a_record_file_that_cannot_be_made_ends_the_start_in_words(lab: Lab) -> None:
    agent = Agent(lab, QUICK, ["--record", str(lab.directory / "none" / "tape")])
    with pytest.raises(LabError, match="No such file or directory; name another --record file"):
        agent.start()


def test_the_journal_of_an_outage_replays_to_the_same_decisions(lab: Lab, router: Router) -> None:
    tape = lab.directory / "tape"
    agent = Agent(lab, QUICK, ["--record", str(tape)])
    agent.start()
    try:
        agent.wait_state("wan1", "up")
        with Stream(lab, SMALL):
            lab.links["wan1"].change(blackhole=True)
            agent.wait_state("wan1", "down")
            found = explained(lab, agent, "wan1")
            assert found["state"] == "down"
            assert any("an answer to a probe" in line["text"] for line in found["lines"])
            lab.links["wan1"].change(blackhole=False)
            agent.wait_state("wan1", "up")
    finally:
        assert agent.stop() == 0
        print(agent.log_path.read_text())
    kept = replayed(lab.directory / "state" / "journal")
    (whole,) = replayed(tape).segments
    states = [str(d.state) for d in told(whole.decisions) if d.path == "wan1"]
    assert states == ["up", "down", "probation", "up"]
    in_journal = [d for segment in kept.segments for d in told(segment.decisions)]
    assert in_journal == [*told(whole.decisions)], "the journal lacks no decision"
    files = [*(lab.directory / "state" / "journal").iterdir(), tape]
    words = b"".join(file.read_bytes() for file in files)
    assert b'"action"' in words
    assert b"endpoint 10.1.0.2 removed" in words


def test_the_journal_has_no_address_of_a_client_of_the_router() -> None:
    with Lab(TopologySpec(lan=True)) as lab:
        tape = lab.directory / "tape"
        agent = Agent(lab, QUICK, ["--record", str(tape)])
        agent.start()
        try:
            agent.wait_state("wan1", "up")
            with Stream(lab, replace(SMALL, client="lan")) as stream:
                eventually(lambda: stream.delivered() > 0, "data from the client")
                lab.links["wan1"].change(blackhole=True)
                agent.wait_state("wan1", "down")
        finally:
            agent.stop()
        files = [*(lab.directory / "state" / "journal").iterdir(), tape]
        words = b"".join(file.read_bytes() for file in files)
    assert b"203.0.113.10" in words
    assert LAN_CLIENT.encode() not in words
