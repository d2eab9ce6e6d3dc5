# SPDX-License-Identifier: GPL-2.0-or-later
"""From a capture's link types to the two framings that the programs know.

Where the capture replaced the link header (Linux cooked), the frame is put back as the device had
it: Ethernet with the protocol that was noted, or bare IP. Other headers of point-to-point links are
taken off; what they carry besides IP is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from omrfast.shim._shim import lib

ETHERNET: int = lib.OMR_L2_ETHERNET
BARE: int = lib.OMR_L2_NONE

UNKNOWN, INBOUND, OUTBOUND, ELSEWHERE = 0, 1, 2, 3
"""Direction as the capture itself tells it; ELSEWHERE: between other machines."""

NO_MAC = bytes(6)
"""Destination of frames whose capture does not tell it."""
_IP_TYPES = (0x0800, 0x86DD)
_ADDRESS_FAMILIES = (2, 10, 24, 28, 30)
"""AF_INET, and AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, Darwin."""
_PPP_PROTOCOLS = (0x0021, 0x0057)
_FRAMED_DEVICES = (1, 772)
"""ARPHRD_ETHER and ARPHRD_LOOPBACK, whose frames begin with an Ethernet header."""
_COOKED_DIRECTIONS = (INBOUND, INBOUND, INBOUND, ELSEWHERE, OUTBOUND)
"""By packet type of Linux cooked captures: host, broadcast, multicast, other host, outgoing."""


class Frame(NamedTuple):
    """A packet as the programs take it."""

    l2: int
    data: bytes
    wire_len: int
    direction: int = UNKNOWN


Unframe = Callable[[bytes, int], Frame | None]
"""(captured bytes, length on the wire) to a frame; None: not IP."""


def _ethernet(data: bytes, wire_len: int) -> Frame | None:
    return Frame(ETHERNET, data, wire_len)


def _bare(data: bytes, wire_len: int) -> Frame | None:
    return Frame(BARE, data, wire_len)


def _without(data: bytes, wire_len: int, header: int) -> Frame:
    return Frame(BARE, data[header:], max(wire_len - header, 0))


def _null(data: bytes, wire_len: int) -> Frame | None:
    """Four bytes of address family, in the byte order of whoever wrote it."""
    head = data[:4]
    families = int.from_bytes(head, "little"), int.from_bytes(head, "big")
    return _without(data, wire_len, 4) if set(families) & set(_ADDRESS_FAMILIES) else None


def _ppp(data: bytes, wire_len: int) -> Frame | None:
    """RFC 1661 and 1662: address and control may be there; the protocol may be compressed."""
    at = 2 if data[:2] == b"\xff\x03" else 0
    if data[at : at + 1] and data[at] & 1:
        protocol, at = data[at], at + 1
    else:
        protocol, at = int.from_bytes(data[at : at + 2], "big"), at + 2
    return _without(data, wire_len, at) if protocol in _PPP_PROTOCOLS else None


def _pppoe(data: bytes, wire_len: int) -> Frame | None:
    """RFC 2516: six bytes before PPP; code 0 is a session's."""
    return _ppp(data[6:], wire_len - 6) if data[1:2] == b"\0" else None


def _cooked(
    data: bytes, wire_len: int, header: int, kind: int, protocol: int, device: int, sender: bytes
) -> Frame | None:
    direction = _COOKED_DIRECTIONS[kind] if kind < len(_COOKED_DIRECTIONS) else UNKNOWN
    if device in _FRAMED_DEVICES:
        ethernet = NO_MAC + sender + protocol.to_bytes(2, "big")
        grown = wire_len - header + len(ethernet)
        return Frame(ETHERNET, ethernet + data[header:], grown, direction)
    if protocol not in _IP_TYPES:
        return None
    return Frame(BARE, data[header:], wire_len - header, direction)


def _sll(data: bytes, wire_len: int) -> Frame | None:
    if len(data) < 16:
        return None
    kind, device, _, sender, protocol = struct.unpack_from(">HHH6s2xH", data)
    return _cooked(data, wire_len, 16, kind, protocol, device, sender)


def _sll2(data: bytes, wire_len: int) -> Frame | None:
    if len(data) < 20:
        return None
    protocol, device, kind, _, sender = struct.unpack_from(">H6xHBB6s", data)
    return _cooked(data, wire_len, 20, kind, protocol, device, sender)


LINKS: dict[int, tuple[str, Unframe]] = {
    0: ("NULL", _null),
    1: ("EN10MB", _ethernet),
    9: ("PPP", _ppp),
    12: ("RAW", _bare),
    14: ("RAW", _bare),
    50: ("PPP_SERIAL", _ppp),
    51: ("PPP_ETHER", _pppoe),
    101: ("RAW", _bare),
    108: ("LOOP", _null),
    113: ("LINUX_SLL", _sll),
    228: ("IPV4", _bare),
    229: ("IPV6", _bare),
    276: ("LINUX_SLL2", _sll2),
}
"""LINKTYPE_* (tcpdump.org/linktypes.html) to its name and how its frames are taken apart."""
