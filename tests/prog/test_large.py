# SPDX-License-Identifier: GPL-2.0-or-later
"""Super-packets up to BIG TCP, jumbograms, headers of every length."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from scapy.layers.inet import IP, IPOption
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop, Jumbo, PadN
from scapy.packet import Raw

from omrfast.dataplane.reader import DataPlane

from . import packets
from .machine import Machine, Step, expect, flow_of, into, out
from .packets import LAYOUTS, Layout
from .test_tcp import HANDSHAKE

V4, V6 = Layout(4), Layout(6)


def without_length(step: Step) -> Step:
    """BIG TCP: the length in the IP header is 0."""

    def build(layout: Layout) -> bytes:
        content = bytearray(step.bytes_in(layout))
        at = layout.headers - (18 if layout.version == 4 else 36)
        content[at : at + 2] = b"\0\0"
        return bytes(content)

    return replace(step, build=build, payload=step.payload)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_big_tcp_without_a_length(plane: DataPlane, layout: Layout) -> None:
    """Both directions at TC; 100 segments of 1,448, of which the headers are handed in."""
    machine = Machine(plane, xdp=False)
    machine.reset(layout)
    for step in HANDSHAKE:
        machine.send(step, layout)
    bulk, wire = 144_800, layout.headers + 20 + 144_800
    big = replace(without_length(out("A", 1001, 5001, 1000)), gso=(100, 1448))
    machine.send(big, layout, wire_len=wire)
    machine.send(replace(big, seq=2**16), layout, wire_len=wire)
    echo = replace(without_length(into("A", 5001, 1001, 1000)), gso=(100, 1448))
    machine.send(echo, layout, wire_len=wire)
    found, counters = machine.flow(layout), machine.counters()
    assert found is not None
    expect(found, snd_nxt=1001 + bulk, tx_segments=200, retransmitted_segments=100,
           segment_64b=23, rcv_nxt=5001 + bulk, rx_segments=100)  # fmt: skip
    assert counters["tx_packets"] == 2 + 200
    assert counters["rx_packets"] == 1 + 100
    headers = layout.headers + 20
    assert counters["rx_bytes"] == headers + bulk + 100 * headers


def jumbogram(egress: bool, length: int, *, first: bool = True, payload: int = 1000) -> bytes:
    """RFC 2675; `first`: the jumbo option where kernels put it, or behind padding."""
    jumbo = Jumbo(jumboplen=length)
    options = [jumbo] if first else [PadN(optdata=bytes(4)), jumbo]
    tcp = packets.transport(egress, "A", *((1001, 5001) if egress else (5001, 1001)), 500, [])
    inner = packets.network(V6, egress, plen=0) / IPv6ExtHdrHopByHop(nh=6, options=options) / tcp
    return packets.frame(V6, egress, inner / Raw(bytes(payload)))


@pytest.mark.parametrize("egress", [True, False], ids=["out", "in"])
def test_a_jumbogram(machine: Machine, egress: bool) -> None:
    machine.reset(V6)
    for step in HANDSHAKE:
        machine.send(step, V6)
    length = 8 + 20 + 100_000
    content = jumbogram(egress, length)
    machine.send(Step(egress, build=lambda _: content), V6, wire_len=54 + length)
    found = machine.flow(V6)
    assert found is not None
    if egress:
        expect(found, snd_nxt=101_001, tx_segments=1, segment_64b=255)
    else:
        expect(found, rcv_nxt=105_001, rx_segments=1)


def test_a_jumbogram_of_big_tcp_has_the_option_as_well(plane: DataPlane) -> None:
    """Kernels before 6.9 put it there for their own use; what counts is the frame."""
    machine = Machine(plane, xdp=False)
    machine.reset(V6)
    for step in HANDSHAKE:
        machine.send(step, V6)
    content = jumbogram(True, 28 + 144_800)
    step = Step(True, build=lambda _: content, gso=(100, 1448))
    machine.send(step, V6, wire_len=54 + 28 + 144_800)
    found = machine.flow(V6)
    assert found is not None
    expect(found, snd_nxt=145_801, tx_segments=100)


@pytest.mark.parametrize(
    ("content", "wire_len", "reason"),
    [
        (jumbogram(False, 65_535), 54 + 65_535, "malformed"),
        (jumbogram(False, 70_000), 60_000, "truncated"),
        (jumbogram(False, 70_000, first=False), 54 + 70_000, "truncated"),
        (packets.frame(V6, False, packets.network(V6, False, plen=0)
                       / packets.transport(False, "A", 5001, 1001, 500, [])), 0, "truncated"),
    ],
    ids=["not jumbo", "beyond the frame", "option behind padding", "length 0, no option"],
)  # fmt: skip
def test_no_jumbogram(machine: Machine, content: bytes, wire_len: int, reason: str) -> None:
    machine.reset(V6)
    for step in HANDSHAKE:
        machine.send(step, V6)
    before = machine.entries()
    machine.send(Step(False, build=lambda _: content), V6, wire_len=wire_len)
    assert machine.entries() == before
    assert machine.counters()[reason] == 1


@pytest.mark.parametrize("length", range(0, 44, 4))
def test_ipv4_options_of_every_length(machine: Machine, length: int) -> None:
    inner = packets.network(V4, False, options=[IPOption(b"\x01")] * length)
    assert inner.ihl is None
    tcp = packets.transport(False, "PA", 5001, 1001, 500, []) / Raw(bytes(100))
    step = Step(False, build=lambda _: packets.frame(V4, False, IP(bytes(inner / tcp))))
    expect(flow_of(machine, [*HANDSHAKE, step]), rcv_nxt=5101)


@pytest.mark.parametrize("kind", range(256))
def test_every_icmp_type(machine: Machine, kind: int) -> None:
    """Errors that arrive are counted; what leaves, or asks, is not."""
    errors = {4: {3, 4, 5, 11, 12}, 6: {1, 2, 3, 4}}
    for layout, protocol in ((V4, 1), (V6, 58)):
        ip = IP if layout.version == 4 else IPv6
        field = {"proto": protocol} if ip is IP else {"nh": protocol}
        for egress in (False, True):
            header = packets.network(layout, egress, **field)
            content = packets.frame(layout, egress, header / Raw(struct.pack("!BB6x", kind, 0)))
            machine.reset(layout)
            machine.send(Step(egress, build=lambda _, data=content: data), layout)
            counted = machine.counters().get("icmp_errors", 0)
            assert counted == (not egress and kind in errors[layout.version])
            assert machine.entries() == {}
