# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading captures: pcap and pcapng (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng).

A reader of its own, because a replay must know what general ones hide: which interface and which
direction a packet had, time zones of sections, and where a damaged file ends. What was read before
the damage is good; `Capture.damage` then names it.
"""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

from omrfast.replay.unpack import Unpacked

LONGEST = 16 << 20
"""Bytes; a record that claims more is damage."""

SECTION = 0x0A0D0D0A
_PCAP_MAGICS = {
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}
"""Magic to byte order and nanoseconds per unit of the second half of a time."""
_INTERFACE, _OLD_PACKET, _SIMPLE, _ENHANCED = 1, 2, 3, 6
_OPTION_FLAGS, _OPTION_RESOLUTION, _OPTION_OFFSET = 2, 9, 14


class CaptureError(Exception):
    """The file cannot be replayed at all; the text names it and says what to do."""


class _Damage(Exception):
    """The file ends or contradicts itself here."""


class Packet(NamedTuple):
    """One record of a capture."""

    number: int
    """From 1, as tshark's frame.number."""
    at_ns: int | None
    """Unix time in nanoseconds; None: the record has none."""
    link: int
    """LINKTYPE_*."""
    wire_len: int
    """Bytes it had, not those that were kept."""
    data: bytes
    direction: int
    """pcapng's: 0 unknown, 1 inbound, 2 outbound."""


@dataclass(slots=True)
class _Interface:
    link: int
    kept: int
    """snaplen; 0: all."""
    units: int
    """Per second."""
    offset_s: int


