# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames from descriptions, fast (checksums are zero: nothing on the way looks at them)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

from .numbers import WORD
from .wire import Given

LOCAL = {4: bytes([192, 0, 2, 10]), 6: bytes.fromhex("20010db8000100000000000000000010")}
REMOTE = {4: bytes([198, 51, 100, 20]), 6: bytes.fromhex("20010db8000200000000000000000020")}
LOCAL_PORT, REMOTE_PORT = 40000, 443
MACS = bytes.fromhex("020000000002020000000001")
PROTOCOLS = {4: 0x0800, 6: 0x86DD}
SNAPLEN = 1000
"""What a capture keeps of a frame that has a length of its own."""


@dataclass(frozen=True)
class Layout:
    """How frames are made: IP version, tags, link header or none, what stands before TCP."""

    version: int = 4
    vlans: int = 0
    bare: bool = False
    extra: bytes = b""
    """IPv4 options (a multiple of 4 bytes), or IPv6 extension headers."""
    first: int = 6
    """IPv6: the protocol of extra, or of the transport."""


@dataclass(frozen=True)
class Segment:
    """One TCP segment, of the flow with this number."""

    egress: bool
    flags: int
    seq: int
    ack: int = 0
    payload: int = 0
    window: int = 500
    options: bytes = b""
    gso: tuple[int, int] = (0, 0)
    flow: int = 0
    big: bool = False
    """The IP header gives no length (BIG TCP)."""

    def tcp(self) -> bytes:
        options = self.options[:40]
        options += b"\0" * (-len(options) % 4)
        ports = (LOCAL_PORT + self.flow, REMOTE_PORT)
        source, destination = ports if self.egress else ports[::-1]
        return (
            struct.pack(
                "!HHIIBBHHH",
                source,
                destination,
                self.seq % WORD,
                self.ack % WORD,
                (5 + len(options) // 4) << 4,
                self.flags,
                self.window,
                0,
                0,
            )
            + options
        )

    def moved(self, **changes: object) -> Segment:
        return replace(self, **changes)  # type: ignore[arg-type]


def network(
    layout: Layout, egress: bool, size: int, protocol: int = 6, destination: bytes = b""
) -> bytes:
    """An IP header with what follows it up to the transport, for size bytes behind that."""
    ends = LOCAL[layout.version], REMOTE[layout.version]
    source, target = ends if egress else ends[::-1]
    target = destination or target
    if layout.version == 4:
        total = 20 + len(layout.extra) + size
        ihl = 5 + len(layout.extra) // 4
        head = struct.pack("!BBHHHBBH", 0x40 | ihl, 0, total % 2**16, 0, 0, 64, protocol, 0)
        return head + source + target + layout.extra
    first = layout.first if layout.extra else protocol
    head = struct.pack("!IHBB", 0x60000000, (len(layout.extra) + size) % 2**16, first, 64)
    return head + source + target + layout.extra


def link(layout: Layout, inner: bytes) -> bytes:
    if layout.bare:
        return inner
    tags = b"".join(struct.pack("!HH", 0x8100, 10 + tag) for tag in range(layout.vlans))
    return MACS + tags + struct.pack("!H", PROTOCOLS[layout.version]) + inner


def given(layout: Layout, segment: Segment) -> Given:
    """The segment as a hook gets it; a long one as a capture cuts it."""
    tcp = segment.tcp()
    size = len(tcp) + segment.payload
    head = bytearray(network(layout, segment.egress, size))
    if segment.big or size > 60000:
        at = 2 if layout.version == 4 else 4
        head[at : at + 2] = b"\0\0"
    frame = link(layout, bytes(head) + tcp)
    length = len(frame) + segment.payload
    kept = frame + bytes(max(min(length, SNAPLEN) - len(frame), 0))
    return Given(kept, layout.bare, segment.gso, length if length > len(kept) else 0)


# --- options ------------------------------------------------------------------------------------


def option(kind: int, body: bytes) -> bytes:
    return bytes([kind, len(body) + 2]) + body


def timestamps(value: int, echo: int) -> bytes:
    return b"\1\1" + option(8, struct.pack("!II", value % WORD, echo % WORD))


def sack(blocks: list[tuple[int, int]]) -> bytes:
    edges = [edge % WORD for block in blocks for edge in block]
    return b"\1\1" + option(5, struct.pack(f"!{len(edges)}I", *edges))


@dataclass(frozen=True)
class Dss:
    data_ack: int | None = None
    wide_ack: bool = True
    data_seq: int | None = None
    wide_seq: bool = True
    length: int = 1000
    checksum: bool = False

    def encode(self) -> bytes:
        flags = 0
        body = b""
        if self.data_ack is not None:
            flags |= 3 if self.wide_ack else 1
            body += struct.pack(
                "!Q" if self.wide_ack else "!L", self.data_ack % _wide(self.wide_ack)
            )
        if self.data_seq is not None:
            flags |= 12 if self.wide_seq else 4
            body += struct.pack(
                "!Q" if self.wide_seq else "!L", self.data_seq % _wide(self.wide_seq)
            )
            body += struct.pack("!IH", 1, self.length % 2**16)
            body += b"\0\0" if self.checksum else b""
        return option(30, bytes([0x20, flags]) + body)


def _wide(wide: bool) -> int:
    return 2**64 if wide else 2**32


@dataclass(frozen=True)
class Keys:
    """What the options of one connection are made of."""

    local: bytes = bytes(range(1, 9))
    remote: bytes = bytes(range(101, 109))
    token: bytes = b"\xde\xad\xbe\xef"
    words: tuple[int, int] = field(default=(7, 9))
    """Upper halves of the data sequence numbers of the local and the remote end."""
