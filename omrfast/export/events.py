# SPDX-License-Identifier: GPL-2.0-or-later
"""The last events, and those to come, for `omrfast events`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from omrfast.core.views import EventView

KEPT = 1000
_QUEUED = 256
"""Events that a follower may be behind before it loses the oldest."""


class EventLog:
    """A bounded log with followers; used from one event loop only."""

    def __init__(self, kept: int = KEPT) -> None:
        self._events: deque[EventView] = deque(maxlen=kept)
        self._followers: set[asyncio.Queue[EventView]] = set()

    def append(self, event: EventView) -> None:
        """Record an event and wake the followers; never blocks."""
        self._events.append(event)
        for queue in self._followers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    def recent(self) -> tuple[EventView, ...]:
        """Oldest first."""
        return tuple(self._events)

    async def follow(self) -> AsyncGenerator[EventView, None]:
        """The kept events, then those to come, without end; a slow reader loses the oldest."""
        queue: asyncio.Queue[EventView] = asyncio.Queue(_QUEUED)
        kept = self.recent()
        self._followers.add(queue)
        try:
            for event in kept:
                yield event
            while True:
                yield await queue.get()
        finally:
            self._followers.discard(queue)
