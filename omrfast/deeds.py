# SPDX-License-Identifier: GPL-2.0-or-later
"""Operations under way: begun at once, recorded when done, told, and repeated where one packet or
one moment may not have been enough."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from omrfast.act.apply import Actuator, Timing
from omrfast.act.errors import ActionError
from omrfast.act.words import describe, kind_of
from omrfast.blackhole import Blackhole
from omrfast.core.cause import Cause
from omrfast.core.operations import (
    AbortHandshakes,
    ForgetBlackhole,
    Operation,
    SetSetting,
    SetWindow,
)
from omrfast.core.outcome import Wish
from omrfast.core.settings import SUBFLOWS
from omrfast.core.views import ActionView
from omrfast.marking import Marking
from omrfast.store.ledger import Ledger
from omrfast.telling import Again, Telling

SWEEP_AGAIN = 0.05
"""Seconds after a path was given up, its handshakes are aborted again: of connections that were
begun while the routes were being moved."""

_NO_PATH = "as found: no path any more"

Step = tuple[str, Operation]
"""An operation with the name of its path; empty: of none."""
Complaint = Callable[[str], None]


def _cause(op: Operation) -> Cause | None:
    """Of what is done whatever becomes of the paths."""
    match op:
        case SetSetting(name) if name == SUBFLOWS:
            return Cause("room for a subflow on every uplink")
        case SetSetting() | SetWindow():
            return Cause("as [tuning] says")
        case ForgetBlackhole():
            return Cause("it did so while a path was dead")
    return None


def _decided(causes: Mapping[str, Cause]) -> dict[str, Cause]:
    return {name: cause for name, cause in causes.items() if cause.decided_at is not None}


def _since(at: float | None, now: float) -> float | None:
    """Milliseconds."""
    return None if at is None else round((now - at) * 1e3, 3)


class Deeds:
    """To be used on one event loop."""

    def __init__(
        self,
        actuator: Actuator,
        ledger: Ledger,
        acted: Callable[[ActionView, str], None],
        *,
        dry_run: bool,
    ) -> None:
        """``acted`` is told of every operation applied. ``dry_run``: nothing is done unasked."""
        self._dry_run = dry_run
        self._actuator = actuator
        self._ledger = ledger
        self._acted = acted
        self._wishes: Mapping[str, Wish] = {}
        self._causes: dict[str, Cause] = {}
        """Of what is still to be done, by path."""
        self._failed: set[str] = set()
        """Paths of which an operation failed since the last decision."""
        self._defect: BaseException | None = None
        self._sweeps: list[asyncio.TimerHandle] = []
        self._telling = Telling(self._repeat, actuator.subflows)
        self._marking = Marking(self._repeat, actuator.unmarked)
        self._blackhole = Blackhole(actuator.blackholes, self._forget_blackhole)
        self.turn = 0
        """Operations begun: what was observed while it changed is not the truth."""
        self.under_way: set[asyncio.Task[None]] = set()

    def wish(self, wishes: Mapping[str, Wish], causes: Mapping[str, Cause]) -> None:
        """What operations are for from now on. Raises what no operation may: a defect."""
        if self._defect is not None:
            raise self._defect
        self._wishes = wishes
        self._causes = {**causes, **_decided(self._causes), **_decided(causes)}
        self._telling.wish(wishes)
        self._marking.wish(wishes)
        if not self._dry_run:
            gone = (name for name, wish in wishes.items() if wish.present is False)
            self._blackhole.wish(frozenset(gone))

    def settled(self) -> None:
        """All is as wished, but for what failed: the decisions have been acted on."""
        self._causes = {n: cause for n, cause in self._causes.items() if n in self._failed}
        self._failed.clear()

    async def rest(self) -> None:
        """Until nothing is under way."""
        while self.under_way:
            await asyncio.wait(self.under_way)

    def begin(self, path: str, op: Operation, complain: Complaint) -> None:
        """It is recorded in the ledger already; ``complain`` is told if it fails."""
        self.turn += 1
        self._add(self._finish(path, op, self._actuator.apply(op), complain))
        self._telling.told(path, op)
        if isinstance(op, AbortHandshakes):
            loop = asyncio.get_running_loop()
            handles = [handle for handle in self._sweeps if handle.when() > loop.time()]
            self._sweeps = [*handles, loop.call_later(SWEEP_AGAIN, self._sweep_again, path, op)]

    def afterwards(self, steps: list[Step], begin: Callable[[Step], bool]) -> None:
        """Begin these when what is under way is done. ``begin`` says whether it did."""
        self._add(self._afterwards(steps, frozenset(self.under_way), begin))

    async def _afterwards(
        self,
        steps: list[Step],
        before: frozenset[asyncio.Task[None]],
        begin: Callable[[Step], bool],
    ) -> None:
        if before:
            await asyncio.wait(before)
        for step in steps:
            if not begin(step):
                self._ledger.done(step[1])

    def _add(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._defect = task.exception()

    async def _finish(
        self, path: str, op: Operation, applied: asyncio.Future[Timing], complain: Complaint
    ) -> None:
        try:
            timing = await applied
        except ActionError as error:
            complain(str(error))
            self._failed.add(path)
        else:
            self.told(path, op, timing)
            self._marking.done(path, op)
        finally:
            self._ledger.done(op)

    async def _repeat(self, path: str, ops: Again, why: str) -> None:
        """All, whatever the end of each; then all is as before. Raises ActionError."""
        self.turn += 1
        applied = [self._actuator.apply(op) for op in ops]
        done = asyncio.gather(*applied, return_exceptions=True)
        self._add(self._swept(done))
        timings = []
        for outcome in await asyncio.shield(done):
            if isinstance(outcome, BaseException):
                raise outcome
            timings.append(outcome)
        timing = Timing(timings[0].called_at, sum(one.took for one in timings))
        self._tell(path, "repeat", "the peer is told again", timing, Cause(why))

    async def _forget_blackhole(self) -> None:
        """Raises ActionError."""
        op = ForgetBlackhole()
        self.told("", op, await self._actuator.apply(op))

    def _sweep_again(self, path: str, op: AbortHandshakes) -> None:
        if self._wishes.get(path, Wish()).penalty:
            self._add(self._swept(self._actuator.apply(op)))

    async def _swept(self, applied: asyncio.Future[Any]) -> None:
        with contextlib.suppress(ActionError):  # the first one has complained
            await applied

    def told(self, path: str, op: Operation, timing: Timing) -> None:
        """An operation was applied, or left out in a dry run."""
        cause = _cause(op) or self._causes.get(path) or Cause(_NO_PATH)
        self._tell(path, kind_of(op), describe(op), timing, cause)

    def _tell(self, path: str, kind: str, text: str, timing: Timing, cause: Cause) -> None:
        action = ActionView(
            time.time(),
            path,
            kind,
            cause.reason,
            round(timing.took * 1e3, 3),
            _since(cause.decided_at, timing.called_at),
            _since(cause.sign_at, timing.called_at),
        )
        self._acted(action, text)

    def close(self) -> None:
        """Begin nothing more."""
        self._telling.close()
        self._marking.close()
        self._blackhole.close()
        for handle in self._sweeps:
            handle.cancel()
