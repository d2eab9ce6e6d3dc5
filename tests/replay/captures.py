# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures of real TCP and MPTCP in a lab, made anew for each run of the tests.

A link of 20 ms round trip and, but for ``bottleneck``, no bound on its rate, so that the round-trip
time stays what it is. Each capture has one end for local: *client* is taken on the router's WAN
device, *server* on the carrier's line towards it, each before the link loses or reorders anything
that its local end sends. No offload is on at either, so that what they see are wire packets. In
``super`` it is the server's own device, where super-packets pass.

All of it, the kernel's work too, is on one CPU: a packet sent by one CPU can overtake, on its way
through a veth pair, one that the other sent before, and get an earlier time in the capture.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omrfast.lab import netns
from omrfast.lab.topology import Lab, TopologySpec, UplinkSpec
from tests.replay.exchange import BULK, QUESTIONS, Ends, Pair, connection
from tests.replay.recorder import WHOLE, Point, recording
from tests.replay.studio import SERVER, Capture, Studio, run
from tests.replay.subflows import Subflows
from tests.replay.tunnel import TunEnd, tunnel
from tests.replay.waiting import eventually, tcp_ext

RTT = 0.02
PACE = 2_000_000
"""Bytes per second: an upload or download takes 25 round trips."""
ROOM = 65536
"""Bytes of receive buffer where a window is to close."""


@dataclass(frozen=True)
class Scenario:
    """One upload, one download and one row of questions, a connection each."""

    name: str
    link: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the link."""
    version: int = 4
    snaplen: int = 128
    precision: str = "micro"
    timestamps: int = 1
    pace: int | None = PACE


SCENARIOS = (
    Scenario("clean", snaplen=WHOLE, precision="nano"),
    Scenario("bottleneck", {"rate": 20e6, "queue": 0.1}, pace=None),
    Scenario("loss", {"loss": 0.03}),
    Scenario("reordering", {"reorder": 0.01, "hold": 0.006}),
    Scenario("no-timestamps", {"loss": 0.01}, timestamps=0),
    Scenario("ipv6", {"loss": 0.01}, version=6),
)

PLAIN = (*(scenario.name for scenario in SCENARIOS), "vlan", "tun")
_TWO_SIDED = (*PLAIN, "idle", "mptcp", "mptcp-backup")
NAMES = (*(f"{name}-{side}" for name in _TWO_SIDED for side in ("client", "server")), "super")
"""What `make` makes."""


def exchanges(ends: Ends, pace: int | None = PACE) -> None:
    """What a scenario does, one connection after the other."""
    for work, amount in ((Pair.upload, BULK), (Pair.download, BULK), (Pair.ask, QUESTIONS)):
        with connection(ends, pace=pace) as pair:
            work(pair, amount)
            pair.finish()


class Scenes:
    """Makes captures in a studio."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._lab = studio.lab

    def plain(self, scenario: Scenario) -> None:
        sysctl = {"net/ipv4/tcp_timestamps": scenario.timestamps}
        for part in ("router", "vps1"):
            netns.sysctl(self._lab.ns(part), sysctl)
        how = {"snaplen": scenario.snaplen, "precision": scenario.precision}
        with (
            self._studio.link(**scenario.link),
            self._studio.both_sides(scenario.name, scenario.version, **how),
        ):
            exchanges(self._studio.ends(scenario.version), scenario.pace)

    def super_packets(self) -> None:
        """With loss; TSO and GRO are on at the server, as everywhere but on the uplinks."""
        file = self._studio.file("super")
        with self._studio.link(loss=0.01), recording(Point(file, self._lab.ns("vps1"), "eth0")):
            exchanges(self._studio.ends())
        self._studio.made["super"] = Capture(file, SERVER, False)

    def vlan(self) -> None:
        """802.1Q tags on uplink 1, pushed and popped by TC (tag.bpf.c)."""
        with self._studio.link(loss=0.01), self._tagged(), self._studio.both_sides("vlan"):
            exchanges(self._studio.ends())

    @contextmanager
    def _tagged(self) -> Iterator[None]:
        """The ends of uplink 1 tag all that they send."""
        program = self._studio.directory / "tag.o"
        source = Path(__file__).with_name("tag.bpf.c")
        include = f"-I/usr/include/{sysconfig.get_config_var('MULTIARCH')}"
        run(f"clang -O2 -g -target bpf {include} -c {source} -o {program}")
        ends = [(self._lab.ns("router"), "wan1"), (self._lab.ns("carrier1"), "line0")]
        for namespace, device in ends:
            run(f"tc -n {namespace} qdisc add dev {device} clsact")
            for hook, name in (("egress", "tag_push"), ("ingress", "tag_pop")):
                how = f"bpf direct-action object-file {program} program {name}"
                run(f"tc -n {namespace} filter add dev {device} {hook} {how}")
        try:
            yield
        finally:
            for namespace, device in ends:
                run(f"tc -n {namespace} qdisc del dev {device} clsact")

    def tun(self) -> None:
        """Bare IP (link type RAW), router to server through two tun devices."""
        router = TunEnd(self._lab.ns("router"), "tun0", "172.16.0.2/24")
        vps = TunEnd(self._lab.ns("vps1"), "tun0", "172.16.0.1/24")
        files = self._studio.file("tun-client"), self._studio.file("tun-server")
        with (
            tunnel(router, vps, RTT / 2, loss=0.01),
            recording(
                Point(files[0], router.namespace, "tun0"), Point(files[1], vps.namespace, "tun0")
            ),
        ):
            exchanges(Ends(router.namespace, "172.16.0.2", vps.namespace, "172.16.0.1"))
        self._studio.made["tun-client"] = Capture(files[0], "172.16.0.2/32", True)
        self._studio.made["tun-server"] = Capture(files[1], "172.16.0.1/32", False)

    def idle(self) -> None:
        """A first SYN that is lost, keep-alives, and a window that stays closed for a while."""
        router, link = self._lab.ns("router"), self._lab.links["wan1"]
        gone = link.stats("up").blackholed

        def heal() -> None:
            eventually(lambda: link.stats("up").blackholed > gone, "SYN lost")
            link.change(blackhole=False)

        def counted(name: str, times: int) -> None:
            before = tcp_ext(router, name)
            eventually(lambda: tcp_ext(router, name) >= before + times, f"{times} {name}")

        link.change(blackhole=True)
        with (
            self._studio.both_sides("idle"),
            connection(self._studio.ends(), meanwhile=heal, room=ROOM) as pair,
        ):
            pair.ask(2)
            pair.keep_alive()
            counted("TCPKeepAlive", 1)
            with pair.stuck_upload(BULK // 4):
                counted("TCPWinProbe", 2)
            pair.finish()


@contextmanager
def _one_cpu() -> Iterator[None]:
    """For this thread, and the threads and processes that it starts meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def make(directory: Path) -> dict[str, Capture]:
    """All captures, by name; about fifteen seconds."""
    up = UplinkSpec(rtt=RTT, rate=0, queue=0)
    with _one_cpu(), Lab(TopologySpec(uplinks=(up, up), ipv6=True, backend="wire")) as lab:
        studio = Studio(lab, directory)
        scenes, subflows = Scenes(studio), Subflows(studio)
        for scenario in SCENARIOS:
            scenes.plain(scenario)
        for scene in (
            scenes.super_packets,
            scenes.vlan,
            scenes.tun,
            scenes.idle,
            subflows.becomes_backup,
            subflows.begins_as_backup,
        ):
            scene()
    return studio.made
