# SPDX-License-Identifier: GPL-2.0-or-later
"""What arrives on a path again and again, how densely, and how long it pauses. Pure.

Counters are read now and then, not at every packet: of a pause it is known how long it was at the
read before it ended, or how long the arrivals since would have taken if evenly spaced.
"""

from __future__ import annotations

from dataclasses import dataclass

from omrfast.core.replacing import replace

STEADY_FOR = 0.3
STEADY_GAP = 0.1
STEADY_PAUSE = 0.15
STEADY_END = 1.0
"""A stream: something for STEADY_FOR, at least every STEADY_GAP on average and without a pause of
STEADY_PAUSE (questions, and answers to them, pause so); it has ended after STEADY_END without."""
ENDS_FREE, ENDS_KNOWN, ENDS_MEMORY = 2, 5, 30.0
"""Where streams have ended again and again, up to ENDS_KNOWN times within ENDS_MEMORY, one has to
last twice as long for each beyond ENDS_FREE: the next one will end, too."""
PAUSE_HALF_LIFE = 0.3
"""Of the memory of the longest pause: a second is enough for what pauses regularly."""
REGULAR_FOR = 1.0
REGULAR = 2.0
REGULAR_HALF_LIFE = 1.0
"""A regular stream has lasted for REGULAR_FOR, and paused for no more than so many of its mean
spacings; which is remembered for longer."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Something that arrives again and again; seconds."""

    gap: float | None = None
    """Mean spacing; None: nothing does."""
    since: float = 0.0
    at: float = 0.0
    """First and last read that found something new."""
    last: float = 0.0
    """When something had last arrived, at the read ``at``."""
    pause: float = 0.0
    """The longest of late; fades."""
    worst: float = 0.0
    """The longest since the stream began; fades more slowly."""


def follow(stream: Stream, count: int, last: float, before: float, now: float) -> Stream:
    """The stream after ``count`` more arrivals, the last one at ``last``; ``before``: the read
    before this one."""
    if count <= 0 or now <= before:
        return Stream() if now - stream.at > STEADY_END else stream
    gap = (now - before) / count
    if not stream.at:
        return Stream(gap, now, now, last)
    pause = max(before - stream.last, (last - stream.last) / count)
    elapsed = now - stream.at
    moved = replace(
        stream,
        at=now,
        last=last,
        pause=max(pause, stream.pause * 0.5 ** (elapsed / PAUSE_HALF_LIFE)),
        worst=max(pause, stream.worst * 0.5 ** (elapsed / REGULAR_HALF_LIFE)),
    )
    if stream.gap is None:
        return replace(moved, gap=gap, since=now)
    share = min(1.0, (now - before) / STEADY_FOR)
    moved = replace(moved, gap=(1 - share) * stream.gap + share * gap)
    return replace(moved, since=now, worst=0.0) if pause >= STEADY_PAUSE else moved


def steady(
    stream: Stream, ends: tuple[float, ...] = (), lasting: float = STEADY_FOR
) -> float | None:
    """Mean spacing (s) of a stream that has lasted so long; None when there is none. ``ends``: when
    streams on this path ended of late."""
    if stream.gap is None or stream.gap > STEADY_GAP:
        return None
    known = sum(stream.at - at < ENDS_MEMORY for at in ends)
    lasting *= 2 ** max(0, known - ENDS_FREE)
    return stream.gap if stream.at - stream.since >= lasting else None


def regular(stream: Stream, ends: tuple[float, ...] = ()) -> bool:
    """Whether it is steady and hardly ever pauses for longer than its mean spacing, on a path on
    which no stream has seemed to stop of late."""
    if any(stream.at - at < ENDS_MEMORY for at in ends):
        return False
    gap = steady(stream, lasting=REGULAR_FOR)
    return gap is not None and stream.worst <= REGULAR * gap


def longest(stream: Stream, ends: tuple[float, ...]) -> float:
    """Its longest pause of late; of longer memory on a path on which one has seemed to stop."""
    known = any(stream.at - at < ENDS_MEMORY for at in ends)
    return stream.worst if known else stream.pause


def end(stream: Stream) -> Stream:
    """It stopped and the path is alive: the far end had no more to say for now."""
    return replace(stream, gap=None)
