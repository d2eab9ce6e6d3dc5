# SPDX-License-Identifier: GPL-2.0-or-later
"""What strangers send: flows to attack, and packets that must not move them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import GRE
from scapy.packet import Packet, Raw

from . import packets
from .machine import Step, into, out
from .packets import Layout, Options, timestamps

V4, V6 = Layout(4), Layout(6)
WINDOW, AHEAD = 2**30, 2**26
MASK = 2**32 - 1


@dataclass(frozen=True)
class Victim:
    """A flow as it stands, and the numbers that its peer would send next."""

    about: str
    steps: list[Step]
    una: int
    nxt: int
    rcv: int | None
    """None: nothing is known of the peer's sequence numbers."""
    heard: bool = True
    """An acknowledgement has come."""
    syn: bool = True


OURS, THEIRS = 1_000_000, 3_000_000_000
HANDSHAKE = [
    out("S", OURS - 1, options=timestamps(70, 0) + packets.mp_join_syn(0xAABBCCDD, 3)),
    into("SA", THEIRS - 1, OURS, options=timestamps(900, 70) + packets.mp_join_synack(7), after=20),
    out("A", OURS, THEIRS, options=timestamps(72, 900) + packets.mp_join_ack(), after=4),
]
FLYING = out("PA", OURS, THEIRS, 3000, options=timestamps(75, 900), gso=(3, 1000), after=8)
AGAIN = replace(FLYING, after=200)
DATA = into("A", THEIRS, OURS, 500, options=timestamps(910, 70), after=4)

VICTIMS = [
    Victim("SYN sent", HANDSHAKE[:1], OURS - 1, OURS, None, heard=False),
    Victim(
        "SYN-ACK sent", [out("SA", OURS - 1, THEIRS)], OURS - 1, OURS, THEIRS, heard=False
    ),
    Victim("established, an echo awaited", HANDSHAKE, OURS, OURS, THEIRS),
    Victim("data in flight", [*HANDSHAKE, FLYING], OURS, OURS + 3000, THEIRS),
    Victim("data sent again", [*HANDSHAKE, DATA, FLYING, AGAIN], OURS, OURS + 3000, THEIRS + 500),
    Victim("met in mid-life", [out("A", OURS, THEIRS, 100)], OURS, OURS + 100, THEIRS,
           heard=False, syn=False),
]  # fmt: skip


def accepted(victim: Victim, flags: str, seq: int, ack: int) -> bool:
    """bpf/MEASUREMENT.md section 2: is such a packet taken for the peer's?"""
    below = (victim.nxt - ack) & MASK
    good = "A" in flags and below <= (victim.nxt - victim.una) & MASK
    if not victim.heard and not victim.syn:
        good = "A" in flags and below <= WINDOW
    if "R" in flags:
        return good if victim.rcv is None else seq & MASK == victim.rcv & MASK
    old = victim.heard and "A" in flags and below <= WINDOW
    near = victim.rcv is None or (seq - victim.rcv + WINDOW) & MASK <= WINDOW + AHEAD
    return (good or old) and near


@dataclass(frozen=True)
class Attack:
    about: str
    make: Callable[[Victim], Step]
    layouts: tuple[Layout, ...] = (V4, V6)
    knocks: bool = False
    """Overwrites one of the notes of MP_JOIN SYNs."""


def rcv(victim: Victim) -> int:
    return THEIRS if victim.rcv is None else victim.rcv


def plain(flags: str, seq: int = 0, ack: int = 0, payload: int = 0, **more: Any) -> Any:
    """Numbers count from what the peer would send: rcv_nxt, and all of ours acknowledged."""
    return lambda v: into(flags, rcv(v) + seq, v.nxt + ack, payload, **more)


def unsent(options: Options) -> Any:
    """In window but for an acknowledgement of what was never sent."""
    return plain("PA", ack=1, payload=700, options=options)


def perfect(v: Victim, flags: str = "PA", payload: int = 100) -> Packet:
    """What the peer would send next."""
    options = timestamps(950, 75) + packets.mp_prio(True)
    tcp = packets.transport(False, flags, rcv(v), v.nxt, 0, options)
    return tcp / Raw(bytes(payload))


def framed(layout: Layout, inner: Packet) -> Step:
    return Step(False, build=lambda _: packets.frame(layout, False, inner))


