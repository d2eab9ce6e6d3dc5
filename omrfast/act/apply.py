# SPDX-License-Identifier: GPL-2.0-or-later
"""Observe the kernel and apply operations to it, off the event loop.

Two worker threads, each with netlink sockets of its own: removing an endpoint may block for
hundreds of milliseconds after it has taken effect (it waits for an RCU grace period), and nothing
else shall wait behind it. Operations on one endpoint keep their order across the two.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Protocol, TypeVar

from omrfast.act.interfaces import InterfaceManager
from omrfast.act.mptcp import EndpointManager
from omrfast.act.routes import RouteManager
from omrfast.act.sockets import SocketDiag
from omrfast.core.types import (
    AbortHandshakes,
    AddEndpoint,
    DeleteEndpoint,
    Observed,
    Operation,
    Route,
    SetBackup,
    SetMetric,
)

T = TypeVar("T")


class OnInterface(Protocol):
    """Whatever names a network interface, such as a PathConfig."""

    @property
    def interface(self) -> str:
        """The device's name."""


class Kernel:
    """The managers of one thread, made when first used. Every method raises ActionError."""

    @cached_property
    def endpoints(self) -> EndpointManager:
        """MPTCP endpoints."""
        return EndpointManager()

    @cached_property
    def routes(self) -> RouteManager:
        """Routes."""
        return RouteManager()

    @cached_property
    def interfaces(self) -> InterfaceManager:
        """Network devices."""
        return InterfaceManager()

    @cached_property
    def sockets(self) -> SocketDiag:
        """TCP sockets."""
        return SocketDiag()

    def close(self) -> None:
        """Close what was made."""
        for name in ("endpoints", "routes", "interfaces", "sockets"):
            manager = self.__dict__.pop(name, None)
            if manager is not None:
                manager.close()

    def look(
        self, paths: Iterable[OnInterface] | None, server_addresses: Iterable[str]
    ) -> tuple[Observed, tuple[tuple[Route, str], ...]]:
        """What is, and the routes that cannot be moved with the reason.

        All endpoints, all interfaces, and the routes through the paths' interfaces (``paths``
        None: through any) to ``default`` and to the server addresses.
        """
        interfaces = self.interfaces.observe()
        indexes = None
        if paths is not None:
            names = {path.interface for path in paths}
            indexes = [entry.index for entry in interfaces if entry.name in names]
        table = self.routes.observe(indexes, server_addresses)
        return Observed(self.endpoints.list(), table.routes, interfaces), table.unmanaged

    def do(self, op: Operation) -> None:
        """Carry out one operation; idempotent."""
        match op:
            case SetBackup(endpoint, backup):
                self.endpoints.set_backup(endpoint, backup)
            case DeleteEndpoint(endpoint):
                self.endpoints.delete(endpoint)
            case AddEndpoint(endpoint):
                self.endpoints.add(endpoint)
            case SetMetric(route, metric):
                self.routes.set_metric(route, metric)
            case AbortHandshakes(address):
                self.sockets.abort_handshakes(address)


def observe(paths: Iterable[OnInterface] | None, server_addresses: Iterable[str]) -> Observed:
    """Kernel.look() once, for callers without an event loop. Raises ActionError."""
    kernel = Kernel()
    try:
        return kernel.look(paths, server_addresses)[0]
    finally:
        kernel.close()


def apply(op: Operation) -> None:
    """Kernel.do() once, for callers without an event loop. Raises ActionError."""
    kernel = Kernel()
    try:
        kernel.do(op)
    finally:
        kernel.close()


class _Worker:
    """One thread and its kernel sockets."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._kernel = Kernel()

    async def run(self, function: Callable[[Kernel], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, self._kernel)

    def close(self) -> None:
        self._pool.submit(self._kernel.close)
        self._pool.shutdown(wait=True)


def _timed(op: Operation) -> Callable[[Kernel], float]:
    def body(kernel: Kernel) -> float:
        start = time.monotonic()
        kernel.do(op)
        return time.monotonic() - start

    return body


class Actuator:
    """observe() and apply() for an asyncio loop; make it in the network namespace to act on."""

    def __init__(self) -> None:
        self._deletes = _Worker("omrfast-delete")
        self._rest = _Worker("omrfast-act")
        self._turns: dict[tuple[str, int], asyncio.Lock] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self.unmanaged: tuple[tuple[Route, str], ...] = ()
        """Routes that the last observe() met and that cannot be moved, with the reason."""

    async def observe(
        self, paths: Iterable[OnInterface] | None, server_addresses: Iterable[str] = ()
    ) -> Observed:
        """See Kernel.look(). Raises ActionError."""
        chosen = None if paths is None else tuple(paths)
        servers = tuple(server_addresses)
        observed, self.unmanaged = await self._rest.run(lambda k: k.look(chosen, servers))
        return observed

    async def apply(self, op: Operation) -> float:
        """Carry out ``op``; returns the seconds that the kernel took. Raises ActionError.

        Operations on the same endpoint happen in the order of the calls. Cancelling the caller
        does not undo or reorder anything: what was begun goes on.
        """
        task = asyncio.ensure_future(self._in_turn(op))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _in_turn(self, op: Operation) -> float:
        worker = self._deletes if isinstance(op, DeleteEndpoint) else self._rest
        if not isinstance(op, SetBackup | DeleteEndpoint | AddEndpoint):
            return await worker.run(_timed(op))
        place = (op.endpoint.address, op.endpoint.port)
        async with self._turns.setdefault(place, asyncio.Lock()):
            return await worker.run(_timed(op))

    def close(self) -> None:
        """Wait for what is under way, then close the sockets and end the threads."""
        self._deletes.close()
        self._rest.close()
