# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands against a real agent, in a namespace with two uplinks that lead nowhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NAME = f"omr-cli-agent-{os.getpid()}"
COMMAND = ["ip", "netns", "exec", NAME, sys.executable, "-m", "omrfast.cli.main"]
DEADLINE = 30.0


def ip(*words: str) -> str:
    done = subprocess.run(
        ["ip", "-n", NAME, *words], check=True, capture_output=True, text=True, timeout=20
    )
    return done.stdout


def wait_for(what: str, look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not look():
        assert time.monotonic() < deadline, f"not within {DEADLINE:.0f} s: {what}"
        time.sleep(0.05)


class Router:
    """The namespace, its configuration, and the agent that may run in it."""

    def __init__(self, folder: Path) -> None:
        self.run_dir = folder / "run"
        self.log = folder / "log"
        self.config = folder / "omrfast.toml"
        self.config.write_text(
            f'[agent]\nrun_dir = "{self.run_dir}"\nstate_dir = "{folder}/state"\n'
        )
        self.agent: subprocess.Popen[bytes] | None = None

    def omrfast(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *args, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    def json(self, *args: str) -> Any:
        done = self.omrfast(*args, "--json")
        assert done.returncode in (0, 3), done.stderr
        return json.loads(done.stdout)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.agent = subprocess.Popen(
                [*COMMAND, "run", "--config", str(self.config)], stdout=log, stderr=log
            )

        def answers() -> bool:
            assert self.agent is not None
            assert self.agent.poll() is None, self.log.read_text()
            done = self.omrfast("status", "--json")
            return done.returncode in (0, 3) and len(json.loads(done.stdout)["paths"]) == 2

        wait_for("an agent that shows both paths", answers)

    def end(self, number: signal.Signals) -> int:
        assert self.agent is not None
        self.agent.send_signal(number)
        code = self.agent.wait(DEADLINE)
        self.agent = None
        return code


def state_of_the_kernel() -> tuple[str, str]:
    return ip("mptcp", "endpoint", "show"), ip("route", "show")


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    subprocess.run(["ip", "netns", "add", NAME], check=True)
    router = Router(tmp_path)
    try:
        ip("link", "set", "lo", "up")
        for number in (1, 2):
            ip("link", "add", f"wan{number}", "type", "veth", "peer", "name", f"isp{number}")
            ip("addr", "add", f"192.0.2.{number}/32", "dev", f"wan{number}")
            ip("link", "set", f"wan{number}", "up")
            ip("link", "set", f"isp{number}", "up")
            ip("route", "add", "default", "dev", f"wan{number}", "metric", str(number))
            ip("mptcp", "endpoint", "add", f"192.0.2.{number}", "dev", f"wan{number}", "subflow")
        yield router
    finally:
        if router.agent is not None:
            router.end(signal.SIGKILL)
        router.omrfast("detach", "--force")
        subprocess.run(["ip", "netns", "del", NAME], check=True)


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
    inside = ["ip", "netns", "exec", NAME, sys.executable, "-c", scrape]
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
    before = state_of_the_kernel()
    router.start()
    assert router.end(signal.SIGTERM) == 0, router.log.read_text()
    assert state_of_the_kernel() == before
    assert router.omrfast("status").returncode == 1


def test_after_sigkill_restore_and_detach_clean_up(router: Router) -> None:
    before = state_of_the_kernel()
    router.start()
    router.end(signal.SIGKILL)
    assert router.omrfast("status").returncode == 1
    restored = router.omrfast("restore")
    assert restored.returncode == 0, restored.stderr
    assert state_of_the_kernel() == before
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
