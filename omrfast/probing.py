# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom each path can ask, and carrying the core's probes out to them and the answers back."""

from __future__ import annotations

import asyncio
import errno
import importlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from omrfast.core.config import Config
from omrfast.core.discover import gateways
from omrfast.core.events import ProbeFailed, ProbeReply, TargetsChanged
from omrfast.core.operations import Observed
from omrfast.core.outcome import ProbeOrder
from omrfast.core.plan import Binding
from omrfast.core.targets import available
from omrfast.core.types import ProbeKind, Target
from omrfast.probe.base import Collector, ProbeListener, ProbePath, Prober

log = logging.getLogger(__name__)

_NO_WAY = frozenset(
    {
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENODEV,
        errno.ENXIO,
        errno.EADDRNOTAVAIL,
    }
)
"""Errors of sendto() and bind() that say that nothing can leave on the path."""
PROBERS = {
    ProbeKind.ICMP: ("omrfast.probe.icmp", "IcmpProber"),
    ProbeKind.TCP: ("omrfast.probe.tcp", "TcpProber"),
    ProbeKind.HTTP: ("omrfast.probe.http", "HttpProber"),
    ProbeKind.HTTPS: ("omrfast.probe.http", "HttpsProber"),
    ProbeKind.DNS: ("omrfast.probe.dns", "DnsProber"),
}
"""Module and class of each kind's Prober, which takes the loop and the listener. Imported when a
target of the kind is there, and not when it is asked: importing takes time."""
_DEARER = 1.1
"""A cost is told to the core if it is that many times what it knew."""
PEERS_KEPT = 4
"""Remote ends of live subflows that serve as targets where no server is configured."""


