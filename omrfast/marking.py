# SPDX-License-Identifier: GPL-2.0-or-later
"""Sees to it that every subflow has the backup flag of its endpoint.

A change of the flag reaches only the subflows that may carry data. One that is in its handshake
at that moment keeps, for good, the flag that its SYN had: a connection that begins while a path is
demoted would go on using it, and one that begins while a path comes back would not. Such subflows
are finite in number, because those that begin later have the new flag: they are looked for after
each change, ever less often, and told as soon as their handshake is over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

from omrfast.act.errors import ActionError
from omrfast.act.sockets import Unmarked
from omrfast.core.operations import AddEndpoint, Endpoint, Operation, SetBackup
from omrfast.core.outcome import Wish
from omrfast.telling import Repeat

FIRST = 0.05
"""Seconds from the change until the first look."""
GROWTH = 1.5
"""Each pause is so many times as long as the last one, so that whatever takes a while is noticed
within half as long again, by about 18 looks at most."""
LONGEST = 130.0
"""By then the kernel has given up a handshake (tcp_syn_retries, 6)."""
VAIN = 3
"""What did not become less by so many changes has another reason: of several subflows of one
connection from one address the kernel changes one only."""


class Marking:
    """To be used on one event loop."""

    def __init__(
        self, repeat: Repeat, unmarked: Callable[[str, bool], Awaitable[Unmarked]]
    ) -> None:
        self._repeat = repeat
        self._unmarked = unmarked
        self._wishes: Mapping[str, Wish] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """By address."""

    def wish(self, wishes: Mapping[str, Wish]) -> None:
        """From now on. What is under way for another wish ends by itself."""
        self._wishes = wishes

    def done(self, path: str, op: Operation) -> None:
        """``op`` has been applied: see to it that it reaches every subflow."""
        match op:
            case SetBackup(endpoint, backup):
                self._start(path, endpoint, backup)
            case AddEndpoint(endpoint):
                self._start(path, endpoint, endpoint.backup)

    def _start(self, path: str, endpoint: Endpoint, backup: bool) -> None:
        address = endpoint.address
        if address in self._tasks:
            self._tasks[address].cancel()
        self._tasks[address] = asyncio.get_running_loop().create_task(
            self._look(path, endpoint, backup)
        )

    async def _look(self, path: str, endpoint: Endpoint, backup: bool) -> None:
        loop = asyncio.get_running_loop()
        ops = (SetBackup(endpoint, not backup), SetBackup(endpoint, backup))
        begun, pause, before, vain = loop.time(), FIRST, 0, 0
        with contextlib.suppress(ActionError):  # the next pass complains if it matters
            while loop.time() - begun < LONGEST and vain < VAIN:
                await asyncio.sleep(pause)
                pause *= GROWTH
                left = await self._unmarked(endpoint.address, backup)
                if not (left.ready or left.opening) or not self._wished(path, backup):
                    return
                if left.ready:
                    vain = vain + 1 if left.ready >= before > 0 else 0
                    await self._repeat(path, ops, "MP_PRIO, for handshakes that were under way")
                before = left.ready

    def _wished(self, path: str, backup: bool) -> bool:
        wish = self._wishes.get(path, Wish())
        return wish.present is not False and wish.backup is backup

    def close(self) -> None:
        """Look no more."""
        for task in self._tasks.values():
            task.cancel()
