# SPDX-License-Identifier: GPL-2.0-or-later
"""File formats: byte orders, clocks, pcapng's blocks, compression, damage."""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from omrfast.replay.capture import CaptureError, open_capture

from .both import replay, samples
from .handmade import (
    CONVERSATION,
    CONVERSATION_SAMPLES,
    EN10MB,
    RAW,
    SLL,
    Framing,
    Pcapng,
    into,
    out,
    pcap,
    records,
    write,
)

ETHERNET = Framing(EN10MB)
PACKETS = records(CONVERSATION, ETHERNET)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_pcap(order: str, nanoseconds: bool, tmp_path: Path) -> None:
    data = pcap(PACKETS, EN10MB, order=order, nanoseconds=nanoseconds)
    found = replay(write(tmp_path, data))
    assert found["format"] == "pcap"
    assert found["clock_resolution_us"] == (0.001 if nanoseconds else 1)
    assert samples(found) == CONVERSATION_SAMPLES


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcap_with_frame_check_sequences(order: str, tmp_path: Path) -> None:
    """Two 16-bit words behind each frame: not counted."""
    checked = [replace(p, data=p.data + b"\xfe" * 4, wire_len=p.wire_len + 4) for p in PACKETS]
    found = replay(write(tmp_path, pcap(checked, EN10MB | 2 << 28 | 1 << 26, order=order)))
    assert found["link_types"] == ["EN10MB"]
    assert samples(found) == CONVERSATION_SAMPLES
    assert found["flows"] == replay(write(tmp_path, pcap(PACKETS, EN10MB)))["flows"]


def test_nanoseconds_round_to_the_nearest_microsecond(tmp_path: Path) -> None:
    packets = records([out("S", 1), into("SA", 9, 2, after_us=100)], ETHERNET)
    late = replace(packets[1], at_ns=packets[1].at_ns + 700)
    found = replay(write(tmp_path, pcap([packets[0], late], EN10MB, nanoseconds=True)))
    assert samples(found) == [(2, 101, "handshake")]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("resolution", "microseconds"),
    [(None, 1), (6, 1), (9, 0.001), (0x80 | 20, 1e6 / (1 << 20))],
)
def test_pcapng(order: str, resolution: int | None, microseconds: float, tmp_path: Path) -> None:
    file = Pcapng(order).section().interface(EN10MB, resolution)
    for packet in PACKETS:
        file.packet(packet)
    found = replay(write(tmp_path, file.data))
    assert found["format"] == "pcapng"
    assert found["clock_resolution_us"] == pytest.approx(microseconds)
    measured = samples(found)
    assert [(number, source) for number, _, source in measured] == [
        (number, source) for number, _, source in CONVERSATION_SAMPLES
    ]
    for (_, us, _), (_, expected, _) in zip(measured, CONVERSATION_SAMPLES, strict=True):
        assert us == pytest.approx(expected, abs=2 if resolution == 0x80 | 20 else 0)


def test_pcapng_time_offset_and_unknown_blocks(tmp_path: Path) -> None:
    file = Pcapng().section().block(0xBAD, b"whatever")
    file.interface(EN10MB, 6, offset_s=1000)
    for packet in PACKETS:
        file.packet(packet).block(5, bytes(12))
    found = replay(write(tmp_path, file.data))
    assert samples(found) == CONVERSATION_SAMPLES
    assert found["start"] == pytest.approx(PACKETS[0].at_ns / 1e9 + 1000, abs=1e-5)


def test_pcapng_interfaces_of_two_link_types(tmp_path: Path) -> None:
    """The first half over Ethernet, the second over bare IP, in two sections."""
    bare = records(CONVERSATION, Framing(RAW))
    file = Pcapng().section().interface(SLL).interface(EN10MB)
    for packet in PACKETS[:6]:
        file.packet(packet, interface=1)
    file.order = ">"
    file.section().interface(RAW, 9)
    for packet in bare[6:]:
        file.packet(packet)
    found = replay(write(tmp_path, file.data))
    assert samples(found) == CONVERSATION_SAMPLES
    assert found["link_types"] == ["EN10MB", "RAW"]
    sizes = [len(packet.data) for packet in (*PACKETS[:6], *bare[6:])]
    flow = found["flows"][0]
    assert flow["tx_bytes"] + flow["rx_bytes"] == sum(sizes)


