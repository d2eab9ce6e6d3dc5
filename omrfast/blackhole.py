# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes back the kernel's conclusion that MPTCP is blocked, where a dead path led to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from omrfast.act.errors import ActionError

LOOK = 0.25
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
        self._dead = False
        self._task: asyncio.Task[None] | None = None

    def wish(self, *, dead: bool) -> None:
        """Whether a path is dead, from now on."""
        loop = asyncio.get_running_loop()
        if self._dead and not dead:
            self._until = loop.time() + AFTERWARDS
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
            await asyncio.sleep(LOOK)

    def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
