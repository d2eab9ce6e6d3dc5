# SPDX-License-Identifier: GPL-2.0-or-later
"""Paths, gateways and servers in simulated time, for tests of the policy without a kernel.

Event-driven: nothing happens between packets and the core's deadlines, so that an idle hour costs
nothing. A packet of ours travels half an RTT to whoever it is for, and half an RTT back; the
gateway is GATEWAY_RTT away. An upload asks and is answered, a download only arrives. What the data
path would count is counted, with instants rounded to jiffies as the kernel's are; ARP and the like
are not simulated.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from omrfast.core import policy
from omrfast.core.config import PathConfig, Quality
from omrfast.core.events import (
    Event,
    LinkChanged,
    OverrideChanged,
    ProbeFailed,
    ProbeReply,
    ServersChanged,
    TargetsChanged,
    Tick,
    Walked,
)
from omrfast.core.outcome import Decision, Outcome, Wish
from omrfast.core.state import NEVER, CoreState, Override, PathRecord
from omrfast.core.types import FlowSum, Origin, PathCounters, ProbeKind, Role, Target
from omrfast.core.watch import Watch, goes_on, look, with_looks

JIFFY = 0.004
BUSY = 300
"""Ticks in one second: more than any packet or deadline calls for."""
START = 1000.0
GATEWAY_RTT = 0.004
MESSAGE, SEGMENT, BARE = 308, 1500, 60
"""Bytes of a message of ours, of a data segment that arrives, and of what else does."""
SERVER = Target("icmp 203.0.113.10", ProbeKind.ICMP, "203.0.113.10", Origin.SERVER, "vps")
OTHER = Target("icmp 203.0.113.20", ProbeKind.ICMP, "203.0.113.20", Origin.SERVER, "vps2")
WITNESS = Target("icmp 198.51.100.1", ProbeKind.ICMP, "198.51.100.1", Origin.WITNESS, "witness")
GATEWAY = Target("icmp 10.0.0.1", ProbeKind.ICMP, "10.0.0.1", Origin.GATEWAY, "10.0.0.1")
PORT = Target(
    "tcp 203.0.113.10:443", ProbeKind.TCP, "203.0.113.10:443", Origin.SERVER, "vps", 1.0, 30.0
)
WEB = Target(
    "http http://www.example/",
    ProbeKind.HTTP,
    "http://www.example/",
    Origin.SERVICE,
    "web",
    1.0,
    30.0,
)


def jiffy(at: float) -> float:
    return at // JIFFY * JIFFY


@dataclass
class SimHost:
    """Somebody who is asked, by the name of their target."""

    dead: bool = False
    paused_until: float = 0.0
    """All of it stands still until then, and goes on where it was: nothing is lost."""
    mute: bool = False
    """Echo requests are dropped on their way to it."""
    broken: bool = False
    """It answers echo requests; its service does not work."""


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
    """Its access link: not even the gateway hears anything."""
    cut: bool = False
    """Behind the gateway, which answers."""
    loses_ours: bool = False
    """What leaves is lost, what comes arrives."""
    filters: bool = False
    """Whoever is probed does not answer, but for the gateway."""
    blocked: set[str] = field(default_factory=set)
    """Names of those who can't be reached over it."""
    blocked_tcp: bool = False
    """Its traffic does not get through; probes do."""
    failing: set[str] = field(default_factory=set)
    """Names of the services that don't work over it."""
    gateway: bool = False
    """Its gateway is asked, and answers."""
    refuses: set[str] = field(default_factory=set)
    """Names of those whom probes can't reach, as its gateway says."""
    paused_until: float = 0.0
    """Nothing arrives before, nothing is lost: a radio's pause."""
    server: str = "vps"
    """Whom its traffic is with."""
    role: Role = Role.ACTIVE
    quality: Quality = field(default_factory=Quality)
    budget: int | None = None
    counters: PathCounters = field(default_factory=PathCounters)
    probes: int = 0
    """Sent to anybody but the gateway."""
    asked: list[tuple[float, str]] = field(default_factory=list)
    """When and whom."""
    uploading: bool = False
    downloading: bool = False
    """A next message is scheduled."""

    def live(self, name: str, hosts: dict[str, SimHost]) -> bool:
        """Whether a packet between here and somebody beyond gets through at this moment."""
        host = hosts.get(name, SimHost())
        return not (self.dead or self.cut or name in self.blocked or host.dead)


