# SPDX-License-Identifier: GPL-2.0-or-later
"""The packets that bench.overhead runs: their kinds, their bytes, the order of their flows."""

from __future__ import annotations

import array
import functools
import random
import struct
from dataclasses import dataclass

SYN, PSH, ACK = 2, 8, 16
SEGMENT = 1448
DSS = struct.pack("!BBBBQQIHBB", 30, 26, 0x20, 0x0F, 0xA1B2C3D4E5F60718, 0x1827364554637281,
                  0x01020304, SEGMENT, 1, 1)  # fmt: skip
"""RFC 8684 section 3.3: data ACK of 8, DSN of 8, subflow sequence number, length; two NOPs."""
HOT_FLOW_PORT = 256
"""Flow 1, as bench_write() of overhead.bpf.c puts it."""
REMOTE_PORT = 443
ENDS = {
    4: (bytes([192, 0, 0, 0]), bytes([198, 51, 100, 20])),
    6: (bytes.fromhex("20010db80001" + 20 * "0"), bytes.fromhex("20010db80002" + 20 * "0")),
}
"""Local address, whose last two bytes and whose port tell the flow, and remote address."""
ORDER = 1 << 20
"""BENCH_ORDER of overhead.bpf.c."""


@dataclass(frozen=True)
class Kind:
    """A sort of packet."""

    name: str
    payload: int
    options: bytes = b""
    sampled: bool = False
    """Every packet begins (egress) or completes (ingress) an RTT sample; otherwise one is open all
    the time and none of these packets is its end, as in a running transfer."""


KINDS = {
    kind.name: kind
    for kind in (
        Kind("ACK", 0),
        Kind("data", SEGMENT),
        Kind("data+DSS", SEGMENT, DSS),
        Kind("data, sampled", SEGMENT, sampled=True),
    )
}


@dataclass(frozen=True)
class Place:
    """A hook, a direction, an IP version."""

    hook: str
    egress: bool
    version: int

    @property
    def name(self) -> str:
        return f"{self.hook} {'egress' if self.egress else 'ingress'} IPv{self.version}"

    @property
    def suffix(self) -> str:
        return "xdp" if self.hook == "XDP" else "tx" if self.egress else "rx"


PLACES = tuple(
    Place(hook, egress, version)
    for version in (4, 6)
    for hook, egress in (("TC", True), ("TC", False), ("XDP", False))
)


@dataclass(frozen=True)
class Numbers:
    """What the TCP header of a run's first packet says, and how the next ones differ."""

    flags: int
    seq: int
    ack: int
    tsval: int
    tsecr: int
    seq_step: int = 0
    ack_step: int = 0
    ts_step: int = 0


def flow_key(version: int) -> bytes:
    """struct omr_flow_key4 or omr_flow_key6 of flow 1."""
    return b"".join(ENDS[version]) + struct.pack("!HH", HOT_FLOW_PORT, REMOTE_PORT)


def frame(place: Place, kind: Kind, n: Numbers) -> bytes:
    """Ethernet, IP, TCP with timestamps where kernels put them; checksums are left at zero."""
    options = struct.pack("!IIII", 0x0101080A, n.tsval, n.tsecr, 0)[:12] + kind.options
    ports = (HOT_FLOW_PORT, REMOTE_PORT) if place.egress else (REMOTE_PORT, HOT_FLOW_PORT)
    header = (5 + len(options) // 4) << 4
    tcp = struct.pack(
        "!HHIIBBHHH", *ports, n.seq % 2**32, n.ack % 2**32, header, n.flags, 500, 0, 0
    )
    inner = tcp + options + bytes(kind.payload)
    source, destination = ENDS[place.version] if place.egress else ENDS[place.version][::-1]
    if place.version == 4:
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(inner), 1, 0, 64, 6, 0)
    else:
        ip = struct.pack("!IHBB", 6 << 28, len(inner), 6, 64)
    link = bytes([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2])
    link += b"\x08\x00" if place.version == 4 else b"\x86\xdd"
    return link + ip + source + destination + inner


@functools.cache
def order(flows: int, shuffled: bool) -> tuple[int, bytes]:
    """(length, table) of struct bench_order for flows 1 to `flows`."""
    numbers = list(range(1, flows + 1))
    table = array.array("I")
    shuffle = random.Random(flows).shuffle
    for _ in range(ORDER // flows if shuffled else 1):
        if shuffled:
            shuffle(numbers)
        table.extend(numbers)
    length = len(table)
    table.extend([0] * (ORDER - length))
    return length, table.tobytes()
