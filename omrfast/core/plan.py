# SPDX-License-Identifier: GPL-2.0-or-later
"""From what is wished and what is, the operations that make up the difference. Pure.

The order is part of the result: the dead endpoint goes first, because the kernel re-injects then
what was in flight; new connections move, and handshakes that are stuck are aborted, so that they
are tried again on the moved routes; a demotion waits until its replacement is there; what comes
back comes last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from omrfast.core.expect import expected
from omrfast.core.operations import (
    AbortHandshakes,
    AddEndpoint,
    CopyRoute,
    DeleteEndpoint,
    Endpoint,
    ForgetBlackhole,
    Observed,
    Operation,
    Route,
    SetBackup,
    SetMetric,
    SetSetting,
    SetWindow,
    WithdrawRoute,
)
from omrfast.core.outcome import Wish
from omrfast.core.replacing import replace
from omrfast.core.routing import Owner, RouteKey, route_key, route_operations


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a path is in the kernel right now."""

    name: str
    ifindex: int
    address: str
    """The address that probes leave from."""
    addresses: frozenset[str]
    """Every address of the path: its endpoints are the ones with these."""
    former: frozenset[str] = frozenset()
    """Addresses that the path had and that are nowhere now; their endpoints are dead weight."""
    create: bool = False
    """The configuration names the path: make an endpoint for ``address`` if there is none."""
    metric: int | None = None
    routed: bool = False
    """It has or had a route to ``default`` or to a server, of the family of ``address``."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was found before anything was changed."""

    endpoints: Mapping[str, Endpoint]
    """By address."""
    metrics: Mapping[RouteKey, int]
    closed: frozenset[str] = frozenset()
    """Addresses without an endpoint whose initial subflows we closed: to get them back, living
    connections need one."""


EMPTY = Baseline({}, {})


def learn(baseline: Baseline, bindings: tuple[Binding, ...], observed: Observed) -> Baseline:
    """Add what is seen and was not changed by us (``baseline``): it is as found.

    Left out are endpoints that the kernel made by itself, routes that it learnt from
    advertisements, and routes that differ in nothing but their metric: they can't be told apart
    once one has moved.
    """
    addresses = frozenset[str]().union(*(b.addresses | b.former for b in bindings))
    indexes = {b.ifindex for b in bindings}
    endpoints = {e.address: e for e in _usable(observed) if e.address in addresses}
    seen = Counter(route_key(r) for r in observed.routes)
    metrics = {
        route_key(r): r.metric
        for r in observed.routes
        if r.ifindex in indexes and seen[route_key(r)] == 1 and not (r.advertised or r.copy)
    }
    return replace(
        baseline,
        endpoints={**endpoints, **baseline.endpoints},
        metrics={**metrics, **baseline.metrics},
    )


def twins(bindings: tuple[Binding, ...], baseline: Baseline, observed: Observed) -> Iterator[Route]:
    """Routes through the paths that can't be moved because another differs in the metric only."""
    indexes = {b.ifindex for b in bindings}
    for route in observed.routes:
        fixed = route.advertised or route.copy or route_key(route) in baseline.metrics
        if route.ifindex in indexes and not fixed:
            yield route


def _usable(observed: Observed) -> Iterator[Endpoint]:
    """Endpoints that somebody made to make subflows."""
    for endpoint in observed.endpoints:
        only_announces = "signal" in endpoint.flags and "subflow" not in endpoint.flags
        if "implicit" not in endpoint.flags and not only_announces:
            yield endpoint


def plan(
    bindings: tuple[Binding, ...],
    wishes: Mapping[str, Wish],
    baseline: Baseline,
    observed: Observed,
    aborts: frozenset[str] = frozenset(),
    left: frozenset[str] = frozenset(),
) -> tuple[tuple[str, Operation], ...]:
    """Operations in the order to apply them, each with the name of its path.

    ``aborts`` names the paths that have just been given up: handshakes that are under way on them
    can't be moved, only ended, so that the application tries again. ``left``: see leaving().
    """
    owners = {
        b.ifindex: Owner(b.name, wishes.get(b.name, Wish()), b.metric) for b in reversed(bindings)
    }
    steps: list[tuple[str, Operation]] = [*route_operations(owners, baseline.metrics, observed)]
    for binding in bindings:
        wish = wishes.get(binding.name, Wish())
        steps += ((binding.name, op) for op in _endpoints(binding, wish, baseline, observed))
        if binding.name in left and wish.present is False:
            steps += ((binding.name, op) for op in _close(binding, bindings, observed))
        if binding.name in aborts:
            steps += ((binding.name, AbortHandshakes(a)) for a in sorted(binding.addresses))
    for _, operation in steps:
        observed = expected(observed, operation)
    steps += _marks(bindings, wishes, baseline, observed)
    return tuple(sorted(steps, key=lambda step: _order(step[1])))


def leaving(before: Mapping[str, Wish], after: Mapping[str, Wish]) -> frozenset[str]:
    """Paths that are to be taken away and were not before."""
    return frozenset(
        name
        for name, wish in after.items()
        if wish.present is False and before.get(name, Wish()).present is not False
    )


def comes_back(operation: Operation) -> bool:
    """Whether it lets new connections take a path again: that waits until all else is done."""
    return _order(operation) == _ORDER_ROUTE_BACK


_ORDER_ROUTE_BACK = 6


