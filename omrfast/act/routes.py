# SPDX-License-Identifier: GPL-2.0-or-later
"""Default and server routes of every table: what they are, and giving them another metric.

rtnetlink (linux/rtnetlink.h; net/ipv4/fib_trie.c, net/ipv6/ip6_fib.c). A route's metric is part of
its identity, so changing it means a second route: the new one is added before the old one goes and
there is no moment without. The kernel's own attributes are copied, so that gateway, source,
protocol, scope, MTU and whatever else a route may carry come along.

Multipath routes and routes that refer to a nexthop object belong to several interfaces: they are
left alone, with a reason in ``RouteTable.unmanaged``. IPv6 routes learnt from router
advertisements (protocol ra) can't be moved: the router's next advertisement would bring the old
one back beside ours. A copy with a lesser metric may stand in front of them (copy_route()); it
has their remaining life time, so that it does not outlive an agent that is gone, and is given it
anew before that is over.

IPv6 merges a route into a multipath one when another of the same destination and metric exists
(ip6_fib.c, rt6_qualify_for_ecmp), so that is refused; IPv4 keeps both, the older in charge.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from omrfast.act.errors import ActionError
from omrfast.act.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Attributes,
    Netlink,
    NetlinkError,
    encode_attributes,
)
from omrfast.act.route_message import (
    FAMILIES,
    RT_TABLE_UNSPEC,
    RTA_OIF,
    RTA_TABLE,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    RTMSG,
    RTN_UNICAST,
    RawRoute,
    body_of,
    parse_route,
)
from omrfast.core.operations import PROTOCOL_COPY, CopyRoute, Route, copied
from omrfast.core.routing import METRIC_MOST, route_key


@dataclass(frozen=True, slots=True)
class RouteTable:
    """The routes in question: those that can be moved, and the others with the reason."""

    routes: tuple[Route, ...]
    unmanaged: tuple[tuple[Route, str], ...] = ()
    windows: tuple[tuple[Route, int], ...] = ()
    """Initial windows of ``routes``, without their metrics."""
    ends: tuple[tuple[Route, int], ...] = ()
    """Seconds left of those of ``routes`` that end by themselves."""


def describe(route: Route) -> str:
    """As in messages: ``route default via 10.0.0.1 dev eth0 metric 100``."""
    try:
        device = socket.if_indextoname(route.ifindex)
    except OSError:
        device = f"#{route.ifindex}"
    gateway = f" via {route.gateway}" if route.gateway else ""
    return f"route {route.destination}{gateway} dev {device} metric {route.metric}"


def normal_destination(address: str) -> str:
    """``default``, or the address or prefix in CIDR form; raises ValueError."""
    if address == "default":
        return address
    network = ipaddress.ip_network(address, strict=False)
    return "default" if network.prefixlen == 0 else str(network)


def _same_place(one: RawRoute, other: RawRoute) -> bool:
    """Of one table, destination, TOS and metric."""
    a, b = one.route, other.route
    same = (a.table, a.destination, a.metric) == (b.table, b.destination, b.metric)
    return same and one.header[3] == other.header[3]


class RouteManager:
    """One rtnetlink socket; to be used by one thread. Raises ActionError."""

    def __init__(self) -> None:
        self._netlink = Netlink(socket.NETLINK_ROUTE)

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def _dump(
        self, family: int, ifindex: int | None, table: int = RT_TABLE_UNSPEC
    ) -> Iterator[RawRoute]:
        """Of that device (None: any) and table (RT_TABLE_UNSPEC: any)."""
        header = RTMSG.pack(FAMILIES[family], 0, 0, 0, RT_TABLE_UNSPEC, 0, 0, RTN_UNICAST, 0)
        wanted: Attributes = []
        if ifindex is not None:
            wanted.append((RTA_OIF, struct.pack("=i", ifindex)))
        if table != RT_TABLE_UNSPEC:
            wanted.append((RTA_TABLE, struct.pack("=I", table)))
        try:
            bodies = self._netlink.snapshot(RTM_GETROUTE, header + encode_attributes(wanted))
        except NetlinkError as error:
            # EAFNOSUPPORT, EOPNOTSUPP: a kernel without IPv6; ENODEV, ENOENT: the device or the
            # table just went.
            gone = (errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.ENODEV, errno.ENOENT)
            if error.errno in gone:
                return
            raise ActionError("reading the routes", errno=error.errno) from error
        for body in bodies:
            raw = parse_route(body)
            if raw is not None:
                yield raw

    def observe(self, ifindexes: Iterable[int] | None, destinations: Iterable[str]) -> RouteTable:
        """Routes to ``default`` and to ``destinations`` (addresses), both families.

        ``ifindexes`` None: through whatever device. Multipath routes name no single device and
        are found in that case only. Raises ValueError for a destination that is no address.
        """
        wanted = {"default", *(normal_destination(text) for text in destinations)}
        devices: list[int | None] = [None] if ifindexes is None else [*ifindexes]
        found = [
            raw
            for family in FAMILIES
            for device in devices
            for raw in self._dump(family, device)
            if raw.route.destination in wanted
        ]
        return RouteTable(
            routes=tuple(raw.route for raw in found if not raw.unmanaged),
            unmanaged=tuple((raw.route, raw.unmanaged) for raw in found if raw.unmanaged),
            windows=tuple((route_key(raw.route), raw.window) for raw in found if not raw.unmanaged),
            ends=tuple(
                (raw.route, raw.left) for raw in found if raw.left is not None and not raw.unmanaged
            ),
        )

    def set_metric(self, route: Route, metric: int) -> None:
        """Move ``route`` to ``metric`` (IPv6: not 0, which the kernel reads as 1024).

        Finishes what was begun: if both routes are there, the old one goes; if only the new one
        is, nothing is left to do.
        """
        if metric == route.metric:
            return
        what = f"moving {describe(route)} to metric {metric}"
        held = self._held(route)
        old, wished = held.get(route), replace(route, metric=metric)
        if old is None and wished not in held:
            raise ActionError(what, errno=errno.ESRCH, hint="it was removed or changed meanwhile")
        if old is None:
            return
        if old.unmanaged:
            raise ActionError(f"{what}: {old.unmanaged}", hint="change it where it is configured")
        if wished not in held:
            self._add(what, old, metric, route.protocol)
        self._delete(what, old)

    def set_window(self, route: Route, segments: int) -> None:
        """Give every route like this one, whatever its metric, an initial window (0: none).

        In place, so that there is no moment without. The kernel replaces the first route of that
        destination, table and metric: refused where there are several (IPv4 only).
        """
        held = list(self._dump(route.family, None, route.table))
        for raw in held:
            if route_key(raw.route) != route or raw.window == segments:
                continue
            what = f"setting the initial window of {describe(raw.route)} to {segments}"
            rivals = [other for other in held if _same_place(other, raw)]
            if raw.unmanaged or len(rivals) > 1:
                hint = "give it a metric of its own"
                raise ActionError(f"{what}: another route is in its place", hint=hint)
            self._replace(what, raw.with_window(segments), raw.route.metric, raw.route.protocol)

    def _held(self, route: Route) -> dict[Route, RawRoute]:
        """The routes of its family, device and table."""
        found = self._dump(route.family, route.ifindex or None, route.table)
        return {raw.route: raw for raw in found}

    def copy_route(self, op: CopyRoute) -> None:
        """Add the copy, or let it end when its original does, if it is there."""
        what = f"copying {describe(op.route)} to metric {op.metric}"
        held = self._held(op.route)
        original = held.get(op.route)
        if original is None:
            raise ActionError(what, errno=errno.ESRCH, hint="it was removed or changed meanwhile")
        raw = original.towards(op.destination) if op.destination else original
        copy = held.get(copied(op))
        if copy is None:
            self._add(what, raw, op.metric, PROTOCOL_COPY)
        elif copy.left != original.left:
            self._replace(what, raw, op.metric, PROTOCOL_COPY)

    def withdraw(self, route: Route) -> None:
        """Remove a copy; nothing to do if it is gone."""
        held = self._held(route).get(route)
        if held is not None and route.copy:
            self._delete(f"removing {describe(route)}", held)

    def _add(self, what: str, raw: RawRoute, metric: int, protocol: int) -> None:
        if metric > METRIC_MOST:
            raise ActionError(f"{what}: no metric is above {METRIC_MOST}", hint="lower the route's")
        flags = NLM_F_CREATE | (NLM_F_EXCL if raw.route.family == 6 else NLM_F_APPEND)
        try:
            self._netlink.request(RTM_NEWROUTE, flags, body_of(raw, metric, protocol))
        except NetlinkError as error:
            hint = "is the link up and the gateway reachable on it?"
            if error.errno == errno.EEXIST:
                hint = "another route has this destination and metric; choose another metric"
            raise ActionError(f"{what} ({error.strerror})", hint=hint) from error

    def _replace(self, what: str, raw: RawRoute, metric: int, protocol: int) -> None:
        """In place of the route of that destination, table and metric."""
        try:
            self._netlink.request(RTM_NEWROUTE, NLM_F_REPLACE, body_of(raw, metric, protocol))
        except NetlinkError as error:
            hint = "is the link up and the gateway reachable on it?"
            raise ActionError(f"{what} ({error.strerror})", hint=hint) from error

    def _delete(self, what: str, raw: RawRoute) -> None:
        try:
            route = raw.route
            self._netlink.request(RTM_DELROUTE, 0, body_of(raw, route.metric, route.protocol))
        except NetlinkError as error:
            if error.errno != errno.ESRCH:
                raise ActionError(
                    f"{what} ({error.strerror})", hint="both routes are there now; delete one"
                ) from error
