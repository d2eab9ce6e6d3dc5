# SPDX-License-Identifier: GPL-2.0-or-later
"""Nanoseconds per program and packet by BPF_PROG_TEST_RUN, for bench.overhead.

All programs meet the same packets in the same order. `Bench` holds the maps and programs of
overhead.bpf.c (which includes omrfast's); `System` is a pair of programs that keep state.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from bench.overhead_packets import (
    ACK,
    KINDS,
    PSH,
    SEGMENT,
    SYN,
    Kind,
    Numbers,
    Place,
    flow_key,
    frame,
    order,
)
from omrfast.dataplane import bpffs
from omrfast.dataplane.pins import jiffies_per_second
from omrfast.shim import api
from omrfast.shim.run import TC_ACT_UNSPEC, XDP_PASS, Program

ROOT = Path(__file__).resolve().parents[1]
SOURCE, OBJECT = ROOT / "bench/overhead.bpf.c", ROOT / "build/overhead.bpf.o"
TC_ACT_OK = 0
LOOPBACK = 1
"""BPF_PROG_TEST_RUN passes packets off as the loopback device's."""
STATE = struct.Struct("=10I")  # struct bench_state
TS_SHIFT = 8
TS_STEP = 4
"""64 packets to one tick of the sender's timestamp clock, as at 64,000 packets a second."""
AHEAD = 1 << 28
"""How far the data that is outstanding reaches: acknowledgements move below it."""
STAMP_STEP = 20_000
"""Ticks between the timestamps of one run and those of the next."""
PEER_BEGIN = 0x20000000
REPEAT = 200_000
FEW = 1000
"""Up to so many flows come in the order of their making: what they need is in the caches."""
MANY = 100_000
"""From so many flows on, one packet of each is a run."""
PATH_EVENTS = 8
"""The path's own events, such as the end of a quiet second, are not the packets' doing."""
COUNTERS = (
    "tx_packets", "rx_packets", "retransmitted_segments", "refilled_segments",
    "flows_opened", "flows_refused", "rtt_samples", "events_suppressed",
)  # fmt: skip


def compile_object() -> Path:
    """Compile overhead.bpf.c as setup.py compiles the data path."""
    OBJECT.parent.mkdir(exist_ok=True)
    include = f"-I/usr/include/{sysconfig.get_config_var('MULTIARCH')}"
    flags = ["-O2", "-g", "-Wall", "-Wextra", "-Werror", "-target", "bpf", "-mcpu=v3"]
    command = ["clang", *flags, include, "-Ibpf", "-c", str(SOURCE), "-o", str(OBJECT)]
    subprocess.run(command, cwd=ROOT, check=True)
    return OBJECT


@dataclass(frozen=True)
class System:
    """Two TC programs that measure together, or with XDP in the place of the second."""

    name: str
    egress: Program
    ingress: Program
    xdp: Program | None = None

    def at(self, place: Place) -> Program | None:
        return self.xdp if place.hook == "XDP" else self.egress if place.egress else self.ingress


