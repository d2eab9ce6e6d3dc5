# SPDX-License-Identifier: GPL-2.0-or-later
"""What was lost on a path, when, and in which direction. Pure.

Loss is counted by crossings of the path: a segment crosses it once, a probe and its answer twice,
and a probe without an answer is one loss in two crossings. So a share of it is that of one
direction, whatever it was measured with. Seconds; ``now`` is CLOCK_MONOTONIC.

What is sent again is a loss only as far as it may have been sent for the first time since the
record began anew (forget()): a socket that has lived through an outage sends what the outage has
taken, long after it. The counters do not tell which segments are sent again, but they can't be more
than those that left before them.
"""

from __future__ import annotations

from dataclasses import dataclass

from omrfast.core.replacing import replace
from omrfast.core.types import PathCounters

STEP = 0.25
FINE = 4.0
"""Steps of the last FINE seconds are kept one by one."""
COARSE = 5.0
MEMORY = 60.0
"""Older ones are summed up to COARSE seconds; those older than MEMORY are forgotten."""
OVERDUE = 2.0
"""A question that nothing overtook is no loss after this long: silence is judged elsewhere."""
EARLY = 0.001
"""A question may have been noted so much later than its answer's RTT says: rounding."""
AGAIN = 4
"""A segment may be lost, and sent again, so many times."""
LATE = 5.0
"""An answer that comes so long after it was given up still corrects the count."""


@dataclass(frozen=True, slots=True)
class Step:
    """What crossed a path in a short time, and what was lost of it."""

    at: float
    """When it ended."""
    out: int = 0
    out_lost: int = 0
    into: int = 0
    into_lost: int = 0
    """Segments by direction; lost ones are those sent again, less those sent again for nothing."""
    probes: int = 0
    probes_lost: int = 0
    """Questions that were answered or lost."""
    own: int = 0
    own_lost: int = 0
    """Crossings while our own load kept the queue full: they say nothing about the path."""
    full_out: bool = False
    full_into: bool = False
    """The queue of that direction is full by our own load."""

    def judged(self) -> Step:
        """What counts, with the rest of it in ``own``."""
        if not self.full_out and not self.full_into:
            return self
        step = self
        if step.full_out:
            step = replace(
                step,
                own=step.own + step.out,
                own_lost=step.own_lost + step.out_lost,
                out=0,
                out_lost=0,
            )
        if step.full_into:
            step = replace(
                step,
                own=step.own + step.into,
                own_lost=step.own_lost + step.into_lost,
                into=0,
                into_lost=0,
            )
        return replace(
            step,
            own=step.own + 2 * step.probes,
            own_lost=step.own_lost + step.probes_lost,
            probes=0,
            probes_lost=0,
            full_out=False,
            full_into=False,
        )


def _sum(a: Step, b: Step) -> Step:
    """Both, ending with ``b``. Of judged ones."""
    return Step(
        b.at,
        a.out + b.out,
        a.out_lost + b.out_lost,
        a.into + b.into,
        a.into_lost + b.into_lost,
        a.probes + b.probes,
        a.probes_lost + b.probes_lost,
        a.own + b.own,
        a.own_lost + b.own_lost,
    )


@dataclass(frozen=True, slots=True)
class Losses:
    """A path's record of them."""

    seen: tuple[int, int, int, int] | None = None
    """Segments sent, lost, arrived, lost, as the counters had them last; None: not yet."""
    fresh: tuple[int, int] = (0, 0)
    """Losses (out, in) that what was sent for the first time since forget() may still have."""
    stale: tuple[int, int] = (0, 0)
    """Segments sent again since then beyond these: they were first sent before it, and neither
    cross nor get lost."""
    spoilt_until: float = float("-inf")
    """Till then segments neither cross nor get lost: see spoilt.py."""
    fine: tuple[Step, ...] = ()
    """Oldest first; the last one goes on until it is STEP long."""
    began: float = 0.0
    """When it began."""
    coarse: tuple[Step, ...] = ()
    asked: tuple[tuple[float, str], ...] = ()
    """(when, whom) of questions that are open, oldest first."""
    missed: tuple[tuple[float, str], ...] = ()
    """Those counted as lost lately, which may still be answered."""
    answered: tuple[tuple[str, float], ...] = ()
    """By whom, when the last question left that was answered; only where older ones are open."""
    probes: int = 0
    probes_lost: int = 0
    """Answered or lost, and lost, that no step has taken in yet."""
    lost_at: float = float("-inf")
    """When the last one left that was lost, as far as that is known, else when it was noticed."""
    crossed: int = 0
    lost: int = 0
    """All crossings and losses ever that were not ``own``; for differences."""


def counts(counters: PathCounters) -> tuple[int, int, int, int]:
    """Segments sent, lost, arrived, lost."""
    out_lost = counters.retransmitted_segments - counters.spurious_segments
    return counters.tx_segments, out_lost, counters.rx_segments, counters.refilled_segments


