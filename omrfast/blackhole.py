# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes back the kernel's conclusion that MPTCP is blocked, where a dead path led to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from omrfast.act.errors import ActionError

LOOK = 0.25
LOOK_SLOW = 2.0
SLOW_AFTER = 60.0
"""Seconds between looks, for so long after a path died, and from then on: by then no handshake is
left that began before its routes were moved."""
AFTERWARDS = 10.0
"""Seconds after the last dead path has come back: the SYN that is answered may be a late one."""


class Blackhole:
    """Looks while a path is dead, and not otherwise. To be used on one event loop."""

    def __init__(
        self, count: Callable[[], Awaitable[int]], forget: Callable[[], Awaitable[object]]
    ) -> None:
        self._count = count
        self._forget = forget
        self._until = 0.0
        self._since = 0.0
        self._dead: frozenset[str] = frozenset()
        self._task: asyncio.Task[None] | None = None

    def wish(self, dead: frozenset[str]) -> None:
        """Which paths are dead, from now on."""
        loop = asyncio.get_running_loop()
        if self._dead and not dead:
            self._until = loop.time() + AFTERWARDS
        if dead != self._dead:
            self._since = loop.time()
        self._dead = dead
        if dead and (self._task is None or self._task.done()):
            self._task = loop.create_task(self._watch())

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        seen: int | None = None
        while self._dead or loop.time() < self._until:
            try:
                count = await self._count()
                if seen is not None and count > seen:
                    await self._forget()
                seen = count
            except ActionError:
                pass  # as unreadable or unwritable as it was: there is nothing else to do
            early = loop.time() - self._since < SLOW_AFTER
            await asyncio.sleep(LOOK if early else LOOK_SLOW)

    def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
