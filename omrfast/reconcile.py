# SPDX-License-Identifier: GPL-2.0-or-later
"""The reconciler: plan the difference between what is wished and what is, record it, apply it.

A decision is acted on at once, from what was last observed and what has been done since: looking
first would cost a lost stream some milliseconds, and hundreds while the kernel is busy with a
removal. What is then observed is the truth; what still differs from the wish is applied after it,
and looked at again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from omrfast.act.apply import Actuator, Timing
from omrfast.act.errors import ActionError
from omrfast.core.cause import Cause
from omrfast.core.config import PathConfig, TuningConfig
from omrfast.core.expect import expected
from omrfast.core.operations import DeleteEndpoint, Observed, Operation, Route
from omrfast.core.outcome import Wish
from omrfast.core.plan import Binding, comes_back, learn, leaving, plan, twins
from omrfast.core.settings import missing, setting_operations, window_operations
from omrfast.core.views import ActionView
from omrfast.deeds import Complaint, Deeds, Step
from omrfast.store.changes import Change, EndpointChange, SettingChange
from omrfast.store.found import baseline_of, before_changes, windows_of
from omrfast.store.ledger import Ledger, LedgerError
from omrfast.store.restore import Restored, restore

log = logging.getLogger(__name__)

MOST_ROUNDS = 10
"""Of a check; three are many. What is never as it was left, whoever changes it, waits for the next
pass then."""


@dataclass(frozen=True, slots=True)
class _Job:
    """What is to be brought about."""

    paths: tuple[PathConfig, ...]
    bindings: tuple[Binding, ...]
    servers: tuple[str, ...]
    wishes: Mapping[str, Wish]
    tuning: TuningConfig = TuningConfig()  # noqa: RUF009 - it is frozen

    @property
    def places(self) -> frozenset[tuple[int, frozenset[str]]]:
        return frozenset((b.ifindex, b.addresses) for b in self.bindings)


class Reconciler:
    """Brings endpoints and routes to what is wished. To be used on one event loop."""

    def __init__(
        self,
        actuator: Actuator,
        ledger: Ledger,
        *,
        dry_run: bool,
        acted: Callable[[ActionView, str], None],
        recorded: Callable[[str | None], None],
    ) -> None:
        """``acted`` is told of every operation applied (or, in a dry run, left out); ``recorded``
        each time why what is changed can't be recorded, None: it is."""
        self._actuator = actuator
        self._ledger = ledger
        self._dry_run = dry_run
        self._recorded = recorded
        self._deeds = Deeds(actuator, ledger, acted, dry_run=dry_run)
        self._job = _Job((), (), (), {})
        self._aborts: frozenset[str] = frozenset()
        """Paths that were given up and whose handshakes are still to be aborted."""
        self._left: frozenset[str] = frozenset()
        """Paths that were taken away and whose initial subflows are still to be closed."""
        self._belief: Observed | None = None
        """As last observed, and what has been done since."""
        self._check: asyncio.Task[None] | None = None
        self._closed: set[str] = set()
        """Addresses without an endpoint whose initial subflows were closed."""
        self._tried: set[Operation] = set()
        """By the present check: what was done and does not show is left to the next one."""
        self._rounds = 0
        """Of the present check, since the last pass began."""
        self._complaints: set[str] = set()
        self._warned: set[str] = set()
        self._said: set[Operation] = set()
        """Of a dry run: what was announced already."""

    async def observe(
        self, paths: tuple[PathConfig, ...] | None, servers: tuple[str, ...]
    ) -> Observed:
        """What the kernel has, with the endpoints as found. Raises ActionError."""
        observed = await self._actuator.observe(paths, servers)
        return before_changes(self._ledger.changes, observed)

    async def take_over(self, paths: tuple[PathConfig, ...]) -> None:
        """Of what an earlier run has changed, put back what is none of these paths' any more.

        Raises ActionError or LedgerError.
        """
        if self._dry_run or not self._ledger.changes:
            return
        names = {path.interface for path in paths}
        devices = (await self._actuator.observe(None, ())).interfaces
        own = {a for device in devices if device.name in names for a in device.addresses}

        def theirs(change: Change) -> bool:
            match change:
                case SettingChange():
                    return True
                case EndpointChange(interface=None):
                    return change.address in own
                case _:
                    return change.interface in names

        await restore(self._ledger, self._actuator, keep=theirs)

    # --- one pass -------------------------------------------------------------------------------

    def run(
        self,
        paths: tuple[PathConfig, ...],
        bindings: tuple[Binding, ...],
        servers: tuple[str, ...],
        wishes: Mapping[str, Wish],
        causes: Mapping[str, Cause],
        aborts: frozenset[str] = frozenset(),
        tuning: TuningConfig = TuningConfig(),  # noqa: B008 - it is frozen
    ) -> None:
        """One pass: begins at once and waits for nothing; settled() does.

        What fails is logged once and tried again by the next pass.
        """
        if self._check is not None and self._check.done():
            self._check.result()  # a defect shall not pass unnoticed
        before, self._job = self._job, _Job(paths, bindings, servers, wishes, tuning)
        self._deeds.wish(wishes, causes)
        self._aborts |= aborts
        self._left |= leaving(before.wishes, wishes)
        self._tried.clear()
        self._rounds = 0
        if self._belief is not None and before.places == self._job.places and not self._dry_run:
            self._act(self._belief, self._quietly)
        if self._check is None or self._check.done():
            self._check = asyncio.get_running_loop().create_task(self._verify())

    async def settled(self) -> None:
        """Until what run() began has been applied and looked at."""
        if self._check is not None:
            await self._check

    async def _verify(self) -> None:
        """Observe; apply what differs; until nothing does that was not tried."""
        try:
            while self._rounds < MOST_ROUNDS:
                self._rounds += 1
                observed = await self._still()
                self._belief = observed
                self._tell_unmanaged()
                if not self._act(observed, self._complain):
                    self._write(self._ledger.settle, observed)
                    self._complaints.clear()
                    self._said.clear()
                if not self._deeds.under_way:
                    break
            else:
                self._complain("what is changed does not stay so: tried again later")
        except ActionError as error:
            self._belief = None
            self._complain(str(error))
        self._deeds.settled()

    async def _still(self) -> Observed:
        """What the kernel has while nothing of ours is under way. Raises ActionError."""
        while True:
            await self._deeds.rest()
            turn, job = self._deeds.turn, self._job
            observed = await self._actuator.observe(job.paths, job.servers)
            if turn == self._deeds.turn and job.places == self._job.places:
                return observed

    def _act(self, observed: Observed, complain: Complaint) -> bool:
        """Begin what makes up the difference; whether there is any, what was tried included."""
        job = self._job
        baseline = baseline_of(self._ledger.changes, observed)
        baseline = replace(baseline, closed=frozenset(self._closed))
        baseline = learn(baseline, job.bindings, observed)
        for route in twins(job.bindings, baseline, observed):
            self._unmoved(route, "another differs in nothing but its metric: remove one of them")
        steps = (
            *plan(job.bindings, job.wishes, baseline, observed, self._aborts, self._left),
            *self._settings(observed),
        )
        self._aborts = self._left = frozenset()
        if self._dry_run:
            self._announce(steps)
            return bool(steps)
        fresh = [step for step in steps if step[1] not in self._tried]
        self._write(self._ledger.record, [op for _, op in fresh], observed)
        for path, op in fresh:
            if not comes_back(op):
                self._begin(path, op, complain)
        last = [step for step in fresh if comes_back(step[1])]
        if last:
            self._deeds.afterwards(last, lambda step: self._come_back(step, job, complain))
        return bool(steps)

    def _write(self, write: Callable[..., None], *what: object) -> None:
        """What the file can't take the ledger holds, and offers it again: failover goes on."""
        try:
            write(*what)
        except LedgerError as error:
            self._recorded(str(error))
        else:
            self._recorded(None)

    def _begin(self, path: str, op: Operation, complain: Complaint) -> None:
        if complain == self._complain:
            self._tried.add(op)
        if self._belief is not None:
            self._belief = expected(self._belief, op)
        if isinstance(op, DeleteEndpoint) and not op.endpoint.id and not op.endpoint.flags:
            self._closed.add(op.endpoint.address)
        self._deeds.begin(path, op, complain)

    def _come_back(self, step: Step, job: _Job, complain: Complaint) -> bool:
        """Routes come back when the endpoints have, unless another pass has planned anew."""
        if self._job is job:
            self._begin(*step, complain)
        return self._job is job

    def _settings(self, observed: Observed) -> Iterator[Step]:
        """Of no path, but for the windows of routes."""
        found = {c.name: c.original for c in self._ledger.changes if isinstance(c, SettingChange)}
        now = dict(observed.settings)
        for name in missing(self._job.tuning, now):
            self._warn(f"[tuning]: this kernel has no {name}; it is left out")
        uplinks = len({binding.ifindex for binding in self._job.bindings})
        for op in setting_operations(self._job.tuning, uplinks, found, now):
            yield "", op
        windows = windows_of(self._ledger.changes, observed)
        names = {binding.ifindex: binding.name for binding in self._job.bindings}
        for window in window_operations(
            self._job.tuning, frozenset(names), windows, observed.windows
        ):
            yield names[window.route.ifindex], window

    def _announce(self, steps: tuple[Step, ...]) -> None:
        """Of a dry run."""
        for path, op in steps:
            if op not in self._said:
                self._said.add(op)
                self._deeds.told(path, op, Timing(time.monotonic(), 0.0))

    # --- words ----------------------------------------------------------------------------------

    def _tell_unmanaged(self) -> None:
        for route, why in self._actuator.unmanaged:
            self._unmoved(route, why)

    def _unmoved(self, route: Route, why: str) -> None:
        self._warn(f"route {route.destination} metric {route.metric} is not moved: {why}")

    def _warn(self, text: str) -> None:
        """Once."""
        if text not in self._warned:
            self._warned.add(text)
            log.warning("%s", text)

    def _complain(self, text: str) -> None:
        if text not in self._complaints:
            self._complaints.add(text)
            log.error("%s", text)

    def _quietly(self, text: str) -> None:
        """What was believed may be out of date; the check that follows knows better."""
        log.debug("%s; looking", text)

    # --- the end --------------------------------------------------------------------------------

    async def restore(self) -> Restored:
        """Put everything back as found. Raises ActionError or LedgerError."""
        self._end()
        await self._deeds.rest()
        return await restore(self._ledger, self._actuator)

    def _end(self) -> None:
        self._deeds.close()
        if self._check is not None:
            self._check.cancel()

    def close(self) -> None:
        """Wait for what is under way in the kernel."""
        self._end()
        with contextlib.suppress(ActionError):
            self._actuator.close()