def observe(
    losses: Losses, counters: PathCounters, now: float, *, full: tuple[bool, bool]
) -> Losses:
    """Take in the counters; ``full``: our own load fills the queue (outbound, inbound)."""
    seen = counts(counters)
    old = losses.seen
    if old is None or seen[0] < old[0] or seen[2] < old[2]:
        return replace(losses, seen=seen)
    losses, (out, out_lost, into, into_lost) = _crossed(losses, seen, old)
    if now < losses.spoilt_until:
        out = out_lost = into = into_lost = 0
    more = Step(now, out, out_lost, into, into_lost, losses.probes, losses.probes_lost)
    more = replace(more, full_out=full[0], full_into=full[1])
    fine, began = losses.fine, losses.began
    if fine and now - began < STEP:
        last = fine[-1]
        open_step = replace(
            _sum(last, more),
            full_out=last.full_out or more.full_out,
            full_into=last.full_into or more.full_into,
        )
        losses = replace(losses, fine=(*fine[:-1], open_step))
    else:
        closed = tuple(step.judged() for step in fine[-1:])
        losses = _trim(replace(losses, fine=(*fine[:-1], *closed, more), began=now), now)
    counted = more.judged()
    crossed = counted.out + counted.into + 2 * counted.probes
    lost = counted.out_lost + counted.into_lost + counted.probes_lost
    return replace(
        losses,
        seen=seen,
        probes=0,
        probes_lost=0,
        crossed=losses.crossed + crossed,
        lost=losses.lost + lost,
        lost_at=now if counted.out_lost + counted.into_lost > 0 else losses.lost_at,
    )


def _crossed(
    losses: Losses, seen: tuple[int, int, int, int], old: tuple[int, int, int, int]
) -> tuple[Losses, tuple[int, int, int, int]]:
    """Segments sent, lost, arrived, lost between two reads, of those sent since forget()."""
    out, out_lost, into, into_lost = (a - b for a, b in zip(seen, old, strict=True))
    fresh_out, stale_out = _old(out, out_lost, losses.fresh[0], losses.stale[0])
    fresh_into, stale_into = _old(into, into_lost, losses.fresh[1], losses.stale[1])
    losses = replace(
        losses,
        fresh=(fresh_out, fresh_into),
        stale=(losses.stale[0] + stale_out, losses.stale[1] + stale_into),
    )
    return losses, (
        out - max(0, stale_out),
        out_lost - stale_out,
        into - max(0, stale_into),
        into_lost - stale_into,
    )


def _old(sent: int, again: int, fresh: int, stale: int) -> tuple[int, int]:
    """(What may still be lost from now on; how many of those sent again are none of that, or, below
    zero, were none and have proved to be sent again for nothing)."""
    fresh += AGAIN * max(0, sent - max(0, again))
    old = max(0, again - fresh) if again >= 0 else max(again, -stale)
    return fresh - (again - old), old


def _trim(losses: Losses, now: float) -> Losses:
    """Sum up what is no longer fine, forget what is old."""
    old = tuple(step for step in losses.fine if now - step.at > FINE)
    coarse = tuple(step for step in losses.coarse if now - step.at <= MEMORY)
    for step in old:
        if coarse and step.at // COARSE == coarse[-1].at // COARSE:
            coarse = (*coarse[:-1], _sum(coarse[-1], step))
        else:
            coarse = (*coarse, step)
    return replace(losses, fine=losses.fine[len(old) :], coarse=coarse)


def ask(losses: Losses, whom: str, now: float) -> Losses:
    return replace(losses, asked=(*losses.asked, (now, whom)))


def unask(losses: Losses, whom: str) -> Losses:
    """The last question to them never left."""
    for index in reversed(range(len(losses.asked))):
        if losses.asked[index][1] == whom:
            return replace(losses, asked=losses.asked[:index] + losses.asked[index + 1 :])
    return losses


def answer(losses: Losses, whom: str, sent: float) -> Losses:
    """An answer to what left at ``sent``: the question noted last before then, since the core
    notes it and then it leaves."""
    known = (*losses.asked, *losses.missed)
    mine = max((e for e in known if e[1] == whom and e[0] <= sent + EARLY), default=None)
    if mine is None:
        return losses
    newest = dict(losses.answered)
    newest[whom] = max(mine[0], newest.get(whom, mine[0]))
    asked = tuple(entry for entry in losses.asked if entry != mine)
    overtaken = {who for at, who in asked if at < newest.get(who, at)}
    answered = tuple((who, at) for who, at in newest.items() if who in overtaken)
    losses = replace(losses, answered=answered)
    if mine in losses.asked:
        return replace(losses, asked=asked, probes=losses.probes + 1)
    missed = tuple(entry for entry in losses.missed if entry != mine)
    return replace(losses, missed=missed, probes_lost=losses.probes_lost - 1)


def expire(losses: Losses, now: float, patience: float) -> Losses:
    """Count as lost what a later question to the same one has overtaken and that has had
    ``patience`` seconds; drop what nobody has answered at all."""
    newest = dict(losses.answered)
    lost = tuple(
        (at, whom)
        for at, whom in losses.asked
        if now - at > patience and at < newest.get(whom, float("-inf"))
    )
    limit = max(OVERDUE, 4 * patience)
    open_ = tuple(e for e in losses.asked if e not in lost and now - e[0] <= limit)
    missed = tuple(e for e in (*losses.missed, *lost) if now - e[0] <= LATE)
    if not lost and open_ == losses.asked and missed == losses.missed:
        return losses
    count = len(lost)
    return replace(
        losses,
        lost_at=max((losses.lost_at, *(at for at, _ in lost))),
        asked=open_,
        missed=missed,
        probes=losses.probes + count,
        probes_lost=losses.probes_lost + count,
    )


def forget(losses: Losses) -> Losses:
    """After an outage: what was lost in it says nothing about the path as it is now."""
    return replace(
        losses,
        fresh=(0, 0),
        stale=(0, 0),
        fine=(),
        coarse=(),
        asked=(),
        missed=(),
        answered=(),
        probes=0,
        probes_lost=0,
    )


def forget_probes(losses: Losses) -> Losses:
    """What became of them says nothing about the path."""
    return replace(
        losses,
        fine=tuple(replace(step, probes=0, probes_lost=0) for step in losses.fine),
        coarse=tuple(replace(step, probes=0, probes_lost=0) for step in losses.coarse),
        asked=(),
        missed=(),
        probes=0,
        probes_lost=0,
    )
