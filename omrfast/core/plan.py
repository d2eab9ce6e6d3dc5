# SPDX-License-Identifier: GPL-2.0-or-later
"""From what is wished and what is, the operations that make up the difference. Pure.

The order is part of the result: new connections move first, then the dead endpoint goes (which
makes the kernel re-inject what was in flight), then stuck handshakes are aborted; a demotion
waits until its replacement is there; what comes back comes last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from omrfast.core.state import Wish
from omrfast.core.types import (
    AbortHandshakes,
    AddEndpoint,
    DeleteEndpoint,
    Endpoint,
    Observed,
    Operation,
    Route,
    SetBackup,
    SetMetric,
)

RouteKey = tuple[int, str, int, str | None]
"""family, destination, ifindex, gateway: what a route is apart from its metric."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a path is in the kernel right now."""

    name: str
    ifindex: int
    address: str
    """The address that probes leave from."""
    addresses: frozenset[str]
    """Every address of the path: its endpoints are the ones with these."""
    create: bool = False
    """The configuration names the path: make an endpoint for ``address`` if there is none."""
    metric: int | None = None


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was found before anything was changed."""

    endpoints: Mapping[str, Endpoint]
    """By address."""
    metrics: Mapping[RouteKey, int]


EMPTY = Baseline({}, {})


def route_key(route: Route) -> RouteKey:
    return (route.family, route.destination, route.ifindex, route.gateway)


def learn(baseline: Baseline, bindings: tuple[Binding, ...], observed: Observed) -> Baseline:
    """Add what is seen for the first time; what is known stays as it was found."""
    addresses = frozenset[str]().union(*(b.addresses for b in bindings))
    indexes = {b.ifindex for b in bindings}
    endpoints = {e.address: e for e in observed.endpoints if e.address in addresses}
    metrics = {route_key(r): r.metric for r in observed.routes if r.ifindex in indexes}
    return Baseline({**endpoints, **baseline.endpoints}, {**metrics, **baseline.metrics})


def plan(
    bindings: tuple[Binding, ...],
    wishes: Mapping[str, Wish],
    baseline: Baseline,
    observed: Observed,
    aborts: frozenset[str] = frozenset(),
) -> tuple[tuple[str, Operation], ...]:
    """Operations in the order to apply them, each with the name of its path.

    ``aborts`` names the paths that have just died: handshakes that are under way on them can't
    be moved, only ended, so that the application tries again.
    """
    steps: list[tuple[int, str, Operation]] = []
    for binding in bindings:
        wish = wishes.get(binding.name, Wish())
        steps += (
            (
                _ORDER_METRIC_UP
                if operation.metric > operation.route.metric
                else _ORDER_METRIC_DOWN,
                binding.name,
                operation,
            )
            for operation in _metrics(binding, wish, baseline, observed)
        )
        for operation in _endpoints(binding, wish, baseline, observed):
            steps.append((_order(operation), binding.name, operation))
        if binding.name in aborts:
            for address in sorted(binding.addresses):
                abort = AbortHandshakes(address)
                steps.append((_order(abort), binding.name, abort))
    steps.sort(key=lambda entry: entry[0])
    return tuple((name, operation) for _, name, operation in steps)


_ORDER_METRIC_UP = 0
_ORDER_METRIC_DOWN = 6


def _order(operation: Operation) -> int:
    match operation:
        case DeleteEndpoint():
            return 1
        case AbortHandshakes():
            return 2
        case AddEndpoint():
            return 3
        case SetBackup(backup=False):
            return 4
        case SetBackup():
            return 5
    return _ORDER_METRIC_DOWN


def _metrics(
    binding: Binding, wish: Wish, baseline: Baseline, observed: Observed
) -> Iterator[SetMetric]:
    if wish.penalty is None:
        return
    for route in observed.routes:
        if route.ifindex != binding.ifindex:
            continue
        found = baseline.metrics.get(route_key(route), route.metric)
        metric = (found if binding.metric is None else binding.metric) + wish.penalty
        if metric != route.metric:
            yield SetMetric(route, metric)


def _endpoints(
    binding: Binding, wish: Wish, baseline: Baseline, observed: Observed
) -> Iterator[Operation]:
    """Per address: as wished, with id and flags as found."""
    there = {e.address: e for e in observed.endpoints if e.address in binding.addresses}
    known = {a: e for a, e in baseline.endpoints.items() if a in binding.addresses}
    if binding.create and not known and not there:
        known = {binding.address: Endpoint(0, binding.address, binding.ifindex, 0, _SUBFLOW)}
    for address in sorted(known.keys() | there.keys()):
        endpoint = there.get(address)
        if endpoint is None:
            if wish.present:
                yield AddEndpoint(_with_backup(known[address], wish.backup))
        elif "signal" in endpoint.flags and "subflow" not in endpoint.flags:
            continue
        elif wish.present is False:
            yield DeleteEndpoint(endpoint)
        elif wish.backup is not None and wish.backup != endpoint.backup:
            yield SetBackup(endpoint, wish.backup)


_SUBFLOW = frozenset({"subflow"})


def _with_backup(endpoint: Endpoint, backup: bool | None) -> Endpoint:
    if backup is None:
        return endpoint
    flags = endpoint.flags | {"backup"} if backup else endpoint.flags - {"backup"}
    return replace(endpoint, flags=flags)
