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
from collections.abc import Callable
from dataclasses import replace

from omrfast.act import watch
from omrfast.act.apply import Actuator
from omrfast.act.errors import ActionError
from omrfast.core.config import Config, ConfigError
from omrfast.core.events import ServersChanged
from omrfast.core.operations import Observed
from omrfast.core.settings import server_needs
from omrfast.core.state import CoreState
from omrfast.core.views import FlowView, Snapshot
from omrfast.dataplane.loader import open_dataplane
from omrfast.exclusive import NamespaceLock
from omrfast.export.board import Board
from omrfast.export.control import ControlServer, Params
from omrfast.export.desk import Desk
from omrfast.export.handlers import control_handlers
from omrfast.export.prometheus import MetricsServer
from omrfast.export.status import Json
from omrfast.follow import Follower
from omrfast.meter import Meter
from omrfast.places import Places
from omrfast.probing import Probing
from omrfast.pulse import Pulse
from omrfast.reconcile import Reconciler
from omrfast.service import notify
from omrfast.store.journal import Recorder
from omrfast.store.ledger import Ledger, LedgerError
from omrfast.store.overrides import Overrides
from omrfast.walks import Walks

log = logging.getLogger(__name__)

PASS_INTERVAL = 5.0
"""A reconciler's pass at least this often: heals what others change."""
_FIXED = ("agent", "metrics", "journal")
"""Sections of the configuration that a restart only can change."""


class AgentError(Exception):
    """The agent can't start; the text says why and what to do."""


