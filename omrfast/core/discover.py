# SPDX-License-Identifier: GPL-2.0-or-later
"""Which paths a router has, and where a configured path is in the kernel. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from omrfast.core.config import PathConfig, Quality
from omrfast.core.operations import Interface, Observed
from omrfast.core.plan import Binding
from omrfast.core.types import Objective, Role


def discover(
    observed: Observed, quality: Quality, objective: Objective = Objective.LATENCY
) -> tuple[tuple[PathConfig, str], ...]:
    """Paths found in the kernel, each with why: an MPTCP subflow endpoint or a default route."""
    return tuple(
        found
        for interface in observed.interfaces
        if interface.name != "lo"
        for found in _found_on(interface, observed, quality, objective)
    )


def _found_on(
    interface: Interface, observed: Observed, quality: Quality, objective: Objective
) -> Iterator[tuple[PathConfig, str]]:
    endpoints = [
        e
        for e in observed.endpoints
        if e.joins and (e.address in interface.addresses or e.ifindex == interface.index)
    ]
    routes = [
        r
        for r in observed.routes
        if r.ifindex == interface.index and r.destination == "default" and r.main
    ]
    if endpoints:
        role = Role.BACKUP if all(e.backup for e in endpoints) else Role.ACTIVE
        why = "MPTCP endpoint " + ", ".join(e.address for e in endpoints)
        if routes:
            why += f", default route metric {min(r.metric for r in routes)}"
    elif routes:
        role = Role.ACTIVE
        why = f"default route metric {min(r.metric for r in routes)}, no MPTCP endpoint"
    else:
        return
    path = PathConfig(
        interface.name, interface.name, role=role, quality=quality, objective=objective
    )
    yield path, why


def bind(
    paths: tuple[PathConfig, ...],
    observed: Observed,
    *,
    create: bool,
    before: Mapping[str, Binding] = MappingProxyType({}),
) -> tuple[dict[str, Binding], dict[str, str]]:
    """Where each path is now, and for those that are nowhere the reason, by path name.

    ``create``: endpoints that are missing are to be made (the operator named the paths).
    ``before``: where the paths were; what a path has lost since it keeps in ``former``, as long as
    there is an endpoint for it.
    """
    devices = {interface.name: interface for interface in observed.interfaces}
    everywhere = {address for device in devices.values() for address in device.addresses}
    bindings: dict[str, Binding] = {}
    missing: dict[str, str] = {}
    for path in paths:
        device = devices.get(path.interface)
        old = before.get(path.name)
        address = _address(path, device, observed, old)
        if device is None:
            missing[path.name] = f"interface {path.interface} is gone"
        elif address is None:
            wanted = f" {path.address}" if path.address else ""
            missing[path.name] = f"interface {path.interface} has no address{wanted}"
        else:
            if not device.up:
                missing[path.name] = f"interface {path.interface} is down or has no carrier"
            routed = _routed(observed, device.index, address)
            had = old is not None and old.routed and _family(old.address) == _family(address)
            if had and not routed and device.up:
                missing[path.name] = f"no route leads through {path.interface} any more"
            lost = (old.addresses | old.former) - everywhere if old else frozenset[str]()
            lost &= {endpoint.address for endpoint in observed.endpoints} | observed.made
            bindings[path.name] = Binding(
                path.name,
                device.index,
                address,
                frozenset(a for a in device.addresses if not _is_link_local(a)),
                former=lost,
                create=create,
                metric=path.metric,
                routed=routed or had,
            )
    return bindings, missing


def _routed(observed: Observed, index: int, address: str) -> bool:
    """Whether a route leads through the device; one with several next hops may do so."""
    family = _family(address)
    return any(r.ifindex == index and r.family == family for r in observed.routes) or any(
        r.family == family for r in observed.shared
    )


def _is_link_local(address: str) -> bool:
    return ipaddress.ip_address(address).is_link_local


def _address(
    path: PathConfig, device: Interface | None, observed: Observed, old: Binding | None
) -> str | None:
    """The address that stands for the path: configured, as before, of its endpoint, or any."""
    if device is None:
        return None
    if path.address is not None:
        return path.address if path.address in device.addresses else None
    if old is not None and old.address in device.addresses:
        return old.address
    usable = [a for a in device.addresses if not _is_link_local(a)]
    with_endpoint = {e.address for e in observed.endpoints}
    ordered = sorted(usable, key=lambda a: (a not in with_endpoint, ":" in a))
    return ordered[0] if ordered else None


def gateways(observed: Observed, binding: Binding) -> tuple[str, ...]:
    """Next hops of the path's routes in whatever table, of the family of its address."""
    family = _family(binding.address)
    return tuple(
        dict.fromkeys(
            r.gateway
            for r in observed.routes
            if r.ifindex == binding.ifindex and r.family == family and r.gateway is not None
        )
    )


def _family(address: str) -> int:
    return 6 if ":" in address else 4
