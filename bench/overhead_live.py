# SPDX-License-Identifier: GPL-2.0-or-later
"""The packet programs beside real traffic, for bench.overhead: kernel.bpf_stats, and throughput.

Client, router and server are namespaces of our own, joined by veth; the programs sit on the
router's device towards the server: where offloads are off, only a forwarder sees packets of the
link's size. iperf3 takes cubic: BBR paces, and its own noise would hide two per cent.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.overhead_runs import Bench
from omrfast.lab import devices, netns
from omrfast.lab.devices import Device
from omrfast.shim import api, link
from omrfast.shim.run import Program

STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
PORT = 5201
DEADLINE = 10.0
ADDRESSES = {4: "10.92.2.2", 6: "fd92:2::2"}
WARM_UP = 1
"""Seconds."""
MODES = ("none", "TC", "XDP", "XDP empty")
"""XDP: omrfast at XDP and TC egress; XDP empty: what XDP costs whatever it does."""


@dataclass(frozen=True)
class Traffic:
    """One direction of a bulk transfer, as the router's programs see it."""

    offloads: bool
    upload: bool
    version: int = 4

    @property
    def name(self) -> str:
        return (
            f"{'upload' if self.upload else 'download'}, offloads "
            f"{'on' if self.offloads else 'off'}" + (", IPv6" if self.version == 6 else "")
        )


