# SPDX-License-Identifier: GPL-2.0-or-later
"""Routes in rtnetlink messages (linux/rtnetlink.h), read so that they can be written back whole."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import sys
from dataclasses import dataclass, replace

from omrfast.act.netlink import Attributes, attributes, encode_attributes
from omrfast.core.operations import Route

RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26

RT_TABLE_UNSPEC = 0
RTN_UNICAST = 1
RTNH_F_ONLINK = 4
RTNH_F_PERVASIVE = 2
RTM_F_CLONED = 0x200

RTA_DST = 1
RTA_OIF = 4
RTA_GATEWAY = 5
RTA_PRIORITY = 6
RTA_PREFSRC = 7
RTA_METRICS = 8
RTA_MULTIPATH = 9
RTA_CACHEINFO = 12
RTA_TABLE = 15
RTA_VIA = 18
RTA_EXPIRES = 23
RTA_NH_ID = 30
RTAX_INITCWND = 11

RTMSG = struct.Struct("=BBBBBBBBI")
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_USER_HZ = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class RawRoute:
    """A route as the kernel gave it: what we understand of it, and everything else."""

    route: Route
    header: tuple[int, ...]
    """struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags."""
    attrs: tuple[tuple[int, bytes], ...]

    @property
    def left(self) -> int | None:
        """Seconds until it ends, negative if that is over; None: it does not end by itself."""
        cache = dict(self.attrs).get(RTA_CACHEINFO, b"")
        if len(cache) < 12:  # struct rta_cacheinfo: expires is third, USER_HZ
            return None
        (expires,) = struct.unpack_from("=i", cache, 8)
        return expires // _USER_HZ if expires else None

    @property
    def window(self) -> int:
        """Segments that connections begin with; 0: as the kernel thinks best."""
        metrics = dict(attributes(dict(self.attrs).get(RTA_METRICS, b"")))
        return int.from_bytes(metrics.get(RTAX_INITCWND, b""), sys.byteorder)

    def with_window(self, segments: int) -> RawRoute:
        """The same route with another window."""
        old = dict(self.attrs).get(RTA_METRICS, b"")
        metrics = [pair for pair in attributes(old) if pair[0] != RTAX_INITCWND]
        if segments:
            metrics.append((RTAX_INITCWND, struct.pack("=I", segments)))
        others = tuple(pair for pair in self.attrs if pair[0] != RTA_METRICS)
        if metrics:
            others = (*others, (RTA_METRICS, encode_attributes(metrics)))
        return replace(self, attrs=others)

    def towards(self, destination: str) -> RawRoute:
        """The same route to somewhere else, in CIDR form."""
        network = ipaddress.ip_network(destination)
        others = (pair for pair in self.attrs if pair[0] != RTA_DST)
        return replace(
            self,
            route=replace(self.route, destination=destination),
            header=(self.header[0], network.prefixlen, *self.header[2:]),
            attrs=(*others, (RTA_DST, network.network_address.packed)),
        )

    @property
    def unmanaged(self) -> str:
        """Why it cannot be moved, or an empty string."""
        kinds = {kind for kind, _ in self.attrs}
        if RTA_MULTIPATH in kinds:
            return "it has several next hops"
        if RTA_NH_ID in kinds:
            return "it uses a nexthop object"
        return ""


def _gateway(family: int, attrs: dict[int, bytes]) -> str | None:
    if RTA_GATEWAY in attrs:
        return socket.inet_ntop(FAMILIES[family], attrs[RTA_GATEWAY])
    if RTA_VIA in attrs:  # struct rtvia: an IPv4 route by an IPv6 router, or the reverse
        (via_family,) = struct.unpack_from("=H", attrs[RTA_VIA])
        return socket.inet_ntop(via_family, attrs[RTA_VIA][2:])
    return None


def parse_route(body: bytes | memoryview) -> RawRoute | None:
    """One RTM_NEWROUTE body; None if it is not a unicast route."""
    header = RTMSG.unpack_from(body)
    family = {socket.AF_INET: 4, socket.AF_INET6: 6}.get(header[0])
    if family is None or header[7] != RTN_UNICAST or header[8] & RTM_F_CLONED:
        return None
    pairs = tuple(attributes(body[RTMSG.size :]))
    attrs = dict(pairs)
    destination = "default"
    if header[1]:
        destination = f"{socket.inet_ntop(header[0], attrs[RTA_DST])}/{header[1]}"
    source = attrs.get(RTA_PREFSRC)
    route = Route(
        family=family,
        destination=destination,
        ifindex=struct.unpack("=i", attrs.get(RTA_OIF, bytes(4)))[0],
        gateway=_gateway(family, attrs),
        metric=struct.unpack("=I", attrs.get(RTA_PRIORITY, bytes(4)))[0],
        source=None if source is None else socket.inet_ntop(header[0], source),
        protocol=header[5],
        scope=header[6],
        onlink=bool(header[8] & RTNH_F_ONLINK),
        table=struct.unpack("=I", attrs.get(RTA_TABLE, bytes(4)))[0],
    )
    return RawRoute(route, header, pairs)


def body_of(raw: RawRoute, metric: int, protocol: int) -> bytes:
    """The body of a route like ``raw`` with this metric and protocol.

    State that a dump reports but a command must not carry is dropped (dead and link-down flags,
    cache information); a remaining life time goes back as RTA_EXPIRES.
    """
    flags = raw.header[8] & (RTNH_F_ONLINK | RTNH_F_PERVASIVE)
    header = (*raw.header[:5], protocol, *raw.header[6:8], flags)
    attrs: Attributes = [
        (kind, payload)
        for kind, payload in raw.attrs
        if kind not in (RTA_PRIORITY, RTA_CACHEINFO, RTA_EXPIRES)
    ]
    attrs.append((RTA_PRIORITY, struct.pack("=I", metric)))
    if raw.left is not None:
        attrs.append((RTA_EXPIRES, struct.pack("=I", max(1, raw.left))))
    return RTMSG.pack(*header) + encode_attributes(attrs)
