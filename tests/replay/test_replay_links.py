# SPDX-License-Identifier: GPL-2.0-or-later
"""Each link type, each framing: the same conversation, the same answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from .both import replay, samples
from .handmade import (
    CONVERSATION,
    CONVERSATION_SAMPLES,
    EN10MB,
    IPV4,
    IPV6,
    LOCAL,
    LOCAL_PORT,
    LOOP,
    NULL,
    PPP,
    PPP_ETHER,
    RAW,
    REMOTE,
    REMOTE_PORT,
    SLL,
    SLL2,
    Framing,
    Record,
    pcap,
    records,
    write,
)

FRAMINGS = [
    *(Framing(EN10MB, version, headers=14) for version in (4, 6)),
    *(Framing(EN10MB, version, (0x8100,), headers=18) for version in (4, 6)),
    *(Framing(EN10MB, version, (0x88A8, 0x8100), headers=22) for version in (4, 6)),
    *(Framing(link, version) for link in (RAW, NULL, LOOP, PPP, PPP_ETHER) for version in (4, 6)),
    Framing(IPV4, 4),
    Framing(IPV6, 6),
    *(Framing(link, version, headers=14) for link in (SLL, SLL2) for version in (4, 6)),
    *(Framing(link, 4, (0x8100,), headers=18) for link in (SLL, SLL2)),
    *(Framing(link, version, device=65534) for link in (SLL, SLL2) for version in (4, 6)),
]


@pytest.mark.parametrize("framing", FRAMINGS, ids=str)
def test_a_conversation(framing: Framing, tmp_path: Path) -> None:
    packets = records(CONVERSATION, framing)
    found = replay(write(tmp_path, pcap(packets, framing.link)))

    assert samples(found) == CONVERSATION_SAMPLES
    assert (found["packets"], found["replayed"], found["left_out"]) == (12, 12, {})
    assert (found["parse_errors"], found["damage"], found["connections"]) == ({}, None, [])
    assert found["clock_resolution_us"] == 1
    assert found["duration_s"] == pytest.approx(sum(s.after_us for s in CONVERSATION[1:]) / 1e6)
    [flow] = found["flows"]
    ends = LOCAL[framing.version], REMOTE[framing.version]
    shown = [f"[{end}]" if framing.version == 6 else end for end in ends]
    assert flow["local"] == f"{shown[0]}:{LOCAL_PORT}"
    assert flow["remote"] == f"{shown[1]}:{REMOTE_PORT}"
    headers = framing.headers + (40 if framing.version == 4 else 60)
    expected = {
        "proto": "tcp",
        "family": framing.version,
        "first_packet": 1,
        "role": "client",
        "state": "closed",
        "mptcp": None,
        "fallback": False,
        "tx_segments": 3,
        "rx_segments": 1,
        "tx_bytes": 8 * headers + 2000,
        "rx_bytes": 4 * headers + 700,
        "retransmitted_segments": 1,
        "spurious_retransmissions": 0,
        "refilled_segments": 0,
        "reordered_segments": 0,
    }
    assert {name: flow[name] for name in expected} == expected
    for rtt in (flow["rtt_ms"], found["rtt_ms"]):
        assert (rtt["samples"], rtt["min"], rtt["p50"], rtt["p99"]) == (3, 20.123, 22.789, 30.456)


@pytest.mark.parametrize("link", [SLL, SLL2])
def test_a_cooked_packet_between_other_machines(link: int, tmp_path: Path) -> None:
    packets = records(CONVERSATION, Framing(link))
    data = bytearray(packets[4].data)
    data[10 if link == SLL2 else 1] = 3
    packets[4] = replace(packets[4], data=bytes(data))
    found = replay(write(tmp_path, pcap(packets, link)))
    assert found["left_out"] == {"other_host": 1}
    assert found["local"]["by"] == {"the capture": 11}
    assert found["replayed"] == 11


def test_what_is_not_ip_is_left_out(tmp_path: Path) -> None:
    packets = records(CONVERSATION, Framing(EN10MB))
    arp = bytes.fromhex("ffffffffffff0200000000010806") + bytes(28)
    strange = Record(packets[0].at_ns, arp, len(arp), True)
    found = replay(write(tmp_path, pcap([strange, *packets], EN10MB)))
    assert found["left_out"] == {"not_ip": 1}
    assert samples(found) == [(n + 1, us, source) for n, us, source in CONVERSATION_SAMPLES]


@pytest.mark.parametrize("link", [PPP, NULL, PPP_ETHER])
def test_other_protocols_of_a_point_to_point_link(link: int, tmp_path: Path) -> None:
    packets = records(CONVERSATION, Framing(link))
    control = {
        PPP: b"\xff\x03\xc0\x21" + bytes(20),
        NULL: (99).to_bytes(4, "little") + bytes(30),
        PPP_ETHER: bytes.fromhex("110000070014c021") + bytes(20),
    }[link]
    strange = Record(packets[0].at_ns, control, len(control), True)
    found = replay(write(tmp_path, pcap([strange, *packets], link)))
    assert found["left_out"] == {"not_ip": 1}
    assert len(found["samples"]) == 3
