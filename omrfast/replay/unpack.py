# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading gzip (RFC 1952) to where it ends too early, or to a few kilobytes before it is wrong."""

from __future__ import annotations

import io
import zlib
from typing import IO

_CHUNK = 1 << 16
_GZIP = 31
"""zlib's window bits for a gzip header."""


class Unpacked(io.RawIOBase):
    """The contents of a gzip file, all its members; ends early where it is damaged."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._member = zlib.decompressobj(_GZIP)
        self._packed = b""
        self.damage: str | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, room: object) -> int:
        view = memoryview(room).cast("B")  # type: ignore[arg-type]
        data = b""
        while not data and self.damage is None:
            if not self._packed:
                self._packed = self._file.read(_CHUNK)
                if not self._packed:
                    if not self._member.eof:
                        self.damage = "it ends too early"
                    break
            data = self._unpack(len(view))
        view[: len(data)] = data
        return len(data)

    def _unpack(self, most: int) -> bytes:
        if self._member.eof:
            self._member = zlib.decompressobj(_GZIP)
        try:
            data = self._member.decompress(self._packed, most)
        except zlib.error as error:
            self.damage = str(error)
            return b""
        self._packed = self._member.unused_data or self._member.unconsumed_tail
        return data