def test_pcapng_directions(tmp_path: Path) -> None:
    """Flags say the opposite of what addresses and SYNs suggest: they count."""
    file = Pcapng().section().interface(EN10MB)
    for packet in PACKETS:
        file.packet(packet, flags=1 if packet.leaves else 2)
    found = replay(write(tmp_path, file.data))
    assert found["local"]["by"] == {"the capture": 12}
    [flow] = found["flows"]
    assert (flow["local_port"], flow["role"]) == (443, "server")
    assert [n for n, _, _ in samples(found)] == [3, 9, 12]


def test_packets_without_a_time_are_left_out(tmp_path: Path) -> None:
    file = Pcapng().section().interface(EN10MB)
    file.packet(PACKETS[0]).simple(PACKETS[3]).packet(PACKETS[1])
    found = replay(write(tmp_path, file.data))
    assert (found["packets"], found["left_out"]) == (3, {"without_time": 1})
    assert samples(found) == [(3, 20_123, "handshake")]


@pytest.mark.parametrize("kept", [14 + 20 + 20, 68, 96])
def test_cut_packets_count_whole(kept: int, tmp_path: Path) -> None:
    whole = replay(write(tmp_path, pcap(PACKETS, EN10MB)))
    cut = replay(write(tmp_path, pcap([p.cut(kept) for p in PACKETS], EN10MB)))
    assert cut == whole


def test_packets_cut_within_their_headers(tmp_path: Path) -> None:
    """At 40 bytes the ports are there and the rest is not; at 10 nothing is."""
    for kept in (40, 10):
        cut = [PACKETS[0], *(packet.cut(kept) for packet in PACKETS[1:])]
        found = replay(write(tmp_path, pcap(cut, EN10MB)))
        assert found["parse_errors"] == {"truncated": 11}
        assert found["samples"] == []
        assert len(found["flows"]) == 1


@pytest.mark.parametrize(("version", "local"), [(4, "8.0.0.7"), (4, "134.221.0.7")])
def test_short_packets_that_look_like_frames(version: int, local: str, tmp_path: Path) -> None:
    """Bare IP whose source address stands where a frame has its type: 0x0800 or 0x86dd."""
    segments = [replace(segment, local=local) for segment in CONVERSATION]
    found = replay(write(tmp_path, pcap(records(segments, Framing(RAW)), RAW)), local)
    assert samples(found) == CONVERSATION_SAMPLES
    assert found["parse_errors"] == {}


def test_packets_out_of_order(tmp_path: Path) -> None:
    """Taken as simultaneous with the latest before: a sample of nothing is a microsecond."""
    packets = list(PACKETS)
    packets[1] = replace(packets[1], at_ns=packets[0].at_ns - 5_000_000)
    found = replay(write(tmp_path, pcap(packets, EN10MB)))
    assert found["packets_back_in_time"] == 1
    assert samples(found) == [(2, 1, "handshake"), *CONVERSATION_SAMPLES[1:]]


def test_a_clock_that_is_set_back(tmp_path: Path) -> None:
    """By an hour, between packets 4 and 5: the sample across it is lost, the others are right."""
    packets = [
        replace(packet, at_ns=packet.at_ns - 3_600_000_000_000 * (number > 4))
        for number, packet in enumerate(PACKETS, 1)
    ]
    found = replay(write(tmp_path, pcap(packets, EN10MB)))
    assert found["packets_back_in_time"] == 1
    expected = [CONVERSATION_SAMPLES[0], (5, 1, "data"), CONVERSATION_SAMPLES[2]]
    assert samples(found) == expected
    whole = sum(segment.after_us for segment in CONVERSATION[1:])
    assert found["duration_s"] == pytest.approx((whole - CONVERSATION[4].after_us) / 1e6)


def test_gzip(tmp_path: Path) -> None:
    plain = pcap(PACKETS, EN10MB)
    for packed in (gzip.compress(plain), gzip.compress(plain[:99]) + gzip.compress(plain[99:])):
        found = replay(write(tmp_path, packed))
        assert (samples(found), found["damage"]) == (CONVERSATION_SAMPLES, None)


