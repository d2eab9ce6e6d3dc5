# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own truth about subflows: an inet_diag dump of TCP sockets, parsed plainly.

Layouts: linux/inet_diag.h, linux/tcp.h (struct tcp_info), linux/mptcp.h (MPTCP_SUBFLOW_ATTR_*).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from omrfast.lab import netns

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
INET_DIAG_INFO, INET_DIAG_ULP_INFO = 2, 19
INET_ULP_INFO_MPTCP = 3
TCP_STATES = (
    "",
    "established",
    "syn-sent",
    "syn-recv",
    "fin-wait-1",
    "fin-wait-2",
    "time-wait",
    "close",
    "close-wait",
    "last-ack",
    "listen",
    "closing",
)
LISTEN, TIME_WAIT = 10, 6
NO_SAMPLE = 0xFFFFFFFF

# struct tcp_info: offsets of the members read here
_TOTAL_RETRANS, _RTT, _MIN_RTT = 100, 68, 148
_BYTES_ACKED, _BYTES_RECEIVED = 120, 128
_SEGS_OUT, _DATA_SEGS_OUT = 136, 156
# MPTCP_SUBFLOW_ATTR_*
_TOKEN_REM, _TOKEN_LOC, _FLAGS, _ID_REM, _ID_LOC = 1, 2, 8, 9, 10
FLAG_JOINED, FLAG_BACKUP_REMOTE, FLAG_BACKUP_LOCAL = 4 | 8, 16, 32


@dataclass(frozen=True, slots=True)
class SubflowInfo:
    """One TCP socket; MPTCP members are None for plain TCP."""

    state: str
    local: str
    local_port: int
    remote: str
    remote_port: int
    rtt: float
    """tcpi_rtt in seconds."""
    rtt_variation: float
    min_rtt: float
    """0 as long as there is no sample, as rtt is."""
    total_retrans: int
    segments_out: int
    data_segments_out: int
    bytes_acked: int
    bytes_received: int
    token: int | None = None
    """The same on all subflows of a connection."""
    local_id: int | None = None
    remote_id: int | None = None
    joined: bool = False
    backup: bool = False
    """Backup asked for by either end."""


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


def _u32(data: bytes | None) -> int | None:
    return None if data is None else int(struct.unpack_from("=I", data)[0])


def _mptcp(ulp: bytes) -> dict[str, object]:
    outer = dict(_attributes(ulp))
    if INET_ULP_INFO_MPTCP not in outer:
        return {}
    inner = dict(_attributes(outer[INET_ULP_INFO_MPTCP]))
    flags = _u32(inner.get(_FLAGS)) or 0
    return {
        "token": _u32(inner.get(_TOKEN_LOC)),
        "local_id": inner[_ID_LOC][0] if _ID_LOC in inner else None,
        "remote_id": inner[_ID_REM][0] if _ID_REM in inner else None,
        "joined": bool(flags & FLAG_JOINED),
        "backup": bool(flags & (FLAG_BACKUP_REMOTE | FLAG_BACKUP_LOCAL)),
    }


def _parse(message: bytes) -> SubflowInfo | None:
    """One struct inet_diag_msg with its attributes."""
    family, state = struct.unpack_from("=BB", message)
    local_port, remote_port = struct.unpack_from("!HH", message, 4)
    size = 4 if family == socket.AF_INET else 16
    attributes = dict(_attributes(message[72:]))
    info = attributes.get(INET_DIAG_INFO)
    if info is None or len(info) < _DATA_SEGS_OUT + 8:
        return None
    rtt, variation = struct.unpack_from("=II", info, _RTT)
    (least,) = struct.unpack_from("=I", info, _MIN_RTT)
    acked, received = struct.unpack_from("=QQ", info, _BYTES_ACKED)
    ulp = attributes.get(INET_DIAG_ULP_INFO)
    return SubflowInfo(
        state=TCP_STATES[state],
        local=socket.inet_ntop(family, message[8 : 8 + size]),
        local_port=local_port,
        remote=socket.inet_ntop(family, message[24 : 24 + size]),
        remote_port=remote_port,
        rtt=rtt / 1e6,
        rtt_variation=variation / 1e6,
        min_rtt=0.0 if least == NO_SAMPLE else least / 1e6,
        total_retrans=struct.unpack_from("=I", info, _TOTAL_RETRANS)[0],
        segments_out=struct.unpack_from("=I", info, _SEGS_OUT)[0],
        data_segments_out=struct.unpack_from("=I", info, _DATA_SEGS_OUT)[0],
        bytes_acked=acked,
        bytes_received=received,
        **(_mptcp(ulp) if ulp else {}),  # type: ignore[arg-type]
    )


def _dump(family: int) -> list[SubflowInfo]:
    states = 0xFFF & ~(1 << LISTEN) & ~(1 << TIME_WAIT)
    # struct inet_diag_req_v2: family, protocol, ext, pad, states, id
    body = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), states)
    flags = NLM_F_REQUEST | NLM_F_DUMP
    header = struct.pack("=IHHII", 16 + len(body), SOCK_DIAG_BY_FAMILY, flags, 1, 0)
    found: list[SubflowInfo] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as sock:
        sock.settimeout(5)
        sock.send(header + body)
        while True:
            data = sock.recv(1 << 18)
            at = 0
            while at < len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                if kind == NLMSG_DONE:
                    return found
                if kind == NLMSG_ERROR:
                    number = -struct.unpack_from("=i", data, at + 16)[0]
                    raise OSError(number, "inet_diag dump was refused")
                parsed = _parse(data[at + 16 : at + length])
                if parsed is not None:
                    found.append(parsed)
                at += (length + 3) & ~3


def subflow_info(namespace: str | None) -> list[SubflowInfo]:
    """All TCP sockets of a namespace that are neither listening nor in TIME_WAIT."""
    return netns.call(namespace, lambda: _dump(socket.AF_INET) + _dump(socket.AF_INET6))
