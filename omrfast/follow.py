# SPDX-License-Identifier: GPL-2.0-or-later
"""Following the paths: what the kernel tells of links and gateways, and looking again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from omrfast.act import watch
from omrfast.act.errors import ActionError
from omrfast.core.config import Config
from omrfast.core.operations import Observed
from omrfast.dataplane.names import DataPlaneError
from omrfast.meter import Meter
from omrfast.places import Places
from omrfast.probing import Probing
from omrfast.pulse import Pulse

log = logging.getLogger(__name__)

SETTLE = 0.05
"""Netlink events come in bunches; look once when they have settled."""
AGAIN = 0.5
"""Seconds after a look that failed."""


class Follower:
    """Tells meter, probes and core where the paths are; used on the loop's thread."""

    def __init__(
        self,
        places: Places,
        meter: Meter,
        probing: Probing,
        pulse: Pulse,
        *,
        config: Callable[[], Config],
        observe: Callable[[], Awaitable[Observed]],
        looked: Callable[[], None],
    ) -> None:
        """``looked`` is called after each look; ``observe`` may raise ActionError."""
        self._places = places
        self._meter = meter
        self._probing = probing
        self._pulse = pulse
        self._config = config
        self._observe = observe
        self._looked = looked
        self._wanted = asyncio.Event()
        self._handle: asyncio.TimerHandle | None = None
        self._complaint = ""
        self.unmeasured: dict[str, str] = {}
        """Why some paths can't be measured, by name."""

    def want(self) -> None:
        """Look again soon."""
        self._wanted.set()

    def changed(self, event: watch.Event) -> None:
        """A link that goes is proof by itself; all the rest can wait until it has settled."""
        if isinstance(event, watch.NeighbourFailed):
            for proof in self._places.neighbour_failed(event.index, event.address):
                self._pulse.take(proof)
            return
        if isinstance(event, watch.LinkEvent) and not event.up:
            why = "is gone" if event.removed else "is down or has no carrier"
            for change in self._places.link_down(event.index, f"interface {event.name} {why}"):
                self._pulse.take(change)
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(SETTLE, self._wanted.set)

    async def looks(self) -> None:
        """Without end: a look whenever one is wanted."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            self._handle = None
            try:
                observed = await self._observe()
                paths = self._places.discover(self._config(), observed, self._pulse.paths)
                self._pulse.reconfigure(paths)
                await self.bind(observed)
                self._complaint = ""
            except (ActionError, DataPlaneError, OSError) as error:
                self._again(str(error))
            self._looked()

    def _again(self, why: str) -> None:
        """What has changed is not known yet, and nobody may tell of it once more."""
        if why != self._complaint:
            log.error("%s; looking again every %g s", why, AGAIN)
        self._complaint = why
        self._handle = asyncio.get_running_loop().call_later(AGAIN, self._wanted.set)

    async def bind(self, observed: Observed) -> None:
        """Follow the paths to where they are now; tell the core whose link came or went."""
        paths = self._pulse.paths
        create = bool(self._config().paths)
        measured, changes = self._places.follow(paths, observed, create=create)
        unmeasured = await asyncio.to_thread(self._meter.bind, measured)
        for name, why in unmeasured.items():
            if self.unmeasured.get(name) != why:
                log.error("path %s is not measured, only probed: %s", name, why)
        self.unmeasured = unmeasured
        names = {path.name: path.interface for path in paths}
        self._probing.bind(self._places.bindings, names, observed)
        for change in changes:
            self._pulse.take(change)

    def close(self) -> None:
        """No look from now on but the one under way."""
        if self._handle is not None:
            self._handle.cancel()
