# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP options: timestamps (RFC 7323), SACK (RFC 2018), MPTCP (RFC 8684; version 0: RFC 6824)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

END, NOP, SACK, TIMESTAMPS, MPTCP = 0, 1, 5, 8, 30


class Subtype(IntEnum):
    CAPABLE = 0
    JOIN = 1
    DSS = 2
    ADD_ADDR = 3
    REMOVE_ADDR = 4
    PRIO = 5
    FAIL = 6
    FASTCLOSE = 7
    TCPRST = 8


ADD_ADDR_LENGTHS = {8, 10, 16, 18, 20, 22, 28, 30}


class BadChain(Exception):
    """An option's length contradicts the header's."""


@dataclass(frozen=True)
class Mptcp:
    """One MPTCP option of an allowed length; members that the subtype lacks stay None."""

    subtype: int
    version: int | None = None
    keys: tuple[bytes, ...] = ()
    backup: bool = False
    address_id: int | None = None
    token: bytes | None = None
    data_ack: int | None = None
    """Only one of 64 bits."""
    data_seq: int | None = None
    """Only one of 64 bits."""
    infinite: bool = False


@dataclass
class Options:
    timestamps: tuple[int, int] | None = None
    """TSval, TSecr."""
    sack: list[tuple[int, int]] | None = None
    mptcp: list[Mptcp] = field(default_factory=list)
    left_out: bool = False
    """One that we use had a length that its RFC does not allow."""

    def last(self, subtype: int) -> Mptcp | None:
        """Of one subtype given twice the last one counts."""
        return next((one for one in reversed(self.mptcp) if one.subtype == subtype), None)

    def carries(self, subtype: int) -> bool:
        return self.last(subtype) is not None

    @property
    def infinite(self) -> bool:
        return any(option.infinite for option in self.mptcp)


def chain(content: bytes) -> list[tuple[int, bytes]]:
    """(kind, bytes behind kind and length) in order. Raises BadChain."""
    found = []
    at = 0
    while at < len(content) and content[at] != END:
        if content[at] == NOP:
            at += 1
            continue
        if at + 1 >= len(content):
            raise BadChain
        size = content[at + 1]
        if size < 2 or at + size > len(content):
            raise BadChain
        found.append((content[at], content[at + 2 : at + size]))
        at += size
    return found


def read_options(content: bytes, syn: bool, ack: bool) -> Options:
    """What a chain says; syn and ack are the segment's. Of one kind the last counts."""
    options = Options()
    found = chain(content)
    for kind, body in found:
        if kind == TIMESTAMPS:
            if len(body) == 8:
                options.timestamps = struct.unpack("!II", body)
            else:
                options.left_out = True
        elif kind == SACK:
            if len(body) in (8, 16, 24, 32):
                edges = struct.unpack(f"!{len(body) // 4}I", body)
                options.sack = list(zip(edges[::2], edges[1::2], strict=True))
            else:
                options.left_out = True
        elif kind == MPTCP:
            option = read_mptcp(body, syn, ack)
            if option is None:
                options.left_out = True
            else:
                options.mptcp.append(option)
    return options


def read_mptcp(body: bytes, syn: bool, ack: bool) -> Mptcp | None:
    """None: a length that is not allowed."""
    if not body:
        return None
    subtype, size = body[0] >> 4, len(body) + 2
    if subtype == Subtype.CAPABLE:
        return _capable(body, size, syn, ack)
    if subtype == Subtype.JOIN:
        return _join(body, size, syn, ack)
    if subtype == Subtype.DSS:
        return _dss(body, size)
    allowed = {
        Subtype.ADD_ADDR: size in ADD_ADDR_LENGTHS,
        Subtype.REMOVE_ADDR: size >= 4,
        Subtype.PRIO: size in (3, 4),
        Subtype.FAIL: size == 12,
        Subtype.FASTCLOSE: size == 12,
        Subtype.TCPRST: size == 4,
    }
    if not allowed.get(subtype, True):
        return None
    return Mptcp(subtype, backup=subtype == Subtype.PRIO and bool(body[0] & 1))


def _capable(body: bytes, size: int, syn: bool, ack: bool) -> Mptcp | None:
    """RFC 8684 section 3.1, RFC 6824 section 3.1."""
    version = body[0] & 15
    if syn and not ack:
        lengths = {12} if version == 0 else {4}
    elif syn:
        lengths = {12}
    else:
        lengths = {20, 22, 24}
    if size not in lengths:
        return None
    keys = tuple(body[at : at + 8] for at in (2, 10) if at + 8 <= len(body))
    return Mptcp(Subtype.CAPABLE, version=version, keys=keys)


def _join(body: bytes, size: int, syn: bool, ack: bool) -> Mptcp | None:
    """RFC 8684 section 3.2."""
    if not syn:
        return Mptcp(Subtype.JOIN) if size == 24 else None
    if size != (16 if ack else 12):
        return None
    token = None if ack else body[2:6]
    return Mptcp(Subtype.JOIN, backup=bool(body[0] & 1), address_id=body[1], token=token)


def _dss(body: bytes, size: int) -> Mptcp | None:
    """RFC 8684 section 3.3."""
    if len(body) < 2:
        return None
    flags = body[1]
    ack_size = (8 if flags & 2 else 4) if flags & 1 else 0
    seq_size = (8 if flags & 8 else 4) if flags & 4 else 0
    mapping = seq_size + 4 + 2 if seq_size else 0
    expected = 4 + ack_size + mapping
    if size != expected and not (mapping and size == expected + 2):
        return None
    data_ack = struct.unpack_from("!Q", body, 2)[0] if ack_size == 8 else None
    data_seq = struct.unpack_from("!Q", body, 2 + ack_size)[0] if seq_size == 8 else None
    infinite = bool(mapping) and body[ack_size + seq_size + 6 : ack_size + seq_size + 8] == b"\0\0"
    return Mptcp(Subtype.DSS, data_ack=data_ack, data_seq=data_seq, infinite=infinite)
