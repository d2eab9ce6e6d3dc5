# SPDX-License-Identifier: GPL-2.0-or-later
"""Network devices: whether they can carry packets, and their addresses (linux/if_link.h)."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from omrfast.act.errors import ActionError
from omrfast.act.netlink import Netlink, NetlinkError, attributes
from omrfast.core.operations import Interface

RTM_GETLINK = 18
RTM_GETADDR = 22

IFF_UP = 0x1
IFF_RUNNING = 0x40
IFF_LOWER_UP = 0x10000

IFLA_IFNAME = 3
IFLA_EXT_MASK = 29
RTEXT_FILTER_SKIP_STATS = 1 << 3
IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_FLAGS = 8
IFA_F_TENTATIVE = 0x40
IFA_F_DADFAILED = 0x08

_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")


def is_up(flags: int) -> bool:
    """Administratively up, with carrier, and its operational state up or unknown.

    The kernel sets IFF_RUNNING from the operational state (RFC 2863) and IFF_LOWER_UP from the
    carrier; devices without a notion of either (tun, PPP) have both.
    """
    wanted = IFF_UP | IFF_RUNNING | IFF_LOWER_UP
    return flags & wanted == wanted


@dataclass(frozen=True, slots=True)
class LinkMessage:
    """What matters of an RTM_NEWLINK or RTM_DELLINK."""

    index: int
    name: str
    up: bool
    arphrd: int


@dataclass(frozen=True, slots=True)
class AddressMessage:
    """What matters of an RTM_NEWADDR or RTM_DELADDR; ``usable`` once it can be bound."""

    index: int
    address: str
    usable: bool


def parse_link(body: bytes | memoryview) -> LinkMessage:
    """struct ifinfomsg and its name."""
    _family, arphrd, index, flags, _change = _IFINFO.unpack_from(body)
    name = dict(attributes(body[_IFINFO.size :])).get(IFLA_IFNAME, b"")
    return LinkMessage(index, name.rstrip(b"\0").decode(), is_up(flags), arphrd)


def parse_address(body: bytes | memoryview) -> AddressMessage | None:
    """struct ifaddrmsg; IFA_LOCAL is ours where both are given (point to point)."""
    family, _length, flags, _scope, index = _IFADDR.unpack_from(body)
    attrs = dict(attributes(body[_IFADDR.size :]))
    raw = attrs.get(IFA_LOCAL, attrs.get(IFA_ADDRESS))
    if raw is None or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    if IFA_FLAGS in attrs:
        (flags,) = struct.unpack("=I", attrs[IFA_FLAGS])
    usable = not flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)
    return AddressMessage(index, socket.inet_ntop(family, raw), usable)


class InterfaceManager:
    """One rtnetlink socket; to be used by one thread. Raises ActionError."""

    def __init__(self) -> None:
        self._netlink = Netlink(socket.NETLINK_ROUTE)

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    @property
    def disturbed(self) -> int:
        """How often a table changed while it was read, and was read again."""
        return self._netlink.disturbed

    def observe(self) -> tuple[Interface, ...]:
        """Every device with the addresses that can be bound, in the kernel's order.

        An IPv6 address that is still being checked for duplicates is left out.
        """
        mask = struct.pack("=HHI", 8, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
        addresses: dict[int, list[str]] = {}
        try:
            links = [
                parse_link(body)
                for body in self._netlink.snapshot(RTM_GETLINK, _IFINFO.pack(0, 0, 0, 0, 0) + mask)
            ]
            for body in self._netlink.snapshot(RTM_GETADDR, _IFADDR.pack(0, 0, 0, 0, 0)):
                entry = parse_address(body)
                if entry is not None and entry.usable:
                    addresses.setdefault(entry.index, []).append(entry.address)
        except NetlinkError as error:
            raise ActionError("reading the network interfaces", errno=error.errno) from error
        return tuple(
            Interface(
                link.index, link.name, link.up, link.arphrd, tuple(addresses.get(link.index, ()))
            )
            for link in links
        )