class Probing:
    """Sends the core's probes; a ProbeListener that passes on what comes of them."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        *,
        replied: Callable[[ProbeReply], None],
        failed: Callable[[ProbeFailed], None],
        changed: Callable[[TargetsChanged], None],
    ) -> None:
        """``replied``, ``failed`` and ``changed`` take the core's events."""
        self._loop = loop
        self._probers: dict[ProbeKind, Prober | None] = {}
        self._collectors: dict[ProbeKind, Collector] = {}
        """Those of them that are one."""
        self._config = config
        self._replied = replied
        self._failed = failed
        self._changed = changed
        self._peers: tuple[str, ...] = ()
        self._complaints: set[tuple[str, str]] = set()
        self._paths: dict[str, tuple[ProbePath, tuple[str, ...]]] = {}
        self._targets: dict[str, dict[str, Target]] = {}
        self._costs: dict[tuple[str, str], int] = {}
        """Of targets whose cost has been seen, by path and key: the most."""

    def configure(self, config: Config) -> None:
        """Other servers and probes from now on; certificates are read anew."""
        self._config = config
        secure = self._probers.pop(ProbeKind.HTTPS, None)
        self._collectors.pop(ProbeKind.HTTPS, None)
        if secure is not None:
            secure.close()
        resolvers = self._resolvers()
        self._paths = {
            name: (replace(path, resolvers=resolvers), near)
            for name, (path, near) in self._paths.items()
        }
        self._tell()

    def bind(
        self, bindings: Mapping[str, Binding], names: Mapping[str, str], seen: Observed
    ) -> None:
        """Where the paths are now; ``names`` are the interfaces, by path name."""
        for name in self._paths.keys() - bindings.keys():
            self._forget(name)
            known = self._targets.pop(name, {})
            for key in known:
                self._costs.pop((name, key), None)
        paths = {}
        resolvers = self._resolvers()
        for name, binding in bindings.items():
            six = ":" in binding.address
            source4, source6 = (None, binding.address) if six else (binding.address, None)
            path = ProbePath(name, names[name], source4, source6, resolvers)
            if name in self._paths and self._paths[name][0] != path:
                self._forget(name)
            paths[name] = (path, gateways(seen, binding))
        self._paths = paths
        self._tell()

    def learn_peers(self, remotes: Iterable[str]) -> None:
        """Remote ends of MPTCP flows that live, busiest first."""
        found = tuple(dict.fromkeys(remotes))[:PEERS_KEPT]
        if found and found != self._peers:
            self._peers = found
            self._tell()

    def _resolvers(self) -> tuple[str, ...]:
        """Whom the operator asks for names over every path."""
        probes = (probe for probe in self._config.probes if probe.kind is ProbeKind.DNS)
        return tuple(dict.fromkeys(probe.target for probe in probes))

    def _tell(self) -> None:
        """Tell the core of every path whose targets are others than before."""
        for name, (path, near) in self._paths.items():
            address = path.source6 or path.source4 or ""
            targets = tuple(
                replace(target, cost=self._costs.get((name, target.key), target.cost))
                for target in available(self._config, address, self._peers, near)
                if self._prober(target.kind) is not None
            )
            by_key = {target.key: target for target in targets}
            if by_key != self._targets.get(name):
                self._targets[name] = by_key
                self._changed(TargetsChanged(name, targets))

    def _prober(self, kind: ProbeKind) -> Prober | None:
        """None, and logged once, if its library is not there."""
        if kind not in self._probers:
            module, name = PROBERS[kind]
            try:
                make: Callable[[asyncio.AbstractEventLoop, ProbeListener], Prober]
                make = getattr(importlib.import_module(module), name)
                prober = self._probers[kind] = make(self._loop, self)
                if isinstance(prober, Collector):
                    self._collectors[kind] = prober
            except ImportError as error:
                log.error("no probes of kind %s: %s; omrfast check says what to do", kind, error)
                self._probers[kind] = None
        return self._probers[kind]

    def _forget(self, path: str) -> None:
        for prober in filter(None, self._probers.values()):
            prober.forget(path)

    def send(self, order: ProbeOrder) -> None:
        """Ask one target. Nothing happens if path or target are gone meanwhile."""
        target = self._targets.get(order.path, {}).get(order.target)
        if target is None:
            return
        path, _ = self._paths[order.path]
        prober = self._prober(target.kind)
        if prober is not None:
            prober.send(path, target)

    def collect(self) -> None:
        """Pass on the answers that have arrived, however late the loop comes to them."""
        for collector in self._collectors.values():
            collector.collect()

    def on_reply(self, path: str, key: str, rtt: float, at: float) -> None:
        """See ProbeListener."""
        self._complaints.discard((path, key))
        self._replied(ProbeReply(path, key, rtt, at))

    def on_unreachable(self, path: str, key: str, sender: str, reason: str, at: float) -> None:
        """Proof only from where the path begins: others speak of what lies behind them."""
        known, near = self._paths.get(path, (None, ()))
        own = known is not None and sender in (*near, known.source4, known.source6)
        text = f"{self._address(path, key)}: {reason}"
        self._failed(ProbeFailed(path, key, text, proof=own, sent=True))

    def on_failed(self, path: str, key: str, reason: str, at: float, alive: bool) -> None:
        """See ProbeListener."""
        if alive:
            self._complaints.discard((path, key))
        text = f"{self._address(path, key)}: {reason}"
        self._failed(ProbeFailed(path, key, text, proof=False, sent=True, alive=alive))

    def on_cost(self, path: str, key: str, cost: int) -> None:
        """What was seen first replaces the estimate; after that only the dearest counts."""
        if cost > _DEARER * self._costs.get((path, key), 0):
            self._costs[path, key] = cost
            self._tell()

    def on_error(self, path: str, key: str, reason: str, code: int) -> None:
        """Logged once, until the target answers again."""
        if (path, key) not in self._complaints:
            self._complaints.add((path, key))
            log.warning("path %s: %s", path, reason)
        self._failed(ProbeFailed(path, key, reason, proof=code in _NO_WAY, sent=False))

    def _address(self, path: str, key: str) -> str:
        target = self._targets.get(path, {}).get(key)
        return key if target is None else target.address

    def close(self) -> None:
        """Nothing is asked or told from then on."""
        for prober in filter(None, self._probers.values()):
            prober.close()
