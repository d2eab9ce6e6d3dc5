# SPDX-License-Identifier: GPL-2.0-or-later
"""Loading, pinning, and taking over what an earlier process left."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from omrfast.dataplane import bpffs, links, pins
from omrfast.dataplane.attach import attach, attached, detach_all
from omrfast.dataplane.loader import open_dataplane
from omrfast.dataplane.names import MAPS, PROGRAMS, DataPlaneError
from omrfast.shim import api

from .space import Space, command, python, send, until

AGENT = """
import sys, signal
from omrfast.core.types import PathLink
from omrfast.dataplane.attach import attach
from omrfast.dataplane.loader import open_dataplane
plane = open_dataplane(sys.argv[1], sys.argv[2])
attach(plane, PathLink(0, int(sys.argv[3]), sys.argv[4], 1), tc=sys.argv[5])
print(plane.reused, plane.programs["omr_egress"].info.id, flush=True)
signal.pause()
"""


def test_everything_is_pinned(run_dir: str, loader: str) -> None:
    with open_dataplane(run_dir, loader, flows=1000) as plane:
        assert not plane.reused
        assert plane.loader == loader
        assert {*MAPS, *PROGRAMS} <= set(os.listdir(bpffs.path(run_dir)))
        assert plane.maps["omr_flows4"].info.max_entries == 1000
        assert plane.maps["omr_flows6"].info.max_entries == 1000
        config = api.struct("omr_config", plane.maps["omr_config"].lookup(0))
        assert config.abi_version == api.ABI_VERSION
        assert config.hz == pins.jiffies_per_second()


def test_clock_is_monotonic_and_jiffies_advance(run_dir: str, loader: str) -> None:
    with open_dataplane(run_dir, loader, flows=1000) as plane:
        before = time.monotonic_ns()
        first_j, first_ns = plane.clock()
        assert before <= first_ns <= time.monotonic_ns()
        end = before + 10**9
        while plane.clock()[0] == first_j:
            assert time.monotonic_ns() < end


def test_replay_takes_its_own_clock(run_dir: str, loader: str) -> None:
    with open_dataplane(run_dir, loader, replay=True, flows=1000) as plane:
        now = api.struct("omr_replay", now={"now_j": 1_000_000, "now_ns": 77})
        plane.maps["omr_replay_packet"].update(0, api.raw(now))
        assert plane.clock() == (1_000_000, 77)


def test_killed_agent_leaves_a_measuring_data_path(space: Space, run_dir: str, loader: str) -> None:
    link = space.veth("wan", "10.9.0.1")
    agent = python(AGENT, run_dir, loader, str(link.ifindex), link.ifname, "auto")
    assert agent.stdout is not None
    assert agent.stderr is not None
    words = agent.stdout.readline().split()
    assert words, agent.stderr.read()
    assert words[0] == "False"
    send("10.9.0.2", 5)
    agent.send_signal(signal.SIGKILL)
    agent.communicate()
    send("10.9.0.2", 5)
    with open_dataplane(run_dir, loader) as plane:
        assert plane.reused
        assert plane.programs["omr_egress"].info.id == int(words[1])
        attach(plane, link)
        assert len(attached(run_dir)) == 2
        send("10.9.0.2", 5)
        assert plane.read()[0].tx_packets == 15


STARTING = "import omrfast.dataplane.loader\nprint('go', flush=True)\n" + AGENT


@pytest.mark.parametrize("tc", ["tcx", "clsact"])
def test_killed_at_any_moment_of_its_start(space: Space, run_dir: str, tc: str) -> None:
    link = space.veth("wan", "10.9.0.1")

    def start() -> subprocess.Popen[str]:
        agent = python(STARTING, run_dir, "prebuilt", str(link.ifindex), link.ifname, tc)
        assert agent.stdout is not None
        assert agent.stdout.readline() == "go\n"
        return agent

    def kill(agent: subprocess.Popen[str]) -> None:
        agent.send_signal(signal.SIGKILL)
        agent.communicate()

    whole = start()
    started = time.monotonic()
    assert whole.stdout is not None
    assert whole.stdout.readline()
    takes = time.monotonic() - started
    kill(whole)
    detach_all(run_dir)
    for eighth in range(10):
        agent = start()
        time.sleep(takes * eighth / 8)
        kill(agent)
    with open_dataplane(run_dir, "prebuilt") as plane:
        attach(plane, link, tc=tc)
        assert sorted(entry.direction for entry in attached(run_dir)) == ["egress", "ingress"]
        before = plane.read()[0].tx_packets
        send("10.9.0.2", 5)
        assert plane.read()[0].tx_packets == before + 5
    assert detach_all(run_dir) == 2


@pytest.mark.parametrize(("ingress", "tc"), [("tc", "tcx"), ("xdp", "tcx"), ("tc", "clsact")])
def test_another_build_replaces_and_measuring_goes_on(
    space: Space, run_dir: str, ingress: str, tc: str
) -> None:
    link = space.veth("wan", "10.9.0.1")
    with open_dataplane(run_dir, "prebuilt", flows=1000) as plane:
        attach(plane, link, ingress, tc=tc)
        hooks = attached(run_dir)
        ids = {entry.hook: entry.id for entry in links.pinned(run_dir)}
        gone = plane.programs["omr_egress"].info.id
    with open_dataplane(run_dir, "prebuilt", flows=2000) as plane:
        assert not plane.reused
        assert attached(run_dir) == hooks
        # The same links, so not a moment without a program.
        assert {entry.hook: entry.id for entry in links.pinned(run_dir)} == ids
        until(lambda: api.prog_info_by_id(gone) is None, "nothing holds the old program")
        send("10.9.0.2", 3)
        assert plane.read()[0].tx_packets == 3


def test_incomplete_pins_are_replaced(run_dir: str) -> None:
    with open_dataplane(run_dir, "prebuilt", flows=1000):
        pass
    os.unlink(os.path.join(bpffs.path(run_dir), "omr_path_live"))
    with open_dataplane(run_dir, "prebuilt", flows=1000) as plane:
        assert not plane.reused
    with open_dataplane(run_dir, "prebuilt", flows=1000) as plane:
        assert plane.reused


def test_auto_takes_prebuilt(run_dir: str) -> None:
    with open_dataplane(run_dir, flows=1000) as plane:
        assert plane.loader == "prebuilt"


def test_auto_falls_back_to_bcc(run_dir: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.o"
    broken.write_bytes(b"no ELF file")
    with open_dataplane(run_dir, flows=1000, object_path=broken) as plane:
        assert plane.loader == "bcc"
    with open_dataplane(run_dir, flows=1000, object_path=broken) as plane:
        assert plane.loader == "bcc"
        assert plane.reused


def test_a_broken_object_is_named(run_dir: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.o"
    broken.write_bytes(b"no ELF file")
    with pytest.raises(DataPlaneError, match=r"broken\.o"):
        open_dataplane(run_dir, "prebuilt", object_path=broken)
    assert not {*MAPS, *PROGRAMS} & set(os.listdir(bpffs.path(run_dir)))


def test_unknown_loader_is_refused(run_dir: str) -> None:
    with pytest.raises(DataPlaneError, match="use auto, prebuilt or bcc"):
        open_dataplane(run_dir, "libbpf")


def test_value_sizes_are_compared(run_dir: str) -> None:
    with open_dataplane(run_dir, "prebuilt", flows=1000):
        pass
    path = os.path.join(bpffs.path(run_dir), "omr_path_live")
    os.unlink(path)
    command(
        *("bpftool", "map", "create", path, "type", "array", "key", "4"),
        *("value", "64", "entries", "32", "name", "omr_path_live"),
    )
    with pytest.raises(DataPlaneError, match="omr_path_live has values of 64 bytes"):
        open_dataplane(run_dir, "prebuilt", flows=1000)