class Net:
    """Client, router, server; `ifindex` is the router's device towards the server."""

    def __init__(self, offloads: bool) -> None:
        self.offloads = offloads
        self.names = [f"omr-overhead-{os.getpid()}-{role}" for role in "crs"]
        self.client, self.router, self.server = self.names

    def __enter__(self) -> Net:
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.names:
            netns.remove(name)

    def _build(self) -> None:
        for name in self.names:
            netns.create(name)
            netns.call(name, devices.set_up, "lo")
        ends = [(Device(self.client, "lan"), Device(self.router, "lan")),
                (Device(self.router, "wan"), Device(self.server, "wan"))]  # fmt: skip
        for number, (near, far) in enumerate(ends, 1):
            devices.veth(near, far)
            for host, end in enumerate((near, far), 1):
                prefixes = f"10.92.{number}.{host}/24", f"fd92:{number}::{host}/64"
                devices.address(end.namespace, end.name, *prefixes)
                if not self.offloads:
                    devices.no_offloads(end.namespace, end.name)
        for name, via in ((self.client, ("1.2", "1::2")), (self.server, ("2.1", "2::1"))):
            devices.route(name, "0.0.0.0/0", f"10.92.{via[0]}")
            devices.route(name, "::/0", f"fd92:{via[1]}")
        netns.sysctl(self.router, {"net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1})
        self.ifindex = netns.call(self.router, socket.if_nametoindex, "wan")

    @contextmanager
    def _serving(self) -> Iterator[None]:
        """A server for one transfer: one that has just served another may still be busy."""
        command = ["iperf3", "-s", "-1", "-p", str(PORT)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        server = netns.spawn(self.server, command, **quiet)
        try:
            listening = f":{PORT:04X} " + "0" * 32 + ":0000 0A"
            deadline = time.monotonic() + DEADLINE
            sockets = Path("/proc/thread-self/net/tcp6")
            while listening not in netns.call(self.server, sockets.read_text):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"iperf3 does not listen after {DEADLINE:.0f} s")
                time.sleep(0.02)
            yield
        finally:
            server.kill()
            server.wait()

    def bits_per_second(self, traffic: Traffic, seconds: int) -> float:
        """Goodput of one transfer at its receiver. RuntimeError if iperf3 fails.

        Its first second is left out, unless there is no other.
        """
        warm_up = min(seconds - 1, WARM_UP)
        command = ["iperf3", "-c", ADDRESSES[traffic.version], "-p", str(PORT), "-J",
                   "-t", str(seconds), "-O", str(warm_up), "-C", "cubic"]  # fmt: skip
        if not traffic.upload:
            command.append("-R")
        with self._serving():
            process = netns.spawn(self.client, command, stdout=subprocess.PIPE)
            try:
                output, _ = process.communicate(timeout=seconds + WARM_UP + DEADLINE)
            finally:
                process.kill()
                process.wait()
        result = json.loads(output)
        if process.returncode or "error" in result:
            raise RuntimeError(f"iperf3, {traffic.name}: {result.get('error', output)}")
        return float(result["end"]["sum_received"]["bits_per_second"])

    @contextmanager
    def attached(self, *programs: tuple[Program, int]) -> Iterator[None]:
        """Programs on the router's device, as (program, hook), in that order."""
        with ExitStack() as stack:
            for program, hook in programs:
                flags = link.XDP_FLAGS_DRV_MODE if hook == api.HOOK_XDP else 0
                fd = netns.call(self.router, link.create, program.fd, self.ifindex, hook, flags)
                stack.callback(os.close, fd)
            yield


def run_stats(program: Program) -> tuple[int, int]:
    """(ns, runs) that kernel.bpf_stats has counted."""
    text = Path(f"/proc/self/fdinfo/{program.fd}").read_text()
    fields = dict(line.split(":\t") for line in text.splitlines() if ":\t" in line)
    return int(fields["run_time_ns"]), int(fields["run_cnt"])


@contextmanager
def bpf_stats() -> Iterator[None]:
    """Let the kernel count the time of every program, as long as this lasts."""
    before = STATS.read_text()
    STATS.write_text("1")
    try:
        yield
    finally:
        STATS.write_text(before)


@dataclass
class Live:
    """What the live part has measured."""

    stats: list[dict[str, Any]] = field(default_factory=list)
    """hook, traffic, and per program ns of one run and runs."""
    throughput: list[dict[str, Any]] = field(default_factory=list)
    """traffic, bits per second of every run by mode, and ratios to none of the same round."""


def counted(programs: dict[str, Program], work: Callable[[], Any]) -> dict[str, Any]:
    """ns per run of each program while `work` goes on."""
    before = {name: run_stats(program) for name, program in programs.items()}
    work()
    figures = {}
    for name, program in programs.items():
        spent, runs = (
            now - then for now, then in zip(run_stats(program), before[name], strict=True)
        )
        if not runs:
            raise RuntimeError(f"{program.info.name} saw no packet")
        figures[name] = {"ns": spent / runs, "runs": runs}
    return figures


def measure_stats(bench: Bench, net: Net, traffic: Traffic, seconds: int) -> list[dict[str, Any]]:
    """Empty, parse and omrfast, at TC on the same packets, at XDP one after another."""
    sides = {
        "TC egress": (api.HOOK_TCX_EGRESS, ("bench_empty_tc", "bench_parse_tx", "omr_egress")),
        "TC ingress": (api.HOOK_TCX_INGRESS, ("bench_empty_tc", "bench_parse_rx", "omr_ingress")),
    }
    labels = ("empty", "parse", "omrfast")
    found = []
    # One program counts once: `empty` cannot be told apart by hook if both run it at once.
    for hook, (place, names) in sides.items():
        programs = dict(zip(labels, (bench[name] for name in names), strict=True))
        with net.attached(*((program, place) for program in programs.values())):
            figures = counted(programs, lambda: net.bits_per_second(traffic, seconds))
        found.append({"hook": hook, "traffic": traffic.name, "programs": figures})
    figures = {}
    for label, name in zip(labels, ("bench_empty_xdp", "bench_parse_xdp", "omr_xdp"), strict=True):
        with net.attached((bench[name], api.HOOK_XDP)):
            figures |= counted({label: bench[name]}, lambda: net.bits_per_second(traffic, seconds))
    found.append({"hook": "XDP ingress", "traffic": traffic.name, "programs": figures})
    return found


def measure_throughput(
    bench: Bench, net: Net, traffic: Traffic, rounds: int, seconds: int
) -> dict[str, Any]:
    """Rounds of every mode in turn; the ratio of a mode is that to `none` of the same round."""
    tx = (bench["omr_egress"], api.HOOK_TCX_EGRESS)
    attached = {
        "none": (),
        "TC": (tx, (bench["omr_ingress"], api.HOOK_TCX_INGRESS)),
        "XDP": (tx, (bench["omr_xdp"], api.HOOK_XDP)),
        "XDP empty": ((bench["bench_empty_xdp"], api.HOOK_XDP),),
    }
    rates: dict[str, list[float]] = {mode: [] for mode in MODES}
    for number in range(rounds):
        # Forwards, then backwards: a drift of the machine favours nobody.
        for mode in MODES if number % 2 == 0 else MODES[::-1]:
            with net.attached(*attached[mode]):
                rates[mode].append(net.bits_per_second(traffic, seconds))
    ratios = {
        mode: [rate / base for rate, base in zip(rates[mode], rates["none"], strict=True)]
        for mode in MODES[1:]
    }
    return {
        "traffic": traffic.name,
        "offloads": traffic.offloads,
        "upload": traffic.upload,
        "bits_per_second": rates,
        "ratios": ratios,
        "median": {mode: statistics.median(values) for mode, values in ratios.items()},
    }


def measure_live(quick: bool, rounds: int, say: Callable[[str], None]) -> Live:
    """All of it: ten minutes at seven rounds. Quick: one round of downloads, half a minute."""
    live = Live()
    seconds, rounds = (1, 1) if quick else (4, rounds)
    for offloads in (True, False):
        with Net(offloads) as net, Bench(api.DEFAULT_FLOWS) as bench:
            bench.measure_device(net.ifindex)
            for upload in (False,) if quick else (True, False):
                traffic = Traffic(offloads, upload)
                live.throughput.append(measure_throughput(bench, net, traffic, rounds, seconds))
                say(f"throughput, {traffic.name}")
                for version in (4,) if quick else (4, 6):
                    traffic = Traffic(offloads, upload, version)
                    with bpf_stats():
                        live.stats += measure_stats(bench, net, traffic, min(seconds, 2))
                    say(f"bpf_stats, {traffic.name}")
    return live


def text(live: Live) -> str:
    """Both tables."""
    lines = [f"{'live, kernel.bpf_stats, ns per run':44} {'empty':>7} {'parse':>7} {'omrfast':>7}"
             f" {'-empty':>7} {'-parse':>7} {'packets':>9}"]  # fmt: skip
    for row in live.stats:
        ns = [row["programs"][name]["ns"] for name in ("empty", "parse", "omrfast")]
        lines.append(
            f"{row['hook'] + ', ' + row['traffic']:44} {ns[0]:>7.0f} {ns[1]:>7.0f} {ns[2]:>7.0f}"
            f" {ns[2] - ns[0]:>7.0f} {ns[2] - ns[1]:>7.0f} {row['programs']['omrfast']['runs']:>9,}"
        )
    lines += ["", f"{'iperf3, ratio to none: median (range)':44} {'none Gbit/s':>11}"
              + "".join(f" {mode:>18}" for mode in MODES[1:])]  # fmt: skip
    for row in live.throughput:
        base = statistics.median(row["bits_per_second"]["none"]) / 1e9
        line = f"{row['traffic']:44} {base:>11.2f}"
        for mode in MODES[1:]:
            values = row["ratios"][mode]
            line += f" {row['median'][mode]:>6.3f} ({min(values):.2f}-{max(values):.2f})"
        lines.append(line)
    return "\n".join(lines)
