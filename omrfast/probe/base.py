# SPDX-License-Identifier: GPL-2.0-or-later
"""What every kind of active probe has in common.

A kind of probe is a Prober; omrfast/probing.py has the table of kinds and imports each when it is
first needed. Everything is called on the event loop and nothing waits there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from omrfast.core.types import Target


@dataclass(frozen=True, slots=True)
class ProbePath:
    """Where a probe leaves: the path's name, its device, and a source address of each family.

    A source of None lets the kernel choose among the device's addresses.
    """

    name: str
    interface: str
    source4: str | None = None
    source6: str | None = None
    resolvers: tuple[str, ...] = ()
    """Addresses of resolvers to ask for names over this path; see resolve.py."""

    @property
    def version(self) -> int:
        """The IP version of names: 6 if the path has an address of IPv6 only, else 4."""
        return 6 if self.source6 is not None and self.source4 is None else 4


class ProbeListener(Protocol):
    """Who is told. Called on the event loop; never before send() has returned.

    ``key`` is Target.key. A probe has one outcome at most, and none after forget() or close().
    """

    def on_reply(self, path: str, key: str, rtt: float, at: float) -> None:
        """The target answered as it should, at ``at`` (CLOCK_MONOTONIC seconds).

        ``rtt``, seconds, is the path's as far as the kind can tell: icmp, echo to reply; tcp, http
        and https, the handshake as the kernel measured it, whatever the server's own time; dns,
        question to answer, so that the resolver's own time is in it.

        An ICMP error that the target itself sent about our echo request is an answer too: it is
        there. A reply to an echo request may come late, as long as the probe is remembered.
        """

    def on_unreachable(self, path: str, key: str, sender: str, reason: str, at: float) -> None:
        """``sender``, which is not the target, said that our probe could not reach the target.

        ``sender`` is an address without a scope: a router on the way, or this host itself.
        ``reason`` is what it said, in words; ``at`` as in on_reply().
        """

    def on_failed(self, path: str, key: str, reason: str, at: float, alive: bool) -> None:
        """The service refused, did not answer within Target.timeout, or said something else.

        ``alive``: at this moment something answered in the target's name (a reset, a status, a
        bad certificate, an error of a resolver), so the path carries packets both ways. A time-out
        is not alive, not even after a handshake: the path may have died since. icmp never reports
        this.
        """

    def on_cost(self, path: str, key: str, cost: int) -> None:
        """The probe whose outcome follows took ``cost`` bytes of IP packets, both ways.

        Told by kinds whose cost is the server's choice: http and https, once it has answered.
        """

    def on_error(self, path: str, key: str, reason: str, code: int) -> None:
        """The probe could not be sent; ``reason`` names the object and has the errno text.

        ``code`` is the errno, positive.
        """


@runtime_checkable
class Collector(Protocol):
    """A kind of probe whose answers wait in sockets until somebody reads them."""

    def collect(self) -> None:
        """Read what has arrived, and tell the listener before returning."""


class Prober(Protocol):
    """One kind of probe."""

    def send(self, path: ProbePath, target: Target) -> None:
        """Send one probe to ``target`` now. Never blocks, never raises OSError.

        Nothing happens, and nothing is told of it, while as many probes of the target as the kind
        allows are under way on this path (tcp 4, http, https and dns one, icmp any number).
        """

    def forget(self, path: str) -> None:
        """Drop what is kept for the path of that name; what is under way there ends untold."""

    def close(self) -> None:
        """Drop everything; nothing is reported from then on. Tasks end as the loop turns."""
