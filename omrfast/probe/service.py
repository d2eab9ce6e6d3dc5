# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes that are conversations: each is a task with a deadline, and has exactly one outcome."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from omrfast.core.types import Target
from omrfast.probe.base import ProbeListener, ProbePath
from omrfast.probe.bound import ProbeFailure


@dataclass(slots=True)
class Progress:
    """How far a probe has come: what a time-out says."""

    step: str = ""
    """What it waits for, in words that follow "no answer within 2 s: "; empty: to the probe."""
    cost: int | None = None
    """Bytes of IP packets, both ways, if it is known and not the same for all targets."""


@dataclass(frozen=True, slots=True)
class Answer:
    """As ProbeListener.on_reply() has it."""

    rtt: float
    at: float


class ServiceProber(ABC):
    """A Prober whose probes are coroutines; to be made and used on the loop's thread.

    There are never more tasks than targets times at_once.
    """

    at_once: ClassVar[int] = 1
    """Probes of one target that may be under way on a path."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listener: ProbeListener) -> None:
        self._loop = loop
        self._listener = listener
        self._tasks: dict[asyncio.Task[None], tuple[str, str]] = {}
        """Path and key of each probe under way that has not been dropped."""

    @abstractmethod
    async def ask(self, path: ProbePath, target: Target, progress: Progress) -> Answer:
        """Ask once. Need not mind the time-out.

        Raises OSError if nothing could be sent, ProbeFailure if it came to nothing.
        """

    def send(self, path: ProbePath, target: Target) -> None:
        """See Prober.send()."""
        key = (path.name, target.key)
        if sum(under_way == key for under_way in self._tasks.values()) < self.at_once:
            self._tasks[self._loop.create_task(self._run(path, target))] = key

    async def _run(self, path: ProbePath, target: Target) -> None:
        task = asyncio.current_task()
        assert task is not None
        progress = Progress()
        try:
            tell = await self._outcome(path, target, progress)
        except BaseException:
            self._tasks.pop(task, None)
            raise
        if self._tasks.pop(task, None) is None:
            return
        if progress.cost is not None:
            self._listener.on_cost(path.name, target.key, progress.cost)
        tell()

    async def _outcome(
        self, path: ProbePath, target: Target, progress: Progress
    ) -> Callable[[], None]:
        """Asks; returns what tells the listener of what became of it."""
        name, key, listener = path.name, target.key, self._listener
        try:
            async with asyncio.timeout(target.timeout):
                answer = await self.ask(path, target, progress)
            return partial(listener.on_reply, name, key, answer.rtt, answer.at)
        except TimeoutError:
            reason = f"no answer within {target.timeout:g} s {progress.step}".rstrip()
            return partial(listener.on_failed, name, key, reason, time.monotonic(), False)
        except OSError as error:
            code = error.errno or errno.EIO
            reason = f"probe to {target.address} through {path.interface}: {os.strerror(code)}"
            return partial(listener.on_error, name, key, reason, code)
        except ProbeFailure as failure:
            reason, at = str(failure), time.monotonic()
            if failure.said_by is not None:
                return partial(listener.on_unreachable, name, key, failure.said_by, reason, at)
            return partial(listener.on_failed, name, key, reason, at, failure.alive)

    def forget(self, path: str) -> None:
        """See Prober.forget()."""
        for task in [task for task, key in self._tasks.items() if key[0] == path]:
            del self._tasks[task]
            task.cancel()

    def close(self) -> None:
        """See Prober.close()."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
