# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent: the only event loop, clock and signal handling. It carries; the core decides.

What happens (counters read when due, probe replies, links that go) becomes an event of the core;
the core's answer becomes probes, log lines and a pass of the reconciler.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import replace

from omrfast.act import watch
from omrfast.act.apply import Actuator
from omrfast.act.errors import ActionError
from omrfast.core import policy
from omrfast.core.config import Config, ConfigError, PathConfig
from omrfast.core.discover import bind, discover
from omrfast.core.plan import Binding
from omrfast.core.state import (
    CoreState,
    Event,
    LinkChanged,
    PathRecord,
    ProbeFailed,
    ProbeReply,
    Tick,
    Wish,
)
from omrfast.core.types import FlowView, Observed, Snapshot
from omrfast.dataplane.loader import open_dataplane
from omrfast.dataplane.names import DataPlaneError
from omrfast.export.board import Board
from omrfast.export.control import ControlServer
from omrfast.export.handlers import control_handlers
from omrfast.export.prometheus import MetricsServer
from omrfast.meter import Meter
from omrfast.probing import Probing
from omrfast.reconcile import Reconciler
from omrfast.store.ledger import Ledger, LedgerError

log = logging.getLogger(__name__)

SHORTEST_WAIT = 0.004
SLOW_TICK = 1.0
PASS_INTERVAL = 5.0
"""A reconciler's pass at least this often: heals what others change."""
SETTLE = 0.05
"""Netlink events come in bunches; look once when they have settled."""


class AgentError(Exception):
    """The agent can't start; the text says why and what to do."""


