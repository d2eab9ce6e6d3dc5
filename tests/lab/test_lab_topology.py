# SPDX-License-Identifier: GPL-2.0-or-later
"""Labs are what their specification says, and go away whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from omrfast.lab import netns, ownership
from omrfast.lab.addresses import server_address, uplink_address
from omrfast.lab.topology import Lab, TopologySpec, UplinkSpec
from tests.dispositions import as_usual
from tests.lab.lab_helpers import eventually

NEAR = UplinkSpec(rtt=0.002)


def remains(token: str) -> list[str]:
    """What is left of a lab."""
    spaces = [f"namespace {p.name}" for p in netns.ROOT.glob(f"omr-{token}-*")]
    files = [str(p) for p in ownership.root().glob(token)]
    mounts = [m for m in Path("/proc/self/mounts").read_text().splitlines() if token in m]
    processes = [
        f"process {p.parent.name}"
        for p in Path("/proc").glob("[0-9]*/cmdline")
        if f"/{token}/".encode() in _read(p)
    ]
    return spaces + files + mounts + processes


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def seen_by_server(lab: Lab, client: str, source: str, version: int = 4) -> str:
    """The address that server 1 sees when a part of the lab connects to it."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    address = server_address(1, version)

    def listen() -> socket.socket:
        return socket.create_server((address, 0), family=family)

    with netns.call(lab.ns("vps1"), listen) as server:
        server.settimeout(10)
        target = (address, server.getsockname()[1])
        with netns.call(
            lab.ns(client), socket.create_connection, target, 10, source_address=(source, 0)
        ):
            connection, peer = server.accept()
            connection.close()
            return str(peer[0])


def test_every_uplink_and_the_lan_reach_the_server_through_their_carrier() -> None:
    spec = TopologySpec(uplinks=(NEAR, NEAR, NEAR), lan=True, ipv6=True)
    with Lab(spec) as lab:
        for n in (1, 2, 3):
            assert seen_by_server(lab, "router", uplink_address(n)) == f"198.18.{n}.2"
            six = uplink_address(n, 6)
            assert seen_by_server(lab, "router", six, version=6) == six
        assert seen_by_server(lab, "lan", "192.168.100.2") == "198.18.1.2"


def test_routes_endpoints_and_limits_are_as_specified() -> None:
    spec = TopologySpec(
        uplinks=(NEAR, UplinkSpec(rtt=0.002, role="backup", metric=55), UplinkSpec(role="off"))
    )

    def shown(*command: str) -> str:
        return netns.call(lab.ns("router"), subprocess.check_output, ["ip", *command], text=True)

    with Lab(spec) as lab:
        routes = shown("route", "show", "default")
        assert "via 10.1.0.1 dev wan1 proto static metric 100" in routes
        assert "via 10.2.0.1 dev wan2 proto static metric 55" in routes
        assert "from 10.2.0.2 lookup 102" in shown("rule")
        assert "via 10.2.0.1 dev wan2" in shown("route", "show", "table", "102")
        endpoints = shown("mptcp", "endpoint").splitlines()
        assert [line.split() for line in endpoints] == [
            ["10.1.0.2", "id", "1", "subflow", "dev", "wan1"],
            ["10.2.0.2", "id", "2", "subflow", "backup", "dev", "wan2"],
        ]
        assert "subflows 8" in shown("mptcp", "limits")
        assert "PERMANENT" in shown("neigh", "show", "10.1.0.1")


def test_nothing_is_left_of_a_lab() -> None:
    with Lab(TopologySpec(uplinks=(NEAR,), servers=2, lan=True)) as lab:
        lingering = netns.spawn(lab.ns("router"), ["sleep", "1000"])
        assert len(netns.processes(lab.namespaces)) == 2  # that one and the emulator
        assert len(remains(lab.token)) > len(lab.namespaces)
    assert lingering.wait(5) == -signal.SIGTERM
    assert remains(lab.token) == []


def test_nothing_is_left_when_building_fails() -> None:
    lab = Lab(TopologySpec(uplinks=(NEAR,), sysctls=(("net/ipv4/no_such_thing", "1"),)))
    with pytest.raises(FileNotFoundError, match="no_such_thing"):
        lab.up()
    assert remains(lab.token) == []


OWNER = """
import signal, sys
from omrfast.lab.process import end_on_signals
from omrfast.lab.topology import Lab, TopologySpec, UplinkSpec
end_on_signals()
with Lab(TopologySpec(uplinks=(UplinkSpec(rtt=0.002),)), sys.argv[1]) as lab:
    print("up", flush=True)
    signal.pause()
"""


@pytest.fixture
def owner() -> subprocess.Popen[str]:
    """A process with a lab of its own; its token is its last argument."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, f"t{os.urandom(3).hex()}"],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=as_usual,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_take_the_lab_along(owner: subprocess.Popen[str], number: signal.Signals) -> None:
    token = owner.args[-1]  # type: ignore[index]
    assert remains(str(token)) != []
    with owner:
        owner.send_signal(number)
    assert remains(str(token)) == []


def test_stale_lab_is_collected_and_a_living_one_is_not(owner: subprocess.Popen[str]) -> None:
    token = str(owner.args[-1])  # type: ignore[index]
    assert token not in ownership.collect_stale()
    wire = netns.processes([f"omr-{token}-wire"])
    assert len(wire) == 1
    with owner:
        owner.kill()
    eventually(lambda: not Path(f"/proc/{wire[0]}").exists())  # by itself
    assert remains(token) != []
    assert token in ownership.collect_stale()
    assert remains(token) == []


def test_two_labs_at_once_do_not_meet() -> None:
    with (
        Lab(TopologySpec(uplinks=(NEAR,))) as one,
        Lab(TopologySpec(uplinks=(NEAR,))) as other,
    ):
        assert one.token != other.token
        for lab in (one, other):
            assert seen_by_server(lab, "router", uplink_address(1)) == "198.18.1.2"


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"uplinks": ()}, "1 to 8 uplinks"),
        ({"servers": 3}, "1 to 2 servers"),
        ({"uplinks": (UplinkSpec(role="main"),)}, "role 'main'"),
    ],
)
def test_bad_specifications_are_refused(wrong: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        TopologySpec(**wrong)  # type: ignore[arg-type]


def test_command_line_keeps_a_lab_up_until_down() -> None:
    name = f"t{os.urandom(3).hex()}"
    omrfast = [sys.executable, "-m", "omrfast.cli.main", "lab"]

    def command(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
        line = [*omrfast, words[0], "--name", name, *words[1:]]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]

    try:
        up = command("up")
        assert (up.returncode, up.stderr) == (0, "")
        assert f"omr-{name}-vps1" in up.stdout
        again = command("up")
        assert again.returncode == 1
        assert "is up already" in again.stderr
        script = "ip -br address show dev eth0\nexit 5\n"
        inside = command("shell", "vps1", input=script, env={**os.environ, "SHELL": "/bin/sh"})
        assert inside.returncode == 5
        assert "203.0.113.10" in inside.stdout
        link = command("link", "wan1", "delay=150ms", "loss=3%")
        assert link.returncode == 0, link.stderr
    finally:
        down = command("down")
    assert down.returncode == 0
    assert remains(name) == []
