# SPDX-License-Identifier: GPL-2.0-or-later
"""The slow tick: walks over the flow tables, and what is shown anew after each second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from omrfast.core.events import Walked
from omrfast.core.state import NEVER
from omrfast.meter import Meter
from omrfast.pulse import Pulse

TICK = 1.0
REST = 9.0
"""Between two slow ticks at least so many times as long as the last one took: with a million flows
the walk over them takes no more than a tenth of a processor."""
QUIET = 5.0
"""Between two walks while no packet crosses any path; the core compares two in a row, so there are
two after each packet."""
PEERS_AMONG = 16
"""Busiest flows whose remote ends serve as targets where no server is configured."""


class Walks:
    """Used on the loop's thread; the walk itself runs on another."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        meter: Meter,
        pulse: Pulse,
        *,
        servers: Callable[[], tuple[str, ...]],
        met: Callable[[Iterable[str]], None],
        walked: Callable[[], object],
    ) -> None:
        """``servers``: their addresses. ``met`` takes the remote ends of flows that live, busiest
        first, where there are none; ``walked`` is called once a tick."""
        self._loop = loop
        self._meter = meter
        self._pulse = pulse
        self._servers = servers
        self._met = met
        self._walked = walked
        self._at = NEVER
        self._packets = (-1, -1)
        """When the last walk began, and how many packets had crossed the paths by then, and by the
        one before."""

    async def go_on(self) -> None:
        """For ever."""
        while True:
            begun = self._loop.time()
            if self._wanted(begun):
                await self._walk(begun)
            self._walked()
            await asyncio.sleep(max(TICK, REST * (self._loop.time() - begun)))

    def _wanted(self, now: float) -> bool:
        packets = self._pulse.packets
        return now - self._at >= QUIET or self._packets != (packets, packets)

    async def _walk(self, now: float) -> None:
        self._at, self._packets = now, (self._pulse.packets, self._packets[0])
        servers = tuple(dict.fromkeys(self._servers()))
        figures = await asyncio.to_thread(self._meter.sum_up, now, servers)
        self._pulse.take(Walked(figures.server_flows, self._meter.tails))
        if not servers:
            flows = await asyncio.to_thread(self._meter.flows, PEERS_AMONG)
            self._met(f.remote for f in flows if f.mptcp and f.state == "established")