def _order(operation: Operation) -> int:
    match operation:
        case SetMetric(route, metric):
            return 1 if metric > route.metric else _ORDER_ROUTE_BACK
        case CopyRoute():
            return 1
        case DeleteEndpoint():
            return 0
        case AbortHandshakes():
            return 2
        case AddEndpoint():
            return 3
        case SetBackup(backup=False):
            return 4
        case SetBackup():
            return 5
        case SetSetting() | SetWindow() | ForgetBlackhole():
            return 5
        case WithdrawRoute():
            return _ORDER_ROUTE_BACK


def _endpoints(
    binding: Binding, wish: Wish, baseline: Baseline, observed: Observed
) -> Iterator[Operation]:
    """Per address: as wished, with id and flags as found."""
    held = {e.address: e for e in _usable(observed)}
    for address in sorted(binding.former & held.keys()):
        yield DeleteEndpoint(held[address])
    there = {a: e for a, e in held.items() if a in binding.addresses}
    known = {a: e for a, e in baseline.endpoints.items() if a in binding.addresses}
    joining = [e for e in (*known.values(), *there.values()) if e.joins]
    known = _moved(binding, baseline, {":" in e.address for e in joining}) | known
    if not joining and not any(e.joins for e in known.values()):
        known = _made(binding, baseline) | known
    for address in sorted(known.keys() | there.keys()):
        endpoint = there.get(address)
        elsewhere = endpoint is not None and endpoint.ifindex not in (0, binding.ifindex)
        if endpoint is not None and (wish.present is False or elsewhere):
            yield DeleteEndpoint(endpoint)
        if endpoint is None or elsewhere:
            if wish.present:
                found = known[address] if address in known else there[address]
                yield AddEndpoint(_placed(found, binding, wish.backup))
        elif wish.present is not False and wish.backup not in (None, endpoint.backup):
            yield SetBackup(endpoint, bool(wish.backup))


def _former(binding: Binding, baseline: Baseline) -> list[Endpoint]:
    return [e for a, e in baseline.endpoints.items() if a in binding.former and e.joins]


def _moved(binding: Binding, baseline: Baseline, held: set[bool]) -> dict[str, Endpoint]:
    """By new address, an endpoint as under a former one of its family (true: IPv6), unless that
    is among ``held``."""
    moved = {}
    for endpoint in _former(binding, baseline):
        six = ":" in endpoint.address
        heirs = [a for a in binding.addresses if (":" in a) is six]
        if heirs and six not in held:
            heir = min(heirs, key=lambda address: (address != binding.address, address))
            moved[heir] = replace(endpoint, id=0, address=heir)
    return moved


def _made(binding: Binding, baseline: Baseline) -> dict[str, Endpoint]:
    """An endpoint for a path that has none: as under its former address (of the other family),
    because it is named, or for initial subflows to come back."""
    former = _former(binding, baseline)
    if former:
        return {binding.address: replace(former[0], id=0, address=binding.address)}
    addresses = baseline.closed & binding.addresses
    if binding.create:
        addresses |= {binding.address}
    return {a: Endpoint(0, a, binding.ifindex, 0, _SUBFLOW) for a in addresses}


def _close(
    binding: Binding, bindings: tuple[Binding, ...], observed: Observed
) -> Iterator[Operation]:
    """Once, when a path is taken away: a subflow whose address has no endpoint (the initial one,
    address id 0) is closed like the others, if another path has an endpoint for the connection to
    go on.
    """
    if _goes_on(binding, bindings, observed):
        joining = {e.address for e in observed.endpoints if e.joins}
        for address in sorted(binding.addresses - joining):
            yield DeleteEndpoint(Endpoint(0, address))


def _goes_on(binding: Binding, bindings: tuple[Binding, ...], observed: Observed) -> bool:
    """Whether connections without the path's subflows have those of another path's endpoint."""
    others = frozenset[str]().union(*(b.addresses for b in bindings if b.name != binding.name))
    return any(e.joins and e.address in others for e in observed.endpoints)


ENDPOINTS_MOST = 8
"""Of kernels up to Linux 6.18."""


def _marks(
    bindings: tuple[Binding, ...],
    wishes: Mapping[str, Wish],
    baseline: Baseline,
    observed: Observed,
) -> Iterator[tuple[str, Operation]]:
    """Endpoints by which initial subflows become backup where their address has none.

    MP_PRIO goes out when the flag of an endpoint changes, on the subflows from its address: so the
    endpoint is made without the flag. Nothing joins from it. What was taken away keeps its place,
    as long as its address is there.
    """
    here = frozenset[str]().union(*(binding.addresses for binding in bindings))
    taken = {e.address for e in observed.endpoints} | (baseline.endpoints.keys() & here)
    for binding in bindings:
        wish = wishes.get(binding.name, Wish())
        if not (wish.present and wish.backup and _goes_on(binding, bindings, observed)):
            continue
        for address in sorted(binding.addresses - taken, key=lambda a: (a != binding.address, a)):
            if len(taken | (baseline.closed & here)) < ENDPOINTS_MOST:
                taken.add(address)
                made = Endpoint(0, address, binding.ifindex)
                yield binding.name, AddEndpoint(made)
                yield binding.name, SetBackup(made, True)


_SUBFLOW = frozenset({"subflow"})


def _placed(endpoint: Endpoint, binding: Binding, backup: bool | None) -> Endpoint:
    """The endpoint on the device that the path has now, with the wished flag."""
    flags = endpoint.flags
    if backup is not None:
        flags = flags | {"backup"} if backup else flags - {"backup"}
    ifindex = binding.ifindex if endpoint.ifindex else 0
    return replace(endpoint, ifindex=ifindex, flags=flags)
