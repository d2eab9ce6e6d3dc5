# SPDX-License-Identifier: GPL-2.0-or-later
"""A path's own view: liveness, devices that are not ours, full tables, too many events."""

from __future__ import annotations

import struct

import pytest
from omrfast.shim._shim import lib
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from omrfast.shim import api

from . import packets
from .conftest import FLOWS
from .machine import LOOPBACK, PATH, Machine, Outcome, Step, into, out
from .packets import LAYOUTS, LOCAL_MAC, REMOTE_MAC, Layout

V4, V6 = Layout(4), Layout(6)


def ip(egress: bool, inner: Packet, layout: Layout, after: float = 0, **fields: str) -> Step:
    packet = packets.network(layout, egress, **fields) / inner
    return Step(egress, after=after, build=lambda _: packets.frame(layout, egress, packet))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_an_echo_request_asks_nothing_and_its_reply_arrives(
    machine: Machine, layout: Layout
) -> None:
    pings = [ip(True, packets.echo_request(layout), layout, after=4 * n) for n in (1, 2)]
    found = machine.run(pings, layout)
    assert found.live == {"last_tx": 12.0}
    assert found.events == ()
    reply = ip(False, packets.echo_reply(layout), layout, after=40)
    answered = machine.run([*pings, reply], layout)
    assert answered.live == {"last_tx": 12.0, "last_rx": 52.0}
    assert answered.events == ()


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_pings_neither_open_nor_move_a_question(machine: Machine, layout: Layout) -> None:
    ping = ip(True, packets.echo_request(layout), layout, after=4)
    found = machine.run([ping, out("S", 1000, after=4), ping, ping], layout)
    assert found.live == {"asked": 8.0, "last_tx": 16.0}
    answer = ip(False, packets.datagram(False), layout, after=40)
    answered = machine.run([ping, out("S", 1000, after=4), ping, answer, ping], layout)
    assert answered.live == {"asked": 8.0, "last_tx": 56.0, "last_rx": 52.0}


def test_questions_are_dated_from_the_first_after_the_last_arrival(machine: Machine) -> None:
    machine.reset(V4)
    steps = [
        (out("S", 1000), {"asked": 0.0, "last_tx": 0.0}),
        (out("S", 1000, after=1200), {"asked": 0.0, "last_tx": 1200.0}),
        (into("SA", 5000, 1001, after=20), {"asked": 0.0, "last_rx": 1220.0}),
        (out("A", 1001, 5001, after=100), {"asked": 0.0, "last_tx": 1320.0}),
        (out("PA", 1001, 5001, 10, after=80), {"asked": 1400.0, "last_tx": 1400.0}),
        (out("PA", 1001, 5001, 10, after=240), {"asked": 1400.0, "last_tx": 1640.0}),
        (into("A", 5001, 1011, after=20), {"asked": 1400.0, "last_rx": 1660.0}),
        (out("R", 1011, 5001, after=20), {"asked": 1400.0, "last_tx": 1680.0}),
    ]
    for step, expected in steps:
        machine.send(step, V4)
        assert machine.live().items() >= expected.items()


@pytest.mark.parametrize(
    ("layout", "content"),
    [
        (V4, bytes(Ether(src=REMOTE_MAC, dst=LOCAL_MAC) / ARP())),
        (V4, bytes(Ether(src=REMOTE_MAC, dst="ff:ff:ff:ff:ff:ff")
                   / packets.network(V4, False, dst="192.0.2.255") / packets.datagram(False))),
        (V4, packets.frame(V4, False, packets.network(V4, False, dst="224.0.0.1")
                           / packets.datagram(False))),
        (V6, packets.frame(V6, False, packets.network(V6, False, dst="ff02::1")
                           / packets.datagram(False))),
        (V6, packets.frame(V6, False, packets.network(V6, False) / ICMPv6ND_NA())),
        (V6, packets.frame(V6, False, packets.network(V6, False) / ICMPv6ND_NS())),
    ],
    ids=["ARP", "broadcast", "IPv4 multicast", "IPv6 multicast", "advertisement", "solicitation"],
)  # fmt: skip
@pytest.mark.parametrize("egress", [False, True], ids=["in", "out"])
def test_the_neighbourhood_is_no_sign_of_life(
    machine: Machine, layout: Layout, content: bytes, egress: bool
) -> None:
    side = "tx" if egress else "rx"
    found = machine.run([Step(egress, build=lambda _: content)], layout)
    assert found == Outcome(None, {f"{side}_bytes": len(content), f"{side}_packets": 1})


