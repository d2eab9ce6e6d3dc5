# SPDX-License-Identifier: GPL-2.0-or-later
"""From a frame to what bpf/MEASUREMENT.md section 1 lets be read of it: a neutral record.

scapy decodes each header from exactly its bytes; the rules in between are written out here, because
what a header claims about the ones behind it is what hostile packets lie about.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import Dot1Q, Ether

from .options import BadChain, Options, read_options

ETH_P_IP, ETH_P_IPV6, ETH_P_8021Q, ETH_P_8021AD = 0x0800, 0x86DD, 0x8100, 0x88A8
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60
EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION)
MOST_EXTENSIONS, MOST_TAGS = 4, 2
JUMBO = 0xC2
ICMP4, PROTO_TCP, PROTO_UDP, ICMP6 = 1, 6, 17, 58
ICMP_ERRORS = {ICMP4: (3, 4, 5, 11, 12), ICMP6: (1, 2, 3, 4)}
NEIGHBOUR_DISCOVERY = range(133, 138)

FIN, SYN, RST, ACK = 1, 2, 4, 16


@dataclass(frozen=True)
class Given:
    """One packet as a hook gets it."""

    data: bytes
    bare: bool = False
    gso: tuple[int, int] = (0, 0)
    """gso_segs, gso_size."""
    wire_len: int = 0
    """Length on the wire where `data` was cut by a capture; 0: as long as data."""

    @property
    def length(self) -> int:
        return self.wire_len or len(self.data)

    @property
    def is_super(self) -> bool:
        return self.gso[1] > 0

    def segments(self, payload: int) -> int:
        """Wire packets; some devices (virtio) leave gso_segs out."""
        segs, size = self.gso
        if segs == 0 and size and payload > size:
            return -(-payload // size)
        return max(segs, 1)


@dataclass(frozen=True)
class Tcp:
    """A TCP segment that may be used."""

    source: bytes
    destination: bytes
    sport: int
    dport: int
    flags: int
    seq: int
    ack: int
    window: int
    payload: int
    gso_segs: int
    """Wire segments: 1 but for a super-packet."""
    gso_size: int
    """Payload of each but the last; 0: no super-packet."""
    options: Options

    @property
    def segments(self) -> int:
        """Wire segments that carry payload."""
        return self.gso_segs if self.payload else 0

    @property
    def space(self) -> int:
        """Sequence numbers that it takes (RFC 9293 section 3.4)."""
        return self.payload + bool(self.flags & SYN) + bool(self.flags & FIN)

    @property
    def data_seq(self) -> int:
        """Sequence number of the first byte of payload."""
        return (self.seq + bool(self.flags & SYN)) % 2**32

    @property
    def end(self) -> int:
        return (self.seq + self.space) % 2**32


@dataclass
class Record:
    """What a frame says."""

    reasons: list[str] = field(default_factory=list)
    """Names as in enum omr_unparsed; all but "options" mean that nothing else of it is used."""
    alive: bool = False
    """It proves, where it arrives, that the path carries packets."""
    icmp_error: bool = False
    headers: int = 0
    """Bytes in front of the payload that a super-packet repeats on the wire."""
    tcp: Tcp | None = None
    to_group: bool = False
    """The link header's destination is a group."""


class Unused(Exception):
    """Raised with the reason when the rest of a frame is not looked at."""

    def __init__(self, reason: str, alive: bool = False) -> None:
        self.reason, self.alive = reason, alive


class _Reader:
    """The frame, cut where the IP header says that it ends."""

    def __init__(self, given: Given) -> None:
        self.data, self.end, self.at = given.data, given.length, 0

    def look(self, size: int) -> bytes:
        if self.at + size > min(self.end, len(self.data)):
            raise Unused("truncated")
        return self.data[self.at : self.at + size]

    def take(self, size: int) -> bytes:
        taken = self.look(size)
        self.at += size
        return taken


def read(given: Given) -> Record:
    record = Record()
    reader = _Reader(given)
    try:
        _frame(reader, given, record)
    except Unused as unused:
        record.reasons.append(unused.reason)
        record.alive = record.alive and unused.alive
        record.tcp = None
    return record


def _frame(reader: _Reader, given: Given, record: Record) -> None:
    ethertype = _bare_type(reader) if given.bare else _ethernet(reader, record)
    if ethertype == ETH_P_IP:
        source, destination, protocol = _ipv4(reader, given, record)
    elif ethertype == ETH_P_IPV6:
        source, destination, protocol = _ipv6(reader, given, record)
    else:
        return
    if protocol == PROTO_TCP:
        record.tcp = _tcp(reader, given, record, source, destination)
    elif protocol == PROTO_UDP:
        record.headers = reader.at + 8
    elif protocol in ICMP_ERRORS:
        kind = reader.look(1)[0]
        if protocol == (ICMP4 if ethertype == ETH_P_IP else ICMP6):
            record.icmp_error = kind in ICMP_ERRORS[protocol]
        if ethertype == ETH_P_IPV6 and kind in NEIGHBOUR_DISCOVERY:
            record.alive = False


