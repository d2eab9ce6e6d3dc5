# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel's TCP knows of its own connections: tcp_info by NETLINK_SOCK_DIAG.

linux/inet_diag.h, linux/tcp.h. Plain TCP sockets and MPTCP subflows alike.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from omrfast.act.netlink import Netlink, attributes
from omrfast.lab import netns

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
TCP_ESTABLISHED = 1
INET_DIAG_INFO = 2

_REQUEST = struct.Struct("=BBBxI48x")
_PORTS = struct.Struct("!HH")
_MESSAGE_BYTES = 72
"""Of struct inet_diag_msg: four bytes, struct inet_diag_sockid, five words."""
_INFO = struct.Struct("=68xII16xI4xI44xI64xI")
"""struct tcp_info: tcpi_rtt, rttvar, rcv_rtt, total_retrans, min_rtt, dsack_dups (Linux 5.5)."""


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """One established connection; times in seconds, 0 before the first sample."""

    local_port: int
    remote_port: int
    rtt: float
    rttvar: float
    min_rtt: float
    rcv_rtt: float
    """The receiver's own estimate (net/ipv4/tcp_input.c, tcp_rcv_rtt_update)."""
    total_retrans: int
    """Segments sent again, SYNs included."""
    dsack_dups: int
    """Segments that DSACKs have reported as received twice."""


class TcpSockets:
    """The established IPv4 connections of one namespace; reading raises NetlinkError."""

    def __init__(self, namespace: str) -> None:
        self._netlink = netns.call(namespace, Netlink, NETLINK_SOCK_DIAG)

    def close(self) -> None:
        self._netlink.close()

    def read(self) -> list[TcpInfo]:
        request = _REQUEST.pack(
            socket.AF_INET, socket.IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), 1 << TCP_ESTABLISHED
        )
        found = []
        for message in self._netlink.snapshot(SOCK_DIAG_BY_FAMILY, request):
            info = dict(attributes(message[_MESSAGE_BYTES:])).get(INET_DIAG_INFO, b"")
            rtt, rttvar, rcv_rtt, retrans, min_rtt, dups = _INFO.unpack_from(
                info.ljust(_INFO.size, b"\0")
            )
            local_port, remote_port = _PORTS.unpack_from(message, 4)
            found.append(
                TcpInfo(
                    local_port=local_port,
                    remote_port=remote_port,
                    rtt=rtt / 1e6,
                    rttvar=rttvar / 1e6,
                    min_rtt=min_rtt / 1e6,
                    rcv_rtt=rcv_rtt / 1e6,
                    total_retrans=retrans,
                    dsack_dups=dups,
                )
            )
        return found
