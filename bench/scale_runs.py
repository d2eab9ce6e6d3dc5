# SPDX-License-Identifier: GPL-2.0-or-later
"""Flow tables of any fullness, and what can be measured of them: for bench.scale."""

from __future__ import annotations

import os
import random
import socket
import statistics
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omrfast.shim._shim import ffi, lib

from bench.agent_cost import resident_kib, share
from omrfast.dataplane import bpffs
from omrfast.dataplane.loader import open_dataplane
from omrfast.dataplane.reader import CLOSED_AGE, HALF_OPEN_AGE, IDLE_AGE, DataPlane
from omrfast.dataplane.scan import Scanner
from omrfast.export import client
from omrfast.lab.agentproc import Agent
from omrfast.lab.topology import Lab, TopologySpec
from omrfast.shim import api, scan
from omrfast.shim.run import Program

CAPACITY = 1_048_576
TOP = 20
SERVERS = ["203.0.113.10", "203.0.113.20", "2001:db8::10"]
LOOPBACK = 1
"""BPF_PROG_TEST_RUN passes packets off as the loopback device's."""
PATIENCE = 60.0
POLL = 0.05
CHUNK = 4096

Say = Callable[[str], None]


@contextmanager
def table(capacity: int) -> Iterator[DataPlane]:
    """A data plane of its own with room for so many flows, attached to nothing."""
    with tempfile.TemporaryDirectory(prefix="omr-scale-") as run_dir:
        try:
            with open_dataplane(run_dir, "prebuilt", flows=capacity) as plane:
                yield plane
        finally:
            bpffs.unmount(run_dir)


# --- filling ------------------------------------------------------------------------------------


def _place(half: str, member: str) -> int:
    return int(ffi.offsetof("struct omr_flow", half)) + int(
        ffi.offsetof(f"struct omr_flow_{half}", member)
    )


def _values(count: int, now_j: int, dice: random.Random) -> bytes:
    """Established MPTCP flows of two paths, of random sizes and RTTs, that live."""
    flow = bytearray(api.sizeof("omr_flow"))
    struct.pack_into("=H", flow, _place("tx", "flags"), lib.OMR_TX_SYN | lib.OMR_TX_MPTCP)
    struct.pack_into("=H", flow, _place("rx", "flags"), lib.OMR_RX_ACK | lib.OMR_RX_MPTCP)
    struct.pack_into("=I", flow, _place("rx", "last_rx_j"), now_j % 2**32)
    path, sent, received, rtt = (
        _place(*member)
        for member in (("tx", "path"), ("tx", "tx_bytes"), ("rx", "rx_bytes"), ("rx", "srtt_us8"))
    )
    out = []
    for number in range(count):
        flow[path] = 1 + number % 2
        struct.pack_into("=Q", flow, sent, dice.getrandbits(30))
        struct.pack_into("=Q", flow, received, dice.getrandbits(34))
        struct.pack_into("=I", flow, rtt, dice.getrandbits(20))
        out.append(bytes(flow))
    return b"".join(out)


def _keys(numbers: range) -> bytes:
    """10.x.y.z to one of three addresses, two of them servers."""
    remotes = [socket.inet_aton(text) for text in (*SERVERS[:2], "192.0.2.1")]
    return b"".join(
        struct.pack(
            "!I4sHH", (10 << 24) + (number >> 14), remotes[number % 3], number & 0x3FFF, 443
        )
        for number in numbers
    )


def fill(flows4: api.Map, count: int, now_j: int) -> None:
    """Put `count` IPv4 flows into an empty table."""
    dice = random.Random(count)
    for begin in range(0, count, CHUNK):
        numbers = range(begin, min(begin + CHUNK, count))
        flows4.update_many(_keys(numbers), _values(len(numbers), now_j, dice))


# --- measuring ----------------------------------------------------------------------------------


def accounted_bytes(table: api.Map) -> int:
    """Memory of a map as the kernel accounts it (memlock in fdinfo)."""
    text = Path(f"/proc/self/fdinfo/{table.fd}").read_text()
    return int(text.partition("memlock:")[2].split()[0])


def order(plane: DataPlane) -> Any:
    """What the slow tick asks for, and the top flows as well."""
    return scan.order(
        plane.clock()[0],
        rows=TOP,
        servers=SERVERS,
        collect=True,
        closed_age_j=int(CLOSED_AGE * plane.hz),
        half_open_age_j=int(HALF_OPEN_AGE * plane.hz),
        idle_age_j=int(IDLE_AGE * plane.hz),
    )