def test_datagrams_and_acknowledgements_ask_nothing(machine: Machine) -> None:
    steps = [ip(True, packets.datagram(True), V4), out("A", 1001, 5001, after=4)]
    found = machine.run(steps, V4)
    assert found.live == {"last_tx": 4.0}
    assert found.events == ()


def test_a_device_that_is_not_ours(machine: Machine) -> None:
    machine.reset(V4)
    machine.plane.clear_link(LOOPBACK)
    for step in (out("S", 1000), into("SA", 5000, 1001)):
        machine.send(step, V4)
    assert machine.outcome(V4) == Outcome()


@pytest.mark.parametrize("version", [4, 6])
def test_no_room_for_a_flow(machine: Machine, version: int) -> None:
    """The path's accounting stays whole, and room that is made is used."""
    layout, more = Layout(version), 5
    machine.reset(layout)

    def syn(number: int) -> Step:
        content = bytearray(out("S", 1000).bytes_in(layout))
        content[layout.headers : layout.headers + 2] = struct.pack("!H", 1024 + number)
        return Step(True, build=lambda _: bytes(content))

    for number in range(FLOWS + more):
        machine.send(syn(number), layout)
    counters = machine.counters()
    size = len(syn(0).bytes_in(layout))
    assert counters["flows_opened"] == FLOWS
    assert counters["flows_refused"] == more
    assert counters["tx_packets"] == FLOWS + more
    assert counters["tx_bytes"] == (FLOWS + more) * size
    table = machine.plane.maps[f"omr_flows{version}"]
    keys = list(table.keys())
    assert len(keys) == FLOWS
    table.delete(keys[0])
    machine.send(syn(FLOWS + more), layout)
    assert machine.counters()["flows_opened"] == FLOWS + 1


def test_events_are_limited_per_second(machine: Machine) -> None:
    limit = lib.OMR_EVENTS_PER_SECOND
    machine.reset(V4)
    priority = [out("A", 1001, 5001, options=packets.mp_prio(True))] * (limit + 3)
    for step in priority:
        machine.send(step, V4)
    assert machine.counters()["events_suppressed"] == 3
    assert len(machine.plane.events()) == limit
    machine.send(out("A", 1001, 5001, options=packets.mp_prio(True), after=1000), V4)
    assert len(machine.plane.events()) == 1
    assert machine.counters()["events_suppressed"] == 3


def test_segments_of_a_super_packet_without_a_count(machine: Machine) -> None:
    """virtio and tun leave gso_segs out: the size tells."""
    step = out("A", 1001, 5001, 2500, gso=(0, 1000))
    found = machine.run([step], V4)
    assert found.counters["tx_segments"] == 3
    assert found.counters["tx_packets"] == 3
    assert found.counters["tx_bytes"] == 3 * 54 + 2500


def test_windowed_minimum_rolls_over(machine: Machine) -> None:
    window_ms = (1 << lib.OMR_MIN_RTT_WINDOW_SHIFT) * 1000 / machine.plane.hz
    steps = [
        out("S", 1000),
        into("SA", 5000, 1001, after=20),
        out("A", 1001, 5001, 10, after=window_ms),
        into("A", 5001, 1011, after=60),
    ]
    counters = machine.run(steps, V4).counters
    assert (counters["min_rtt_us"], counters["min_rtt_prev_us"]) == (60_000, 20_000)


@pytest.mark.parametrize(
    ("us", "bucket"), [(1, 1), (15, 15), (16, 16), (31, 31), (32, 32), (33, 32), (20_000, 179)]
)
def test_histogram_buckets(machine: Machine, us: int, bucket: int) -> None:
    """Log-linear: the bucket is the one whose bounds hold the value."""
    machine.run([out("S", 1000), into("SA", 5000, 1001, after=us / 1000)], V4)
    rows = machine.plane.maps["omr_path_rtt"].lookup_per_cpu(PATH)
    used = {
        index
        for row in rows
        for index, count in enumerate(api.struct("omr_path_rtt", row).bucket)
        if count
    }
    assert used == {bucket}
