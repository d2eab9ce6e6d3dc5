# SPDX-License-Identifier: GPL-2.0-or-later
"""Which metrics routes should have, and where a copy must stand in front. Pure.

Routes of one family, table and destination compete: the least metric wins. A path's penalty is
added to its routes' metrics where another device has such a route; where it has the only one,
nothing would be won. Routes from router advertisements can't be moved, so a copy of the best
path's route is put in front of those of worse ones, and withdrawn when they are no worse. It ends
when its original would have ended; advertisements prolong the one and not the other, so it is
renewed before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from omrfast.core.operations import (
    CopyRoute,
    Observed,
    Route,
    SetMetric,
    WithdrawRoute,
    copied,
)
from omrfast.core.outcome import Wish
from omrfast.core.replacing import replace

METRIC_MOST = 2**32 - 1
"""The kernel has no more bits for it."""

RENEW = 60
"""Seconds before its end that a copy is renewed: a pass looks every few seconds."""
RENEW_GAIN = 2
"""Seconds, at least, that this must gain: the ends of two routes are read at two moments."""

RouteKey = Route
"""A route with metric 0: what it is apart from its metric."""

Planned = tuple[str, SetMetric | CopyRoute | WithdrawRoute]
"""An operation with the name of its path."""


def route_key(route: Route) -> RouteKey:
    return replace(route, metric=0)


@dataclass(frozen=True, slots=True)
class Owner:
    """The path of a device, as far as routes go."""

    name: str
    wish: Wish
    metric: int | None
    """Configured metric of its routes in the main table."""


def route_operations(
    owners: Mapping[int, Owner], found: Mapping[RouteKey, int], observed: Observed
) -> Iterator[Planned]:
    """What makes up the difference. ``owners``: paths by interface index; ``found``: the metrics
    of the routes that may be moved, before anything was changed."""
    ends = dict(observed.ends)
    groups: dict[tuple[int, int, str], list[Route]] = {}
    for route in observed.routes:
        groups.setdefault((route.family, route.table, route.destination), []).append(route)
    for group in groups.values():
        yield from _moves(owners, found, group)
        yield from _copies(owners, found, group, ends)


def _wished(
    owners: Mapping[int, Owner], found: Mapping[RouteKey, int], group: list[Route], route: Route
) -> int:
    """The metric that a route should have."""
    owner = owners.get(route.ifindex)
    as_found = found.get(route_key(route))
    if owner is None or as_found is None or owner.wish.penalty is None:
        return route.metric
    alternative = any(other.ifindex != route.ifindex for other in group)
    named = owner.metric if route.main else None
    metric = (as_found if named is None else named) + (owner.wish.penalty if alternative else 0)
    return min(metric, METRIC_MOST)


def _moves(
    owners: Mapping[int, Owner], found: Mapping[RouteKey, int], group: list[Route]
) -> Iterator[Planned]:
    for route in group:
        metric = _wished(owners, found, group, route)
        if metric != route.metric:
            yield owners[route.ifindex].name, SetMetric(route, metric)


def _copies(
    owners: Mapping[int, Owner],
    found: Mapping[RouteKey, int],
    group: list[Route],
    ends: Mapping[Route, int],
) -> Iterator[Planned]:
    present = [route for route in group if route.copy and route.ifindex in owners]
    wished = _copy(owners, found, group, present)
    if wished is not None and (copied(wished) not in present or _fades(wished, ends)):
        yield owners[wished.route.ifindex].name, wished
    for route in present:
        if wished is None or route != copied(wished):
            yield owners[route.ifindex].name, WithdrawRoute(route)


def _fades(copy: CopyRoute, ends: Mapping[Route, int]) -> bool:
    """Whether the copy, which is there, ends soon and its original later by half as much again."""
    left = ends.get(copied(copy), RENEW)
    return left < RENEW and left + max(RENEW_GAIN, left // 2) <= ends.get(copy.route, math.inf)


def _copy(
    owners: Mapping[int, Owner],
    found: Mapping[RouteKey, int],
    group: list[Route],
    present: list[Route],
) -> CopyRoute | None:
    """The copy that must be there; one that serves already is kept."""
    own = [route for route in group if route.ifindex in owners and not route.copy]
    if not any(route.advertised for route in own):
        return None

    def penalty(route: Route) -> int:
        return owners[route.ifindex].wish.penalty or 0

    def metric(route: Route) -> int:
        return _wished(owners, found, group, route)

    best = min(own, key=lambda route: (penalty(route), metric(route)))
    behind = [r.metric for r in own if r.advertised and penalty(r) > penalty(best)]
    if not behind or metric(best) < min(behind):
        return None
    for route in present:
        if route.metric < min(behind) and route == copied(CopyRoute(best, route.metric)):
            return CopyRoute(best, route.metric)
    taken = {route.metric for route in group}
    free = (at for at in range(min(behind) - 1, 0, -1) if at not in taken)
    at = next(free, None)
    return None if at is None else CopyRoute(best, at)