def _bare_type(reader: _Reader) -> int:
    version = reader.look(1)[0] >> 4
    return {4: ETH_P_IP, 6: ETH_P_IPV6}.get(version, 0)


def _ethernet(reader: _Reader, record: Record) -> int:
    header = reader.take(14)
    record.to_group = bool(header[0] & 1)
    record.headers = reader.at
    link = Ether(header)  # scapy makes Dot3 of a length in the place of the type
    ethertype = int(link.type) if isinstance(link, Ether) else 0
    for tags in range(MOST_TAGS + 1):
        if ethertype not in (ETH_P_8021Q, ETH_P_8021AD):
            break
        if tags == MOST_TAGS:
            raise Unused("vlans")
        ethertype = int(Dot1Q(reader.take(4)).type)
        record.headers = reader.at
    return ethertype


def _ipv4(reader: _Reader, given: Given, record: Record) -> tuple[bytes, bytes, int]:
    begin = reader.at
    fixed = reader.look(20)
    header = IP(fixed)
    size = header.ihl * 4
    if header.version != 4 or size < 20:
        raise Unused("malformed")
    total = header.len
    if total == 0 and given.is_super:
        total = reader.end - begin
    if total < size:
        raise Unused("malformed")
    if begin + total > reader.end:
        raise Unused("truncated")
    reader.end = begin + total
    reader.take(size)
    record.headers = reader.at
    destination = ipaddress.IPv4Address(fixed[16:20])
    group = destination.is_multicast or destination.is_reserved  # and 255.255.255.255
    record.alive = not group and not record.to_group
    if header.flags.MF or header.frag:
        raise Unused("fragment", alive=True)
    return fixed[12:16], fixed[16:20], header.proto


def _ipv6(reader: _Reader, given: Given, record: Record) -> tuple[bytes, bytes, int]:
    fixed = reader.take(40)
    record.headers = reader.at
    header = IPv6(fixed)
    if header.version != 6:
        raise Unused("malformed")
    size = header.plen
    if size == 0 and given.is_super:
        size = reader.end - reader.at
    elif size == 0 and header.nh == HOP_BY_HOP:
        size = _jumbo(reader)
    if reader.at + size > reader.end:
        raise Unused("truncated")
    reader.end = reader.at + size
    group = ipaddress.IPv6Address(fixed[24:40]).is_multicast
    record.alive = not group and not record.to_group
    protocol = header.nh
    for followed in range(MOST_EXTENSIONS + 1):
        if protocol not in EXTENSIONS:
            break
        if followed == MOST_EXTENSIONS:
            raise Unused("extensions", alive=True)
        protocol = _extension(reader, protocol)
        record.headers = reader.at
    return fixed[8:24], fixed[24:40], protocol


def _jumbo(reader: _Reader) -> int:
    """Payload length by the jumbo option of a hop-by-hop header (RFC 2675); 0 if it has none."""
    content = reader.look(8)
    if content[2:4] != bytes([JUMBO, 4]):
        return 0
    size = int.from_bytes(content[4:8], "big")
    if size < 2**16:
        raise Unused("malformed")
    return size


def _extension(reader: _Reader, kind: int) -> int:
    """Step over one extension header; the protocol behind it."""
    if kind == FRAGMENT:
        fragment = IPv6ExtHdrFragment(reader.take(8))
        if fragment.offset or fragment.m:
            raise Unused("fragment", alive=True)
        return int(fragment.nh)
    if kind == AUTHENTICATION:
        following, units = reader.look(8)[:2]
        reader.take((units + 2) * 4)
        return following
    option = IPv6ExtHdrDestOpt(reader.look(8)[:2])
    reader.take((option.len + 1) * 8)
    return int(option.nh)


def _tcp(reader: _Reader, given: Given, record: Record, source: bytes, destination: bytes) -> Tcp:
    header = TCP(reader.look(20))
    size, flags = header.dataofs * 4, int(header.flags) & 0xFF
    if size < 20:
        raise Unused("malformed")
    if reader.at + size > reader.end:
        raise Unused("truncated")
    record.headers = reader.at + size
    if flags & SYN and flags & (FIN | RST):
        raise Unused("malformed")
    content = reader.take(size)[20:]
    payload = reader.end - reader.at
    try:
        options = read_options(content, bool(flags & SYN), bool(flags & ACK))
    except BadChain:
        raise Unused("malformed") from None
    if options.left_out:
        record.reasons.append("options")
    return Tcp(
        source,
        destination,
        header.sport,
        header.dport,
        flags,
        header.seq,
        header.ack,
        header.window,
        payload,
        given.segments(payload),
        given.gso[1],
        options,
    )
