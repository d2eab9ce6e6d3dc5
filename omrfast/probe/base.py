# SPDX-License-Identifier: GPL-2.0-or-later
"""What every kind of active probe has in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ProbePath:
    """Where a probe leaves: the path's name, its device, and a source address of each family.

    A source of None lets the kernel choose among the device's addresses.
    """

    name: str
    interface: str
    source4: str | None = None
    source6: str | None = None


class ProbeListener(Protocol):
    """Who is told. Called on the event loop; never before send() has returned."""

    def on_reply(self, path: str, target: str, rtt: float, at: float) -> None:
        """The target answered: ``rtt`` seconds, arrived at ``at`` (CLOCK_MONOTONIC seconds).

        An error that the target itself sent about our probe is an answer too: it is there. May
        come late, as long as the probe is remembered.
        """

    def on_unreachable(self, path: str, target: str, sender: str, reason: str, at: float) -> None:
        """``sender``, which is not the target, said that our probe could not reach the target.

        ``sender`` is an address without a scope: a router on the way, or this host itself.
        ``reason`` is what it said, in words; ``at`` as in on_reply().
        """

    def on_error(self, path: str, target: str, reason: str, code: int) -> None:
        """The probe could not be sent; ``reason`` names the object and has the errno text.

        ``code`` is the errno, positive.
        """


class Prober(Protocol):
    """One kind of probe. Silence is not reported: who sends knows how long to wait."""

    def send(self, path: ProbePath, target: str) -> None:
        """Send one probe to ``target`` (an address) now. Never blocks, never raises OSError."""

    def forget(self, path: str) -> None:
        """Drop what is kept for the path of that name."""

    def close(self) -> None:
        """Drop everything; nothing is reported from then on."""
