# SPDX-License-Identifier: GPL-2.0-or-later
"""What is cut short, contradicts itself or goes too far is counted and changes nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from omrfast.shim._shim import lib
from scapy.layers.inet import IPOption
from scapy.layers.inet6 import (
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from . import packets
from .machine import Machine, Step, into, out, with_volume
from .packets import LAYOUTS, LOCAL_MAC, REMOTE_MAC, Layout
from .test_tcp import COUNTERS, EVENTS, FLOW, HANDSHAKE, LIVE, Outcome

V4, V6 = Layout(4), Layout(6)
LONG = IPv6ExtHdrDestOpt(len=127, options=[PadN(optdata=bytes(254))] * 3
                         + [PadN(optdata=bytes(252))])  # fmt: skip
"""1,024 bytes; of the longest two, 2,048 each, only one would fit the run."""
BARE = [layout for layout in LAYOUTS if layout.bare]


def data() -> Packet:
    """100 bytes that would change the flow, if they counted."""
    return packets.transport(False, "FPA", 5001, 1001, 500, []) / Raw(bytes(100))


def arrives(inner: Packet, layout: Layout) -> Step:
    return Step(False, after=8, counted=False, build=lambda _: packets.frame(layout, False, inner))


def raw(content: bytes) -> Step:
    return Step(False, after=8, counted=False, build=lambda _: content)


def patched(layout: Layout, at: int, value: int, payload: int = 100) -> bytes:
    """A packet with one byte, `at` from the start of its TCP header, changed."""
    content = bytearray(into("FPA", 5001, 1001, payload).bytes_in(layout))
    content[layout.headers + at] = value
    return bytes(content)


def with_options(layout: Layout, options: bytes) -> bytes:
    content = bytearray(
        into("FPA", 5001, 1001, 100, options=[("NOP", None)] * len(options)).bytes_in(layout)
    )
    at = layout.headers + 20
    content[at : at + len(options)] = options
    return bytes(content)


def expect_nothing_but(
    reason: str, machine: Machine, step: Step, layout: Layout, alive: bool
) -> None:
    steps = [*HANDSHAKE, step]
    expected = Outcome(
        FLOW, {**COUNTERS, reason: 1}, {**LIVE, "last_rx": 32.0} if alive else LIVE, EVENTS
    )
    assert machine.run(steps, layout) == with_volume(expected, steps, layout)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_cut_short_anywhere(machine: Machine, layout: Layout) -> None:
    """From the shortest frame that the kernel lets us run to the last byte of the TCP header.

    It refuses to make an skb of plain Ethernet that ends inside the IP header.
    """
    plain = not (machine.xdp or layout.bare or layout.vlans)
    shortest = layout.headers if plain else 15
    content = with_options(layout, struct.pack("!BBBBII", 1, 1, 8, 10, 1, 2))
    for length in range(shortest, len(content)):
        machine.reset(layout)
        machine.send(raw(content[:length]), layout)
        found = machine.outcome(layout)
        assert found.counters == {"rx_bytes": length, "rx_packets": 1, "truncated": 1}
        assert (found.flow, found.live, found.events) == (None, {}, ())


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize(
    ("reason", "make"),
    [
        ("malformed", lambda layout: patched(layout, 12, 0x40)),
        ("truncated", lambda layout: patched(layout, 12, 0xF0, payload=39)),
        ("malformed", lambda layout: patched(layout, 13, 0x03)),
        ("malformed", lambda layout: patched(layout, 13, 0x06)),
        ("malformed", lambda layout: with_options(layout, bytes([200, 0, 0, 0]))),
        ("malformed", lambda layout: with_options(layout, bytes([200, 1, 0, 0]))),
        ("malformed", lambda layout: with_options(layout, bytes([30, 5, 0, 0]))),
        ("malformed", lambda layout: with_options(layout, bytes([1, 1, 1, 30]))),
        ("malformed", lambda layout: with_options(layout, bytes([1] * 39 + [8]))),
        ("malformed", lambda layout: with_options(layout, bytes([1] * 12 + [5, 255, 0, 0]))),
    ],
    ids=[
        "data offset below 5",
        "data offset beyond the packet",
        "SYN and FIN",
        "SYN and RST",
        "option of length 0",
        "option of length 1",
        "option beyond the header",
        "option without a length",
        "40 bytes of NOP but for a last kind",
        "option of length 255",
    ],
)
def test_tcp_header(
    machine: Machine, reason: str, make: Callable[[Layout], bytes], layout: Layout
) -> None:
    content = make(layout)
    expect_nothing_but(reason, machine, raw(content), layout, alive=False)


def test_forty_nops(machine: Machine) -> None:
    """Legal, if odd: walked to the end."""
    found = machine.run([*HANDSHAKE, into("A", 5001, 1001, 10, options=[("NOP", None)] * 40)], V4)
    assert found.flow is not None
    assert found.flow["rcv_nxt"] == 5011
    assert "malformed" not in found.counters


@pytest.mark.parametrize(
    ("reason", "fields", "alive"),
    [
        ("malformed", {"version": 5}, False),
        ("malformed", {"ihl": 4}, False),
        ("malformed", {"len": 19}, False),
        ("truncated", {"len": 141}, False),
        ("fragment", {"flags": "MF"}, True),
        ("fragment", {"frag": 100}, True),
    ],
)
def test_ipv4_header(machine: Machine, reason: str, fields: dict[str, object], alive: bool) -> None:
    inner = packets.network(V4, False, **fields) / data()
    expect_nothing_but(reason, machine, arrives(inner, V4), V4, alive)


@pytest.mark.parametrize(
    ("reason", "chain", "alive"),
    [
        ("fragment", IPv6ExtHdrFragment(m=1, offset=0), True),
        ("fragment", IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(m=0, offset=7), True),
        ("extensions", IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting()
         / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt(), True),
        ("extensions", IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting()
         / IPv6ExtHdrDestOpt() / IPv6ExtHdrFragment(m=1), True),
        ("truncated", IPv6ExtHdrDestOpt(len=60), False),
    ],
    ids=["first fragment", "later fragment", "five headers", "the fifth a fragment",
         "header beyond the packet"],
)  # fmt: skip
def test_ipv6_extensions_that_end_it(
    machine: Machine, reason: str, chain: Packet, alive: bool
) -> None:
    inner = packets.network(V6, False) / chain / data()
    expect_nothing_but(reason, machine, arrives(inner, V6), V6, alive)


@pytest.mark.parametrize(
    ("layout", "inner"),
    [
        (V4, packets.network(V4, False, options=[IPOption(b"\x94\x04\x00\x00")])),
        (V4, packets.network(V4, False, flags="DF")),
        (V6, packets.network(V6, False) / IPv6ExtHdrHopByHop()),
        (V6, packets.network(V6, False) / IPv6ExtHdrFragment(m=0, offset=0)),
        (V6, packets.network(V6, False) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt()
         / IPv6ExtHdrRouting(addresses=["2001:db8::1"]) / IPv6ExtHdrDestOpt()),
        (V6, packets.network(V6, False, nh=51)
         / AH(nh=6, payloadlen=4, spi=1, seq=1, icv=bytes(12))),
        (V6, packets.network(V6, False) / LONG / LONG),
    ],
    ids=["IPv4 options", "DF", "hop-by-hop", "atomic fragment", "four headers", "AH",
         "the longest headers"],
)  # fmt: skip
def test_followed_to_tcp(machine: Machine, layout: Layout, inner: Packet) -> None:
    step = replace(arrives(inner / data(), layout), counted=True)
    steps = [*HANDSHAKE, step]
    flow = {
        **FLOW,
        "since_sample": 1,
        "rcv_nxt": 5102,
        "rx_segments": 1,
        "rx_flags": FLOW["rx_flags"] | lib.OMR_RX_FIN,
        "last_rx_j": 32.0,
    }
    expected = Outcome(
        flow,
        {**COUNTERS, "rx_segments": 1},
        {**LIVE, "last_rx": 32.0},
        (*EVENTS, ("flow_close", False)),
    )
    assert machine.run(steps, layout) == with_volume(expected, steps, layout)


def test_provider_tag_around_a_customer_tag(machine: Machine) -> None:
    outer = Ether(src=REMOTE_MAC, dst=LOCAL_MAC) / Dot1AD(vlan=3) / Dot1Q(vlan=4)
    content = bytes(outer / packets.network(V4, False) / data())
    found = machine.run([*HANDSHAKE, raw(content)], V4)
    assert found.flow is not None
    assert found.flow["rcv_nxt"] == 5102


def test_three_tags(machine: Machine) -> None:
    outer = Ether(src=REMOTE_MAC, dst=LOCAL_MAC) / Dot1Q(vlan=3) / Dot1Q(vlan=4) / Dot1Q(vlan=5)
    content = bytes(outer / packets.network(V4, False) / data())
    expect_nothing_but("vlans", machine, raw(content), V4, alive=False)


@pytest.mark.parametrize("layout", BARE, ids=str)
def test_bare_packet_of_no_ip_version(machine: Machine, layout: Layout) -> None:
    found = machine.run([raw(b"\x50" + bytes(60))], layout)
    assert found == Outcome(None, {"rx_bytes": 61, "rx_packets": 1})


def test_padding_of_short_ethernet_frames_is_no_payload(machine: Machine) -> None:
    content = into("A", 5001, 1001).bytes_in(V4).ljust(60, b"\0")
    found = machine.run([*HANDSHAKE, raw(content)], V4)
    assert found.flow is not None
    assert "rx_segments" not in found.counters
    assert found.flow["rcv_nxt"] == 5001


def test_a_super_packet_without_a_length(machine: Machine) -> None:
    """BIG TCP: the IP header says 0, the skb tells."""
    content = bytearray(out("A", 1001, 5001, 3000).bytes_in(V4))
    content[16:18] = b"\0\0"
    step = Step(True, build=lambda _: bytes(content), gso=(3, 1000))
    found = machine.run([*HANDSHAKE, step], V4)
    assert found.flow is not None
    assert found.flow["snd_nxt"] == 4001
    assert found.counters["tx_segments"] == 3
