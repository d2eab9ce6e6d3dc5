# SPDX-License-Identifier: GPL-2.0-or-later
"""What had been found in the kernel before it was changed, from what is recorded and observed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from omrfast.core.operations import Observed, Route
from omrfast.core.plan import Baseline
from omrfast.core.replacing import replace
from omrfast.core.routing import route_key
from omrfast.store.changes import Change, EndpointChange, RouteChange, WindowChange


def _indexes(observed: Observed) -> dict[str, int]:
    return {entry.name: entry.index for entry in observed.interfaces}


def _here(route: Route, interface: str, indexes: Mapping[str, int]) -> Route:
    """A route as recorded, with the index that its device has now, if there is one."""
    return replace(route, ifindex=indexes.get(interface, route.ifindex))


def baseline_of(changes: Iterable[Change], observed: Observed) -> Baseline:
    """What had been found before it was changed, by this agent or one that did not stop cleanly.

    A device that was made anew has another index, and its routes are the same ones to the ledger.
    """
    indexes = _indexes(observed)
    endpoints = {}
    metrics = {}
    for change in changes:
        if isinstance(change, EndpointChange) and change.original is not None:
            endpoints[change.address] = change.original
        elif isinstance(change, RouteChange):
            route = _here(change.original, change.interface, indexes)
            metrics[route_key(route)] = change.original.metric
    return Baseline(endpoints, metrics)


def windows_of(changes: Iterable[Change], observed: Observed) -> dict[Route, int]:
    """The same of initial windows."""
    indexes = _indexes(observed)
    return {
        _here(change.route, change.interface, indexes): change.original
        for change in changes
        if isinstance(change, WindowChange)
    }


def before_changes(changes: Iterable[Change], observed: Observed) -> Observed:
    """With the endpoints as they had been found: what we took away, and without what we gave."""
    endpoints = {(e.address, e.port): e for e in observed.endpoints}
    made = set()
    for change in changes:
        if isinstance(change, EndpointChange):
            held = endpoints.pop((change.address, change.port), None)
            if change.original is not None:
                endpoints[change.address, change.port] = change.original
            elif held is not None:
                made.add(change.address)
    return replace(observed, endpoints=tuple(endpoints.values()), made=frozenset(made))
