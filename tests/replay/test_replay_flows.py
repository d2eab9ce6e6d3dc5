# SPDX-License-Identifier: GPL-2.0-or-later
"""Flows of a capture: one entry after another, loss, echoes, what is not understood."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet

from .both import FLOWS, replay, replay_segments, samples
from .handmade import (
    CONVERSATION,
    CONVERSATION_SAMPLES,
    EN10MB,
    LOCAL,
    LOCAL_MAC,
    REMOTE,
    REMOTE_MAC,
    START_NS,
    Record,
    Segment,
    into,
    out,
    pcap,
    write,
)


@pytest.mark.parametrize("version", [4, 6])
def test_addresses_and_ports_used_again(version: int, tmp_path: Path) -> None:
    """Three connections of one 4-tuple, the last one met in mid-life, are three flows."""
    second = [out("S", 90_000), into("SA", 70_000, 90_001, after_us=5_000)]
    third = [
        out("PA", 3_000_000_000, 8_000, 100),
        into("A", 8_000, 3_000_000_100, after_us=6_000),
        out("PA", 3_000_000_100, 8_000, 100),
        into("A", 8_000, 3_000_000_200, after_us=7_000),
    ]
    found = replay_segments(tmp_path, [*CONVERSATION, *second, *third], version)
    assert [flow["first_packet"] for flow in found["flows"]] == [1, 13, 15]
    assert [flow["state"] for flow in found["flows"]] == ["closed", "established", "established"]
    assert [flow["role"] for flow in found["flows"]] == ["client", "client", "midlife"]
    assert [flow["tx_segments"] for flow in found["flows"]] == [3, 0, 2]
    assert len({flow["local"] for flow in found["flows"]}) == 1
    assert samples(found) == [*CONVERSATION_SAMPLES, (14, 5_000, "handshake"), (18, 7_000, "data")]
    assert [s["flow"] for s in found["samples"]] == [0, 0, 0, 1, 2]


def test_more_flows_than_there_is_room_for(tmp_path: Path) -> None:
    opened = [out("S", 1000, local_port=1025 + n) for n in range(FLOWS + 3)]
    found = replay_segments(tmp_path, opened)
    assert len(found["flows"]) == FLOWS
    assert found["totals"]["flows_refused"] == 3
    assert found["totals"]["tx_packets"] == FLOWS + 3


def test_loss_in_both_directions(tmp_path: Path) -> None:
    """A segment and its needless repeat; inbound one filled after 50 ms and one overtaken by 1."""
    sack = [("SAck", (1001, 2001))]
    segments = [
        *CONVERSATION[:3],
        out("PA", 1001, 5001, 1000),
        out("PA", 1001, 5001, 1000, after_us=300_000),
        into("A", 5001, 2001, after_us=100),
        into("A", 5001, 2001, options=sack),
        into("A", 6001, 2001, 1000),
        out("A", 2001, 5001, options=[("SAck", (6001, 7001))]),
        into("A", 5001, 2001, 1000, after_us=50_000),
        out("A", 2001, 7001),
        into("A", 8001, 2001, 1000),
        into("A", 7001, 2001, 1000, after_us=1_000),
        out("A", 2001, 9001),
    ]
    [flow] = replay_segments(tmp_path, segments)["flows"]
    assert (flow["retransmitted_segments"], flow["spurious_retransmissions"]) == (1, 1)
    assert (flow["refilled_segments"], flow["reordered_segments"]) == (1, 1)
    assert (flow["tx_segments"], flow["rx_segments"]) == (2, 4)


def test_timestamp_echo(tmp_path: Path) -> None:
    """A download: what we send carries no payload, its TSval comes back with data."""

    def stamps(value: int, echo: int) -> list[tuple[Any, Any]]:
        return [("NOP", None), ("NOP", None), ("Timestamp", (value, echo))]

    def data(number: int, echo: int) -> Segment:
        return into(
            "A", 5001 + 1000 * number, 1001, 1000, options=stamps(901, echo), after_us=2_000
        )

    segments = [
        out("S", 1000, options=stamps(100, 0)),
        into("SA", 5000, 1001, options=stamps(900, 100), after_us=20_000),
        out("A", 1001, 5001, options=stamps(120, 900), after_us=100),
        *(data(number, 100) for number in range(10)),
        data(10, 120),
        data(11, 120),
    ]
    found = replay_segments(tmp_path, segments)
    assert samples(found) == [(2, 20_000, "handshake"), (14, 22_000, "echo")]


# --- what is not understood -------------------------------------------------------------------


def _hostile() -> list[tuple[str | None, Packet]]:
    ether = Ether(src=REMOTE_MAC, dst=LOCAL_MAC)
    v4, v6 = IP(src=REMOTE[4], dst=LOCAL[4]), IPv6(src=REMOTE[6], dst=LOCAL[6])
    chain: Packet = v6
    for _ in range(5):
        chain = chain / IPv6ExtHdrDestOpt()
    tags: Packet = ether
    for tag in range(3):
        tags = tags / Dot1Q(vlan=tag + 1)
    return [
        ("truncated", ether / IP(src=REMOTE[4], dst=LOCAL[4], len=99) / TCP()),
        ("malformed", ether / v4 / TCP(dataofs=4)),
        ("malformed", ether / v4 / TCP(flags="SF")),
        ("fragment", ether / IP(src=REMOTE[4], dst=LOCAL[4], flags="MF") / TCP()),
        ("extensions", ether / chain / TCP()),
        ("vlans", tags / v4 / TCP()),
        ("options", ether / v4 / TCP(options=[(8, b"123")])),
        (None, ether / v4 / UDP(sport=53, dport=53)),
        (None, ether / v4 / ICMP(type=3) / v4 / TCP()),
    ]


def test_reasons(tmp_path: Path) -> None:
    packets = [
        Record(START_NS + number, bytes(packet), len(bytes(packet)), False)
        for number, (_, packet) in enumerate(_hostile())
    ]
    found = replay(write(tmp_path, pcap(packets, EN10MB)))
    expected: dict[str, int] = {}
    for reason, _ in _hostile():
        if reason:
            expected[reason] = expected.get(reason, 0) + 1
    assert found["parse_errors"] == expected
    assert found["replayed"] == len(packets)
    assert (found["flows"], found["samples"]) == ([], [])
    assert found["totals"]["icmp_errors"] == 1