def walks(plane: DataPlane, entries: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each walk: by the way of the agent (auto), or by one; they take turns."""
    scanner = Scanner(plane.folder, plane.maps["omr_flows4"], plane.maps["omr_flows6"])
    found: dict[str, list[float]] = {way: [] for way in ("auto", *scanner.ways)}
    try:
        scanner.walk(order(plane))
        for _ in range(rounds):
            for way, times in found.items():
                asked = order(plane)
                begun = time.perf_counter()
                walked = scanner.walk(asked, None if way == "auto" else way)
                times.append((time.perf_counter() - begun) * 1e3)
                if walked.sums.entries[0] != entries or walked.row_count != min(TOP, entries):
                    raise RuntimeError(
                        f"a walk by {way} found {walked.sums.entries[0]} of {entries}"
                    )
    finally:
        scanner.close()
    return found


def ticks(plane: DataPlane, rounds: int) -> list[float]:
    """Microseconds of each reading of all paths."""
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        plane.read()
        found.append((time.perf_counter() - begun) * 1e6)
    return found


def ticks_beside_walks(plane: DataPlane, seconds: float) -> list[float]:
    """The same, a millisecond apart, while another thread walks the tables all the time.

    RuntimeError if that one does not go on to the end.
    """
    ending = threading.Event()
    to_the_end = threading.Event()

    def walk() -> None:
        while not ending.is_set():
            plane.scan(servers=SERVERS)
        to_the_end.set()

    walker = threading.Thread(target=walk)
    walker.start()
    found = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found += ticks(plane, 1)
        time.sleep(0.001)
    ending.set()
    walker.join()
    if not to_the_end.is_set():
        raise RuntimeError("the walks beside the readings failed")
    return found


def summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": statistics.median(ordered),
        "least": ordered[0],
        "p99": ordered[round(0.99 * (len(ordered) - 1))],
        "most": ordered[-1],
    }


# --- the agent ----------------------------------------------------------------------------------


def _now_j(folder: str) -> int:
    clock = api.struct("omr_clock")
    program = Program.open(os.path.join(folder, "omr_clock_read"))
    try:
        program.run_syscall(clock)
    finally:
        program.close()
    return int(clock.now_j)


def _wait_for_flows(agent: Agent, flows: int) -> None:
    """Until a slow tick of the agent has counted exactly so many."""
    end = time.monotonic() + PATIENCE
    while client.request(agent.run_dir, "health", timeout=PATIENCE)["flows"] != flows:
        if time.monotonic() > end:
            raise RuntimeError(f"the agent did not count {flows} flows:\n{agent.log_tail()}")
        time.sleep(POLL)


def agent_cost(entries: int, slow_ticks: int, seconds: float, say: Say) -> dict[str, float]:
    """Memory and processor time of `omrfast run` in a lab, with so many flows in its table."""
    figures: dict[str, float] = {}
    with Lab(TopologySpec()) as lab:
        agent = Agent(lab, {"agent": {"loader": "prebuilt", "flows": CAPACITY}})
        agent.start()
        try:
            agent.wait_state("wan2", "up")
            figures["resident_kib_empty"] = resident_kib(agent.pid)
            folder = bpffs.path(agent.run_dir)
            with api.Map.open(os.path.join(folder, "omr_flows4")) as flows4:
                before = int(client.request(agent.run_dir, "health")["flows"])
                say(f"agent: filling its table with {entries:,} flows")
                fill(flows4, entries, _now_j(folder))
                # One flow less at a time: each number proves a slow tick of its own.
                for gone in range(slow_ticks):
                    _wait_for_flows(agent, before + entries - gone)
                    flows4.delete(_keys(range(gone, gone + 1)))
            figures["processor_share"] = share(agent.pid, seconds)
            figures["resident_kib"] = resident_kib(agent.pid)
        finally:
            agent.stop()
    return figures


# --- overflow -----------------------------------------------------------------------------------


def _frame(number: int, flags: int, payload: int, egress: bool) -> bytes:
    """Ethernet, IPv4, TCP of a flow that fill() never makes; checksums are left at zero."""
    ends = [(0xC6120000 + number, 40_000), (0xCB00710A, 443)]
    (source, source_port), (target, target_port) = ends if egress else ends[::-1]
    tcp = struct.pack("!HHIIBBHHH", source_port, target_port, 1000, 1, 5 << 4, flags, 500, 0, 0)
    ip = struct.pack("!BBHHHBBHII", 0x45, 0, 40 + payload, 1, 0, 64, 6, 0, source, target)
    return bytes(12) + b"\x08\x00" + ip + tcp + bytes(payload)


def overflow(plane: DataPlane, capacity: int, offered: int) -> dict[str, Any]:
    """Fill the table to the last entry, offer more flows, and compare every path counter.

    Each flow sends a SYN and data, and gets data.
    """
    plane.set_link(LOOPBACK, 0, lib.OMR_L2_ETHERNET)
    fill(plane.maps["omr_flows4"], capacity, plane.clock()[0])
    before = plane.read()[0]
    expected = dict.fromkeys(("tx_packets", "tx_bytes", "rx_packets", "rx_bytes"), 0)
    for number in range(offered):
        for flags, payload, egress in ((2, 0, True), (0x18, 300, True), (0x18, 900, False)):
            frame = _frame(number, flags, payload, egress)
            plane.programs["omr_egress" if egress else "omr_ingress"].run_skb(frame)
            expected["tx_packets" if egress else "rx_packets"] += 1
            expected["tx_bytes" if egress else "rx_bytes"] += len(frame)
    expected |= {"tx_segments": offered, "rx_segments": offered, "flows_opened": 0}
    expected["flows_refused"] = 2 * offered
    after = plane.read()[0]
    counted = {name: getattr(after, name) - getattr(before, name) for name in expected}
    return {
        "capacity": capacity,
        "entries": plane.scan().entries,
        "flows_offered": offered,
        "expected": expected,
        "counted": counted,
    }
