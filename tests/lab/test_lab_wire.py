# SPDX-License-Identifier: GPL-2.0-or-later
"""The link emulator does to packets what it was asked to."""

from __future__ import annotations

import itertools
import socket
import statistics
import struct
import subprocess
import time
from collections.abc import Iterator

import pytest

from omrfast.lab import netns
from omrfast.lab.links import DOWN, UP, LinkError, LinkSettings, WireControl
from omrfast.lab.netem import has_netem, netem_words
from omrfast.lab.topology import Lab, TopologySpec, UplinkSpec
from omrfast.lab.traffic import Stream, StreamSpec
from tests.lab.lab_helpers import datagrams, eventually

CLEAR = UplinkSpec(rtt=0.0, rate=0.0, queue=0.0)
SETTLED = 0.3  # seconds: longer than anything stays under way in these tests


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(TopologySpec(uplinks=(CLEAR,), backend="wire", endpoints=False)) as lab:
        yield lab


@pytest.mark.parametrize("delay", [0.005, 0.020, 0.100])
def test_delay_is_exact(lab: Lab, delay: float) -> None:
    lab.links["wan1"].change(UP, delay=delay)
    with datagrams(lab) as through:
        through.send(range(200), interval=0.002)
        arrivals = through.receive(200)
    assert len(arrivals) == 200
    delays = sorted(a.arrived - a.sent for a in arrivals)
    assert delays[0] > delay - 0.0001
    assert abs(statistics.median(delays) - delay) < 0.0005


def test_jitter_spreads_evenly_and_keeps_order(lab: Lab) -> None:
    lab.links["wan1"].change(UP, delay=0.030, jitter=0.010)
    with datagrams(lab) as through:
        through.send(range(200), interval=0.005)
        arrivals = through.receive(200)
    delays = [a.arrived - a.sent for a in arrivals]
    assert [a.number for a in arrivals] == list(range(200))
    assert 0.0199 < min(delays) < 0.025
    # not the greatest one: a busy machine may hand over a few datagrams late
    assert 0.035 < sorted(delays)[-len(delays) // 20] < 0.042


def test_loss_is_as_asked(lab: Lab) -> None:
    lab.links["wan1"].change(UP, loss=0.2)
    with datagrams(lab) as through:
        through.send(range(4000), interval=0.0001)
        arrivals = through.receive(4000, quiet=0.5)
    lost = 4000 - len(arrivals)
    assert lost == lab.links["wan1"].stats(UP).lost
    assert 0.2 - 0.026 < lost / 4000 < 0.2 + 0.026  # four standard deviations


def test_a_share_is_held_back_and_overtaken(lab: Lab) -> None:
    link = lab.links["wan1"]
    link.change(UP, delay=0.010, reorder=0.1, hold=0.008)
    with datagrams(lab) as through:
        through.send(range(2000), interval=0.001)
        arrivals = through.receive(2000)
    held_back = link.stats(UP).held_back
    newest = itertools.accumulate((a.number for a in arrivals), max)
    overtaken = [a for a, most in zip(arrivals, newest, strict=True) if a.number < most]
    assert len(arrivals) == 2000
    assert 0.1 - 0.027 < held_back / 2000 < 0.1 + 0.027  # four standard deviations
    # A sender that pauses leaves nothing to overtake.
    assert 0.9 * held_back <= len(overtaken) <= held_back
    assert min(a.arrived - a.sent for a in overtaken) > 0.0179


def survivors(seed: int) -> list[int]:
    spec = TopologySpec(uplinks=(CLEAR,), backend="wire", endpoints=False, seed=seed)
    with Lab(spec) as lab, datagrams(lab) as through:
        lab.links["wan1"].change(UP, loss=0.3)
        through.send(range(200))
        return [a.number for a in through.receive(200, quiet=0.5)]


def test_seed_decides_which_packets_are_lost() -> None:
    assert survivors(7) == survivors(7)
    assert survivors(7) != survivors(8)


def test_rate_counts_whole_frames(lab: Lab) -> None:
    lab.links["wan1"].change(UP, rate=10e6, queue=2.0)
    with datagrams(lab) as through:
        through.send(range(500), frame=1250)
        arrivals = through.receive(500)
    assert len(arrivals) == 500
    # A busy machine makes single packets late, never early: compare the promptest ones.
    first, last = (
        min(part, key=lambda a: a.arrived - a.number * 0.001)
        for part in (arrivals[:100], arrivals[-100:])
    )
    bits = (last.number - first.number) * 1250 * 8
    assert abs(bits / (last.arrived - first.arrived) / 10e6 - 1) < 0.01


def test_rate_changes_for_what_is_queued(lab: Lab) -> None:
    lab.links["wan1"].change(UP, rate=1e6, queue=10.0)
    with datagrams(lab) as through:
        through.send(range(250), frame=1250)  # 2.5 s at that rate
        lab.links["wan1"].change(UP, rate=10e6)
        arrivals = through.receive(250)
    assert len(arrivals) == 250
    assert arrivals[-1].arrived - arrivals[0].sent < 0.6


def test_queue_holds_what_fits_and_drops_the_rest(lab: Lab) -> None:
    lab.links["wan1"].change(UP, rate=10e6, queue=0.05)  # 62,500 bytes: 50 frames
    with datagrams(lab) as through:
        through.send(range(200), frame=1250)
        arrivals = through.receive(200, quiet=0.5)
    stats = lab.links["wan1"].stats(UP)
    assert len(arrivals) + stats.overflow == 200
    assert 50 <= len(arrivals) <= 60  # and what left while the burst was coming in
    assert arrivals[-1].arrived - arrivals[-1].sent < 0.06


def test_black_hole_swallows_what_is_queued_and_what_is_under_way(lab: Lab) -> None:
    link = lab.links["wan1"]
    link.change(UP, rate=1e6, queue=1.0, delay=0.1)
    with datagrams(lab) as through:
        through.send(range(50), frame=1250)  # 0.5 s of transmission
        first = through.receive(5)
        link.change(blackhole=True)
        through.send(range(100, 110))
        assert len(first) == 5
        assert len(through.receive(60, quiet=SETTLED + 0.5)) <= 1  # one may have just arrived
        link.change(blackhole=False)
        through.send(range(200, 210))
        assert [a.number for a in through.receive(10)] == list(range(200, 210))
    assert link.stats(UP).blackholed >= 50 + 10 - 6


def test_less_delay_lets_new_packets_overtake(lab: Lab) -> None:
    link = lab.links["wan1"]
    link.change(UP, delay=0.3)
    with datagrams(lab) as through:
        through.send(range(5))
        eventually(lambda: link.stats(UP).under_way == 5)
        link.change(UP, delay=0.01)
        through.send(range(5, 10))
        assert [a.number for a in through.receive(10)] == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]


