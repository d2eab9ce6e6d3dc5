# SPDX-License-Identifier: GPL-2.0-or-later
"""The simulated world with paths that lose at random, and with queues that our own load fills.

Streams are sent again as TCP does it: a message after about a round trip and a half, when later
ones have been acknowledged; a question, which nothing follows, after a quarter of a second. Traffic
takes the first path that is wanted as active, as it does with MPTCP and routes. A bulk transfer is
a flow of bytes through a queue of given length, cut to slices of 10 ms.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from world import MESSAGE, SEGMENT, SimPath, World

SLICE = 0.01
REPEAT_ROUNDS = 1.5
QUESTION_TIMEOUT = 0.25


@dataclass
class RoughPath(SimPath):
    """One uplink with chance and a queue."""

    loss: float = 0.0
    """Share of packets lost, each way."""
    capacity: float = 2.5e6
    """Bytes a second, outbound."""
    buffer: float = 250e3
    """Bytes of its queue."""
    queued: float = 0.0
    bulk: Callable[[float], float] | None = None
    """Bytes a second that a bulk transfer offers, by the seconds since it began."""
    bulk_since: float = 0.0
    owed: float = 0.0
    """Segments dropped, not sent again yet."""
    carry: float = 0.0
    repeats: float = 0.0
    """What is left over of segments sent, and sent again, in whole ones."""
    rng: random.Random = field(default_factory=lambda: random.Random(1))

    @property
    def delay(self) -> float:
        """A round trip at this moment."""
        return self.rtt + self.queued / self.capacity

    def drops(self) -> bool:
        return self.rng.random() < self.loss


class RoughWorld(World):
    """With streams that go where they are wanted, and that count what they lose."""

    def path_for_traffic(self) -> RoughPath:
        for name, path in self.paths.items():
            wish = self.wishes[name]
            if wish.present is not False and not wish.backup:
                assert isinstance(path, RoughPath)
                return path
        raise AssertionError("no path is active")

    def send(
        self, path: SimPath, name: str, done: Callable[[], None], *, asks: bool = True
    ) -> None:
        """As in the world, with chance, both ways."""
        assert isinstance(path, RoughPath)
        if path.drops():
            self._leave(path, asks=asks)
            return

        def back() -> None:
            if not path.drops():
                done()

        at_rest, path.rtt = path.rtt, path.delay
        super().send(path, name, back, asks=asks)
        path.rtt = at_rest

    def _add(self, path: SimPath, **more: float) -> None:
        c = path.counters
        path.counters = replace(c, **{k: getattr(c, k) + v for k, v in more.items()})

    # --- streams ---------------------------------------------------------------------------------

    def paced(self, interval: float, size: int = MESSAGE) -> None:
        """A message of so many bytes every so often."""
        self._message(self.path_for_traffic(), size)
        self.at(interval, lambda: self.paced(interval, size))

    def _message(self, path: RoughPath, size: int, again: bool = False) -> None:
        self._add(path, tx_segments=1, tx_bytes=size, retransmitted_segments=int(again))
        sent = self.now
        arrived = [False]

        def acknowledged() -> None:
            arrived[0] = True
            self.arrived[path.server] = self.now
            more = {} if again else {"rtt_samples": 1, "rtt_sum": self.now - sent}
            self._arrive(path, rx_bytes=60, **more)

        def check() -> None:
            if not arrived[0] and not path.dead:
                # The acknowledgement of a later message covers one whose own was lost.
                lost_outbound = path.rng.random() < 1 / (2 - path.loss)
                if lost_outbound:
                    self._message(path, size, again=True)

        self.send(path, path.server, acknowledged)
        self.at(REPEAT_ROUNDS * path.delay + 0.02, check)

    def requests(self, interval: float) -> None:
        """A question, an answer, and the next one an interval after the question."""
        self._question(self.path_for_traffic(), self.now, interval)

    def _question(
        self, path: RoughPath, began: float, interval: float, again: bool = False
    ) -> None:
        self._add(path, tx_segments=1, tx_bytes=MESSAGE, retransmitted_segments=int(again))
        sent = self.now
        answered = [False]

        def answer() -> None:
            answered[0] = True
            self.arrived[path.server] = self.now
            more = {} if again else {"rtt_samples": 1, "rtt_sum": self.now - sent}
            self._arrive(path, rx_segments=1, rx_bytes=MESSAGE, **more)
            left = max(0.0, began + interval - self.now)
            self.at(left, lambda: self._question(self.path_for_traffic(), self.now, interval))

        def check() -> None:
            if not answered[0]:
                where = path if self.wishes[path.name].present else self.path_for_traffic()
                self._question(where, began, interval, again=True)

        self.send(path, path.server, answer)
        self.at(max(QUESTION_TIMEOUT, 2 * path.delay), check)

    # --- bulk ------------------------------------------------------------------------------------

    def bulk(self, name: str, offered: Callable[[float], float] | None) -> None:
        """Start a bulk upload on a path, or end it (None)."""
        path = self.paths[name]
        assert isinstance(path, RoughPath)
        running = path.bulk is not None or path.queued > 0
        path.bulk, path.bulk_since = offered, self.now
        if not running:
            self._slice(path)

    def _slice(self, path: RoughPath) -> None:
        offered = path.bulk(self.now - path.bulk_since) * SLICE if path.bulk else 0.0
        again = min(path.owed, offered / SEGMENT)
        path.owed -= again
        path.queued = max(0.0, path.queued + offered - path.capacity * SLICE)
        dropped = max(0.0, path.queued - path.buffer)
        path.queued -= dropped
        lost = (dropped + offered * path.loss) / SEGMENT
        if offered:
            self._leave(path, asks=True)
            path.carry += offered / SEGMENT
            whole = int(path.carry)
            path.carry -= whole
            path.repeats += again
            repeats = int(path.repeats)
            path.repeats -= repeats
            self._add(
                path,
                tx_segments=whole,
                tx_bytes=round(offered),
                retransmitted_segments=repeats,
            )
        self.at(path.delay, lambda: self._owe(path, lost))
        if offered and int(self.now / SLICE) % max(1, int(path.delay / SLICE)) == 0:
            took = path.delay
            self.at(took, lambda: self._sampled(path, took))
        elif offered:
            self.at(path.delay, lambda: self._arrive(path, rx_bytes=60))
        if path.bulk or path.queued > 0:
            self.at(SLICE, lambda: self._slice(path))

    def _sampled(self, path: RoughPath, rtt: float) -> None:
        self._arrive(path, rx_bytes=60, rtt_samples=1, rtt_sum=rtt)

    def _owe(self, path: RoughPath, lost: float) -> None:
        path.owed += lost
