# SPDX-License-Identifier: GPL-2.0-or-later
"""Echo packets and the socket filter that lets only their answers in (RFC 792, RFC 4443).

A raw IPv4 socket gives packets with their IP header, a raw ICMPv6 one without; the kernel fills in
the checksum of ICMPv6, ICMP's is ours.
"""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
from dataclasses import dataclass

ECHO_REPLY = {4: 0, 6: 129}
ECHO_REQUEST = {4: 8, 6: 128}
_HEADER = struct.Struct("!BBHHH")

UNREACHABLE = {
    (4, 3, 0): "network unreachable",
    (4, 3, 1): "host unreachable",
    (4, 3, 2): "protocol unreachable",
    (4, 3, 3): "port unreachable",
    (4, 3, 5): "source route failed",
    (4, 3, 6): "network unknown",
    (4, 3, 7): "host unknown",
    (4, 3, 9): "network prohibited",
    (4, 3, 10): "host prohibited",
    (4, 3, 11): "network unreachable for this service",
    (4, 3, 12): "host unreachable for this service",
    (4, 3, 13): "administratively prohibited",
    (4, 11, 0): "routing loop",
    (6, 1, 0): "no route",
    (6, 1, 1): "administratively prohibited",
    (6, 1, 2): "beyond scope of source",
    (6, 1, 3): "address unreachable",
    (6, 1, 4): "port unreachable",
    (6, 1, 5): "source refused",
    (6, 1, 6): "route rejected",
    (6, 3, 0): "routing loop",
}
"""(IP version, type, code): words. Fragmentation needed is not among them: packets do pass."""

_ERROR_TYPES = {4: (3, 11), 6: (1, 3)}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Answer:
    """An echo reply, or an ICMP error about an echo request."""

    identifier: int
    sequence: int
    payload: bytes = b""
    unreachable: str = ""
    """Words of UNREACHABLE; empty for a reply."""
    target: Address | None = None
    """Where the request that the error is about went."""


def checksum(data: bytes) -> int:
    """RFC 1071, over an even or odd number of bytes."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) & 1)))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def echo_request(version: int, identifier: int, sequence: int, payload: bytes) -> bytes:
    """An echo request, without an IP header."""
    bare = _HEADER.pack(ECHO_REQUEST[version], 0, 0, identifier, sequence) + payload
    if version == 6:
        return bare
    return bare[:2] + struct.pack("!H", checksum(bare)) + bare[4:]


def parse(version: int, data: bytes) -> Answer | None:
    """What a raw socket received; None if it is neither a reply nor an error about a request."""
    if version == 4:
        if len(data) < 20:
            return None
        data = data[(data[0] & 0xF) * 4 :]
    if len(data) < _HEADER.size:
        return None
    kind, code, _sum, identifier, sequence = _HEADER.unpack_from(data)
    if kind == ECHO_REPLY[version]:
        return Answer(identifier, sequence, data[_HEADER.size :])
    words = UNREACHABLE.get((version, kind, code))
    return None if words is None else _parse_quoted(version, data[_HEADER.size :], words)


def _parse_quoted(version: int, data: bytes, words: str) -> Answer | None:
    """The request that an error quotes: its IP header and at least 8 bytes (RFC 792)."""
    size = 40 if version == 6 else (data[0] & 0xF) * 4 if data else 0
    if size < 20 or len(data) < size + _HEADER.size:
        return None
    protocol, target = (data[6], data[24:40]) if version == 6 else (data[9], data[16:20])
    if protocol != (socket.IPPROTO_ICMPV6 if version == 6 else socket.IPPROTO_ICMP):
        return None
    kind, _code, _sum, identifier, sequence = _HEADER.unpack_from(data, size)
    if kind != ECHO_REQUEST[version]:
        return None
    return Answer(
        identifier, sequence, unreachable=words, target=ipaddress.ip_address(bytes(target))
    )


# --- the filter: classic BPF (linux/filter.h) -----------------------------------------------------

_LD_B_IND, _LD_H_IND = 0x50, 0x48
_LDX_MSH, _LDX_IMM, _JEQ, _RET = 0xB1, 0x01, 0x15, 0x06
_SO_ATTACH_FILTER = 26

_Instruction = tuple[int, int, int, int]


def filter_program(version: int, identifier: int) -> list[_Instruction]:
    """(code, jump if true, jump if false, value): replies with our identifier, and errors.

    X is where ICMP begins. Errors are rare; whose they are is seen in parse().
    """
    begin = (_LDX_MSH, 0, 0, 0) if version == 4 else (_LDX_IMM, 0, 0, 0)
    first, second = _ERROR_TYPES[version]
    return [
        begin,
        (_LD_B_IND, 0, 0, 0),
        (_JEQ, 4, 0, first),
        (_JEQ, 3, 0, second),
        (_JEQ, 0, 3, ECHO_REPLY[version]),
        (_LD_H_IND, 0, 0, 4),
        (_JEQ, 0, 1, identifier),
        (_RET, 0, 0, 0xFFFF),
        (_RET, 0, 0, 0),
    ]


def attach_filter(raw: socket.socket, version: int, identifier: int) -> None:
    """Have the kernel drop everything else before it wakes us. Raises OSError."""
    code = b"".join(struct.pack("=HBBI", *line) for line in filter_program(version, identifier))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
