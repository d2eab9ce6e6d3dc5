# SPDX-License-Identifier: GPL-2.0-or-later
"""Does a port accept connections? A TCP handshake over the path, closed at once, without data."""

from __future__ import annotations

import time

from omrfast.core.types import Target
from omrfast.probe.base import ProbePath
from omrfast.probe.bound import connect, handshake
from omrfast.probe.service import Answer, Progress, ServiceProber


class TcpProber(ServiceProber):
    """Target.address is ``address:port`` or ``[address]:port``; see Prober.

    A loop that comes late makes neither the RTT longer nor the answer later, unless the SYN had to
    be sent again.
    """

    at_once = 4  # a burst does not wait for a lost SYN

    async def ask(self, path: ProbePath, target: Target, progress: Progress) -> Answer:
        """See ServiceProber.ask()."""
        address, _, port = target.address.rpartition(":")
        sent = time.monotonic()
        with await connect(path, address.strip("[]"), int(port)) as connected:
            rtt, again = handshake(connected)
        now = time.monotonic()
        return Answer(rtt, now if again else min(now, sent + rtt))