def test_damaged_gzip(tmp_path: Path) -> None:
    """Stored without compression, so that it is known where the damage is."""
    packed = gzip.compress(pcap(PACKETS, EN10MB), 0)
    behind = len(pcap(PACKETS, EN10MB)) - len(pcap(PACKETS[:7], EN10MB))
    found = replay(write(tmp_path, packed[: len(packed) - 8 - behind + 5]))
    assert "damaged compression: it ends too early (after packet 7)" in found["damage"]
    assert samples(found) == CONVERSATION_SAMPLES[:2]
    wrong = bytearray(packed)
    wrong[-6] ^= 1  # CRC
    with pytest.raises(CaptureError, match="damaged compression"):
        replay(write(tmp_path, bytes(wrong)))


# --- damage: what was read is used, the rest is named -----------------------------------------

HEADER = 24
RECORD = 16 + len(PACKETS[0].data)


@pytest.mark.parametrize(
    ("size", "says"),
    [
        (HEADER + 2 * RECORD + 7, "cut off in the header of packet 3 (after packet 2)"),
        (HEADER + 2 * RECORD + 30, "cut off in packet 3: 14 of 54 bytes are there"),
    ],
)
def test_cut_pcap(size: int, says: str, tmp_path: Path) -> None:
    found = replay(write(tmp_path, pcap(PACKETS, EN10MB)[:size]))
    assert says in found["damage"]
    assert samples(found) == CONVERSATION_SAMPLES[:1]
    assert found["packets"] == 2


def test_a_record_of_absurd_length(tmp_path: Path) -> None:
    good = pcap(PACKETS[:2], EN10MB)
    found = replay(write(tmp_path, good + struct.pack("<IIII", 1, 1, 1 << 30, 1 << 30)))
    assert "packet 3 of 1073741824 bytes is too long to be true" in found["damage"]


def _pcapng(*more: bytes) -> bytes:
    file = Pcapng().section().interface(EN10MB)
    for packet in PACKETS[:2]:
        file.packet(packet)
    return file.data + b"".join(more)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (b"\x06\0\0", "cut off in a block's header"),
        (struct.pack("<II", 6, 64) + bytes(20), "cut off in a block: 20 of 52 bytes"),
        (struct.pack("<II", 6, 9), "a block claims a length of 9 bytes"),
        (struct.pack("<III", 5, 12, 16), "the two lengths of a block differ"),
        (Pcapng().block(6, bytes(8)).data, "the block of packet 3 is too short"),
        (Pcapng().block(6, struct.pack("<5I", 7, 0, 0, 0, 0)).data, "interface 7"),
        (Pcapng().block(6, struct.pack("<5I", 0, 0, 0, 99, 99)).data, "longer than its block"),
        (Pcapng().block(6, struct.pack("<5I", 0, 1 << 31, 0, 0, 0)).data, "out of all range"),
        (Pcapng().block(1, bytes(4)).data, "an interface description that is too short"),
        (struct.pack("<III", 0x0A0D0D0A, 28, 7), "without its magic number"),
    ],
)
def test_damaged_pcapng(more: bytes, says: str, tmp_path: Path) -> None:
    found = replay(write(tmp_path, _pcapng(more)))
    assert says in found["damage"]
    assert samples(found) == CONVERSATION_SAMPLES[:1]


# --- what cannot be replayed at all -----------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"#!/bin/sh\n", "is no capture (it begins with 23 21 2f 62)"),
        (pcap([], EN10MB), "there is no packet in it"),
        (pcap([], EN10MB)[:10], "cut off in the file's header"),
        (pcap(PACKETS, 147), "link type 147 cannot be replayed; known: NULL, EN10MB"),
        (b"\x1f\x8bnonsense", "damaged compression"),
        (b"\x0a\x0d\x0d\x0a", "cut off in the section header"),
    ],
)
def test_nothing_to_replay(data: bytes, says: str, tmp_path: Path) -> None:
    path = write(tmp_path, data, "bad.pcap")
    with pytest.raises(CaptureError) as caught:
        replay(path)
    assert says in str(caught.value)
    assert "bad.pcap" in str(caught.value)


def test_an_unknown_link_type_beside_a_known_one(tmp_path: Path) -> None:
    file = Pcapng().section().interface(EN10MB).interface(147)
    for packet in PACKETS:
        file.packet(packet).packet(packet, interface=1)
    found = replay(write(tmp_path, file.data))
    assert found["left_out"] == {"link_type": 12}
    assert len(found["samples"]) == 3


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_capture(str(tmp_path / "absent"))
