# SPDX-License-Identifier: GPL-2.0-or-later
"""What share of a path's crossings was lost, and whether that means anything. Pure.

A share is that of one direction, see losses.py. Seconds; ``now`` is CLOCK_MONOTONIC.
"""

from __future__ import annotations

from dataclasses import dataclass

from omrfast.core.binomial import at_least
from omrfast.core.losses import FINE, STEP, Losses, Step

SHOWN_LEAST = 30
SHOWN_MANY = 400
SHOWN_WINDOW = 10.0
"""The share shown is of the last FINE seconds with so many crossings in them, else of
SHOWN_WINDOW and more, up to MEMORY, until there are at least SHOWN_LEAST."""
ODDS = 3e-4
"""A share is significant if a path with a smaller one shows as much less often than this."""
LEAST = 8
"""Losses, and
LEAST_STEPS, in which there were any, at least: a short outage loses many at once, and is none of
the path's habits."""
LEAST_STEPS = 3
MANY = 400
"""Crossings from which on a window must have lost too much in half of its steps: what a start-up's
overshoot loses, it loses in a few round trips."""
TRAFFIC = 20
"""Segments in a window from which on they have a say."""


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    lost: int
    crossed: int
    since: float
    """When the first of the losses was noticed, to within STEP."""
    probes: bool = False
    """Probes alone were lost, as far as is known."""

    @property
    def ratio(self) -> float:
        return self.lost / self.crossed if self.crossed else 0.0


def _shares(steps: list[Step], since: float) -> tuple[tuple[Share, list[float]], ...]:
    """Of all crossings, and of each direction by itself, with each step's ratio."""
    columns = (
        [
            (s.out_lost + s.into_lost + s.probes_lost, s.out + s.into + 2 * s.probes, s.at)
            for s in steps
        ],
        [(s.out_lost, s.out, s.at) for s in steps],
        [(s.into_lost, s.into, s.at) for s in steps],
    )
    probes = sum(s.out_lost + s.into_lost for s in steps) <= 0
    result = []
    for rows in columns:
        lost = max(0, sum(row[0] for row in rows))
        first = min((row[2] - STEP for row in rows if row[0] > 0), default=since)
        share = Share(lost, sum(row[1] for row in rows), first, probes)
        result.append((share, [row[0] / max(1, row[1]) for row in rows]))
    return tuple(result)


def _window(losses: Losses, now: float, seconds: float) -> list[Step]:
    steps = [step.judged() for step in losses.fine if now - step.at < seconds]
    if seconds > FINE:
        steps = [step for step in losses.coarse if now - step.at < seconds] + steps
    return steps


def recent(losses: Losses, now: float, seconds: float) -> Share:
    """Of all crossings of the last seconds."""
    return _shares(_window(losses, now, seconds), now)[0][0]


def beyond(losses: Losses, now: float, seconds: float, limit: float, least: float) -> Share | None:
    """A share of the last ``seconds``, beyond ``limit`` and, by the odds, beyond ``least`` for
    good; None: there is none, in no direction."""
    steps = _window(losses, now, seconds)
    if sum(step.out_lost + step.into_lost + step.probes_lost > 0 for step in steps) < LEAST_STEPS:
        return None
    for place, (share, ratios) in enumerate(_shares(steps, now)):
        lossy = [ratio for ratio in ratios if ratio > 0]
        if share.lost < LEAST or share.ratio <= limit or len(lossy) < LEAST_STEPS:
            continue
        if share.crossed > MANY and 2 * sum(ratio > limit for ratio in ratios) < len(ratios):
            continue
        if place == 0 and not _traffic_agrees(steps, limit / 2):
            continue
        if at_least(min(share.lost, share.crossed), share.crossed, least) < ODDS:
            return share
    return None


def _traffic_agrees(steps: list[Step], least: float) -> bool:
    """Where traffic passes unharmed, lost probes are somebody's limit for probes."""
    passed = sum(step.out + step.into for step in steps)
    lost = sum(step.out_lost + step.into_lost for step in steps)
    return passed < TRAFFIC or lost > least * passed


def shown(losses: Losses) -> tuple[int, int]:
    """(crossings, losses) of the window that is shown, our own overload included."""
    crossed = lost = 0
    newest = losses.fine[-1].at if losses.fine else 0.0
    for step in reversed((*losses.coarse, *losses.fine)):
        age = newest - step.at
        if crossed >= SHOWN_MANY and age > FINE:
            break
        if crossed >= SHOWN_LEAST and age > SHOWN_WINDOW:
            break
        crossed += step.out + step.into + 2 * step.probes + step.own
        lost += step.out_lost + step.into_lost + step.probes_lost + step.own_lost
    return crossed, max(0, lost)
