# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures written byte by byte: packets by scapy, link headers and file formats from their
descriptions (tcpdump.org/linktypes.html, draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

START_NS = 1_700_000_000_123_456_000
LOCAL = {4: "192.168.7.2", 6: "fd00:7::2"}
REMOTE = {4: "198.51.100.20", 6: "2001:db8:2::20"}
LOCAL_MAC, REMOTE_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
LOCAL_PORT, REMOTE_PORT = 40000, 443

EN10MB, NULL, PPP, RAW, LOOP, SLL, IPV4, IPV6, SLL2, PPP_ETHER = (
    *(1, 0, 9, 101, 108),
    *(113, 228, 229, 276, 51),
)


@dataclass(frozen=True)
class Segment:
    """One TCP packet as seen from the local end."""

    leaves: bool
    flags: str
    seq: int
    ack: int = 0
    payload: int = 0
    after_us: int = 10_000
    """Since the packet before."""
    options: Sequence[tuple[Any, Any]] = ()
    local: str | None = None
    remote: str | None = None
    local_port: int = LOCAL_PORT
    window: int = 500

    def ip(self, version: int) -> Packet:
        local, remote = self.local or LOCAL[version], self.remote or REMOTE[version]
        ends = (local, remote) if self.leaves else (remote, local)
        ports = (self.local_port, REMOTE_PORT)
        ports = ports if self.leaves else ports[::-1]
        header = IP if version == 4 else IPv6
        tcp = TCP(
            sport=ports[0],
            dport=ports[1],
            flags=self.flags,
            seq=self.seq % 2**32,
            ack=self.ack % 2**32,
            window=self.window,
            options=list(self.options),
        )
        return header(src=ends[0], dst=ends[1]) / tcp / Raw(bytes(self.payload))


def out(flags: str, seq: int, ack: int = 0, payload: int = 0, **more: Any) -> Segment:
    return Segment(True, flags, seq, ack, payload, **more)


def into(flags: str, seq: int, ack: int = 0, payload: int = 0, **more: Any) -> Segment:
    return Segment(False, flags, seq, ack, payload, **more)


CONVERSATION = [
    out("S", 1000),
    into("SA", 5000, 1001, after_us=20_123),
    out("A", 1001, 5001),
    out("PA", 1001, 5001, 1000),
    into("A", 5001, 2001, after_us=30_456),
    out("PA", 2001, 5001, 500),
    out("PA", 2001, 5001, 500, after_us=200_000),
    into("PA", 5001, 2501, 700, after_us=25_000),
    out("A", 2501, 5701),
    out("FA", 2501, 5701, after_us=5_000),
    into("FA", 5701, 2502, after_us=22_789),
    out("A", 2502, 5702),
]
"""A client without TCP timestamps: samples of 20.123 ms (packet 2), 30.456 ms (5) and 22.789 ms
(11); one segment sent again, whose acknowledgement gives no sample."""
CONVERSATION_SAMPLES = [(2, 20_123, "handshake"), (5, 30_456, "data"), (11, 22_789, "data")]


@dataclass(frozen=True)
class Record:
    """A packet of a capture."""

    at_ns: int
    data: bytes
    wire_len: int
    leaves: bool

    def cut(self, kept: int) -> Record:
        return replace(self, data=self.data[:kept])


@dataclass(frozen=True)
class Framing:
    """How packets are framed in a capture, and as which frames the device had them."""

    link: int
    version: int = 4
    tags: tuple[int, ...] = ()
    """Ethertypes of VLAN tags, outermost first."""
    device: int = 1
    """ARPHRD_* of a cooked capture."""
    headers: int = 0
    """Bytes before IP that count."""

    def __str__(self) -> str:
        names = {1: "ethernet", 0: "null", 9: "ppp", 101: "raw", 108: "loop", 113: "sll"}
        names |= {228: "ipv4", 229: "ipv6", 276: "sll2", 51: "pppoe"}
        tags = "".join(f"-{tag:x}" for tag in self.tags)
        return f"{names[self.link]}-v{self.version}{tags}-dev{self.device}"

    def wrap(self, packet: Packet, leaves: bool) -> bytes:
        protocol = 0x0800 if self.version == 4 else 0x86DD
        if self.link == EN10MB:
            return bytes(self._ethernet(leaves) / packet)
        if self.link in (SLL, SLL2):
            return self._cooked(packet, protocol, 4 if leaves else 0)
        head = {
            NULL: struct.pack("<I", 2 if self.version == 4 else 10),
            LOOP: struct.pack(">I", 2 if self.version == 4 else 24),
            PPP: b"\xff\x03" + struct.pack(">H", 0x21 if self.version == 4 else 0x57),
            PPP_ETHER: struct.pack(
                ">BBHHH", 0x11, 0, 7, len(packet) + 2, 0x21 if self.version == 4 else 0x57
            ),
        }
        return head.get(self.link, b"") + bytes(packet)

    def _ethernet(self, leaves: bool) -> Packet:
        macs = (LOCAL_MAC, REMOTE_MAC) if leaves else (REMOTE_MAC, LOCAL_MAC)
        outer: Packet = Ether(src=macs[0], dst=macs[1])
        for number, tag in enumerate(self.tags):
            outer = outer / (Dot1AD if tag == 0x88A8 else Dot1Q)(vlan=10 + number)
        return outer

    def _cooked(self, packet: Packet, protocol: int, kind: int) -> bytes:
        data = bytes(packet)
        if self.tags:
            tagged = bytes(self._ethernet(True) / packet)
            protocol, data = self.tags[0], tagged[14:]
        sender = bytes.fromhex("020000000001") + bytes(2)
        if self.link == SLL:
            return struct.pack(">HHH8sH", kind, self.device, 6, sender, protocol) + data
        return struct.pack(">HHIHBB8s", protocol, 0, 3, self.device, kind, 6, sender) + data


def records(
    segments: Iterable[Segment], framing: Framing, start_ns: int = START_NS
) -> list[Record]:
    """The packets of a conversation, framed and timed."""
    made, at = [], start_ns
    for segment in segments:
        at += segment.after_us * 1000
        data = framing.wrap(segment.ip(framing.version), segment.leaves)
        made.append(Record(at, data, len(data), segment.leaves))
    return made


# --- files ------------------------------------------------------------------------------------


def pcap(
    packets: Iterable[Record], link: int, *, order: str = "<", nanoseconds: bool = False
) -> bytes:
    magic, step = (0xA1B23C4D, 1) if nanoseconds else (0xA1B2C3D4, 1000)
    made = [struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 262144, link)]
    for packet in packets:
        seconds, rest = divmod(packet.at_ns, 1_000_000_000)
        head = (seconds, rest // step, len(packet.data), packet.wire_len)
        made += [struct.pack(f"{order}IIII", *head), packet.data]
    return b"".join(made)


def option(order: str, code: int, value: bytes) -> bytes:
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


@dataclass
class Pcapng:
    """Blocks of a pcapng file, put one after another."""

    order: str = "<"
    data: bytes = b""
    resolutions: list[int] = field(default_factory=list)
    """Units per second by interface."""

    def block(self, kind: int, body: bytes) -> Pcapng:
        body += bytes(-len(body) % 4)
        size = len(body) + 12
        self.data += struct.pack(f"{self.order}II", kind, size) + body
        self.data += struct.pack(f"{self.order}I", size)
        return self

    def section(self) -> Pcapng:
        self.resolutions = []
        return self.block(0x0A0D0D0A, struct.pack(f"{self.order}IHHq", 0x1A2B3C4D, 1, 0, -1))

    def interface(
        self, link: int, resolution: int | None = None, kept: int = 0, offset_s: int | None = None
    ) -> Pcapng:
        """resolution: if_tsresol's byte."""
        body = struct.pack(f"{self.order}HHI", link, 0, kept)
        code = 6 if resolution is None else resolution
        self.resolutions.append((2 if code & 128 else 10) ** (code & 127))
        if resolution is not None:
            body += option(self.order, 9, bytes([resolution]))
        if offset_s is not None:
            body += option(self.order, 14, struct.pack(f"{self.order}q", offset_s))
        return self.block(1, body + option(self.order, 0, b""))

    def packet(self, packet: Record, interface: int = 0, flags: int | None = None) -> Pcapng:
        units = packet.at_ns * self.resolutions[interface] // 1_000_000_000
        head = (interface, units >> 32, units & 0xFFFFFFFF, len(packet.data), packet.wire_len)
        body = struct.pack(f"{self.order}5I", *head) + packet.data + bytes(-len(packet.data) % 4)
        if flags is not None:
            body += option(self.order, 2, struct.pack(f"{self.order}I", flags))
            body += option(self.order, 0, b"")
        return self.block(6, body)

    def simple(self, packet: Record) -> Pcapng:
        body = struct.pack(f"{self.order}I", packet.wire_len) + packet.data
        return self.block(3, body)


def write(folder: Path, data: bytes, name: str = "capture") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path
