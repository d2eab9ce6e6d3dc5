# SPDX-License-Identifier: GPL-2.0-or-later
"""Losses of traffic that say nothing about the path, because whoever it is for does not take it.
Pure."""

from __future__ import annotations

from omrfast.core.losses import Losses, Step
from omrfast.core.replacing import replace


def spoil(losses: Losses, since: float, until: float) -> Losses:
    """Leave out what segments have crossed or were lost since then, and until then; probes count.

    What is sent again later may still be of that time: only what is sent for the first time from
    now on can be lost.
    """
    gone = [step.judged() for step in losses.fine if step.at > since]
    return replace(
        losses,
        fine=tuple(_of_probes(s) if s.at > since else s for s in losses.fine),
        crossed=losses.crossed - sum(step.out + step.into for step in gone),
        lost=losses.lost - sum(step.out_lost + step.into_lost for step in gone),
        fresh=(0, 0),
        stale=(0, 0),
        spoilt_until=max(until, losses.spoilt_until),
    )


def _of_probes(step: Step) -> Step:
    return replace(step, out=0, out_lost=0, into=0, into_lost=0)
