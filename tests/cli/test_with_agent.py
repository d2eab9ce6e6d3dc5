# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands against a real agent, in a namespace with two uplinks that lead nowhere."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from router import Router, two_uplinks, wait_for


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    with two_uplinks(tmp_path) as router:
        yield router


def test_status_of_a_real_agent(router: Router) -> None:
    router.start()
    status = router.json("status")
    keys = ["version", "uptime_s", "loader", "paths", "actions", "servers", "trouble"]
    assert list(status) == keys
    assert [path["name"] for path in status["paths"]] == ["wan1", "wan2"]
    assert status["loader"] in ("prebuilt", "bcc")
    assert {path["address"] for path in status["paths"]} == {"192.0.2.1", "192.0.2.2"}
    assert router.json("flows") == []
    assert isinstance(router.json("events"), list)
    found = {item["name"]: item for item in router.json("check")}
    assert found["agent"]["ok"] is True
    scrape = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9477/metrics').read())"
    inside = ["ip", "netns", "exec", router.name, sys.executable, "-c", scrape]
    metrics = subprocess.run(inside, capture_output=True, text=True, timeout=20, check=True).stdout
    assert 'omrfast_path_state{path="wan1"' in metrics


def test_a_second_agent_is_refused(router: Router) -> None:
    router.start()
    assert router.agent is not None
    second = router.omrfast("run")
    assert second.returncode == 1
    assert f"another agent (pid {router.agent.pid}) uses {router.run_dir}" in second.stderr
    assert router.omrfast("status").returncode in (0, 3)


def test_a_clean_stop_leaves_the_kernel_as_it_was(router: Router) -> None:
    before = router.found()
    router.start()
    assert router.end(signal.SIGTERM) == 0, router.log.read_text()
    assert router.found() == before
    assert router.omrfast("status").returncode == 1


def test_after_sigkill_restore_and_detach_clean_up(router: Router) -> None:
    before = router.found()
    router.start()
    router.end(signal.SIGKILL)
    assert router.omrfast("status").returncode == 1
    restored = router.omrfast("restore")
    assert restored.returncode == 0, restored.stderr
    assert router.found() == before
    detached = router.omrfast("detach")
    assert detached.returncode == 0, detached.stderr
    assert detached.stdout.startswith("4 packet programs detached"), detached.stdout
    assert not list((router.run_dir / "bpf").glob("*"))
    assert router.omrfast("detach").stdout.startswith("0 packet programs detached")


def test_a_killed_agents_successor_takes_over(router: Router) -> None:
    router.start()
    router.end(signal.SIGKILL)
    router.start()
    assert len(router.json("status")["paths"]) == 2
    router.end(signal.SIGKILL)
    assert router.omrfast("detach").stdout.startswith("4 packet programs detached")


def test_status_without_a_usable_path_exits_with_3(router: Router) -> None:
    router.start()
    for name in ("wan1", "wan2"):
        router.ip("link", "set", name, "down")

    def both_down() -> bool:
        return all(path["state"] == "down" for path in router.json("status")["paths"])

    wait_for("both paths down", both_down)
    assert router.omrfast("status").returncode == 3