def wrapped(layout: Layout, wrap: Callable[[Packet, Victim], Packet]) -> Attack:
    def make(v: Victim) -> Step:
        whole = packets.network(layout, False) / perfect(v)
        return framed(layout, wrap(whole, v))

    return Attack("", make, (layout,))


def tunnels() -> list[Attack]:
    v4, v6 = packets.network(V4, False), packets.network(V6, False)
    found = {
        "IPv4 in IPv4": wrapped(V4, lambda inner, _: v4 / inner),
        "IPv4 in IPv6": wrapped(V6, lambda _, v: v6 / packets.network(V4, False) / perfect(v)),
        "IPv6 in IPv4": wrapped(V4, lambda _, v: v4 / packets.network(V6, False) / perfect(v)),
        "GRE": wrapped(V4, lambda inner, _: v4 / GRE() / inner),
        "UDP": wrapped(V4, lambda inner, _: v4 / UDP(sport=443, dport=40000) / Raw(bytes(inner))),
        "the flow in UDP's clothes": wrapped(V4, lambda _, v: packets.network(V4, False, proto=17)
                                             / perfect(v)),
    }  # fmt: skip
    return [replace(attack, about=f"tunnel: {name}") for name, attack in found.items()]


def errors() -> list[Attack]:
    """Each quotes our last packet; RFC 5927 tells what happens to those who believe them."""

    def quoting(layout: Layout, error: Packet) -> Attack:
        def make(v: Victim) -> Step:
            ours = packets.transport(True, "PA", v.una, rcv(v), 500, [])
            quoted = bytes(packets.network(layout, True) / ours / Raw(bytes(100)))
            return framed(layout, packets.network(layout, False) / error / Raw(quoted))

        return Attack(f"{error.summary()} quotes the flow", make, (layout,))

    v4 = [(3, 0), (3, 1), (3, 3), (3, 4), (4, 0), (5, 1), (11, 0), (12, 0)]
    v6 = [ICMPv6DestUnreach(code=4), ICMPv6PacketTooBig(mtu=1280), ICMPv6TimeExceeded(),
          ICMPv6ParamProblem()]  # fmt: skip
    return [
        *(quoting(V4, ICMP(type=kind, code=code)) for kind, code in v4),
        *(quoting(V6, error) for error in v6),
    ]


def fragments() -> list[Attack]:
    pieces = {"first": {"flags": "MF"}, "later": {"frag": 3}, "last": {"frag": 185}}

    def v4(fields: dict[str, Any]) -> Any:
        return lambda v: framed(V4, packets.network(V4, False, **fields) / perfect(v))

    def v6(**fields: int) -> Any:
        return lambda v: framed(
            V6, packets.network(V6, False) / IPv6ExtHdrFragment(nh=6, **fields) / perfect(v)
        )

    return [
        *(Attack(f"{name} fragment", v4(fields), (V4,)) for name, fields in pieces.items()),
        Attack("first fragment, IPv6", v6(m=1), (V6,)),
        Attack("later fragment, IPv6", v6(offset=7), (V6,)),
    ]


def elsewhere(**fields: str) -> Any:
    def make(v: Victim) -> Step:
        return framed(V4, IP(**{"src": packets.REMOTE[4], "dst": packets.LOCAL[4], **fields})
                      / perfect(v))  # fmt: skip

    return make


def ports(source: int, destination: int) -> Any:
    def make(v: Victim) -> Step:
        segment = perfect(v)
        segment.sport, segment.dport = source, destination
        return framed(V6, packets.network(V6, False) / segment)

    return make


def broken(content: bytes) -> Any:
    """The peer's next packet, but for options that contradict themselves."""

    def make(v: Victim) -> Step:
        step = into("FPA", rcv(v), v.nxt, 100, options=[("NOP", None)] * len(content))

        def build(layout: Layout) -> bytes:
            frame = bytearray(step.bytes_in(layout))
            at = layout.headers + 20
            frame[at : at + len(content)] = content
            return bytes(frame)

        return Step(False, build=build)

    return make


