# SPDX-License-Identifier: GPL-2.0-or-later
"""Observe the kernel and apply operations to it, off the event loop.

Three worker threads, each with netlink sockets of its own: one for MPTCP endpoints, one for
routes and handshakes, one that looks. Removing an endpoint may block for hundreds of milliseconds
after it has taken effect (it waits for an RCU grace period), and what the others do shall not wait
behind it. Calls of the path manager wait in any case: the kernel holds one lock for the whole
generic netlink family (net/netlink/genetlink.c, genl_lock), so one thread for changes loses
nothing and keeps them in order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, TypeVar

from omrfast.act import settings
from omrfast.act.interfaces import InterfaceManager
from omrfast.act.mptcp import EndpointManager
from omrfast.act.routes import RouteManager, RouteTable
from omrfast.act.sockets import SocketDiag, Subflow, Unmarked
from omrfast.core.operations import (
    AbortHandshakes,
    AddEndpoint,
    CopyRoute,
    DeleteEndpoint,
    ForgetBlackhole,
    Interface,
    Observed,
    Operation,
    Route,
    SetBackup,
    SetMetric,
    SetSetting,
    SetWindow,
    WithdrawRoute,
)
from omrfast.core.settings import SUBFLOWS, SYSCTLS

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
    ) -> tuple[tuple[Interface, ...], RouteTable]:
        """All interfaces, and the routes through those of the paths (None: through any).

        Routes are those to ``default`` and to the server addresses.
        """
        interfaces = self.interfaces.observe()
        indexes = None
        if paths is not None:
            names = {path.interface for path in paths}
            indexes = [entry.index for entry in interfaces if entry.name in names]
        return interfaces, self.routes.observe(indexes, server_addresses)

    def all(
        self, paths: Iterable[OnInterface] | None, server_addresses: Iterable[str]
    ) -> tuple[Observed, tuple[tuple[Route, str], ...]]:
        """What look() sees and the endpoints; the routes that can't be moved, with the reason."""
        interfaces, table = self.look(paths, server_addresses)
        shared = tuple(route for route, _ in table.unmanaged)
        limits = (SUBFLOWS, str(self.endpoints.limits().subflows))
        observed = Observed(
            self.endpoints.list(),
            table.routes,
            interfaces,
            shared,
            (limits, *settings.read(SYSCTLS).items()),
            table.windows,
            table.ends,
        )
        return observed, table.unmanaged

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
            case CopyRoute():
                self.routes.copy_route(op)
            case WithdrawRoute(route):
                self.routes.withdraw(route)
            case AbortHandshakes(address):
                self.sockets.abort_handshakes(address)
            case SetSetting(name, value):
                self._set(name, value)
            case SetWindow(route, segments):
                self.routes.set_window(route, segments)
            case ForgetBlackhole():
                settings.forget_blackhole()

    def _set(self, name: str, value: str) -> None:
        if name == SUBFLOWS:
            self.endpoints.set_limits(replace(self.endpoints.limits(), subflows=int(value)))
        else:
            settings.write(name, value)


def observe(paths: Iterable[OnInterface] | None, server_addresses: Iterable[str]) -> Observed:
    """Actuator.observe() once, for callers without an event loop. Raises ActionError."""
    kernel = Kernel()
    try:
        return kernel.all(paths, server_addresses)[0]
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

    def run(self, function: Callable[[Kernel], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._pool, function, self._kernel)

    def prepare(self, function: Callable[[Kernel], object]) -> None:
        """Run it some time before the next run(); what fails here fails again there."""
        self._pool.submit(function, self._kernel)

    def close(self) -> None:
        self._pool.submit(self._kernel.close)
        self._pool.shutdown(wait=True)


@dataclass(frozen=True, slots=True)
class Timing:
    """When the kernel was called, in CLOCK_MONOTONIC seconds, and for how long."""

    called_at: float
    took: float


def _timed(op: Operation) -> Callable[[Kernel], Timing]:
    def body(kernel: Kernel) -> Timing:
        start = time.monotonic()
        kernel.do(op)
        return Timing(start, time.monotonic() - start)

    return body


class Actuator:
    """observe() and apply() for an asyncio loop; make it in the network namespace to act on."""

    def __init__(self) -> None:
        self._mptcp = _Worker("omrfast-mptcp")
        self._net = _Worker("omrfast-net")
        self._look = _Worker("omrfast-look")
        self._mptcp.prepare(lambda kernel: kernel.endpoints)
        self._net.prepare(lambda kernel: (kernel.routes, kernel.sockets))
        self.unmanaged: tuple[tuple[Route, str], ...] = ()
        """Routes that the last observe() met and that cannot be moved, with the reason."""

    async def observe(
        self, paths: Iterable[OnInterface] | None, server_addresses: Iterable[str] = ()
    ) -> Observed:
        """All endpoints and interfaces, and the routes through the paths' interfaces (``paths``
        None: through any) to ``default`` and to the server addresses. Raises ActionError.
        """
        chosen = None if paths is None else tuple(paths)
        servers = tuple(server_addresses)
        observed, self.unmanaged = await self._look.run(lambda kernel: kernel.all(chosen, servers))
        return observed

    def apply(self, op: Operation) -> asyncio.Future[Timing]:
        """Begin to carry out ``op``; the future ends when the kernel is done, or with ActionError.

        Operations on endpoints happen in the order of the calls, and so do the others among
        themselves. Cancelling the future does not stop one that has begun.
        """
        on_endpoint = isinstance(op, SetBackup | DeleteEndpoint | AddEndpoint | SetSetting)
        return (self._mptcp if on_endpoint else self._net).run(_timed(op))

    async def blackholes(self) -> int:
        """How often the kernel has concluded that MPTCP is blocked. Raises ActionError."""
        return await self._net.run(lambda kernel: settings.blackholes())

    async def subflows(self) -> list[Subflow]:
        """Every MPTCP subflow. Raises ActionError."""
        return await self._look.run(lambda kernel: kernel.sockets.subflows())

    async def unmarked(self, address: str, backup: bool) -> Unmarked:
        """Subflows from there whose backup flag is another. Raises ActionError."""
        return await self._look.run(lambda kernel: kernel.sockets.unmarked(address, backup))

    def close(self) -> None:
        """Wait for what is under way, then close the sockets and end the threads."""
        for worker in (self._mptcp, self._net, self._look):
            worker.close()
