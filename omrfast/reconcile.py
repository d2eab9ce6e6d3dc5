# SPDX-License-Identifier: GPL-2.0-or-later
"""The reconciler: observe what is, plan the difference to what is wished, record it, apply it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping

from omrfast.act.apply import Actuator
from omrfast.act.errors import ActionError
from omrfast.core.cause import Cause
from omrfast.core.config import PathConfig
from omrfast.core.operations import (
    AbortHandshakes,
    AddEndpoint,
    DeleteEndpoint,
    Observed,
    Operation,
    SetBackup,
    SetMetric,
)
from omrfast.core.plan import Baseline, Binding, learn, plan, route_key
from omrfast.core.state import Wish
from omrfast.core.views import ActionView
from omrfast.store.ledger import EndpointChange, Ledger, LedgerError
from omrfast.store.restore import Restored, restore

log = logging.getLogger(__name__)


def kind_of(operation: Operation) -> str:
    """The word for an operation in status, events and metrics (ACTION_KINDS)."""
    match operation:
        case SetBackup(backup=True):
            return "backup"
        case SetBackup():
            return "nobackup"
        case DeleteEndpoint():
            return "delete"
        case AddEndpoint():
            return "add"
        case SetMetric():
            return "metric"
        case AbortHandshakes():
            return "abort"


def describe(operation: Operation) -> str:
    """One phrase for the log."""
    match operation:
        case SetBackup(endpoint, backup):
            return f"endpoint {endpoint.address} {'is' if backup else 'no longer'} backup"
        case DeleteEndpoint(endpoint):
            return f"endpoint {endpoint.address} removed"
        case AddEndpoint(endpoint):
            return f"endpoint {endpoint.address} added{' as backup' if endpoint.backup else ''}"
        case SetMetric(route, metric):
            return f"route {route.destination} metric {route.metric} -> {metric}"
        case AbortHandshakes(address):
            return f"handshakes from {address} aborted"


def baseline_of(ledger: Ledger) -> Baseline:
    """What an agent that did not stop cleanly had found before it changed anything."""
    endpoints = {}
    metrics = {}
    for change in ledger.changes:
        if isinstance(change, EndpointChange):
            if change.original is not None:
                endpoints[change.address] = change.original
        else:
            metrics[route_key(change.original)] = change.original.metric
    return Baseline(endpoints, metrics)


def _decided(causes: Mapping[str, Cause]) -> dict[str, Cause]:
    return {name: cause for name, cause in causes.items() if cause.decided_at is not None}


def _since(at: float | None, now: float) -> float | None:
    """Milliseconds."""
    return None if at is None else round((now - at) * 1e3, 3)


class Reconciler:
    """Brings endpoints and routes to what is wished; one pass at a time."""

    def __init__(
        self,
        actuator: Actuator,
        ledger: Ledger,
        *,
        dry_run: bool,
        acted: Callable[[ActionView, str], None],
    ) -> None:
        """``acted`` is told of every operation applied (or, in a dry run, left out)."""
        self._actuator = actuator
        self._ledger = ledger
        self._dry_run = dry_run
        self._acted = acted
        self._aborts: frozenset[str] = frozenset()
        """Paths that died and whose handshakes are still to be aborted."""
        self._causes: dict[str, Cause] = {}
        """Of what is still to be done, by path: decisions of this pass, and what failed before."""
        self._failed: set[str] = set()
        """Paths of which an operation of this pass failed."""
        self._pass = asyncio.Lock()
        self._complaints: set[str] = set()
        self._unmanaged: set[str] = set()
        self._said: set[Operation] = set()
        """Of a dry run: what was announced already."""

    async def observe(
        self, paths: tuple[PathConfig, ...] | None, servers: tuple[str, ...]
    ) -> Observed:
        """What the kernel has. Raises ActionError."""
        return await self._actuator.observe(paths, servers)

    async def run(
        self,
        paths: tuple[PathConfig, ...],
        bindings: tuple[Binding, ...],
        servers: tuple[str, ...],
        wishes: Mapping[str, Wish],
        causes: Mapping[str, Cause],
        aborts: frozenset[str] = frozenset(),
    ) -> None:
        """One pass. What fails is logged once and tried again by the next pass."""
        async with self._pass:
            self._aborts |= aborts
            self._causes = {**causes, **_decided(self._causes), **_decided(causes)}
            try:
                observed = await self._actuator.observe(paths, servers)
                self._tell_unmanaged()
                baseline = learn(baseline_of(self._ledger), bindings, observed)
                operations = plan(bindings, wishes, baseline, observed, self._aborts)
                self._aborts = frozenset()
                self._failed.clear()
                await self._apply(operations, observed)
                self._causes = {
                    name: cause for name, cause in self._causes.items() if name in self._failed
                }
                if not operations:
                    self._ledger.settle(observed)
                    self._complaints.clear()
                    self._said.clear()
            except (ActionError, LedgerError) as error:
                self._complain(str(error))

    async def _apply(
        self, operations: tuple[tuple[str, Operation], ...], observed: Observed
    ) -> None:
        """In order; but a removal, which may block after it took effect, holds up nothing."""
        removals = []
        for path, operation in operations:
            one = self._apply_one(path, operation, observed)
            if isinstance(operation, DeleteEndpoint):
                removals.append(asyncio.ensure_future(one))
                await asyncio.sleep(0)
            else:
                await one
        await asyncio.gather(*removals)

    async def _apply_one(self, path: str, operation: Operation, observed: Observed) -> None:
        took = 0.0
        if self._dry_run:
            if operation in self._said:
                return
            self._said.add(operation)
        else:
            try:
                self._ledger.record(operation, observed)
                took = await self._actuator.apply(operation)
            except (ActionError, LedgerError) as error:
                self._complain(str(error))
                self._failed.add(path)
                return
            finally:
                self._ledger.done(operation)
        cause = self._causes.get(path, Cause(""))
        now = time.monotonic()
        action = ActionView(
            time.time(),
            path,
            kind_of(operation),
            cause.reason,
            round(took * 1e3, 3),
            _since(cause.decided_at, now),
            _since(cause.sign_at, now),
        )
        self._acted(action, describe(operation))

    def _tell_unmanaged(self) -> None:
        for route, why in self._actuator.unmanaged:
            text = f"route {route.destination} metric {route.metric} is not moved: {why}"
            if text not in self._unmanaged:
                self._unmanaged.add(text)
                log.warning("%s", text)

    def _complain(self, text: str) -> None:
        if text not in self._complaints:
            self._complaints.add(text)
            log.error("%s", text)

    async def restore(self) -> Restored:
        """Put everything back as found. Raises ActionError or LedgerError."""
        async with self._pass:
            return await restore(self._ledger, self._actuator)

    def close(self) -> None:
        with contextlib.suppress(ActionError):
            self._actuator.close()
