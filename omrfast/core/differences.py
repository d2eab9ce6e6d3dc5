# SPDX-License-Identifier: GPL-2.0-or-later
"""Values that come again and again, such as a path's counters, as what has changed. Pure."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

from omrfast.core.codec import CodecError, Json, decode, encode, expect

Row = list[Json] | None
"""In turn: the place of a member among ``members``, and its change if it is a whole number, else
its new value."""


class Differences:
    """What has changed in a class whose instances come again and again; a fresh one on each side.

    ``members`` are the names that rows refer to, as the writing side has them.
    """

    def __init__(self, kind: type[Any], members: tuple[str, ...] | None = None) -> None:
        """Raises CodecError if the class has no such member."""
        hints = typing.get_type_hints(kind)
        self._kind = kind
        self.members = tuple(hints) if members is None else members
        for name in self.members:
            if name not in hints:
                raise CodecError(f"{kind.__name__} has no member {name!r}")
        self._whole_numbers = [hints[name] is int for name in self.members]
        self._hints = [hints[name] for name in self.members]
        self._known: dict[str, list[Any]] = {}
        first = kind()
        self._first = [getattr(first, name) for name in self.members]

    def write(self, values: Mapping[str, Any]) -> dict[str, Row]:
        """Rows of those that changed since the last call; None: it is not there any more."""
        rows: dict[str, Row] = {name: None for name in self._known if name not in values}
        for name, value in values.items():
            old = self._known.get(name)
            new = [getattr(value, member) for member in self.members]
            row = self._row(self._first if old is None else old, new)
            if row or old is None:
                rows[name] = row
        self._known = {
            name: [getattr(value, member) for member in self.members]
            for name, value in values.items()
        }
        return rows

    def _row(self, old: list[Any], new: list[Any]) -> list[Json]:
        row: list[Json] = []
        for place, (before, now) in enumerate(zip(old, new, strict=True)):
            if now != before:
                whole = self._whole_numbers[place]
                row += (place, now - before if whole else encode(self._hints[place], now))
        return row

    def read(self, rows: Json) -> dict[str, Any]:
        """The values that write() was given. Raises CodecError."""
        expect(rows, "an object", dict)
        for name, row in rows.items():
            if row is None:
                self._known.pop(name, None)
                continue
            expect(row, "an array", list)
            if len(row) % 2:
                raise CodecError(f"{len(row)} entries are not pairs")
            known = [*self._known.get(name, self._first)]
            for place, change in zip(row[::2], row[1::2], strict=True):
                self._change(known, place, change)
            self._known[name] = known
        return {
            name: self._kind(**dict(zip(self.members, known, strict=True)))
            for name, known in self._known.items()
        }

    def _change(self, known: list[Any], place: Json, change: Json) -> None:
        if type(place) is not int or not 0 <= place < len(known):
            raise CodecError(f"{str(place)[:40]!r} is no place of {self._kind.__name__}")
        value = decode(self._hints[place], change)
        known[place] = known[place] + value if self._whole_numbers[place] else value
