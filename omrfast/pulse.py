# SPDX-License-Identifier: GPL-2.0-or-later
"""The core's pulse: counters read when they are due, one step after the other, and what follows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from omrfast.core import policy, watch
from omrfast.core.config import PathConfig
from omrfast.core.events import Event, ProbesLate, Tick
from omrfast.core.outcome import Decision, Outcome, ProbeOrder, Wish
from omrfast.core.state import NEVER, CoreState, PathRecord
from omrfast.core.types import Glimpse, PathCounters
from omrfast.core.watch import Watch
from omrfast.store.journal import Recorder

log = logging.getLogger(__name__)

SHORTEST_WAIT = 0.004
LATE = 0.003
"""Seconds from a step to its probes that the core has to know of."""
FAILURES_ENDURED = 10
RETRY = 0.2


class Pulse:
    """Holds the core's state and steps it; used on the loop's thread only."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        paths: tuple[PathConfig, ...],
        *,
        recorder: Recorder,
        read: Callable[[], Mapping[str, PathCounters]],
        glance: Callable[[], Mapping[str, Glimpse]],
        ask: Callable[[ProbeOrder], None],
        collect: Callable[[], None],
        decided: Callable[[Decision], None],
        troubled: Callable[[str | None], None],
        wished: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """``collect`` is called before the counters are read: what has arrived must be known
        before time is up. ``glance`` reads of them what may not wait. ``wished`` is called when
        ``wishes`` or ``aborts`` have changed; ``troubled`` with the local trouble after every step;
        ``failed`` when reading goes on failing."""
        self._loop = loop
        self._recorder = recorder
        self._read = read
        self._glance = glance
        self._ask = ask
        self._collect = collect
        self._decided = decided
        self._troubled = troubled
        self._wished = wished
        self._failed = failed
        self._handle: asyncio.TimerHandle | None = None
        self._failures = 0
        self._watch = Watch(NEVER, ())
        self.state: CoreState = policy.start(tuple(PathRecord(path) for path in paths), loop.time())
        self.wishes: dict[str, Wish] = {}
        self.aborts: frozenset[str] = frozenset()
        """Paths that have died since take_aborts()."""
        self.seconds = 0.0
        """What the last tick took."""

    @property
    def paths(self) -> tuple[PathConfig, ...]:
        return tuple(record.config for record in self.state.paths)

    @property
    def packets(self) -> int:
        """That crossed any path in either direction, as of the last tick."""
        counters = (record.model.counters for record in self.state.paths)
        return sum(c.tx_packets + c.rx_packets for c in counters if c is not None)

    def reconfigure(self, paths: tuple[PathConfig, ...]) -> None:
        """Other paths from now on; those known by name keep what is known of them."""
        now = self._loop.time()
        self._recorder.reconfigured(self.state, now, paths)
        self.state = policy.reconfigure(self.state, paths, now)
        self._watch = Watch(NEVER, ())

    def take_aborts(self) -> frozenset[str]:
        aborts, self.aborts = self.aborts, frozenset()
        return aborts

    def tick(self) -> None:
        """Look, and step if the look does not do. What fails is tried again; failing on and on is
        told."""
        started = time.monotonic()
        try:
            self._collect()
            if not self._overlooks():
                self.take(Tick(watch.with_looks(self._watch, self._read())))
            self._failures = 0
        except Exception as error:
            log.exception("a tick failed")
            self._failures += 1
            if self._failures >= FAILURES_ENDURED:
                self._failed(error)
            self._handle = self._loop.call_later(RETRY, self.tick)
        self.seconds = time.monotonic() - started

    def _overlooks(self) -> bool:
        """Whether a look shows nothing that the core has to hear of; then there will be another."""
        if self._loop.time() >= self._watch.until:
            return False
        seen = self._glance()
        looked = watch.look(self._watch, seen, self._loop.time())
        if looked is None:
            return False
        self._watch, wake_at = looked
        self._wake_at(max(wake_at, self._loop.time() + SHORTEST_WAIT))
        return True

    def take(self, event: Event) -> None:
        """One step of the core, and what follows from it."""
        now = self._loop.time()
        self._recorder.take(self.state, now, event)
        outcome = policy.step(self.state, event, now)
        self.state = outcome.state
        self._recorder.asked(now, outcome.probes)
        for order in outcome.probes:
            self._ask(order)
        left_at = self._loop.time()
        before, self._watch, wake_at = self._watch, outcome.watch, outcome.wake_at
        if not isinstance(event, Tick):
            self._watch, wake_at = watch.goes_on(before, outcome.watch, wake_at)
        self._judged(outcome, dict(outcome.wishes))
        self._wake_at(max(wake_at, now + SHORTEST_WAIT))
        if outcome.probes and left_at - now > LATE:
            names = dict.fromkeys(order.path for order in outcome.probes)
            self.take(ProbesLate(tuple(names), now, left_at))

    def _wake_at(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_at(at, self.tick)

    def _judged(self, outcome: Outcome, wishes: dict[str, Wish]) -> None:
        self._troubled(outcome.state.trouble)
        for decision in outcome.decisions:
            self._decided(decision)
        if wishes != self.wishes or outcome.aborts:
            self.wishes = wishes
            self.aborts |= outcome.aborts
            self._wished()

    def close(self) -> None:
        """No tick from now on."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