@dataclass(slots=True)
class Capture:
    """An open capture; iterate over it once."""

    name: str
    stream: IO[bytes]
    """Unpacked, behind the first four bytes."""
    format: str
    """pcap or pcapng."""
    damage: str | None = None
    resolution_ns: float | None = None
    """Of the times, the coarsest that was met."""
    _magic: bytes = b""
    _file: IO[bytes] | None = None
    _packing: Unpacked | None = None
    _order: str = "<"
    _interfaces: list[_Interface] = field(default_factory=list)

    def __iter__(self) -> Iterator[Packet]:
        number = 0
        try:
            for packet in self._pcap() if self.format == "pcap" else self._pcapng():
                number = packet.number
                yield packet
        except _Damage as damage:
            self.damage = f"{self.name}: {damage}{_used(number)}"
        packing = self._packing.damage if self._packing else None
        if packing:
            self.damage = f"{self.name}: damaged compression: {packing}{_used(number)}"

    def position(self) -> int:
        """Bytes of the file read so far, compressed or not."""
        return 0 if self._file is None or not self._file.seekable() else self._file.tell()

    def close(self) -> None:
        self.stream.close()
        if self._file is not None and self._file is not sys.stdin.buffer:
            self._file.close()

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, size: int, what: str) -> bytes:
        if size > LONGEST:
            raise _Damage(f"{what} of {size} bytes is too long to be true")
        data = self.stream.read(size)
        if len(data) < size:
            raise _Damage(f"cut off in {what}: {len(data)} of {size} bytes are there")
        return data

    def _coarsest(self, step_ns: float) -> None:
        self.resolution_ns = max(self.resolution_ns or 0, step_ns)

    # --- pcap ---------------------------------------------------------------------------------

    def _pcap(self) -> Iterator[Packet]:
        order, step = _PCAP_MAGICS[self._magic]
        self._coarsest(step)
        header = struct.Struct(f"{order}HHiIII")
        kind = header.unpack(self._take(header.size, "the file's header"))[-1]
        link, check = kind & 0xFFFF, _check_bytes(kind)
        record = struct.Struct(f"{order}IIII")
        number = 0
        while True:
            head = self.stream.read(record.size)
            if not head:
                return
            number += 1
            if len(head) < record.size:
                raise _Damage(f"cut off in the header of packet {number}")
            seconds, fraction, captured, wire = record.unpack(head)
            data = self._take(captured, f"packet {number}")
            at = seconds * 1_000_000_000 + fraction * step
            wire = max(max(wire, captured) - check, 0)
            yield Packet(number, at, link, wire, data[:wire], 0)

    # --- pcapng -------------------------------------------------------------------------------

    def _pcapng(self) -> Iterator[Packet]:
        self._section()
        number = 0
        while True:
            head = self.stream.read(8)
            if not head:
                return
            if len(head) < 8:
                raise _Damage("cut off in a block's header")
            kind, size = struct.unpack(f"{self._order}II", head)
            if kind == SECTION:
                self._section(head[4:])
                continue
            if size < 12 or size % 4:
                raise _Damage(f"a block claims a length of {size} bytes")
            body = self._take(size - 12, "a block")
            if self._take(4, "a block's end") != head[4:]:
                raise _Damage("the two lengths of a block differ")
            if kind == _INTERFACE:
                self._add_interface(body)
            elif kind in (_ENHANCED, _OLD_PACKET, _SIMPLE):
                number += 1
                yield self._packet(number, kind, body)

    def _section(self, size: bytes | None = None) -> None:
        """A section header, from behind its type (or its length): byte order, no interface yet."""
        size = size or self._take(4, "the section header")
        magic = self._take(4, "the section header")
        if magic not in (b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a"):
            raise _Damage("a section header without its magic number")
        self._order = ">" if magic[0] == 0x1A else "<"
        (length,) = struct.unpack(f"{self._order}I", size)
        if length < 28 or length % 4:
            raise _Damage(f"a section header claims a length of {length} bytes")
        body = self._take(length - 12, "the section header")
        (major,) = struct.unpack_from(f"{self._order}H", body)
        if major != 1:
            raise _Damage(f"pcapng version {major} is not known")
        self._interfaces = []

    def _options(self, body: bytes, at: int) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        while at + 4 <= len(body):
            code, size = struct.unpack_from(f"{self._order}HH", body, at)
            if code == 0:
                break
            found[code] = body[at + 4 : at + 4 + size]
            at += 4 + (size + 3) // 4 * 4
        return found

    def _add_interface(self, body: bytes) -> None:
        if len(body) < 8:
            raise _Damage("an interface description that is too short")
        link, _, kept = struct.unpack_from(f"{self._order}HHI", body)
        options = self._options(body, 8)
        units, offset = 1_000_000, 0
        if len(options.get(_OPTION_RESOLUTION, b"")) == 1:
            (code,) = options[_OPTION_RESOLUTION]
            units = (2 if code & 0x80 else 10) ** (code & 0x7F)
        if len(options.get(_OPTION_OFFSET, b"")) == 8:
            (offset,) = struct.unpack(f"{self._order}q", options[_OPTION_OFFSET])
        self._interfaces.append(_Interface(link, kept, units, offset))

    def _interface(self, index: int, number: int) -> _Interface:
        if index >= len(self._interfaces):
            raise _Damage(f"packet {number} is of interface {index}, which is not described")
        return self._interfaces[index]

    def _packet(self, number: int, kind: int, body: bytes) -> Packet:
        try:
            if kind == _SIMPLE:
                return self._simple(number, body)
            layout = "IIIII" if kind == _ENHANCED else "HxxIIII"
            index, high, low, captured, wire = struct.unpack_from(self._order + layout, body)
        except struct.error:
            raise _Damage(f"the block of packet {number} is too short") from None
        interface = self._interface(index, number)
        if captured > len(body) - 20:
            raise _Damage(f"packet {number} is longer than its block")
        options = self._options(body, 20 + (captured + 3) // 4 * 4)
        flags = options.get(_OPTION_FLAGS, b"")
        direction = struct.unpack(f"{self._order}I", flags)[0] & 3 if len(flags) == 4 else 0
        self._coarsest(1e9 / interface.units)
        at = (high << 32 | low) * 1_000_000_000 // interface.units
        at += interface.offset_s * 1_000_000_000
        if not 0 <= at < 1 << 63:
            raise _Damage(f"the time of packet {number} is out of all range")
        data = body[20 : 20 + captured]
        return Packet(number, at, interface.link, max(wire, captured), data, direction)

    def _simple(self, number: int, body: bytes) -> Packet:
        (wire,) = struct.unpack_from(f"{self._order}I", body)
        interface = self._interface(0, number)
        captured = min(wire, interface.kept or wire, len(body) - 4)
        return Packet(number, None, interface.link, wire, body[4 : 4 + captured], 0)


def _used(packets: int) -> str:
    return f" (after packet {packets}); what was read is used" if packets else ""


def _check_bytes(kind: int) -> int:
    """Of pcap's link type field: how much of each packet is a frame check sequence, in bytes."""
    return (kind >> 28) * 2 if kind & 1 << 26 else 0


def open_capture(path: str) -> Capture:
    """The capture at path (- is standard input); gzip is unpacked on the way.

    Raises CaptureError if it is empty or no capture, OSError if it cannot be opened.
    """
    name = "standard input" if path == "-" else path
    raw: Any = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115
    file: io.BufferedReader = raw
    try:
        packing = Unpacked(file) if file.peek(2)[:2] == b"\x1f\x8b" else None
        stream: IO[bytes] = io.BufferedReader(packing) if packing else file
        magic = stream.read(4)
        if packing and packing.damage and len(magic) < 4:
            raise CaptureError(f"{name}: damaged compression: {packing.damage}")
        kind = _format(name, magic)
    except BaseException:
        file.close()
        raise
    return Capture(name, stream, kind, _magic=magic, _file=file, _packing=packing)


def _format(name: str, magic: bytes) -> str:
    if magic in _PCAP_MAGICS:
        return "pcap"
    if magic == struct.pack(">I", SECTION):
        return "pcapng"
    if not magic:
        raise CaptureError(f"{name} is empty; write a capture to it: tcpdump -w FILE -i INTERFACE")
    raise CaptureError(
        f"{name} is no capture (it begins with {magic.hex(' ')}): "
        "pcap, pcapng and both packed by gzip are read"
    )