STAMPED = timestamps(999, 75)
SACKS: Options = [("SAck", (OURS, OURS + 1000)), ("SAck", (OURS, OURS + 1000, OURS, OURS + 3000))]
BEYOND: Options = [("SAck", (OURS + 500, OURS + 1000, OURS + 2000, OURS + 3000))]
"""Says that the last byte of VICTIMS' open samples has arrived."""
MPTCP = {
    "MP_PRIO": packets.mp_prio(True),
    "MP_FASTCLOSE": packets.fastclose(),
    "ADD_ADDR": packets.add_addr(),
    "REMOVE_ADDR": packets.remove_addr(1, 2),
    "MP_FAIL": packets.mptcp(bytes([0x60, 0]) + bytes(8)),
    "infinite mapping": packets.dss(1, 1, length=0),
    "MP_TCPRST": packets.mptcp(bytes([0x80, 1])),
    "MP_CAPABLE with keys": packets.mp_capable(1, 2),
    "MP_JOIN": packets.mp_join_ack(),
}
JOIN = packets.mp_join_syn(0x01020304, 9, backup=True)

ATTACKS = [
    Attack("SYN", plain("S")),
    Attack("SYN with data", plain("S", payload=300)),
    Attack("SYN with MP_CAPABLE", plain("S", options=packets.mp_capable())),
    Attack("SYN with MP_JOIN", plain("S", options=JOIN), knocks=True),
    Attack("SYN-ACK of what was not sent", plain("SA", ack=1)),
    Attack("SYN-ACK with MP_JOIN, ditto", plain("SA", ack=1, options=packets.mp_join_synack(1))),
    Attack("data that acknowledges too much", plain("PA", ack=1, payload=1000)),
    Attack("data that acknowledges far too little", plain("PA", ack=-WINDOW - 4000, payload=9)),
    Attack("data from the other half", plain("PA", ack=WINDOW * 2, payload=1000)),
    Attack("acknowledgement of too much", plain("A", ack=1)),
    Attack("acknowledgement with a closed window", plain("A", ack=1, window=0)),
    Attack("acknowledgement from the other half", plain("A", ack=-2 * WINDOW)),
    Attack("no flags", plain("", payload=10)),
    Attack("data without ACK", plain("P", payload=10, options=STAMPED)),
    Attack("FIN without ACK", plain("F")),
    Attack("FIN, PSH and URG", plain("FPU")),
    Attack("FIN of too much", plain("FA", ack=1)),
    Attack("RST one late", plain("R", seq=-1, ack=1)),
    Attack("RST one early", plain("R", seq=1, ack=1)),
    Attack("RST-ACK in window", plain("RA", seq=100, ack=1)),
    Attack("RST from nowhere", plain("R", seq=2**31, ack=1)),
    Attack("SYN and RST", plain("SRA")),
    Attack("SYN and FIN", plain("SFA")),
    Attack("echo of the newest timestamp", unsent(STAMPED)),
    Attack("echo of a later timestamp", unsent(timestamps(999, 2**31))),
    Attack("SACK", unsent(SACKS[:1])),
    Attack("SACK in SACK", unsent(SACKS[1:])),
    Attack("SACK of data in flight", unsent(BEYOND)),
    Attack("SACK of it in a RST", plain("RA", seq=1, ack=1, options=BEYOND)),
    Attack("SACK of it from nowhere", plain("A", seq=2**31, ack=1, options=BEYOND)),
    *(Attack(f"{name}, unsent", unsent(options)) for name, options in MPTCP.items()),
    *tunnels(),
    *errors(),
    *fragments(),
    Attack("from another address", elsewhere(src="198.51.100.21"), (V4,)),
    Attack("to another address", elsewhere(dst="192.0.2.11"), (V4,)),
    Attack("from ourselves", elsewhere(src=packets.LOCAL[4], dst=packets.REMOTE[4]), (V4,)),
    Attack("from another port", ports(444, packets.LOCAL_PORT), (V6,)),
    Attack("to another port", ports(packets.REMOTE_PORT, 40001), (V6,)),
    Attack("ports the wrong way round", ports(packets.LOCAL_PORT, packets.REMOTE_PORT), (V6,)),
    Attack("option of length 0", broken(bytes([8, 0, 0, 0]))),
    Attack("option of length 1", broken(bytes([30, 1, 0, 0]))),
    Attack("option beyond the header", broken(bytes([1, 1, 5, 10]))),
    Attack("good options, then a broken one", broken(struct.pack("!BBBBIIBBBBBBBB", 1, 1, 8, 10,
           9, 75, 30, 3, 0x51, 1, 1, 1, 1, 9))),
]  # fmt: skip