@dataclass
class Bench:
    """overhead.bpf.o, loaded with tables for so many flows; everything goes when it is closed."""

    capacity: int
    run_dir: str = field(default_factory=lambda: tempfile.mkdtemp(prefix="omr-overhead-"))
    table: bytes = b""
    """The order that is set."""
    begun: int = 0
    """How often begin() was called: every time it takes other numbers."""

    def __enter__(self) -> Bench:
        try:
            folder = bpffs.mount(self.run_dir)
            api.load_object(
                str(OBJECT), folder, hz=jiffies_per_second(), replay=False, flows=self.capacity
            )
            self.maps = {
                name: api.Map.open(os.path.join(folder, name))
                for name in ("bench_state", "bench_order", "bench_next_tc", "bench_next_xdp",
                             "omr_links", "omr_flows4", "omr_flows6", "omr_path_counters")
            }  # fmt: skip
            self.folder = folder
            self.programs: dict[str, Program] = {}
            self.omrfast = System(
                "omrfast", self["omr_egress"], self["omr_ingress"], self["omr_xdp"]
            )
            self.measure_device(LOOPBACK)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        bpffs.unmount(self.run_dir)
        shutil.rmtree(self.run_dir, ignore_errors=True)
        for program in getattr(self, "programs", {}).values():
            program.close()
        for table in getattr(self, "maps", {}).values():
            table.close()

    def peer(self, path: Path, egress: str, ingress: str) -> System:
        """Load another object's two TC programs beside ours. CalledProcessError if that fails."""
        folder = os.path.join(self.folder, "peer")
        os.mkdir(folder)
        command = ["bpftool", "prog", "loadall", str(path), folder]
        subprocess.run(command, check=True)
        for name in (egress, ingress):
            self.programs[name] = Program.open(os.path.join(folder, name))
        return System("peer", self.programs[egress], self.programs[ingress])

    def __getitem__(self, name: str) -> Program:
        if name not in self.programs:
            self.programs[name] = Program.open(os.path.join(self.folder, name))
        return self.programs[name]

    def measure_device(self, ifindex: int) -> None:
        """Let omrfast measure this device as path 0."""
        self.maps["omr_links"].update(ifindex, api.raw(api.struct("omr_link", path=1)))

    # --- one measurement ----------------------------------------------------------------------

    def set_order(self, flows: int, shuffled: bool) -> int:
        """Set which flow each packet belongs to; returns the length of the order.

        Shuffled, each flow comes once before any comes again.
        """
        length, table = order(flows, shuffled)
        if table is not self.table:
            self.maps["bench_order"].update(0, table)
            self.table = table
        return length

    def advance(
        self,
        program: Program,
        place: Place,
        kind: Kind,
        numbers: Numbers,
        length: int,
        repeat: int,
    ) -> int:
        """Run a program on `repeat` packets that follow each other; ns for each."""
        n, xdp = numbers, place.hook == "XDP"
        target = "xdp" if xdp else "tc"
        state = (0, length, place.egress, n.seq, n.seq_step, n.ack, n.ack_step,
                 n.tsval << TS_SHIFT, n.ts_step, 0)  # fmt: skip
        self.maps["bench_state"].update(0, STATE.pack(*(value % 2**32 for value in state)))
        self.maps[f"bench_next_{target}"].update(0, program.fd.to_bytes(4, sys.byteorder))
        return run(self[f"bench_advance_{target}"], place, frame(place, kind, n), repeat)

    def begin(self, system: System, place: Place, kind: Kind, flows: int) -> Numbers:
        """Let flows 1 to `flows` begin anew; returns the numbers of the next packet.

        Unless packets are `sampled`, the last that each has sent lies AHEAD of what will be
        acknowledged: its sample stays open.
        """
        self.begun += 1
        ours, theirs = 0x9E3779B1 * self.begun, PEER_BEGIN
        stamp = STAMP_STEP * (self.begun % 400 + 1)
        steps = [
            (True, KINDS["ACK"], Numbers(SYN, ours, 0, stamp - 30, 0)),
            (False, KINDS["ACK"], Numbers(SYN | ACK, theirs, ours + 1, stamp, stamp - 30)),
        ]
        sent = ours + 1 + (0 if kind.sampled else AHEAD)
        if not (kind.sampled and place.egress):
            outstanding = Numbers(ACK | PSH, sent, theirs + 1, stamp - 10, stamp)
            steps.append((True, KINDS["data"], outstanding))
            sent += SEGMENT
        self.set_order(flows, shuffled=False)
        for egress, sort, numbers in steps:
            at = Place("TC", egress, place.version)
            self.advance(
                system.egress if egress else system.ingress, at, sort, numbers, flows, flows
            )
        # With many flows the numbers leap from one packet of a flow to its next: small steps, so
        # that no leap is wider than a window can be.
        step = (SEGMENT if flows < MANY else 64) if kind.payload else 0
        if place.egress:
            return Numbers(ACK, sent, theirs + 1, stamp, stamp, step, SEGMENT, TS_STEP)
        acknowledged, by = (sent, 0) if kind.sampled else (ours + 1, 256)
        return Numbers(ACK, theirs + 1, acknowledged, stamp, stamp - 30, step, by, TS_STEP)

    # --- whether a run was what it was meant to be --------------------------------------------

    def counted(self, place: Place) -> dict[str, int]:
        """What omrfast has counted: of the path, over all CPUs, and of flow 1."""
        total = dict.fromkeys(COUNTERS, 0)
        for value in self.maps["omr_path_counters"].lookup_per_cpu(0):
            row = api.struct("omr_path_counters", value)
            for name in COUNTERS:
                total[name] += getattr(row, name)
        table = self.maps[f"omr_flows{place.version}"]
        value = table.lookup(flow_key(place.version))
        if value is not None:
            entry = api.struct("omr_flow", value)
            total["flow 1"] = entry.tx.tx_bytes if place.egress else entry.rx.rx_bytes
        return total

    def check(self, before: dict[str, int], place: Place, kind: Kind, repeat: int) -> None:
        """RuntimeError unless all packets took the way that is to be measured."""
        after = self.counted(place)
        grown = {name: after[name] - before.get(name, 0) for name in after}
        expected = dict.fromkeys(COUNTERS, 0)
        expected["tx_packets" if place.egress else "rx_packets"] = repeat
        expected["rtt_samples"] = 0 if place.egress or not kind.sampled else repeat
        if grown["events_suppressed"] <= PATH_EVENTS:
            grown["events_suppressed"] = 0
        wrong = {name: grown[name] for name in COUNTERS if grown[name] != expected[name]}
        if wrong or grown["flow 1"] <= 0:
            raise RuntimeError(
                f"{place.name}, {kind.name}: {repeat} packets were not taken as meant: {grown}"
            )