def test_directions_are_apart(lab: Lab) -> None:
    lab.links["wan1"].change(DOWN, blackhole=True)
    with datagrams(lab) as through:
        through.send(range(10))
        assert len(through.receive(10)) == 10
    assert lab.links["wan1"].settings(UP).blackhole is False


def test_vlan_tags_survive(lab: Lab) -> None:
    tagged = (
        b"\xff" * 6 + b"\x02\0\0\0\0\x01" + struct.pack("!HHH", 0x8100, 7, 0x88B5) + b"omr" * 20
    )

    def packet_socket(device: str) -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sock.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA
        sock.bind((device, 3))
        sock.settimeout(5)
        return sock

    with (
        netns.call(lab.ns("router"), packet_socket, "wan1") as out,
        netns.call(lab.ns("carrier1"), packet_socket, "line0") as into,
    ):
        out.send(tagged)
        while True:
            data, extra, _, _ = into.recvmsg(2048, 64)
            if data[-60:] == tagged[-60:]:
                break
    # struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid
    status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", extra[0][2])
    assert status & 0x50 == 0x50  # TP_STATUS_VLAN_VALID | TP_STATUS_VLAN_TPID_VALID
    assert (tci, tpid) == (7, 0x8100)


def test_carries_300_megabits(lab: Lab) -> None:
    def megabits() -> float:
        with Stream(lab, StreamSpec("fast", "bulk-up", mptcp=False)) as stream:
            before, began = stream.delivered(), time.monotonic()
            time.sleep(1.5)
            return 8e-6 * (stream.delivered() - before) / (time.monotonic() - began)

    assert max(megabits() for _ in range(3)) > 300
    assert lab.links["wan1"].stats(UP).oversize == 0


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("set wan9 up delay_us=1", "unknown link"),
        ("set wan1 sideways delay_us=1", "up, down or both"),
        ("set wan1 up colour=1", "unknown key"),
        ("set wan1 up delay_us=-1", "whole number"),
        ("stats wan1 both", "up or down"),
        ("explode", "unknown command"),
    ],
)
def test_bad_commands_are_refused_and_change_nothing(lab: Lab, line: str, complaint: str) -> None:
    control = WireControl(lab.directory / "wire.sock")
    try:
        with pytest.raises(LinkError, match=complaint):
            control.command(line)
    finally:
        control.close()
    with datagrams(lab) as through:
        through.send(range(10))
        assert len(through.receive(10)) == 10


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (LinkSettings(), "limit 100000 delay 0us"),
        (
            LinkSettings(delay=0.02, jitter=0.001, loss=0.025, rate=20e6, queue=0.1),
            "limit 200 delay 20000us 1000us loss 2.5% rate 20000000bit",
        ),
    ],
)
def test_netem_gets_the_same_settings(lab: Lab, settings: LinkSettings, words: str) -> None:
    assert " ".join(netem_words(settings)) == words
    command = ["tc", "qdisc", "add", "dev", "lo", "root", "netem", *words.split()]
    done = netns.call(lab.ns("wire"), subprocess.run, command, capture_output=True, text=True)
    # tc understands it; whether the kernel has netem is another question
    assert done.returncode == 0 or "qdisc kind is unknown" in done.stderr, done.stderr


def test_netem_refuses_to_hold_packets_back() -> None:
    with pytest.raises(LinkError, match="backend wire"):
        netem_words(LinkSettings(reorder=0.01, hold=0.005))


def test_netem_is_taken_where_the_kernel_has_it() -> None:
    with Lab(TopologySpec(uplinks=(CLEAR,))) as lab:
        expected = "netem" if has_netem(lab.ns("inet")) else "wire"
        assert lab.backend.name == expected
