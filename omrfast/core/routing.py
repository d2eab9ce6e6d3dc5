# SPDX-License-Identifier: GPL-2.0-or-later
"""Which metrics routes should have, and where a copy must stand in front. Pure.

Routes of one family, table and destination compete: the least metric wins. A path's penalty is
added to its routes' metrics where another device has such a route; where it has the only one,
nothing would be won. Routes from router advertisements can't be moved, so a copy of the best
path's route is put in front of those of worse ones, and withdrawn when they are no worse. It ends
when its original would have ended; advertisements prolong the one and not the other, so it is
renewed before. In front, too, is a copy of a better path's default route where worse paths alone
have a route to a server.
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
from omrfast.core.wish import PENALTY_DEGRADED

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
    of the routes that may be moved, before anything was changed. Copies come before moves: what
    they are made of is still where it was seen."""
    ends = dict(observed.ends)
    groups: dict[tuple[int, int, str], list[Route]] = {}
    for route in observed.routes:
        groups.setdefault((route.family, route.table, route.destination), []).append(route)
    moves: list[Planned] = []
    for (family, table, destination), group in groups.items():
        rivals = [route for route in group if not route.copy]
        if destination != "default":
            defaults = groups.get((family, table, "default"), [])
            rivals += _detour(owners, found, rivals, defaults)
        moves += _moves(owners, found, group, rivals)
        yield from _copies(owners, found, group, rivals, ends)
    yield from moves


def _detour(
    owners: Mapping[int, Owner],
    found: Mapping[RouteKey, int],
    group: list[Route],
    defaults: list[Route],
) -> list[Route]:
    """The default route of a better path than all that have a route to a server; or none."""
    own = [r for r in defaults if r.ifindex in owners and not r.copy]
    if not own or not group or any(route.ifindex not in owners for route in group):
        return []
    best = min(own, key=lambda r: (_penalty(owners, r), _wished(owners, found, own, r)))
    least = min(_penalty(owners, route) for route in group)
    return [best] if _penalty(owners, best) < least else []


def _penalty(owners: Mapping[int, Owner], route: Route) -> int:
    return owners[route.ifindex].wish.penalty or 0


def _wished(
    owners: Mapping[int, Owner], found: Mapping[RouteKey, int], rivals: list[Route], route: Route
) -> int:
    """The metric that a route should have. Penalties are as many times as large as it takes for
    the least of them to lead behind every metric of the rivals."""
    owner = owners.get(route.ifindex)
    if owner is None or route_key(route) not in found or owner.wish.penalty is None:
        return route.metric
    metric = _unmoved(owners, found, route)
    if all(other.ifindex == route.ifindex for other in rivals):
        return metric
    last = max(_unmoved(owners, found, other) for other in rivals)
    return min(metric + owner.wish.penalty * (1 + last // PENALTY_DEGRADED), METRIC_MOST)


def _unmoved(owners: Mapping[int, Owner], found: Mapping[RouteKey, int], route: Route) -> int:
    """The metric that it has but for penalties."""
    owner = owners.get(route.ifindex)
    if owner is not None and route.main and owner.metric is not None and route_key(route) in found:
        return owner.metric
    return found.get(route_key(route), route.metric) if owner is not None else route.metric


def _moves(
    owners: Mapping[int, Owner],
    found: Mapping[RouteKey, int],
    group: list[Route],
    rivals: list[Route],
) -> Iterator[Planned]:
    for route in group:
        metric = _wished(owners, found, rivals, route)
        if metric != route.metric:
            yield owners[route.ifindex].name, SetMetric(route, metric)


def _copies(
    owners: Mapping[int, Owner],
    found: Mapping[RouteKey, int],
    group: list[Route],
    rivals: list[Route],
    ends: Mapping[Route, int],
) -> Iterator[Planned]:
    present = [route for route in group if route.copy and route.ifindex in owners]
    wished = _copy(owners, found, group, rivals)
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
    rivals: list[Route],
) -> CopyRoute | None:
    """The copy that must be there; one that serves already is kept."""
    own = [route for route in rivals if route.ifindex in owners]
    if not own:
        return None

    def metric(route: Route) -> int:
        return _wished(owners, found, rivals, route)

    best = min(own, key=lambda route: (_penalty(owners, route), metric(route)))
    led = "" if best in group else group[0].destination
    worse = [r for r in own if _penalty(owners, r) > _penalty(owners, best)]
    behind = [metric(r) for r in worse if led or r.advertised]
    if not behind or (not led and metric(best) < min(behind)):
        return None
    for route in group:
        if route.metric < min(behind) and route == copied(CopyRoute(best, route.metric, led)):
            return CopyRoute(best, route.metric, led)
    taken = {route.metric for route in group}
    free = (at for at in range(min(behind) - 1, 0, -1) if at not in taken)
    at = next(free, None)
    return None if at is None else CopyRoute(best, at, led)
