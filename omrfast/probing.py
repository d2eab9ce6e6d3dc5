# SPDX-License-Identifier: GPL-2.0-or-later
"""Which targets the paths are probed with, learnt from configuration, traffic and answers."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Iterable, Mapping

from omrfast.core.discover import gateways
from omrfast.core.operations import Observed
from omrfast.core.plan import Binding
from omrfast.core.state import ProbeFailed, ProbeReply
from omrfast.core.targets import choose
from omrfast.probe.base import ProbePath
from omrfast.probe.icmp import IcmpProber

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
PEERS_KEPT = 4
"""Remote ends of live subflows that serve as targets where no server is configured."""


class Probing:
    """Sends the core's probes; a ProbeListener that passes on what comes of them."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        servers: tuple[str, ...],
        *,
        replied: Callable[[ProbeReply], None],
        failed: Callable[[ProbeFailed], None],
    ) -> None:
        """``replied`` and ``failed`` take the core's events."""
        self._loop = loop
        self._prober = IcmpProber(loop, self)
        self.servers = servers
        self._replied = replied
        self._failed = failed
        self._peers: tuple[str, ...] = ()
        self._answering: dict[str, set[str]] = {}
        """Targets that have answered, by path."""
        self._complaints: set[str] = set()
        self._paths: dict[str, tuple[ProbePath, tuple[str, ...]]] = {}

    def bind(
        self, bindings: Mapping[str, Binding], names: Mapping[str, str], seen: Observed
    ) -> None:
        """Where the paths are now; ``names`` are the interfaces, by path name."""
        for name in self._paths.keys() - bindings.keys():
            self._prober.forget(name)
        paths = {}
        for name, binding in bindings.items():
            six = ":" in binding.address
            source4, source6 = (None, binding.address) if six else (binding.address, None)
            path = ProbePath(name, names[name], source4, source6)
            if name in self._paths and self._paths[name][0] != path:
                self._prober.forget(name)
            paths[name] = (path, gateways(seen, binding))
        self._paths = paths

    def learn_peers(self, remotes: Iterable[str]) -> None:
        """Remote ends of MPTCP flows that live, busiest first."""
        found = dict.fromkeys(remotes)
        self._peers = tuple(found)[:PEERS_KEPT] or self._peers

    def send(self, name: str) -> None:
        """One probe to each target of the path."""
        targets: tuple[str, ...] = ()
        if name in self._paths:
            path, near = self._paths[name]
            address = path.source6 or path.source4 or ""
            answering = self._answering.setdefault(name, set())
            targets = choose(address, self.servers, self._peers, near, answering)
            for target in targets:
                self._prober.send(path, target)
        if not targets:
            text = f"path {name}: nobody to probe; name a [[server]]"
            self._loop.call_soon(self._failed, ProbeFailed(name, text, proof=False, sent=False))

    def on_reply(self, path: str, target: str, rtt: float, at: float) -> None:
        self._answering.setdefault(path, set()).add(target)
        self._replied(ProbeReply(path, rtt, at))

    def on_unreachable(self, path: str, target: str, sender: str, reason: str, at: float) -> None:
        """Proof only from where the path begins: others speak of what lies behind them."""
        known, near = self._paths.get(path, (None, ()))
        own = known is not None and sender in (*near, known.source4, known.source6)
        self._failed(ProbeFailed(path, f"{target}: {reason}", proof=own, sent=True))

    def on_error(self, path: str, target: str, reason: str, code: int) -> None:
        if reason not in self._complaints:
            self._complaints.add(reason)
            log.warning("path %s: %s", path, reason)
        self._failed(ProbeFailed(path, reason, proof=code in _NO_WAY, sent=False))

    def close(self) -> None:
        self._prober.close()