def run(program: Program, place: Place, packet: bytes, repeat: int) -> int:
    """BPF_PROG_TEST_RUN; ns for each run. RuntimeError unless the packet passes."""
    xdp = place.hook == "XDP"
    result = (program.run_xdp if xdp else program.run_skb)(packet, repeat=repeat)
    if result.verdict not in ((XDP_PASS,) if xdp else (TC_ACT_UNSPEC, TC_ACT_OK)):
        raise RuntimeError(f"{program.info.name}: verdict {result.verdict} at {place.name}")
    return result.duration_ns


@dataclass
class Figures:
    """ns per packet of one program, one figure per round."""

    advancing: list[int] = field(default_factory=list)
    identical: list[int] = field(default_factory=list)


def programs_at(bench: Bench, place: Place) -> dict[str, Program]:
    """What omrfast is compared with, by the names of the tables."""
    hook = place.hook.lower()
    return {
        "empty": bench[f"bench_empty_{hook}"],
        "parse": bench[f"bench_parse_{place.suffix}"],
        "parse_ours": bench[f"bench_ours_{place.suffix}"],
        "lookup": bench[f"bench_lookup_{place.suffix}"],
    }


def measure(
    bench: Bench, systems: list[System], place: Place, kind: Kind, flows: int, rounds: int
) -> dict[str, Figures]:
    """Every program on the same packets, in turn, `rounds` times."""
    stateless = programs_at(bench, place)
    stateful = {s.name: s for s in systems if s.at(place)}
    figures = {name: Figures() for name in (*stateless, *stateful)}
    repeat = flows if kind.sampled or flows >= MANY else REPEAT
    # A comparison works on whatever flows the table holds, once they are there.
    numbers = bench.begin(bench.omrfast, place, kind, flows)
    for _ in range(rounds):
        for name, result in figures.items():
            system = stateful.get(name)
            program = stateless[name] if system is None else system.at(place)
            assert program is not None
            if system is not None:
                numbers = bench.begin(system, place, kind, flows)
            before = bench.counted(place)
            length = bench.set_order(flows, shuffled=flows > FEW)
            result.advancing.append(bench.advance(program, place, kind, numbers, length, repeat))
            if system is bench.omrfast:
                bench.check(before, place, kind, repeat)
            if flows == 1 and not kind.sampled:
                packet = frame(place, kind, numbers)
                result.identical.append(run(program, place, packet, repeat))
    return figures