class World:
    """The core's loop, in simulated time."""

    def __init__(self, *paths: SimPath, targets: Iterable[Target] = (SERVER,)) -> None:
        self.paths = {path.name: path for path in paths}
        self.targets = tuple(targets)
        self.hosts = {target.name: SimHost() for target in self.targets}
        self.now = START
        records = tuple(
            PathRecord(
                PathConfig(p.name, p.name, role=p.role, quality=p.quality, probe_budget=p.budget)
            )
            for p in paths
        )
        self.state: CoreState = policy.start(records, self.now)
        self.wishes: dict[str, Wish] = {}
        self.decisions: list[Decision] = []
        self.aborted: list[str] = []
        self.arrived: dict[str, float] = {}
        """By name of a host, when anything of its traffic last arrived."""
        self.wake_at = self.now
        self.watch = Watch(NEVER, ())
        self.looks = 0
        self.ticks = 0
        self._recent: list[float] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        servers = {t.name: t for t in self.targets if t.origin is Origin.SERVER}
        self._addresses = {name: t.address.split(":")[0] for name, t in servers.items()}
        self._step(ServersChanged(tuple((n, (a,)) for n, a in self._addresses.items())))
        for path in paths:
            near = (GATEWAY,) if path.gateway else ()
            self._step(TargetsChanged(path.name, (*self.targets, *near)))
        self.at(1.0, self._walk)

    # --- time ------------------------------------------------------------------------------------

    def at(self, delay: float, what: Callable[[], None]) -> None:
        """Do something so many seconds from now."""
        self._count += 1
        heapq.heappush(self._queue, (self.now + max(0.0, delay), self._count, what))

    def run(self, seconds: float) -> None:
        """Let time pass; traffic is as the paths say at this moment."""
        end = self.now + seconds
        for path in self.paths.values():
            if path.upload is not None and not path.uploading:
                path.uploading = True
                self.at(0.001, lambda p=path: self._upload(p))  # type: ignore[misc]
            if path.download is not None and not path.downloading:
                path.downloading = True
                self.at(0.001, lambda p=path: self._download(p))  # type: ignore[misc]
        while True:
            due = self._queue[0][0] if self._queue else end
            if min(due, self.wake_at) >= end:
                break
            if due <= self.wake_at:
                self.now, _, what = heapq.heappop(self._queue)
                what()
            else:
                self.now = max(self.now, self.wake_at)
                self._tick()
        self.now = end

    # --- packets ---------------------------------------------------------------------------------

    def send(
        self, path: SimPath, name: str, done: Callable[[], None], *, asks: bool = True
    ) -> None:
        """A packet of ours to somebody beyond; ``done`` when their answer is back here."""
        self._leave(path, asks=asks)
        if path.loses_ours or not path.live(name, self.hosts):
            return

        def there() -> None:
            host = self.hosts.get(name, SimHost())
            if host.paused_until > self.now:
                self.at(host.paused_until - self.now, there)
            elif path.live(name, self.hosts):
                self._return(path, name, done)

        self.at(path.rtt / 2, there)

    def receive(self, path: SimPath, name: str) -> None:
        """A data segment comes from somebody beyond."""
        if path.live(name, self.hosts):
            self._return(path, name, lambda: self._data(path, name))

    def _return(self, path: SimPath, name: str, done: Callable[[], None]) -> None:
        """From them to us: half an RTT, and the radio's pause."""

        def here() -> None:
            if path.paused_until > self.now:
                self.at(path.paused_until - self.now, here)
            elif path.live(name, self.hosts):
                done()

        self.at(path.rtt / 2, here)

    def _leave(self, path: SimPath, *, asks: bool) -> None:
        c = path.counters
        quiet = self.now - (c.last_tx or 0.0) > 1
        if asks and (c.asked or 0) <= (c.last_rx or 0):
            c = replace(c, asked=jiffy(self.now))
        path.counters = replace(c, last_tx=jiffy(self.now))
        if quiet and asks:
            self.at(0, self._tick)

    def _arrive(self, path: SimPath, **more: float) -> None:
        c = path.counters
        more.setdefault("rx_bytes", SEGMENT if "rx_segments" in more else BARE)
        path.counters = replace(
            c,
            rx_packets=c.rx_packets + 1,
            last_rx=jiffy(self.now),
            **{name: getattr(c, name) + value for name, value in more.items()},
        )

    def _data(self, path: SimPath, name: str) -> None:
        self.arrived[name] = self.now
        self._arrive(path, rx_segments=1)
        path.counters = replace(path.counters, last_tx=jiffy(self.now))

    # --- traffic ---------------------------------------------------------------------------------

    def message(self, path: SimPath, done: Callable[[], None] | None = None) -> None:
        """A data segment of ours, and its acknowledgement."""
        sent = self.now
        c = path.counters
        again = bool(path.loss_every) and (c.tx_segments + 1) % path.loss_every == 0
        path.counters = replace(
            c,
            tx_bytes=c.tx_bytes + MESSAGE,
            tx_segments=c.tx_segments + 1,
            retransmitted_segments=c.retransmitted_segments + again,
        )

        def acknowledged() -> None:
            self.arrived[path.server] = self.now
            self._arrive(path, rtt_samples=1, rtt_sum=self.now - sent)
            if done is not None:
                done()

        if path.blocked_tcp:
            self._leave(path, asks=True)
        else:
            self.send(path, path.server, acknowledged)

    def resend(self, path: SimPath) -> None:
        """A segment that was sent before leaves again, and is lost or acknowledged unmeasured."""
        c = path.counters
        path.counters = replace(
            c, tx_segments=c.tx_segments + 1, retransmitted_segments=c.retransmitted_segments + 1
        )

        def acknowledged() -> None:
            self.arrived[path.server] = self.now
            self._arrive(path)

        if path.blocked_tcp:
            self._leave(path, asks=True)
        else:
            self.send(path, path.server, acknowledged)

    def _upload(self, path: SimPath) -> None:
        if path.upload is None:
            path.uploading = False
            return
        self.message(path)
        self.at(path.upload, lambda: self._upload(path))

    def _download(self, path: SimPath) -> None:
        if path.download is None:
            path.downloading = False
            return
        host = self.hosts.get(path.server, SimHost())
        if host.paused_until <= self.now:
            self.receive(path, path.server)
        self.at(path.download, lambda: self._download(path))

    # --- probes ----------------------------------------------------------------------------------

    def _probe(self, path: SimPath, key: str) -> None:
        target = next(t for t in (*self.targets, GATEWAY) if t.key == key)
        path.asked.append((self.now, key))
        sent = self.now
        if target.origin is Origin.GATEWAY:
            self._leave(path, asks=False)
            if not path.dead and not path.loses_ours:
                self.at(GATEWAY_RTT, lambda: self._answered(path, target, sent))
            return
        path.probes += 1
        if target.name in path.refuses and not path.dead:
            self._leave(path, asks=target.kind is not ProbeKind.ICMP)
            self.at(GATEWAY_RTT, lambda: self._refused(path, target))
        elif target.kind is ProbeKind.ICMP:
            if path.filters or self.hosts[target.name].mute:
                self._leave(path, asks=False)
            else:
                self.send(path, target.name, lambda: self._answered(path, target, sent), asks=False)
        else:
            self._ask_service(path, target, sent)

    def _refused(self, path: SimPath, target: Target) -> None:
        self._arrive(path, icmp_errors=1)
        text = f"{target.address}: administratively prohibited"
        self._step(ProbeFailed(path.name, target.key, text, proof=True, sent=True))

    def _ask_service(self, path: SimPath, target: Target, sent: float) -> None:
        """TCP and what is above it: a handshake that asks, and a failure that is told."""
        waiting = [True]

        def answered() -> None:
            if waiting:
                waiting.clear()
                self._answered(path, target, sent)

        def timed_out() -> None:
            if waiting:
                waiting.clear()
                self._step(ProbeFailed(path.name, target.key, "timed out", proof=False, sent=True))

        self.at(target.timeout, timed_out)
        if self.hosts[target.name].broken or target.name in path.failing:
            self._leave(path, asks=True)
        else:
            self.send(path, target.name, answered)

    def _answered(self, path: SimPath, target: Target, sent: float) -> None:
        if path.dead:
            return
        self._arrive(path)
        self._step(ProbeReply(path.name, target.key, self.now - sent, self.now))

    # --- the core --------------------------------------------------------------------------------

    def link(self, name: str, up: bool) -> None:
        self._step(LinkChanged(name, up, "link down" if not up else "link up"))

    def tell(self, event: Event) -> None:
        """Anything else that happens."""
        self._step(event)

    def override(self, name: str, role: Role | None, seconds: float | None = None) -> None:
        until = None if seconds is None else self.now + seconds
        word = None if role is None else Override(role, until)
        self._step(OverrideChanged(name, word))

    def _walk(self) -> None:
        sums = {
            address: FlowSum(
                arrived=self.arrived.get(name),
                retransmitted_segments=sum(
                    p.counters.retransmitted_segments
                    for p in self.paths.values()
                    if p.server == name
                ),
            )
            for name, address in self._addresses.items()
        }
        if sums:
            self._step(Walked(sums))
        self.at(1.0, self._walk)

    def _tick(self) -> None:
        """As the agent's pulse does: a look, and a tick if that does not do."""
        self.looks += 1
        self._recent = [at for at in self._recent if at > self.now - 1] + [self.now]
        assert len(self._recent) < BUSY, f"woken for nothing at {self.now}"
        seen = {name: path.counters.glimpse for name, path in self.paths.items()}
        looked = None if self.now >= self.watch.until else look(self.watch, seen, self.now)
        if looked is not None:
            self.watch, self.wake_at = looked
            return
        self.ticks += 1
        counters = {name: path.counters for name, path in self.paths.items()}
        self._step(Tick(with_looks(self.watch, counters)))

    def _step(self, event: Event) -> None:
        outcome: Outcome = policy.step(self.state, event, self.now)
        self.state = outcome.state
        before, self.watch, wake_at = self.watch, outcome.watch, outcome.wake_at
        if not isinstance(event, Tick):
            self.watch, wake_at = goes_on(before, outcome.watch, wake_at)
        self.wishes = dict(outcome.wishes)
        self.decisions += outcome.decisions
        self.aborted += outcome.aborts
        self.wake_at = max(wake_at, self.now + 0.001)
        for order in outcome.probes:
            self._probe(self.paths[order.path], order.target)

    # --- what came of it -------------------------------------------------------------------------

    def states(self, name: str, since: float = 0.0) -> list[str]:
        """States entered by a path since a moment, suspicions that came to nothing left out."""
        entered = [d for d in self.decisions if d.path == name and d.at >= since]
        result: list[str] = []
        for decision in entered:
            if decision.state == "suspect" or decision.state == decision.before:
                continue
            if decision.before == "suspect" and result[-1:] == [decision.state]:
                continue
            result.append(str(decision.state))
        return result

    def server_states(self, name: str, since: float = 0.0) -> list[str]:
        return [str(d.state) for d in self.decisions if d.server == name and d.at >= since]

    def entered(self, name: str, state: str, since: float) -> float | None:
        """Seconds from ``since`` until the path (or server) entered the state; None: it did not."""
        for decision in self.decisions:
            about = name in (decision.path, decision.server) and decision.at >= since
            if about and decision.state == state:
                return decision.at - since
        return None

    def decision(self, name: str, state: str) -> Decision:
        """The last one by which a path or server entered a state."""
        return [d for d in self.decisions if name in (d.path, d.server) and d.state == state][-1]
