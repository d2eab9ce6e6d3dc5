# SPDX-License-Identifier: GPL-2.0-or-later
"""Looks at the counters between two ticks: as long as they show no more than that packets go on
arriving, the core need not hear of them. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omrfast.core import limits, signs
from omrfast.core.replacing import replace
from omrfast.core.signs import Allowance
from omrfast.core.types import Glimpse, Look, PathCounters


@dataclass(frozen=True, slots=True)
class Watched:
    """One path between two ticks."""

    name: str
    allowance: Allowance
    asked: float | None
    """The question that is open, and the last sign of life: see PathRecord."""
    heard: float
    at: float
    """The last look, or the tick."""
    seen: Glimpse
    """By it."""
    any_arrival: bool = False
    """Whatever arrives is to be heard of: it was not known to carry any."""
    looks: tuple[Look, ...] = ()
    """Since the tick."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What the next look is held against."""

    until: float
    """Then it is a tick whatever is seen; at once, if that is over."""
    paths: tuple[Watched, ...]
    """Those that are listened to, and those whose any arrival tells."""


def goes_on(before: Watch, after: Watch, wake_at: float) -> tuple[Watch, float]:
    """The watch after a step that took no counters in, and when the next look is due: what looks
    have met since the last tick stays."""
    known = {path.name: path for path in before.paths}
    paths = tuple(_kept(known.get(path.name), path) for path in after.paths)
    return replace(after, paths=paths), min((wake_at, *map(silent_at, paths)))


def _kept(before: Watched | None, after: Watched) -> Watched:
    if before is None:
        return after
    heard = max(before.heard, after.heard)
    open_since = [at for at in (before.asked, after.asked) if at is not None and at > heard]
    return replace(
        after,
        asked=min(open_since, default=None),
        heard=heard,
        at=before.at,
        seen=before.seen,
        looks=before.looks,
    )


def look(watch: Watch, seen: Mapping[str, Glimpse], now: float) -> tuple[Watch, float] | None:
    """The watch after a look, and when the next one is due; None: it is time for a tick."""
    again = min(watch.until, now + limits.BUSY)
    paths = []
    for path in watch.paths:
        after = _looked_at(path, seen.get(path.name), now)
        if after is None:
            return None
        paths.append(after)
        again = min(again, silent_at(after))
    return (Watch(watch.until, tuple(paths)), again) if now < again else None


def _looked_at(path: Watched, seen: Glimpse | None, now: float) -> Watched | None:
    """None: there is something that the core has to hear of."""
    if seen is None or seen.faults != path.seen.faults:
        return None
    asked, heard = path.asked, path.heard
    if seen.last_rx is not None and seen.last_rx > (path.seen.last_rx or 0.0):
        if path.any_arrival:
            return None
        asked, heard = None, max(heard, seen.last_rx)
    if asked is None and seen.asked is not None and seen.asked > heard:
        asked = seen.asked
    return Watched(
        path.name,
        path.allowance,
        asked,
        heard,
        now,
        seen,
        path.any_arrival,
        (*path.looks, _noted(seen, now)),
    )


def _noted(seen: Glimpse, now: float) -> Look:
    return (
        now,
        seen.last_rx or 0.0,
        seen.rx_packets,
        seen.rx_segments,
        seen.tx_segments,
        seen.rtt_samples,
    )


def silent_at(path: Watched) -> float:
    """When its silence could become a sign, as of the last look."""
    return signs.due(path.allowance, path.asked, path.heard, path.seen.last_tx, path.at)


def with_looks(watch: Watch, counters: Mapping[str, PathCounters]) -> dict[str, PathCounters]:
    """A tick's counters, with what was seen by the looks before it."""
    looks = {path.name: path.looks for path in watch.paths if path.looks}
    return {
        name: replace(found, looks=looks[name]) if name in looks else found
        for name, found in counters.items()
    }
