# SPDX-License-Identifier: GPL-2.0-or-later
"""Does a port accept connections? A TCP handshake over the path, closed at once, without data."""

from __future__ import annotations

from omrfast.core.types import Target
from omrfast.probe.base import ProbePath
from omrfast.probe.bound import connect, handshake_rtt
from omrfast.probe.service import Progress, ServiceProber


class TcpProber(ServiceProber):
    """Target.address is ``address:port`` or ``[address]:port``; see Prober."""

    at_once = 4  # a burst does not wait for a lost SYN

    async def ask(self, path: ProbePath, target: Target, progress: Progress) -> float:
        """See ServiceProber.ask()."""
        address, _, port = target.address.rpartition(":")
        with await connect(path, address.strip("[]"), int(port)) as connected:
            return handshake_rtt(connected)
