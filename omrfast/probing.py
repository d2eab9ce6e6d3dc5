# SPDX-License-Identifier: GPL-2.0-or-later
"""Which targets the paths are probed with, learnt from configuration, traffic and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from omrfast.core.discover import gateways
from omrfast.core.plan import Binding
from omrfast.core.targets import choose
from omrfast.core.types import Observed
from omrfast.probe.base import ProbePath
from omrfast.probe.icmp import IcmpProber

PEERS_KEPT = 4
"""Remote ends of live subflows that serve as targets where no server is configured."""


class Probing:
    """Sends the core's probes; a ProbeListener that passes on what comes of them."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        servers: tuple[str, ...],
        *,
        replied: Callable[[str, float], None],
        failed: Callable[[str, str, bool], None],
    ) -> None:
        """``replied(path, rtt)``; ``failed(path, text, proof)``."""
        self._prober = IcmpProber(loop, self)
        self.servers = servers
        self._replied = replied
        self._failed = failed
        self._peers: tuple[str, ...] = ()
        self._answering: set[str] = set()
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
        """Remote ends of flows that live, busiest first."""
        found = dict.fromkeys(remotes)
        self._peers = tuple(found)[:PEERS_KEPT] or self._peers

    def send(self, name: str) -> None:
        """One probe to each target of the path."""
        if name not in self._paths:
            return
        path, near = self._paths[name]
        address = path.source6 or path.source4 or ""
        for target in choose(address, self.servers, self._peers, near, self._answering):
            self._prober.send(path, target)

    def on_reply(self, path: str, target: str, rtt: float, at: float) -> None:
        self._answering.add(target)
        self._replied(path, rtt)

    def on_unreachable(self, path: str, target: str, reason: str, at: float) -> None:
        self._failed(path, f"{target} unreachable: {reason}", True)

    def on_error(self, path: str, target: str, reason: str) -> None:
        self._failed(path, reason, False)

    def close(self) -> None:
        self._prober.close()
