# SPDX-License-Identifier: GPL-2.0-or-later
"""Router advertisements (RFC 4861) from the server's end of an uplink, as a carrier sends them."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from .conftest import Lab, poll

ALL_NODES = "ff02::1"


def accept(lab: Lab) -> None:
    """The router, which forwards, learns default routes from advertisements all the same."""
    lab.router.sysctl("ipv6/conf/all/forwarding", 1)
    for number in (1, 2):
        lab.router.sysctl(f"ipv6/conf/wan{number}/accept_ra", 2)
        lab.router.ip("-6", "route", "del", "default", "dev", f"wan{number}", check=False)


def advertise(lab: Lab, number: int, lifetime: int = 1800) -> None:
    """One advertisement on an uplink; lifetime 0 takes the default route back."""

    def send() -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            index = socket.if_nametoindex(f"up{number}")
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, lifetime, 0, 0)
            sender.sendto(body, (ALL_NODES, 0, 0, index))

    lab.server.call(send)


def learnt(lab: Lab) -> list[str]:
    """Devices of the default routes that the router has learnt."""
    rows = lab.router.json("-6", "route", "show", "default", "proto", "ra")
    return sorted(row["dev"] for row in rows)


def advertise_until_learnt(lab: Lab) -> None:
    """Both uplinks have an advertised default route, as soon as link-local addresses are usable."""

    def try_again() -> bool:
        for number in (1, 2):
            if f"wan{number}" not in learnt(lab):
                with suppress(OSError):  # no source address yet
                    advertise(lab, number)
        return learnt(lab) == ["wan1", "wan2"]

    poll("routes are learnt from advertisements", try_again)
