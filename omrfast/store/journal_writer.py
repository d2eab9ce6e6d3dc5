# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing the journal: a thread of its own, files of bounded size, a disk that may be full.

What fails is said once and costs lines of the journal, never the agent: nobody waits for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from omrfast.store.journal_format import (
    SUFFIX,
    Asked,
    Begin,
    Entry,
    JournalError,
    LineMaker,
    Took,
)

log = logging.getLogger(__name__)

DELAY = 1.0
"""Seconds before what has happened is made into lines: while a failover is under way, the
processor belongs to the event loop."""
AT_ONCE = 16
REST = 0.002
"""After so many entries the interpreter's lock is given up for this long, for the same reason."""
MOST_WAITING = 20_000
"""Entries; a disk that hangs may not fill the memory."""
CLOSING = 5.0


class Sink(Protocol):
    """Where lines go; used on the writer's thread only."""

    def begins(self) -> bool:
        """Whether a state in the middle of a segment is wanted here: the file is full enough."""

    def write(self, line: bytes, *, replayed: bool, begins: bool) -> bool:
        """Take a line; False if there is no room for it. ``replayed``: it needs those before it.
        Raises OSError."""

    def flush(self) -> None:
        """Raises OSError; what was not written by then is dropped."""

    def close(self) -> None: ...


class Folder:
    """Files of a folder, oldest removed, together never above ``size`` bytes."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size
        self._fd = -1
        self._number = 0
        self._written = 0
        """Bytes in the present file, those in the buffer included."""
        self._buffer = bytearray()
        self._older: list[tuple[Path, int]] = []
        """(file, bytes), oldest first."""

    def begins(self) -> bool:
        return self._written > self._size // 8

    def write(self, line: bytes, *, replayed: bool, begins: bool) -> bool:
        if self._fd < 0:
            self._open()
        fits = self._written + len(line) <= self._size // 2
        if len(line) > self._size // 2 or (replayed and not fits):
            return False
        if not fits or (begins and self.begins()):
            self._next()
        self._written += len(line)
        self._make_room()
        self._buffer += line
        return True

    def flush(self) -> None:
        if not self._buffer:
            return
        data, self._buffer = bytes(self._buffer), bytearray()
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError:
            self._written += done - len(data)
            self.close()  # the next line begins a new file: this one's last line may be torn
            raise

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            if self._written:
                self._older.append((self._path(self._number), self._written))
            else:  # a full disk takes files all the same, one a flush
                with contextlib.suppress(OSError):
                    self._path(self._number).unlink()
        self._fd = -1
        self._written = 0
        self._buffer.clear()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08}{SUFFIX}"

    def _open(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = sorted(p for p in self._folder.glob(f"*{SUFFIX}") if p.stem.isdecimal())
        self._older = [(path, path.stat().st_size) for path in found]
        self._number = int(found[-1].stem) if found else 0
        self._next()

    def _next(self) -> None:
        self.flush()
        self.close()
        self._number += 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path(self._number), flags, 0o600)

    def _make_room(self) -> None:
        while self._older and self._written + sum(size for _, size in self._older) > self._size:
            path, _ = self._older.pop(0)
            path.unlink(missing_ok=True)


class Single:
    """One file without a bound, made anew."""

    def __init__(self, path: Path) -> None:
        """Raises JournalError if it can't be made."""
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise JournalError(f"{path}: {error.strerror}; name another --record file") from error

    def begins(self) -> bool:
        return False

    def write(self, line: bytes, *, replayed: bool, begins: bool) -> bool:
        self._file.write(line)
        return True

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


class Writer:
    """A thread that makes entries into lines of a sink. put() and close() are the loop's."""

    def __init__(self, sink: Sink, name: str) -> None:
        """``name``: what is written, for messages."""
        self._sink = sink
        self._name = name
        self._lines = LineMaker()
        self._waiting: queue.SimpleQueue[Entry | list[Entry] | None] = queue.SimpleQueue()
        self._put = self._taken = 0
        """Entries since the start; the one is counted by the loop, the other by the thread."""
        self._gap = False
        """Entries were lost since the last put() that had room."""
        self._closing = threading.Event()
        self._severed = True
        """Inputs can't be read until the next Begin: one is missing."""
        self._complained = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Entries that are not taken up yet."""
        return self._put - self._taken

    def put(self, entry: Entry) -> None:
        """Never blocks; beyond MOST_WAITING the entry is lost."""
        if self.waiting >= MOST_WAITING:
            self._gap = True
            return
        if isinstance(entry, Begin):
            entry = replace(entry, goes_on=entry.goes_on and not self._gap)
            self._gap = False
        if not (self._gap and isinstance(entry, Took | Asked)):
            self._put += 1
            self._waiting.put(entry)

    def put_all(self, entries: list[Entry]) -> None:
        """Entries that follow a Begin, in one go: the list is the writer's from now on."""
        if not self._gap:
            self._put += len(entries)
            self._waiting.put(entries)

    def close(self) -> None:
        """Write what waits; give up after CLOSING seconds."""
        self._closing.set()
        self._waiting.put(None)
        self._thread.join(CLOSING)
        if self._thread.is_alive():
            log.error("%s: the disk does not answer; the end is missing", self._name)

    def _run(self) -> None:
        while True:
            waiting = [self._waiting.get()]
            self._closing.wait(DELAY)
            while not self._waiting.empty():
                waiting.append(self._waiting.get())
            ended = waiting[-1] is None
            entries = [entry for item in waiting for entry in _each(item)]
            self._taken += len(entries)
            for first in range(0, len(entries), AT_ONCE):
                self._write(entries[first : first + AT_ONCE])
                self._closing.wait(REST)
            if ended:
                self._sink.close()
                return

    def _write(self, entries: list[Entry]) -> None:
        try:
            for entry in entries:
                self._write_one(entry)
            self._sink.flush()
        except OSError as error:
            self._severed = True
            if not self._complained:
                self._complained = True
                log.error(
                    "%s: %s; what happens until there is room will be missing from it",
                    self._name,
                    error.strerror or error,
                )
        else:
            if self._complained and not self._severed:
                self._complained = False
                log.info("%s is written again", self._name)

    def _write_one(self, entry: Entry) -> None:
        begins = isinstance(entry, Begin)
        replayed = isinstance(entry, Took | Asked)
        if isinstance(entry, Begin) and entry.goes_on:
            if self._severed:
                entry = replace(entry, goes_on=False)
            elif not self._sink.begins():
                return
        elif replayed and self._severed:
            return
        written = self._sink.write(self._lines.line(entry), replayed=replayed, begins=begins)
        if begins or replayed:
            self._severed = not written


def _each(item: Entry | list[Entry] | None) -> list[Entry]:
    if isinstance(item, list):
        return item
    return [] if item is None else [item]
