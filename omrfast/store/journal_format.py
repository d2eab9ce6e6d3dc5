# SPDX-License-Identifier: GPL-2.0-or-later
"""The journal's lines: what is written of each thing that happens, and reading it again.

JSON lines, also packed by gzip. ``t`` is CLOCK_MONOTONIC, ``wall`` Unix time::

    {"begin": {"format": 1, "omrfast": version, "t", "wall", "goes_on", "members", "state"}}
    {"t", "tick": {path: row}}          rows: see core/differences.py, places: see "members"
    {"t", "in": {class: members}}       any other input of the core
    {"t", "asked": [[path, target], …]} the probes that were sent then
    {"t", "wall", "decision": {…}}
    {"wall", "action": {"what", …}}
    {"wall", "agent": text}

A segment reaches from ``begin`` to the next one, or on through it where that one ``goes_on``.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omrfast import __version__
from omrfast.core.codec import CodecError, Json, decode, encode
from omrfast.core.differences import Differences
from omrfast.core.events import Tick
from omrfast.core.outcome import Decision, ProbeOrder
from omrfast.core.recording import Input, Segment
from omrfast.core.state import CoreState
from omrfast.core.types import PathCounters
from omrfast.core.views import ActionView

FORMAT = 1
SUFFIX = ".jsonl"
"""Of the files in the journal's folder; their names are numbers, the oldest is the least."""
GZIP_MAGIC = b"\x1f\x8b"


class JournalError(Exception):
    """A journal can't be read or written; the text says which, why and what to do."""


# --- what is written ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begin:
    """A state from which the inputs that follow can be replayed."""

    t: float
    wall: float
    state: CoreState
    goes_on: bool
    """Nothing is missing since the input written before it."""


@dataclass(frozen=True, slots=True)
class Took:
    """An input of the core."""

    t: float
    item: Input


@dataclass(frozen=True, slots=True)
class Asked:
    """Probes that the core ordered."""

    t: float
    orders: tuple[ProbeOrder, ...]


@dataclass(frozen=True, slots=True)
class Decided:
    wall: float
    decision: Decision


@dataclass(frozen=True, slots=True)
class Acted:
    action: ActionView
    what: str


@dataclass(frozen=True, slots=True)
class Said:
    """Something about the agent itself."""

    wall: float
    text: str


Entry = Begin | Took | Asked | Decided | Acted | Said


class LineMaker:
    """Entries as lines; what it has written since the last Begin is needed to read them."""

    def __init__(self) -> None:
        self._counters = Differences(PathCounters)

    def line(self, entry: Entry) -> bytes:
        """One line, its end included."""
        return json.dumps(self._object(entry), separators=(",", ":")).encode() + b"\n"

    def _object(self, entry: Entry) -> Json:
        match entry:
            case Begin(t, wall, state, goes_on):
                self._counters = Differences(PathCounters)
                head = {"format": FORMAT, "omrfast": __version__, "t": t, "wall": wall}
                members = list(self._counters.members)
                told = {"goes_on": goes_on, "members": members, "state": encode(CoreState, state)}
                return {"begin": head | told}
            case Took(t, Tick(counters)):
                return {"t": t, "tick": self._counters.write(counters)}
            case Took(t, item):
                return {"t": t, "in": encode(Input, item)}
            case Asked(t, orders):
                return {"t": t, "asked": [[order.path, order.target] for order in orders]}
            case Decided(wall, decision):
                written = encode(Decision, decision)
                return {"t": decision.at, "wall": wall, "decision": written}
            case Acted(action, what):
                written = {"what": what} | encode(ActionView, action)
                return {"wall": action.at, "action": written}
            case Said(wall, text):
                return {"wall": wall, "agent": text}


# --- reading it again -----------------------------------------------------------------------------


@dataclass(slots=True)
class Recording:
    """What a journal holds."""

    segments: list[Segment] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What could not be read: "file:line: why". A torn last line is none."""
    unplaced: int = 0
    """Decisions that can't be replayed: the state and the inputs before them are not there."""


