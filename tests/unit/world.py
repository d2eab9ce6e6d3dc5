# SPDX-License-Identifier: GPL-2.0-or-later
"""Paths with traffic in simulated time, for tests of the policy without a kernel.

One step is one millisecond. A path delivers after half its RTT, unless it is black-holed; an
upload asks (and is answered), a download only arrives; what the data path would count is counted,
with instants rounded to jiffies as the kernel's are.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from omrfast.core import policy
from omrfast.core.config import PathConfig, Quality
from omrfast.core.state import (
    CoreState,
    Decision,
    Event,
    LinkChanged,
    Outcome,
    PathRecord,
    ProbeReply,
    TargetsChanged,
    Tick,
    Wish,
)
from omrfast.core.types import Origin, PathCounters, ProbeKind, Role, Target

JIFFY = 0.004
START = 1000.0
SERVER = Target("icmp 203.0.113.10", ProbeKind.ICMP, "203.0.113.10", Origin.SERVER, "vps")


def jiffy(at: float) -> float:
    return at // JIFFY * JIFFY


@dataclass
class SimPath:
    """One uplink as it really is."""

    name: str
    rtt: float = 0.040
    upload: float | None = None
    """Seconds between messages that leave; None: no upload."""
    download: float | None = None
    loss_every: int = 0
    """Every n-th segment is sent again; 0: none."""
    dead: bool = False
    filters: bool = False
    """Whoever is probed does not answer."""
    paused_until: float = 0.0
    """Nothing arrives before, nothing is lost: a radio's pause."""
    role: Role = Role.ACTIVE
    quality: Quality = field(default_factory=Quality)
    counters: PathCounters = field(default_factory=PathCounters)
    in_flight: deque[tuple[float, str, float]] = field(default_factory=deque)
    next_upload: float = START
    next_download: float = START
    probes: int = 0

    def run(self, now: float) -> list[float]:
        """Advance to ``now``; returns the RTT of each probe answered."""
        replies = []
        if self.upload is not None and now >= self.next_upload:
            self.next_upload = now + self.upload
            self._leave(now)
        if self.download is not None and now >= self.next_download:
            self.next_download = now + self.download
            if not self.dead:
                self.in_flight.append((now + self.rtt / 2, "data", 0.0))
        for entry in [e for e in self.in_flight if max(e[0], self.paused_until) <= now]:
            self.in_flight.remove(entry)
            if not self.dead:
                replies += self._arrive(entry, now)
        return replies

    def _leave(self, now: float) -> None:
        c = self.counters
        asked = c.asked if (c.asked or 0) > (c.last_rx or 0) else jiffy(now)
        segments = c.tx_segments + 1
        again = bool(self.loss_every) and segments % self.loss_every == 0
        self.counters = replace(
            c,
            tx_segments=segments,
            asked=asked,
            last_tx=jiffy(now),
            retransmitted_segments=c.retransmitted_segments + again,
        )
        if not self.dead:
            self.in_flight.append((now + self.rtt, "ack", now))

    def probe(self, now: float) -> None:
        self.probes += 1
        self.counters = replace(self.counters, last_tx=jiffy(now))
        if not self.dead and not self.filters:
            self.in_flight.append((now + self.rtt, "probe", now))

    def _arrive(self, entry: tuple[float, str, float], now: float) -> list[float]:
        _, kind, sent = entry
        c = replace(self.counters, rx_packets=self.counters.rx_packets + 1, last_rx=jiffy(now))
        if kind == "data":
            c = replace(c, rx_segments=c.rx_segments + 1, last_tx=jiffy(now))
        if kind == "ack":
            c = replace(c, rtt_samples=c.rtt_samples + 1, rtt_sum=c.rtt_sum + now - sent)
        self.counters = c
        return [now - sent] if kind == "probe" else []


class World:
    """The core's loop, in simulated time."""

    def __init__(self, *paths: SimPath) -> None:
        self.paths = {path.name: path for path in paths}
        self.now = START
        records = tuple(
            PathRecord(PathConfig(p.name, p.name, role=p.role, quality=p.quality)) for p in paths
        )
        self.state: CoreState = policy.start(records, self.now)
        self.wishes: dict[str, Wish] = {}
        self.decisions: list[Decision] = []
        self.aborted: list[str] = []
        self.wake_at = self.now
        self.ticks = 0
        for path in paths:
            path.next_upload = path.next_download = self.now
            self._step(TargetsChanged(path.name, (SERVER,)))

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 1000)):
            self.now = round(self.now + 0.001, 6)
            quiet = {n: self.now - (p.counters.last_tx or 0.0) > 1 for n, p in self.paths.items()}
            for name, path in self.paths.items():
                for rtt in path.run(self.now):
                    self._step(ProbeReply(name, SERVER.key, rtt, self.now))
                if quiet[name] and self.now - (path.counters.last_tx or 0.0) < 0.01:
                    self._tick()
            if self.now >= self.wake_at:
                self._tick()

    def link(self, name: str, up: bool) -> None:
        self._step(LinkChanged(name, up, "link down" if not up else "link up"))

    def _tick(self) -> None:
        self.ticks += 1
        self._step(Tick({name: path.counters for name, path in self.paths.items()}))

    def _step(self, event: Event) -> None:
        outcome: Outcome = policy.step(self.state, event, self.now)
        self.state = outcome.state
        self.wishes = dict(outcome.wishes)
        self.decisions += outcome.decisions
        self.aborted += outcome.aborts
        self.wake_at = outcome.wake_at
        for order in outcome.probes:
            self.paths[order.path].probe(self.now)

    def states(self, name: str, since: float = 0.0) -> list[str]:
        """States entered by a path since a moment, suspicions that came to nothing left out."""
        entered = [d for d in self.decisions if d.path == name and d.at >= since]
        result = []
        for decision in entered:
            if decision.state == "suspect":
                continue
            if decision.before == "suspect" and result[-1:] == [decision.state]:
                continue
            result.append(str(decision.state))
        return result

    def entered(self, name: str, state: str, since: float) -> float | None:
        """Seconds from ``since`` until the path entered the state; None if it did not."""
        for decision in self.decisions:
            if decision.path == name and decision.state == state and decision.at >= since:
                return decision.at - since
        return None
