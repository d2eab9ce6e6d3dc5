# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast check` in a network namespace whose set-up is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NAME = f"omr-cli-{os.getpid()}"
Check = Callable[..., dict[str, dict[str, Any]]]


def ip(*words: str) -> None:
    subprocess.run(["ip", "-n", NAME, *words], check=True, capture_output=True)


def in_namespace(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ip", "netns", "exec", NAME, *words],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def set_mptcp(name: str, value: str) -> None:
    done = in_namespace("sh", "-c", f"echo {value} > /proc/sys/net/mptcp/{name}")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def namespace() -> Iterator[str]:
    subprocess.run(["ip", "netns", "add", NAME], check=True)
    try:
        ip("link", "set", "lo", "up")
        for number in (1, 2):
            ip("link", "add", f"wan{number}", "type", "veth", "peer", "name", f"isp{number}")
            ip("addr", "add", f"192.0.2.{number}/32", "dev", f"wan{number}")
            ip("link", "set", f"wan{number}", "up")
            ip("link", "set", f"isp{number}", "up")
        yield NAME
    finally:
        subprocess.run(["ip", "netns", "del", NAME], check=True)


@pytest.fixture
def check(namespace: str, tmp_path: Path) -> Check:
    file = tmp_path / "omrfast.toml"

    def run(more: str = "") -> dict[str, dict[str, Any]]:
        file.write_text(f'[agent]\nrun_dir = "{tmp_path}/run"\n{more}')
        command = [sys.executable, "-m", "omrfast.cli.main", "check", "--json"]
        done = in_namespace(*command, "--config", str(file))
        assert done.stdout, done.stderr
        found = {item["name"]: item for item in json.loads(done.stdout)}
        assert done.returncode == any(item["ok"] is False for item in found.values())
        return found

    return run


def test_nothing_set_up(check: Check) -> None:
    found = check()
    assert found["MPTCP"]["ok"] is True
    assert found["uplinks"]["ok"] is None
    assert "no subflow endpoint" in found["MPTCP endpoints"]["detail"]


def test_mptcp_switched_off(check: Check) -> None:
    set_mptcp("enabled", "0")
    found = check()["MPTCP"]
    assert found == {
        "name": "MPTCP",
        "ok": False,
        "detail": "switched off",
        "todo": "sysctl -w net.mptcp.enabled=1",
    }


def test_endpoints_that_the_kernel_ignores(check: Check) -> None:
    set_mptcp("pm_type", "1")
    found = check()["MPTCP"]
    assert found["ok"] is False
    assert found["todo"] == "sysctl -w net.mptcp.pm_type=0"


def test_uplinks_are_found_by_route_and_by_endpoint(check: Check) -> None:
    ip("route", "add", "default", "dev", "wan1")
    ip("mptcp", "endpoint", "add", "192.0.2.2", "subflow")
    ip("mptcp", "limits", "set", "subflow", "1")
    found = check()
    assert found["uplink wan1"]["detail"] == "up, 192.0.2.1"
    assert "up, 192.0.2.2" in found["uplink wan2"]["detail"]
    assert "uplink isp1" not in found
    assert "192.0.2.2 (id 1, subflow)" in found["MPTCP endpoints"]["detail"]
    assert found["MPTCP limits"]["ok"] is None
    assert found["MPTCP limits"]["todo"].startswith("ip mptcp limits set subflow 2")
    ip("mptcp", "limits", "set", "subflow", "2")
    assert check()["MPTCP limits"]["ok"] is True


def test_what_the_server_needs(check: Check) -> None:
    for n in ("1", "2"):
        ip("route", "add", "default", "dev", f"wan{n}", "metric", n)
    ip("mptcp", "endpoint", "add", "192.0.2.1", "subflow")
    needs = check()["the VPS"]["detail"]
    assert "room for 2 extra subflows" in needs
    assert "no announced addresses" in needs
    assert needs.endswith("ip mptcp limits set subflow 2")
    ip("mptcp", "endpoint", "add", "192.0.2.2", "subflow", "signal")
    needs = check()["the VPS"]["detail"]
    assert needs.endswith("ip mptcp limits set subflow 2 add_addr_accepted 1")


def test_configured_paths_only(check: Check) -> None:
    ip("route", "add", "default", "dev", "wan1")
    found = check('[[path]]\ninterface = "wan2"\n[[path]]\ninterface = "lte0"\n')
    assert "uplink wan1" not in found
    assert found["uplink wan2"]["ok"] is True
    assert found["uplink lte0"]["ok"] is None
    assert "there is no such interface" in found["uplink lte0"]["detail"]
    assert found["the VPS"]["detail"].endswith("ip mptcp limits set subflow 2"), "it may come yet"


def test_without_uplinks_the_server_needs_nothing(check: Check) -> None:
    assert "the VPS" not in check()


def test_offloads_and_queue(check: Check) -> None:
    ip("route", "add", "default", "dev", "wan1")
    found = check()
    assert "gro" in found["offloads wan1"]["detail"]
    assert found["qdisc wan1"] == {
        "name": "qdisc wan1",
        "ok": True,
        "detail": "noqueue",
        "todo": "",
    }
    tbf = "rate 1mbit burst 5kb latency 50ms"
    added = in_namespace(*f"tc qdisc add dev wan1 root tbf {tbf}".split())
    assert added.returncode == 0, added.stderr
    queue = check()["qdisc wan1"]
    assert queue["ok"] is None
    assert "tbf" in queue["detail"]
    assert "tc qdisc replace dev wan1" in queue["todo"]


def test_another_manager_counts_only_in_this_namespace(check: Check) -> None:
    pose = (
        "import ctypes, sys; ctypes.CDLL(None).prctl(15, b'mptcpd', 0, 0, 0); "
        "print('posing', flush=True); sys.stdin.read()"
    )

    def posing(*prefix: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", pose],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "posing\n"
        return process

    with posing() as outside:
        assert check()["other managers"]["ok"] is True
        with posing("ip", "netns", "exec", NAME) as inside:
            found = check()["other managers"]
            inside.communicate()
        outside.communicate()
    assert found["ok"] is None
    assert found["detail"].startswith("running: mptcpd")
