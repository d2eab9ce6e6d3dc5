# SPDX-License-Identifier: GPL-2.0-or-later
"""The journal: what was decided and done, and around each decision what the core was given.

Below ``<state_dir>/journal``; the lines are described in journal_format.py. The core's inputs are
kept in memory and written only when a decision falls: those of the last BACK seconds at least,
and what comes until AFTER seconds after it. A suspicion that comes to nothing is no decision.
A --record file has every input from the start.

No address of a client of the router's network gets here: inputs and actions speak of paths,
servers and other targets of probes only.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from omrfast.core.config import Config, PathConfig
from omrfast.core.events import Event
from omrfast.core.outcome import Decision, ProbeOrder
from omrfast.core.recording import Input, Reconfigured
from omrfast.core.state import CoreState
from omrfast.core.types import PathState
from omrfast.core.views import ActionView
from omrfast.store.journal_format import Acted, Asked, Begin, Decided, Entry, Said, Took
from omrfast.store.journal_writer import Folder, Single, Writer

FOLDER = "journal"
BACK = 20.0
AFTER = 5.0
STRETCH = 10.0
"""Between two states that a segment can begin with."""
STRETCH_MOST = 1_000
"""Inputs; a stretch that has so many ends early."""
MOST = 4_000
"""Inputs kept in memory, whatever BACK says; some 2 kB each."""


@dataclass(slots=True)
class _Stretch:
    begun: float
    state: CoreState
    entries: list[Entry] = field(default_factory=list)


class _Track:
    """One writer, and what it may yet be told. Used on the loop's thread."""

    def __init__(self, writer: Writer, *, everything: bool) -> None:
        self.writer = writer
        self._everything = everything
        self._until = float("inf") if everything else float("-inf")
        """Inputs are written as they come until then."""
        self._marked = float("-inf")
        """When the writer was last given a state."""
        self._ring: deque[_Stretch] = deque()
        """What is not written (yet); empty while inputs are written."""
        self._contiguous = True
        """The ring begins where the writing ended."""

    def take(self, state: CoreState, now: float, item: Input) -> None:
        entry = Took(now, item)
        if now <= self._until:
            if now - self._marked >= STRETCH:
                self._mark(state, now, goes_on=True)
            self.writer.put(entry)
            return
        ring = self._ring
        if not ring or now - ring[-1].begun >= STRETCH or len(ring[-1].entries) >= STRETCH_MOST:
            ring.append(_Stretch(now, state))
            self._forget(now)
        ring[-1].entries.append(entry)

    def asked(self, now: float, orders: tuple[ProbeOrder, ...]) -> None:
        entry = Asked(now, orders)
        if now <= self._until:
            self.writer.put(entry)
        else:
            self._ring[-1].entries.append(entry)

    def decided(self, decision: Decision, *, passing: bool) -> None:
        entry = Decided(_wall(decision.at), decision)
        if decision.at <= self._until:
            self.writer.put(entry)
        elif passing:
            self._ring[-1].entries.append(entry)
            return
        else:
            self._write_ring()
            self.writer.put(entry)
        if not passing:
            self._until = max(self._until, decision.at + AFTER)

    def failed(self) -> None:
        """Something that should not be: what led to it is wanted."""
        self._write_ring()

    def _forget(self, now: float) -> None:
        ring = self._ring
        while len(ring) > 1 and (
            now - ring[1].begun >= BACK or sum(len(s.entries) for s in ring) > MOST
        ):
            ring.popleft()
            self._contiguous = False

    def _mark(self, state: CoreState, at: float, *, goes_on: bool) -> None:
        self.writer.put(Begin(at, _wall(at), state, goes_on))
        self._marked = at

    def _write_ring(self) -> None:
        goes_on = self._contiguous
        for stretch in self._ring:
            self._mark(stretch.state, stretch.begun, goes_on=goes_on)
            self.writer.put_all(stretch.entries)
            goes_on = True
        self._ring.clear()
        self._contiguous = True


class Recorder:
    """What happens in the agent, to the journal and to the --record file. Nothing here blocks."""

    def __init__(self, config: Config, record: str | None) -> None:
        """Raises JournalError if the --record file can't be made."""
        self._before: dict[str, PathState] = {}
        """State before the suspicion, by path."""
        self._tracks: list[_Track] = []
        if record is not None:
            tape = Writer(Single(Path(record)), record)
            self._tracks.append(_Track(tape, everything=True))
        if config.journal.size:
            folder = Path(config.agent.state_dir) / FOLDER
            writer = Writer(Folder(folder, config.journal.size), str(folder))
            self._tracks.append(_Track(writer, everything=False))

    def take(self, state: CoreState, now: float, item: Event) -> None:
        """An input that the core is about to be given in this state."""
        for track in self._tracks:
            track.take(state, now, item)

    def asked(self, now: float, orders: tuple[ProbeOrder, ...]) -> None:
        """The core's orders in answer to what it was given at ``now``."""
        if orders:
            for track in self._tracks:
                track.asked(now, orders)

    def reconfigured(self, state: CoreState, now: float, paths: tuple[PathConfig, ...]) -> None:
        """The core is about to be given these paths."""
        if paths != tuple(record.config for record in state.paths):
            for track in self._tracks:
                track.take(state, now, Reconfigured(paths))

    def decided(self, decision: Decision) -> None:
        """After the take() that led to it."""
        passing = self._passing(decision)
        for track in self._tracks:
            track.decided(decision, passing=passing)

    def _passing(self, decision: Decision) -> bool:
        """Whether it is a suspicion, or the end of one that came to nothing."""
        if decision.state is PathState.SUSPECT and isinstance(decision.before, PathState):
            self._before[decision.path] = decision.before
            return True
        if decision.before is PathState.SUSPECT:
            return self._before.pop(decision.path, None) is decision.state
        return False

    def acted(self, action: ActionView, what: str) -> None:
        """An operation was applied, or left out because this is a dry run."""
        for track in self._tracks:
            track.writer.put(Acted(action, what))

    def said(self, text: str) -> None:
        """Something about the agent itself."""
        for track in self._tracks:
            track.writer.put(Said(time.time(), text))

    def failed(self, error: BaseException) -> None:
        """The agent is about to end by a failure: what led to it is written."""
        for track in self._tracks:
            track.failed()
        self.said(f"failed: {error!r}")

    def close(self) -> None:
        """Write what waits, some seconds at the most."""
        for track in self._tracks:
            track.writer.close()


def _wall(at: float) -> float:
    """Unix time of an instant of CLOCK_MONOTONIC."""
    return time.time() - (time.monotonic() - at)