class Agent:
    """One agent in the network namespace of its process."""

    _reconciler: Reconciler
    _meter: Meter
    _probing: Probing

    def __init__(
        self,
        config: Config,
        *,
        dry_run: bool = False,
        reload: Callable[[], Config] | None = None,
    ) -> None:
        """``reload`` reads the configuration anew; it may raise ConfigError."""
        self._config = config
        self._dry_run = dry_run
        self._reload_config = reload
        self._board = Board(dry_run=dry_run)
        self._ready = asyncio.Event()
        self._bindings: dict[str, Binding] = {}
        self._missing: dict[str, str] = {}
        self._state = CoreState((), time.monotonic())
        self._wishes: dict[str, Wish] = {}
        self._aborts: frozenset[str] = frozenset()
        self._tick_handle: asyncio.TimerHandle | None = None
        self._look_handle: asyncio.TimerHandle | None = None
        self._tick_seconds = 0.0
        self._stopping = asyncio.Event()
        self._pass_wanted = asyncio.Event()
        self._look_wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closers: list[Callable[[], None]] = []

    # --- life ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until SIGTERM or SIGINT; then put back what was changed.

        Raises AgentError, DataPlaneError, ControlError, MetricsError, LedgerError or ActionError
        when it can't start.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        control = ControlServer(
            self._config.agent.run_dir,
            control_handlers(self._answer, self._flows, self._board.events),
        )
        await control.start()
        try:
            await self._start(loop)
            await self._stopping.wait()
            log.info("stopping")
            await self._put_back()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for handle in (self._tick_handle, self._look_handle):
                if handle is not None:
                    handle.cancel()
            for close in reversed(self._closers):
                close()
            await control.close()

    async def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        agent = self._config.agent
        ledger = Ledger(agent.state_dir)
        if ledger.changes:
            log.info("%d changes of an earlier run are taken over", len(ledger.changes))
        self._reconciler = Reconciler(
            Actuator(), ledger, dry_run=self._dry_run, acted=self._board.acted
        )
        self._closers.append(self._reconciler.close)
        observed = await self._reconciler.observe(None, self._servers())
        paths = self._find_paths(observed)
        self._meter = Meter(open_dataplane(agent.run_dir, agent.loader), agent.ingress)
        self._closers.append(self._meter.close)
        self._probing = Probing(
            loop, self._servers(), replied=self._replied, failed=self._probe_failed
        )
        self._closers.append(self._probing.close)
        self._state = policy.start(tuple(PathRecord(path) for path in paths), loop.time())
        await self._bind(observed)
        self._ready.set()
        metrics = MetricsServer(lambda: self._board.published)
        if self._config.metrics.listen:
            metrics.start(self._config.metrics.listen)
            self._closers.append(metrics.close)
        self._closers.append(watch.Watch(loop, self._changed).close)
        loop.add_reader(self._meter.event_fd, self._ring)
        self._closers.append(self._stop_ring)
        loop.add_signal_handler(signal.SIGHUP, self._hangup)
        self._tasks = [
            asyncio.create_task(work(), name=work.__name__)
            for work in (self._slow_ticks, self._passes, self._looks)
        ]
        for task in self._tasks:
            task.add_done_callback(self._task_ended)
        self._board.agent(f"measuring {len(paths)} paths, loader {self._meter.loader}")
        self._tick()

    def _stop_ring(self) -> None:
        asyncio.get_running_loop().remove_reader(self._meter.event_fd)

    async def _put_back(self) -> None:
        if self._dry_run:
            return
        for task in self._tasks:
            task.cancel()
        try:
            restored = await self._reconciler.restore()
        except (ActionError, LedgerError) as error:
            log.error("%s; run `omrfast restore`", error)
            return
        log.info("%d changes put back, %d left", len(restored.done), len(restored.left))

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.critical("%s failed", task.get_name(), exc_info=task.exception())
            self._stopping.set()

    # --- paths -----------------------------------------------------------------------------------

    def _servers(self) -> tuple[str, ...]:
        return tuple(a for server in self._config.servers for a in server.addresses)

    def _find_paths(self, observed: Observed) -> tuple[PathConfig, ...]:
        """The configured paths, else what the kernel has. Raises AgentError if there are none."""
        if self._config.paths:
            return self._config.paths
        found = discover(observed, self._config.quality)
        for path, why in found:
            log.info("found path %s (%s): %s", path.name, path.role, why)
        if not found:
            raise AgentError(
                "no path found: no interface has an MPTCP subflow endpoint or a default route; "
                f"name the paths as [[path]] in the configuration ({self._config.source})"
            )
        return tuple(path for path, _ in found)

    def _paths(self) -> tuple[PathConfig, ...]:
        return tuple(record.config for record in self._state.paths)

    async def _bind(self, observed: Observed) -> None:
        """Follow the paths to where they are now; tell the core whose link came or went."""
        paths = self._paths()
        before = self._missing
        create = bool(self._config.paths)
        self._bindings, self._missing = bind(paths, observed, create=create)
        devices = {device.index: device for device in observed.interfaces}
        places = {
            name: (b.ifindex, devices[b.ifindex].name, devices[b.ifindex].arphrd)
            for name, b in self._bindings.items()
        }
        try:
            await asyncio.to_thread(self._meter.bind, places)
        except (DataPlaneError, OSError) as error:
            log.error("%s", error)
        self._probing.bind(self._bindings, {p.name: p.interface for p in paths}, observed)
        for path in paths:
            if (path.name in before) != (path.name in self._missing):
                up = path.name not in self._missing
                self._core(LinkChanged(path.name, up, self._missing.get(path.name, "link is back")))

    # --- what happens ----------------------------------------------------------------------------

    def _tick(self) -> None:
        started = time.monotonic()
        self._core(Tick(self._meter.read()))
        self._tick_seconds = time.monotonic() - started

    def _replied(self, path: str, rtt: float) -> None:
        self._core(ProbeReply(path, rtt))

    def _probe_failed(self, path: str, text: str, proof: bool) -> None:
        self._core(ProbeFailed(path, text, proof))

    def _ring(self) -> None:
        """Records of the data path's ring; a path that became busy is watched from now on."""
        for path, event in self._meter.events():
            if event.kind != "busy":
                self._board.flow(path, event)
        self._tick()

    def _changed(self, event: watch.Event) -> None:
        """A link that goes is proof by itself; all the rest can wait until it has settled."""
        if isinstance(event, watch.LinkEvent) and not event.up:
            for name, binding in self._bindings.items():
                if binding.ifindex == event.index and name not in self._missing:
                    why = "is gone" if event.removed else "is down or has no carrier"
                    self._missing[name] = f"interface {event.name} {why}"
                    self._core(LinkChanged(name, False, self._missing[name]))
        if self._look_handle is None:
            loop = asyncio.get_running_loop()
            self._look_handle = loop.call_later(SETTLE, self._look_wanted.set)

    def _core(self, event: Event) -> None:
        """One step of the core, and what follows from it."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        outcome = policy.step(self._state, event, now)
        self._state = outcome.state
        for name in outcome.probes:
            self._probing.send(name)
        for decision in outcome.decisions:
            self._board.decided(decision)
        wishes = dict(outcome.wishes)
        if wishes != self._wishes or outcome.aborts:
            self._wishes = wishes
            self._aborts |= outcome.aborts
            self._pass_wanted.set()
        if self._tick_handle is not None:
            self._tick_handle.cancel()
        self._tick_handle = loop.call_at(max(outcome.wake_at, now + SHORTEST_WAIT), self._tick)

    # --- background work -------------------------------------------------------------------------

    async def _passes(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._pass_wanted.wait(), PASS_INTERVAL)
            self._pass_wanted.clear()
            aborts, self._aborts = self._aborts, frozenset()
            reasons = {record.config.name: record.reason for record in self._state.paths}
            bindings = tuple(self._bindings.values())
            await self._reconciler.run(
                self._paths(), bindings, self._servers(), self._wishes, reasons, aborts
            )

    async def _looks(self) -> None:
        while True:
            await self._look_wanted.wait()
            self._look_wanted.clear()
            self._look_handle = None
            try:
                await self._bind(await self._reconciler.observe(None, self._servers()))
            except ActionError as error:
                log.error("%s", error)
            self._pass_wanted.set()

    async def _slow_ticks(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.to_thread(self._meter.sum_up, loop.time())
            if not self._servers():
                flows = await self._flows(16)
                self._probing.learn_peers(f.remote for f in flows if f.state == "established")
            self.snapshot()
            await asyncio.sleep(SLOW_TICK)

    def _hangup(self) -> None:
        """SIGHUP: a configuration that can't be used leaves the running one as it is."""
        if self._reload_config is None:
            return
        try:
            config = self._reload_config()
        except ConfigError as error:
            log.error("not reloaded: %s", error)
            return
        if config.agent != self._config.agent or config.metrics != self._config.metrics:
            log.warning("[agent] and [metrics] change with a restart only")
        paths = config.paths or self._paths()
        self._config = replace(config, agent=self._config.agent, metrics=self._config.metrics)
        now = asyncio.get_running_loop().time()
        self._state = policy.reconfigure(self._state, paths, now)
        self._probing.servers = self._servers()
        self._missing = {p.name: "" for p in paths if p.name in self._missing}
        self._look_wanted.set()
        self._board.agent(f"reloaded {config.source}")

    # --- what is shown ---------------------------------------------------------------------------

    async def _answer(self) -> Snapshot:
        await self._ready.wait()
        return self.snapshot()

    def snapshot(self) -> Snapshot:
        """What is shown, as of now. On the loop's thread; others read what was published."""
        return self._board.publish(
            self._state,
            self._bindings,
            self._meter.figures,
            loader=self._meter.loader,
            tick_seconds=self._tick_seconds,
        )

    async def _flows(self, top: int) -> list[FlowView]:
        await self._ready.wait()
        return await asyncio.to_thread(self._meter.flows, top)
