# SPDX-License-Identifier: GPL-2.0-or-later
"""Kinds of change that the ledger holds: what was found, and what we made of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from ipaddress import ip_address
from typing import Any

from omrfast.act.mptcp import same_but_id
from omrfast.core.operations import Endpoint, Observed, Route
from omrfast.core.routing import route_key

ABSENT = "absent"
ACTIVE = "active"
BACKUP = "backup"


@dataclass(slots=True)
class EndpointChange:
    """An endpoint that we changed. ``interface`` names its device, whose index may change."""

    address: str
    port: int
    interface: str | None
    original: Endpoint | None
    """None: there was none, we made it."""
    applied: list[str] = field(default_factory=list)
    """States that we brought about, or were about to: absent, active, backup."""


@dataclass(slots=True)
class RouteChange:
    """A route whose metric we changed."""

    interface: str
    original: Route
    applied: list[int] = field(default_factory=list)
    """Metrics that we gave it, or were about to."""


@dataclass(slots=True)
class CopyChange:
    """A copy of a route that we made."""

    interface: str
    route: Route
    """The copy."""


@dataclass(slots=True)
class SettingChange:
    """A setting of the kernel that we changed."""

    name: str
    original: str
    applied: list[str] = field(default_factory=list)
    """Values that we gave it, or were about to."""


@dataclass(slots=True)
class WindowChange:
    """The initial window of a route that we changed."""

    interface: str
    route: Route
    """With metric 0: it may have any."""
    original: int
    applied: list[int] = field(default_factory=list)
    """Windows that we gave it, or were about to."""


Change = EndpointChange | RouteChange | CopyChange | SettingChange | WindowChange


def endpoint_state(endpoint: Endpoint | None) -> str:
    """absent, active or backup."""
    if endpoint is None:
        return ABSENT
    return BACKUP if endpoint.backup else ACTIVE


def interface_names(observed: Observed) -> dict[int, str]:
    """Device names by index."""
    return {entry.index: entry.name for entry in observed.interfaces}


def same_route(change: RouteChange, route: Route, interface: str | None) -> bool:
    """Whether it is the route of ``change``, whatever its metric and its device's index."""
    return interface == change.interface and same_but_index(
        route_key(route), route_key(change.original)
    )


def same_but_index(one: Route, other: Route) -> bool:
    """Of whatever device."""
    return replace(one, ifindex=0) == replace(other, ifindex=0)


def held_copy(change: CopyChange, observed: Observed) -> Route | None:
    """The copy, if it is there."""
    names = interface_names(observed)
    for route in observed.routes:
        if same_but_index(route, change.route) and names.get(route.ifindex) == change.interface:
            return route
    return None


def held_window(change: WindowChange, observed: Observed) -> tuple[Route, int] | None:
    """The route as it is now, and its window; None: it is gone."""
    names = interface_names(observed)
    for route, segments in observed.windows:
        if same_but_index(route, change.route) and names.get(route.ifindex) == change.interface:
            return route, segments
    return None


def held_endpoint(observed: Observed, address: str, port: int) -> Endpoint | None:
    """What the kernel has at an address and port."""
    for endpoint in observed.endpoints:
        if (endpoint.address, endpoint.port) == (address, port):
            return endpoint
    return None


def as_found(change: Change, observed: Observed) -> bool:
    """Whether nothing of the change is left, nor can come back."""
    if isinstance(change, EndpointChange):
        held = held_endpoint(observed, change.address, change.port)
        if change.original is None:
            return held is None
        return _replaced(change, observed) if held is None else same_but_id(held, change.original)
    if isinstance(change, CopyChange):
        return held_copy(change, observed) is None
    if isinstance(change, SettingChange):
        return dict(observed.settings).get(change.name) == change.original
    if isinstance(change, WindowChange):
        window = held_window(change, observed)
        return window is None or window[1] == change.original
    names = interface_names(observed)
    metrics = [r.metric for r in observed.routes if same_route(change, r, names.get(r.ifindex))]
    if not metrics:
        return _superseded(change, observed)
    return change.original.metric in metrics and not set(metrics) & set(change.applied)


def _replaced(change: EndpointChange, observed: Observed) -> bool:
    """Whether its interface has another address of the family now, with an endpoint, as after a
    reconnection. Till there is one the old one says what it is to be like."""
    if any(change.address in device.addresses for device in observed.interfaces):
        return False
    family = ip_address(change.address).version
    others = {
        address
        for device in observed.interfaces
        if device.up and device.name == change.interface
        for address in device.addresses
        if ip_address(address).version == family
    }
    return any(endpoint.address in others for endpoint in observed.endpoints)


def _superseded(change: RouteChange, observed: Observed) -> bool:
    """Whether another route stands where that one was, as after a reconnection that gave another
    gateway. While the link is down, or nothing is in its place, it may come back as we left it."""
    lost = change.original
    indexes = {d.index for d in observed.interfaces if d.up and d.name == change.interface}
    return any(
        route.ifindex in indexes
        and (route.family, route.table, route.destination)
        == (lost.family, lost.table, lost.destination)
        for route in observed.routes
    )


_KINDS: dict[str, type[Change]] = {
    "endpoints": EndpointChange,
    "routes": RouteChange,
    "copies": CopyChange,
    "settings": SettingChange,
    "windows": WindowChange,
}


def to_json(changes: list[Change]) -> dict[str, list[dict[str, Any]]]:
    """Lists of plain values by kind."""
    return {
        name: [asdict(c, dict_factory=_plain) for c in changes if isinstance(c, kind)]
        for name, kind in _KINDS.items()
    }


def _plain(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: sorted(v) if isinstance(v, frozenset) else v for key, v in items}


def from_json(data: dict[str, Any]) -> list[Change]:
    """The inverse of to_json(). Raises KeyError or TypeError for anything else."""
    return [
        *(EndpointChange(**_with(c, "original", _endpoint)) for c in data["endpoints"]),
        *(RouteChange(**_with(c, "original", _route)) for c in data["routes"]),
        *(CopyChange(**_with(c, "route", _route)) for c in data["copies"]),
        *(SettingChange(**c) for c in data["settings"]),
        *(WindowChange(**_with(c, "route", _route)) for c in data["windows"]),
    ]


def _with(data: dict[str, Any], key: str, make: Any) -> dict[str, Any]:
    return {**data, key: make(data[key])}


def _endpoint(data: dict[str, Any] | None) -> Endpoint | None:
    return data and Endpoint(**{**data, "flags": frozenset(data["flags"])})  # type: ignore[return-value]


def _route(data: dict[str, Any]) -> Route:
    return Route(**data)
