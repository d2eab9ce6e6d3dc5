# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells the peer again what one packet may not have told it.

REMOVE_ADDR and MP_PRIO are single acknowledgements that the kernel never repeats. A removal
can't be seen to have failed, since nothing comes back on a dead path: it is repeated blindly, as
often as the wish says, by adding the endpoint and removing it again (the join's SYN goes into the
dead path, and the second removal sends REMOVE_ADDR again). A demotion can: a peer that did not
hear of it goes on sending on the path. Only then is the flag taken back and set again: the last
MP_PRIO counts, and where the first one of the two arrives alone, less is known than before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

from omrfast.act.errors import ActionError
from omrfast.act.sockets import Subflow
from omrfast.core.operations import (
    AddEndpoint,
    DeleteEndpoint,
    Endpoint,
    EndpointOperation,
    Operation,
    SetBackup,
)
from omrfast.core.outcome import Wish

FIRST = 0.05
"""Seconds from a removal to its first repetition; then twice as long each time."""
LONGEST = 3.0
"""After this long the peer has found out by itself."""
DEMOTIONS = 5
"""Times that the peer is told again of a demotion, while it shows that it does not know."""
SETTLES = 0.1
WINDOWS = (0.1,) * 15 + (1.0,) * 15
BUSY = 3
"""A peer goes on sending if something new arrives in so many of these windows (seconds): one or two
may be what it had sent before and sends again. The long ones are for a peer that sends little there
or could send nowhere else at first."""

SHARE = 0.25
"""Of the connections must go on before all are told again: the kernel tells all of an endpoint's,
and where a tenth of the packets is lost, a tenth of those that knew know it no longer."""

Again = tuple[EndpointOperation, ...]
Repeat = Callable[[str, Again, str], Awaitable[object]]
"""Carries out the operations, one after the other, for a path; the last word is why."""
_Work = Callable[[str, Endpoint], Awaitable[None]]


def ignored(before: list[Subflow], after: list[Subflow], address: str) -> float:
    """Share of the connections on ``address`` whose peer sends there although it could elsewhere.

    Elsewhere: on another established subflow of the connection that nobody made a backup.
    """
    received = {_key(flow): flow.bytes_received for flow in before}
    elsewhere = {
        flow.token_local
        for flow in after
        if flow.local != address and flow.state == "established" and not flow.backup
    }
    here = [flow for flow in after if flow.local == address and flow.token_local in elsewhere]
    going_on = [
        flow for flow in here if flow.bytes_received > received.get(_key(flow), flow.bytes_received)
    ]
    return len(going_on) / len(here) if here else 0.0


def _key(flow: Subflow) -> tuple[int, str, int, int]:
    return flow.token_local, flow.local, flow.local_port, flow.remote_port


class Telling:
    """To be used on one event loop."""

    def __init__(
        self,
        repeat: Repeat,
        subflows: Callable[[], Awaitable[list[Subflow]]],
    ) -> None:
        self._repeat = repeat
        self._subflows = subflows
        self._wishes: Mapping[str, Wish] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    def wish(self, wishes: Mapping[str, Wish]) -> None:
        """From now on. What is under way for another wish ends by itself."""
        self._wishes = wishes

    def told(self, path: str, op: Operation) -> None:
        """``op`` has just been begun: see to it that the peer hears of it."""
        match op:
            case DeleteEndpoint(endpoint):
                self._start(path, endpoint, self._removal)
            case SetBackup(endpoint, True):
                self._start(path, endpoint, self._demotion)

    def _start(self, path: str, endpoint: Endpoint, work: _Work) -> None:
        key = (path, endpoint.address)
        if key in self._tasks:
            self._tasks[key].cancel()
        self._tasks[key] = asyncio.get_running_loop().create_task(
            self._quietly(path, endpoint, work)
        )

    async def _quietly(self, path: str, endpoint: Endpoint, work: _Work) -> None:
        with contextlib.suppress(ActionError):  # the next pass complains if it matters
            await work(path, endpoint)

    async def _removal(self, path: str, endpoint: Endpoint) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + LONGEST
        done, pause = 0, FIRST
        ops: Again = (AddEndpoint(endpoint), DeleteEndpoint(endpoint))
        if not endpoint.joins:  # initial subflows: each removal of id 0 is told, whatever is left
            ops = (DeleteEndpoint(Endpoint(0, endpoint.address)),)
        while loop.time() < end:
            await asyncio.sleep(pause)
            wish = self._wishes.get(path, Wish())
            if wish.present is not False:
                return
            if done < wish.repeat:
                await self._repeat(path, ops, "REMOVE_ADDR, which may be lost")
                done, pause = done + 1, 2 * pause

    async def _demotion(self, path: str, endpoint: Endpoint) -> None:
        for _ in range(DEMOTIONS):
            deaf = await self._ignored(endpoint.address)
            if not deaf or not self._wishes.get(path, Wish()).backup:
                return
            ops = (SetBackup(endpoint, False), SetBackup(endpoint, True))
            await self._repeat(path, ops, "MP_PRIO, for it goes on sending there")

    async def _ignored(self, address: str) -> bool:
        """Once what was on its way has arrived, does the peer go on sending?"""
        flows = await self._subflows()
        rtts = [flow.rtt for flow in flows if flow.local == address and flow.rtt is not None]
        await asyncio.sleep(2 * max(rtts, default=0.0) + SETTLES)
        before, busy = await self._subflows(), 0
        for window in WINDOWS:
            await asyncio.sleep(window)
            after = await self._subflows()
            busy += ignored(before, after, address) >= SHARE
            if busy >= BUSY:
                return True
            before = after
        return False

    def close(self) -> None:
        """Tell nothing more."""
        for task in self._tasks.values():
            task.cancel()