class Agent:
    """One agent in the network namespace of its process."""

    _desk: Desk
    _recorder: Recorder
    _reconciler: Reconciler
    _meter: Meter
    _probing: Probing
    _follower: Follower
    _pulse: Pulse

    def __init__(
        self,
        config: Config,
        *,
        dry_run: bool = False,
        record: str | None = None,
        reload: Callable[[], Config] | None = None,
    ) -> None:
        """``record``: file for every input of the core. ``reload`` reads the configuration anew;
        it may raise ConfigError."""
        self._config = config
        self._dry_run = dry_run
        self._record = record
        self._reload_config = reload
        self._board = Board(dry_run=dry_run)
        self._ready = asyncio.Event()
        self._places = Places()
        self._failure: BaseException | None = None
        self._stopping = asyncio.Event()
        self._pass_wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closers: list[Callable[[], None]] = []

    # --- life ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until SIGTERM or SIGINT; then put back what was changed.

        Raises AgentError, DataPlaneError, ControlError, MetricsError, LedgerError, JournalError
        or ActionError when it can't start.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._hangup)
        self._desk = Desk(
            Overrides(self._config.agent.state_dir),
            state=self._live_state,
            take=lambda event: self._pulse.take(event),
            clock=loop.time,
        )
        control = ControlServer(
            self._config.agent.run_dir,
            {
                **control_handlers(self._answer, self._flows, self._board.events),
                **self._desk.handlers(),
                "reload": self._reload_asked,
            },
        )
        await control.start()
        try:
            await self._start(loop)
            notify("READY=1")
            await self._stopping.wait()
            notify("STOPPING=1")
            self._board.agent("stopping")
            await self._put_back()
            if self._failure is not None:
                raise AgentError(f"stopped after a failure: {self._failure!r}")
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for close in reversed(self._closers):
                close()
            await control.close()

    async def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        agent = self._config.agent
        self._closers.append(NamespaceLock().close)
        self._board.recorder = self._recorder = Recorder(self._config, self._record)
        self._closers.append(self._recorder.close)
        if self._config.metrics.listen:
            metrics = MetricsServer(lambda: self._board.published)
            metrics.start(self._config.metrics.listen)
            self._closers.append(metrics.close)
        ledger = Ledger(agent.state_dir)
        if ledger.changes:
            log.info("%d changes of an earlier run are taken over", len(ledger.changes))
        self._reconciler = Reconciler(
            Actuator(),
            ledger,
            dry_run=self._dry_run,
            acted=self._board.acted,
            recorded=self._board.recorded,
        )
        self._closers.append(self._reconciler.close)
        observed = await self._observe()
        paths = self._places.find(self._config, observed)
        await self._reconciler.take_over(paths)
        uplinks = len({path.interface for path in paths})
        if uplinks > 1:
            log.info("the VPS %s", server_needs(uplinks, observed.endpoints))
        plane = await asyncio.to_thread(
            open_dataplane, agent.run_dir, agent.loader, flows=agent.flows
        )
        self._meter = Meter(plane, agent.ingress)
        self._closers.append(self._meter.close)
        self._pulse = Pulse(
            loop,
            paths,
            recorder=self._recorder,
            read=self._meter.read,
            glance=self._meter.glance,
            ask=lambda order: self._probing.send(order),
            collect=lambda: self._probing.collect(),
            decided=self._board.decided,
            troubled=self._board.trouble,
            wished=self._pass_wanted.set,
            failed=self._fail,
        )
        self._closers.append(self._pulse.close)
        take = self._pulse.take
        self._probing = Probing(loop, self._config, replied=take, failed=take, changed=take)
        self._closers.append(self._probing.close)
        self._follower = Follower(
            self._places,
            self._meter,
            self._probing,
            self._pulse,
            config=lambda: self._config,
            observe=self._observe,
            looked=self._pass_wanted.set,
        )
        self._closers.append(self._follower.close)
        self._closers.append(watch.Watch(loop, self._follower.changed).close)
        walks = Walks(
            loop,
            self._meter,
            self._pulse,
            servers=self._servers,
            met=self._probing.learn_peers,
            walked=self.snapshot,
        )
        self._tell_servers()
        await self._follower.bind(observed)
        self._desk.take_up(self._pulse.state)
        self._ready.set()
        loop.add_reader(self._meter.event_fd, self._ring)
        self._closers.append(self._stop_ring)
        self._tasks = [
            asyncio.create_task(work(), name=work.__name__)
            for work in (walks.go_on, self._passes, self._follower.looks)
        ]
        for task in self._tasks:
            task.add_done_callback(self._task_ended)
        self._board.agent(
            f"measuring {', '.join(path.name for path in paths)}, loader {self._meter.loader}"
        )
        self._follower.want()  # for what has changed while the programs were loaded
        self._pulse.tick()

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
            self._fail(task.exception() or RuntimeError(task.get_name()))

    # --- servers ---------------------------------------------------------------------------------

    def _servers(self) -> tuple[str, ...]:
        return tuple(a for server in self._config.servers for a in server.addresses)

    async def _observe(self) -> Observed:
        return await self._reconciler.observe(None, self._servers())

    def _tell_servers(self) -> None:
        named = tuple((server.name, server.addresses) for server in self._config.servers)
        self._pulse.take(ServersChanged(named, self._config.agent.quorum))

    # --- what happens ----------------------------------------------------------------------------

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._recorder.failed(error)
        self._stopping.set()

    def _ring(self) -> None:
        """Records of the data path's ring; a path that became busy is watched from now on."""
        for path, event in self._meter.events():
            if event.kind != "busy":
                self._board.flow(path, event)
        self._pulse.tick()

    # --- background work -------------------------------------------------------------------------

    async def _passes(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._pass_wanted.wait(), PASS_INTERVAL)
            except TimeoutError:
                if self._follower.unmeasured:
                    self._follower.want()
            self._pass_wanted.clear()
            aborts = self._pulse.take_aborts()
            causes = self._board.take_causes(self._pulse.state)
            paths, bindings, wishes = self._places.all(self._pulse.paths, self._pulse.wishes)
            self._reconciler.run(
                paths, bindings, self._servers(), wishes, causes, aborts, self._config.tuning
            )

    def _hangup(self) -> None:
        """SIGHUP: a configuration that can't be used leaves the running one as it is."""
        if not self._ready.is_set():
            log.warning("not reloaded: still starting")
            return
        with contextlib.suppress(ConfigError):  # which is in the log
            self._reload()

    def _reload(self) -> tuple[str, ...]:
        """What a restart only can change, although it was changed. Raises ConfigError."""
        try:
            if self._reload_config is None:
                raise ConfigError("there is no file")
            config = self._reload_config()
        except ConfigError as error:
            log.error("not reloaded: %s", error)
            raise
        running = self._config
        later = tuple(
            f"[{name}]" for name in _FIXED if getattr(config, name) != getattr(running, name)
        )
        for part in later:
            log.warning("%s changes with a restart only", part)
        paths = config.paths or tuple(replace(p, quality=config.quality) for p in self._pulse.paths)
        self._places.retire(self._pulse.paths, paths)
        self._config = replace(config, **{name: getattr(running, name) for name in _FIXED})
        self._pulse.reconfigure(paths)
        self._desk.take_up(self._pulse.state)
        self._tell_servers()
        self._probing.configure(self._config)
        self._follower.want()
        self._board.agent(f"reloaded {config.source}")
        return later

    async def _reload_asked(self, params: Params) -> Json:
        """{} → {"refused": why or null, "source": file, "later": sections}"""
        await self._ready.wait()
        try:
            return {"refused": None, "later": self._reload(), "source": self._config.source}
        except ConfigError as error:
            return {"refused": str(error), "later": (), "source": self._config.source}

    # --- what is shown ---------------------------------------------------------------------------

    async def _live_state(self) -> CoreState:
        await self._ready.wait()
        return self._pulse.state

    async def _answer(self) -> Snapshot:
        await self._ready.wait()
        return self.snapshot()

    def snapshot(self) -> Snapshot:
        """What is shown, as of now. On the loop's thread; others read what was published."""
        return self._board.publish(
            self._pulse.state,
            self._pulse.wishes,
            self._places.bindings,
            self._meter.figures,
            loader=self._meter.loader,
            tick_seconds=self._pulse.seconds,
        )

    async def _flows(self, top: int) -> list[FlowView]:
        await self._ready.wait()
        return await asyncio.to_thread(self._meter.flows, top)
