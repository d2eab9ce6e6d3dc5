# SPDX-License-Identifier: GPL-2.0-or-later
"""One cell of bench/accuracy.py: what was read, and the figures that follow from it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from bench.accuracy_meter import Reading
from omrfast.lab.links import LinkStats


@dataclass(frozen=True, slots=True)
class Condition:
    """What distinguishes a cell from another."""

    mptcp: bool
    rtt: float
    """Seconds that the link adds."""
    loss: float
    """Ratio, each way."""
    direction: str
    """up or down: where the data goes."""


@dataclass(frozen=True, slots=True)
class Error:
    """How far a series of ours is from the kernel's, as ratios of the kernel's."""

    median: float
    p90: float
    bias: float
    """Median with its sign: above 0, ours is larger."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The same quantity twice; seconds or segments."""

    ours: float
    kernel: float

    @property
    def error(self) -> float:
        """Ratio of the kernel's; of one segment if the kernel counted none."""
        return (self.ours - self.kernel) / (self.kernel or 1)


@dataclass(frozen=True, slots=True)
class Figures:
    """The outcome of a cell, see the docstring of bench.accuracy; times in seconds."""

    condition: Condition
    readings: int
    kernel_srtt: float
    """Median over the readings."""
    srtt: Error
    rcv_rtt: Error | None
    samples_per_rtt: float
    """RTT samples of ours per (smoothed) round trip."""
    min_rtt: Pair
    rttvar: Pair
    jitter: float
    segments: int
    """With payload, that passed the router in the direction of the data."""
    repeats: Pair
    spurious: Pair | None
    """Uploads only."""
    reordered: int
    """Downloads: what ours took for reordering, where there is none."""


def error_of(pairs: Iterable[tuple[float, float, float]]) -> Error:
    """Of (ours, kernel before, kernel after); in between there is no error."""
    signed = sorted(_signed(*three) for three in pairs)
    sizes = sorted(abs(value) for value in signed)
    return Error(
        median=statistics.median(sizes),
        p90=sizes[min(int(0.9 * len(sizes)), len(sizes) - 1)],
        bias=statistics.median(signed),
    )


def _signed(ours: float, before: float, after: float) -> float:
    nearest = min(max(ours, min(before, after)), max(before, after))
    return (ours - nearest) / nearest


@dataclass(slots=True)
class Cell:
    """A cell while it is measured."""

    condition: Condition
    uplink: int
    """Number, from 1."""
    port: int = 0
    """The server's."""
    link: LinkStats = field(default_factory=LinkStats)
    """Of the direction of the data, before the first reading."""
    readings: list[Reading] = field(default_factory=list)

    def figures(self, last: Reading, link: LinkStats, seconds: float) -> Figures:
        """``last`` and ``link``: when nothing was sent again any more; ``seconds``: of readings."""
        way = self.condition.direction
        senders = [(r.before.sender(way), r.after.sender(way)) for r in self.readings]
        kernel_srtt = statistics.median(before.rtt for before, _ in senders)
        smoothed = [r.ours.rtt_smoothed or 0.0 for r in self.readings]
        samples = self.readings[-1].ours.rtt_samples - self.readings[0].ours.rtt_samples
        repeats, spurious = self._repeats(last, link)
        return Figures(
            condition=self.condition,
            readings=len(self.readings),
            kernel_srtt=kernel_srtt,
            srtt=error_of(
                (ours, before.rtt, after.rtt)
                for ours, (before, after) in zip(smoothed, senders, strict=True)
            ),
            rcv_rtt=self._rcv_rtt() if way == "down" else None,
            samples_per_rtt=samples * kernel_srtt / seconds,
            min_rtt=Pair(last.ours.rtt_min or 0.0, last.before.sender(way).min_rtt),
            rttvar=Pair(
                statistics.median(r.ours.rtt_variation or 0.0 for r in self.readings),
                statistics.median(before.rttvar for before, _ in senders),
            ),
            jitter=statistics.median(r.ours.rtt_jitter or 0.0 for r in self.readings),
            segments=last.ours.tx_segments if way == "up" else last.ours.rx_segments,
            repeats=repeats,
            spurious=spurious,
            reordered=last.ours.reordered_segments,
        )

    def _rcv_rtt(self) -> Error:
        return error_of(
            (r.before.router.rcv_rtt, r.before.server.rtt, r.after.server.rtt)
            for r in self.readings
        )

    def _repeats(self, last: Reading, link: LinkStats) -> tuple[Pair, Pair | None]:
        """Repeats and spurious ones.

        Of uploads from the handshake on; of downloads from the first reading on, because while the
        connection starts, the queue overflows and loses more of the repeats than of the rest.
        """
        sender = last.before.sender(self.condition.direction)
        if self.condition.direction == "up":
            again, spurious = last.ours.retransmitted_segments, last.ours.spurious_segments
            return (
                Pair(again - spurious, sender.total_retrans - sender.dsack_dups),
                Pair(spurious, sender.dsack_dups),
            )
        first = self.readings[0]
        lost = link.lost + link.overflow - self.link.lost - self.link.overflow
        arrived = link.forwarded - self.link.forwarded
        through = arrived / max(arrived + lost, 1)
        again = sender.total_retrans - first.after.server.total_retrans
        filled = last.ours.refilled_segments - self._arrived(first).ours.refilled_segments
        return Pair(filled, again * through), None

    def _arrived(self, first: Reading) -> Reading:
        """The reading at which what the server had sent by ``first`` is here."""
        delay = first.after.server.rtt - self.condition.rtt / 2
        return next((r for r in self.readings if r.at >= first.at + delay), self.readings[-1])
