# SPDX-License-Identifier: GPL-2.0-or-later
"""What leaves and what arrives: as told, or guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from omrfast.replay.sides import parse_local

from .both import Json, replay, samples
from .handmade import (
    CONVERSATION,
    CONVERSATION_SAMPLES,
    EN10MB,
    LOCAL,
    LOCAL_MAC,
    RAW,
    REMOTE,
    REMOTE_MAC,
    SLL,
    Framing,
    Segment,
    into,
    out,
    pcap,
    records,
    write,
)

CLIENT = [(packet, us) for packet, us, _ in CONVERSATION_SAMPLES]


def _replay(folder: Path, segments: Sequence[Segment], *local: str, version: int = 4) -> Json:
    packets = records(segments, Framing(EN10MB, version))
    return replay(write(folder, pcap(packets, EN10MB)), *local)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("how", ["address", "network", "mac", "several"])
def test_told_by_the_user(version: int, how: str, tmp_path: Path) -> None:
    """The server is local, against every guess."""
    local = {
        "address": [REMOTE[version]],
        "network": ["198.51.100.0/24", "2001:db8:2::/48"],
        "mac": [REMOTE_MAC.upper().replace(":", "-")],
        "several": ["10.99.0.0/16", "02:99:00:00:00:00", REMOTE_MAC, REMOTE[version], "auto"],
    }[how]
    found = _replay(tmp_path, CONVERSATION, *local, version=version)
    [flow] = found["flows"]
    assert (flow["local_address"], flow["role"]) == (REMOTE[version], "server")
    assert (flow["tx_segments"], flow["rx_segments"]) == (1, 3)
    assert [packet for packet, _, _ in samples(found)] == [3, 9, 12]


def test_packets_of_no_and_of_two_local_ends(tmp_path: Path) -> None:
    found = _replay(tmp_path, CONVERSATION, "203.0.113.7")
    assert (found["left_out"], found["flows"]) == ({"none_local": 12}, [])
    found = _replay(tmp_path, CONVERSATION, "0.0.0.0/0")
    assert (found["left_out"], found["flows"]) == ({"both_local": 12}, [])
    found = _replay(tmp_path, CONVERSATION, "02:00:00:00:00:99")
    assert found["left_out"] == {"none_local": 12}
    found = _replay(tmp_path, CONVERSATION, LOCAL_MAC, REMOTE_MAC)
    assert found["left_out"] == {"both_local": 12}


@pytest.mark.parametrize("link", [RAW, SLL])
def test_mac_addresses_where_there_are_none(link: int, tmp_path: Path) -> None:
    path = write(tmp_path, pcap(records(CONVERSATION, Framing(link)), link))
    assert replay(path, LOCAL_MAC)["left_out"] == {"without_mac": 12}
    assert len(replay(path, LOCAL_MAC, LOCAL[4])["samples"]) == 3


def test_guess_private_address(tmp_path: Path) -> None:
    """Even if the other side opened the connection."""
    opened = [
        into("S", 5000),
        out("SA", 1000, 5001),
        into("A", 5001, 1001, after_us=7_000),
    ]
    found = _replay(tmp_path, opened)
    assert found["local"] == {"addresses": [LOCAL[4]], "count": 1, "by": {"private address": 2}}
    assert found["flows"][0]["role"] == "server"
    assert samples(found) == [(3, 7_000, "handshake")]


def test_guess_who_opened(tmp_path: Path) -> None:
    public = [segment_at("203.0.113.5", segment) for segment in CONVERSATION]
    found = _replay(tmp_path, public)
    assert found["local"] == {
        "addresses": ["203.0.113.5"],
        "count": 1,
        "by": {"opened connections": 2},
    }
    assert [(n, us) for n, us, _ in samples(found)] == CLIENT


def test_guess_who_opened_by_its_answer_alone(tmp_path: Path) -> None:
    """The SYN is not in the capture, the SYN-ACK is."""
    public = [segment_at("203.0.113.5", segment) for segment in CONVERSATION[1:]]
    found = _replay(tmp_path, public)
    assert found["local"] == {
        "addresses": ["203.0.113.5"],
        "count": 1,
        "by": {"opened connections": 2},
    }


def test_guess_higher_port(tmp_path: Path) -> None:
    """Mid-life, one pair of MAC addresses, public addresses: ports are left."""
    public = [segment_at("203.0.113.5", segment) for segment in CONVERSATION[3:]]
    found = _replay(tmp_path, public)
    assert found["local"] == {"addresses": ["203.0.113.5"], "count": 1, "by": {"higher port": 2}}


def test_other_protocols_have_no_ports_to_guess_by(tmp_path: Path) -> None:
    """Not those of the packet before, either: the remote end's in the place of ours."""
    public = [
        segment_at("203.0.113.5", segment)
        for segment in (into("PA", 5001, 1001, 700), out("A", 1001, 5701), out("A", 1001, 5701))
    ]
    packets = records(public, Framing(EN10MB))
    udp = packets[1].data[:23] + b"\x11" + packets[1].data[24:]
    packets[1] = replace(packets[1], data=udp)
    found = replay(write(tmp_path, pcap(packets, EN10MB)))
    assert found["local"] == {"addresses": ["203.0.113.5"], "count": 1, "by": {"higher port": 3}}


def test_one_machine_is_not_local_here_and_remote_there(tmp_path: Path) -> None:
    """A private host, with a long conversation to a public one, accepts a connection from its own
    network: who opened that one is not local."""
    accepted = [
        Segment(False, "S", 70, remote="192.168.7.9", local_port=8080),
        Segment(True, "SA", 80, 71, remote="192.168.7.9", local_port=8080),
        Segment(False, "A", 71, 81, remote="192.168.7.9", local_port=8080, after_us=3_000),
    ]
    found = _replay(tmp_path, [*CONVERSATION, *accepted])
    assert found["local"]["addresses"] == [LOCAL[4]]
    assert set(found["local"]["by"]) == {"private address", "local in other conversations"}
    assert samples(found)[-1] == (15, 3_000, "handshake")


def test_both_ends_at_one_address(tmp_path: Path) -> None:
    """A capture of the loopback device: whoever opened is this side."""
    loop = [
        Segment(s.leaves, s.flags, s.seq, s.ack, s.payload, s.after_us,
                local="127.0.0.1", remote="127.0.0.1")
        for s in CONVERSATION
    ]  # fmt: skip
    found = _replay(tmp_path, loop)
    assert [(n, us) for n, us, _ in samples(found)] == CLIENT
    assert found["flows"][0]["local"] == "127.0.0.1:40000"


def segment_at(local: str, s: Segment) -> Segment:
    return Segment(s.leaves, s.flags, s.seq, s.ack, s.payload, s.after_us, local=local)


@pytest.mark.parametrize("text", ["x", "10.0.0.0/99", "02:00:00:00:00", "", "10.0.0"])
def test_what_is_neither_network_nor_mac(text: str) -> None:
    with pytest.raises(ValueError, match="write 192"):
        parse_local([text])