class _Reader:
    def __init__(self) -> None:
        self.recording = Recording()
        self._counters: Differences | None = None
        """None: outside a segment that can be read."""
        self._begin: tuple[float, float, CoreState] | None = None
        self._inputs: list[tuple[float, Input]] = []
        self._asked: list[tuple[float, ProbeOrder]] = []
        self._decisions: list[Decision] = []

    def take(self, data: Json) -> None:
        """One line's object. Raises CodecError, KeyError, TypeError or JournalError."""
        if "begin" in data:
            self._on_begin(data["begin"])
        elif "decision" in data:
            decision = decode(Decision, data["decision"])
            if self._counters is None:
                self.recording.unplaced += 1
            else:
                self._decisions.append(decision)
        elif self._counters is None:
            return
        elif "tick" in data:
            tick = Tick(self._counters.read(data["tick"]))
            self._inputs.append((decode(float, data["t"]), tick))
        elif "in" in data:
            self._inputs.append((decode(float, data["t"]), decode(Input, data["in"])))
        elif "asked" in data:
            pairs = decode(tuple[tuple[str, str], ...], data["asked"])
            at = decode(float, data["t"])
            self._asked += ((at, ProbeOrder(path, target)) for path, target in pairs)

    def _on_begin(self, data: Json) -> None:
        going_on = self._counters is not None and data["goes_on"]
        if not going_on:
            self.cut()
        if data["format"] != FORMAT:
            raise JournalError(
                f"format {data['format']!r}, written by omrfast {data['omrfast']}; "
                f"this program reads format {FORMAT}"
            )
        counters = Differences(PathCounters, tuple(data["members"]))
        if not going_on:
            state = decode(CoreState, data["state"])
            self._begin = decode(float, data["t"]), decode(float, data["wall"]), state
        self._counters = counters

    def cut(self) -> None:
        """The segment ends here."""
        if self._begin is not None:
            begun, wall, state = self._begin
            found = tuple(self._inputs), tuple(self._decisions), tuple(self._asked)
            self.recording.segments.append(Segment(begun, wall, state, *found))
        self._begin, self._counters = None, None
        self._inputs, self._decisions, self._asked = [], [], []


def read(path: Path) -> Recording:
    """A journal file, a --record file (each also packed by gzip), or a journal's folder.

    Raises JournalError if there is nothing to read.
    """
    files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not files:
        raise JournalError(f"{path}: no journal in it: no file *{SUFFIX}")
    reader = _Reader()
    for file in files:
        _read_file(file, reader)
    reader.cut()
    found = reader.recording
    if not found.segments:
        why = found.problems[0] if found.problems else f"{path}: it holds no measurements"
        raise JournalError(why)
    return found


def _read_file(file: Path, reader: _Reader) -> None:
    for number, line in enumerate(_lines(file), 1):
        try:
            data = json.loads(line)
            if number == 1 and "begin" not in data:
                reader.cut()  # a new file took no inputs before its first state
            reader.take(data)
        except (ValueError, CodecError, JournalError, KeyError, TypeError, RecursionError) as error:
            reader.cut()
            if line.endswith(b"\n"):
                reader.recording.problems.append(f"{file}:{number}: {_why(error)}")


def _why(error: Exception) -> str:
    if isinstance(error, JournalError):
        return str(error)
    words = str(error) or type(error).__name__
    return f"not a line of a journal ({words}); left out up to the next recorded state"


def _lines(file: Path) -> Iterator[bytes]:
    """Raises JournalError if the file can't be read; a packed one that is cut short just ends."""
    try:
        with file.open("rb") as opened:
            packed = opened.read(2) == GZIP_MAGIC
        unpack: Any = gzip.open if packed else open
        with unpack(file, "rb") as lines:
            yield from lines
    except EOFError:
        return
    except (OSError, zlib.error) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise JournalError(f"{file}: {words}") from error
