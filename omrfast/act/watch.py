# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes of links, addresses, routes and neighbours as the kernel tells them (rtnetlink groups).

Only what this package acts on becomes an event; the rest is dropped after a look at its header.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from omrfast.act.interfaces import RTM_GETADDR, RTM_GETLINK, parse_address, parse_link
from omrfast.act.netlink import attributes, messages
from omrfast.act.route_message import RTM_DELROUTE, RTM_NEWROUTE, parse_route

RTM_NEWLINK, RTM_DELLINK = RTM_GETLINK - 2, RTM_GETLINK - 1
RTM_NEWADDR, RTM_DELADDR = RTM_GETADDR - 2, RTM_GETADDR - 1

RTM_NEWNEIGH = 28
NUD_FAILED = 0x20
NDA_DST = 1
_NDMSG = struct.Struct("=BxxxiHBB")
"""struct ndmsg (linux/neighbour.h): family, interface index, state, flags, type."""

_GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE."""
_RECEIVE_BYTES = 1 << 16

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """A device appeared, changed or went. The kernel also repeats itself."""

    name: str
    index: int
    up: bool
    """Administratively up, with carrier."""
    removed: bool
    arphrd: int


@dataclass(frozen=True, slots=True)
class AddressEvent:
    """An address can be used from now on, or no longer."""

    index: int
    address: str
    removed: bool


@dataclass(frozen=True, slots=True)
class RouteEvent:
    """A unicast route came or went, in whatever table.

    IPv4 routes that go with their device or its address are not told one by one: look at the
    LinkEvent and AddressEvent.
    """

    family: int
    destination: str
    index: int
    metric: int
    table: int
    removed: bool


@dataclass(frozen=True, slots=True)
class NeighbourFailed:
    """Nobody has answered the kernel's questions (ARP, NDP) for the link-layer address of a next
    hop: nothing can be sent to it."""

    index: int
    address: str


@dataclass(frozen=True, slots=True)
class Overrun:
    """Events were lost: observe everything anew."""


Event = LinkEvent | AddressEvent | RouteEvent | NeighbourFailed | Overrun


def _neighbour(body: memoryview) -> NeighbourFailed | None:
    family, index, state, _flags, _type = _NDMSG.unpack_from(body)
    if state != NUD_FAILED or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    address = dict(attributes(body[_NDMSG.size :])).get(NDA_DST)
    return None if address is None else NeighbourFailed(index, socket.inet_ntop(family, address))


def parse(kind: int, body: memoryview) -> Event | None:
    """One rtnetlink message; None if it is of no interest."""
    if kind in (RTM_NEWLINK, RTM_DELLINK):
        if body[0] != socket.AF_UNSPEC:  # a bridge's word about its port
            return None
        link = parse_link(body)
        removed = kind == RTM_DELLINK
        return LinkEvent(link.name, link.index, link.up and not removed, removed, link.arphrd)
    if kind in (RTM_NEWADDR, RTM_DELADDR):
        entry = parse_address(body)
        if entry is None or (kind == RTM_NEWADDR and not entry.usable):
            return None
        return AddressEvent(entry.index, entry.address, kind == RTM_DELADDR)
    if kind == RTM_NEWNEIGH:
        return _neighbour(body)
    if kind in (RTM_NEWROUTE, RTM_DELROUTE):
        raw = parse_route(body)
        if raw is None:
            return None
        route = raw.route
        return RouteEvent(
            route.family,
            route.destination,
            route.ifindex,
            route.metric,
            route.table,
            kind == RTM_DELROUTE,
        )
    return None


class Watch:
    """Calls ``on_event`` on the loop for each event, from now on until close().

    To be made on the loop's thread, in the network namespace to watch. Nothing is debounced.
    Raises OSError if the kernel refuses the socket.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_event: Callable[[Event], None]) -> None:
        self._loop = loop
        self._on_event = on_event
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
            socket.NETLINK_ROUTE,
        )
        self._socket.bind((0, _GROUPS))
        loop.add_reader(self._socket, self._readable)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                self._drain()
            else:  # level-triggered: a socket that keeps failing would spin
                _log.error("watching the network: %s", os.strerror(error.errno or 0))
                self.close()
            self._on_event(Overrun())
            return
        for kind, _flags, _seq, body in messages(data):
            event = parse(kind, body)
            if event is not None:
                self._on_event(event)

    def _drain(self) -> None:
        """Read and drop everything.

        After an overrun the kernel goes on dropping, without another word, until the queue has
        been empty (net/netlink/af_netlink.c, NETLINK_S_CONGESTED); whatever is observed before
        that could be old for good.
        """
        with contextlib.suppress(OSError):  # EAGAIN: empty; anything else comes again
            while True:
                self._socket.recv(_RECEIVE_BYTES)

    def close(self) -> None:
        """Stop; may be called twice."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()
