# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP sockets by NETLINK_SOCK_DIAG: handshakes that are stuck, and the truth about subflows.

linux/inet_diag.h, net/ipv4/inet_diag.c, net/mptcp/diag.c. The kernel filters by state and local
address; what it sends is read at fixed offsets, because a full parse of thousands of sockets takes
longer than a decision may.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from omrfast.act.errors import ActionError
from omrfast.act.netlink import Netlink, NetlinkError, attributes, encode_attributes

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
SOCK_DESTROY = 21

TCP_ESTABLISHED = 1
TCP_SYN_SENT = 2
TCP_LISTEN = 10
_STATE_NAMES = (
    "", "established", "syn_sent", "syn_recv", "fin_wait1", "fin_wait2", "time_wait", "close",
    "close_wait", "last_ack", "listen", "closing", "new_syn_recv",
)  # fmt: skip
SUBFLOW_STATES = sum(1 << state for state in (1, 2, 3, 4, 5, 8, 9, 11))
"""All but time_wait, close and listen, which have no subflow information."""

INET_DIAG_REQ_BYTECODE = 1
INET_DIAG_BC_S_COND = 7
INET_DIAG_INFO = 2
INET_DIAG_ULP_INFO = 19
_WITH_ULP = 1 << (INET_DIAG_INFO - 1)
"""ULP information comes with tcp_info only."""
_ULP_NAME = b"mptcp\0"
INET_ULP_INFO_MPTCP = 3

MPTCP_SUBFLOW_FLAGS = {
    "mcap_rem": 1,
    "mcap_loc": 2,
    "join_rem": 4,
    "join_loc": 8,
    "bkup_rem": 16,
    "bkup_loc": 32,
    "fully_established": 64,
    "connected": 128,
    "mapvalid": 256,
}
"""MPTCP_SUBFLOW_FLAG_* of linux/mptcp.h, in lower case."""
MPTCP_SUBFLOW_ATTR_FLAGS = 8
SENDING_STATES = sum(1 << state for state in (1, 2, 3, 8))
"""Of sockets that may still send something new, or will."""

_CARRYING = frozenset({1, 8})
"""established, close_wait"""

_UNKNOWN = 0xFFFFFFFF

_REQUEST_HEAD = struct.Struct("=BBBxI")
_SOCKET_ID = struct.Struct("=2s2s16s16s12x")
_MESSAGE = struct.Struct("=BBBB48sIIIII")
_TCP_INFO = struct.Struct("=68xII24xI16xQQ12xI4xI")
"""struct tcp_info: rtt, rttvar, total_retrans, bytes_acked, bytes_received, min_rtt,
data_segs_out; only ever extended at its end."""


@dataclass(frozen=True, slots=True)
class Subflow:
    """One MPTCP subflow as the kernel has it; times in seconds, None before the first sample."""

    family: int
    """4 or 6; IPv4 on a dual-stack socket is 4."""
    local: str
    local_port: int
    remote: str
    remote_port: int
    state: str
    """``established``, ``syn_sent``, … (kernel names, lower case)."""
    rtt: float | None
    rttvar: float | None
    min_rtt: float | None
    total_retrans: int
    """Segments sent again, SYNs included."""
    data_segs_out: int
    """Segments with data that were sent, repeats included."""
    bytes_acked: int
    bytes_received: int
    token_local: int
    """The same on all subflows of a connection."""
    token_remote: int
    """0 on the initial subflow and on the accepting side."""
    id_local: int
    id_remote: int
    flags: frozenset[str]
    """Keys of MPTCP_SUBFLOW_FLAGS."""

    @property
    def joined(self) -> bool:
        """Not the initial subflow."""
        return bool(self.flags & {"join_rem", "join_loc"})

    @property
    def backup(self) -> bool:
        """Backup asked for by either end."""
        return bool(self.flags & {"bkup_rem", "bkup_loc"})


@dataclass(frozen=True, slots=True)
class Unmarked:
    """Subflows from an address whose backup flag is not that of its endpoint."""

    ready: int
    """Of these, SET_FLAGS changes the flag."""
    opening: int
    """And of these it does not, as long as their handshake goes on."""


@dataclass(frozen=True, slots=True)
class _Socket:
    family: int
    identity: bytes
    """struct inet_diag_sockid, cookie included."""
    state: int
    data: memoryview


def _source_filter(address: str) -> bytes:
    """inet_diag bytecode: accept what has this local address, whatever the port.

    A jump beyond the end by 4 refuses (inet_diag_bc_run). IPv4 also matches mapped addresses.
    """
    parsed = ipaddress.ip_address(address)
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    condition = struct.pack("=BBxxi", family, parsed.max_prefixlen, -1) + parsed.packed
    size = 4 + len(condition)
    return struct.pack("=BBH", INET_DIAG_BC_S_COND, size, size + 4) + condition


def _families(address: str) -> tuple[int, ...]:
    """Where sockets of an address are: IPv4 is also found mapped on IPv6 sockets."""
    if ipaddress.ip_address(address).version == 4:
        return (socket.AF_INET, socket.AF_INET6)
    return (socket.AF_INET6,)


def _plain(family: int, raw: bytes) -> tuple[int, str]:
    if family == socket.AF_INET:
        return 4, socket.inet_ntop(socket.AF_INET, raw[:4])
    if raw.startswith(bytes(10) + b"\xff\xff"):
        return 4, socket.inet_ntop(socket.AF_INET, raw[12:])
    return 6, socket.inet_ntop(socket.AF_INET6, raw)


def _mptcp_attributes(found: dict[int, bytes]) -> dict[int, int] | None:
    """Values by MPTCP_SUBFLOW_ATTR_*; None if the socket is no subflow."""
    ulp = dict(attributes(found.get(INET_DIAG_ULP_INFO, b"")))
    if INET_ULP_INFO_MPTCP not in ulp:
        return None
    return {
        kind: int.from_bytes(payload, sys.byteorder)
        for kind, payload in attributes(ulp[INET_ULP_INFO_MPTCP])
    }


def _to_subflow(entry: _Socket) -> Subflow | None:
    found = dict(attributes(entry.data[_MESSAGE.size :]))
    mptcp = _mptcp_attributes(found)
    if mptcp is None:
        return None
    info = found.get(INET_DIAG_INFO, b"").ljust(_TCP_INFO.size, b"\0")
    rtt, rttvar, retrans, acked, received, min_rtt, data_out = _TCP_INFO.unpack_from(info)
    sport, dport, src, dst = _SOCKET_ID.unpack(entry.identity)
    family, local = _plain(entry.family, src)
    bits = mptcp.get(MPTCP_SUBFLOW_ATTR_FLAGS, 0)
    return Subflow(
        family=family,
        local=local,
        local_port=int.from_bytes(sport, "big"),
        remote=_plain(entry.family, dst)[1],
        remote_port=int.from_bytes(dport, "big"),
        state=_STATE_NAMES[entry.state],
        rtt=rtt / 1e6 if rtt else None,
        rttvar=rttvar / 1e6 if rtt else None,
        min_rtt=min_rtt / 1e6 if rtt and min_rtt != _UNKNOWN else None,
        total_retrans=retrans,
        data_segs_out=data_out,
        bytes_acked=acked,
        bytes_received=received,
        token_local=mptcp.get(2, 0),
        token_remote=mptcp.get(1, 0),
        id_local=mptcp.get(10, 0),
        id_remote=mptcp.get(9, 0),
        flags=frozenset(name for name, bit in MPTCP_SUBFLOW_FLAGS.items() if bits & bit),
    )


class SocketDiag:
    """One sock_diag socket; to be used by one thread. Raises ActionError."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETLINK_SOCK_DIAG)

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def _dump(self, family: int, states: int, extensions: int, code: bytes) -> Iterator[_Socket]:
        body = _REQUEST_HEAD.pack(family, socket.IPPROTO_TCP, extensions, states) + bytes(48)
        if code:
            body += encode_attributes([(INET_DIAG_REQ_BYTECODE, code)])
        try:
            for data in self._netlink.dump(SOCK_DIAG_BY_FAMILY, body):
                yield _Socket(data[0], bytes(data[4:52]), data[1], data)
        except NetlinkError as error:
            raise ActionError(
                "listing TCP sockets",
                errno=error.errno,
                hint="the kernel needs CONFIG_INET_DIAG (module tcp_diag)",
            ) from error

    def abort_handshakes(self, address: str) -> int:
        """SOCK_DESTROY every TCP socket in SYN_SENT whose local address this is.

        Its owner gets ECONNABORTED at once and can try again over another path. Returns how many.
        """
        code = _source_filter(address)
        waiting = [
            entry
            for family in _families(address)
            for entry in self._dump(family, 1 << TCP_SYN_SENT, 0, code)
        ]
        return sum(self._destroy(entry, address) for entry in waiting)

    def _destroy(self, entry: _Socket, address: str) -> bool:
        head = _REQUEST_HEAD.pack(entry.family, socket.IPPROTO_TCP, 0, 1 << entry.state)
        try:
            self._netlink.request(SOCK_DESTROY, 0, head + entry.identity)
        except NetlinkError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):
                return False
            raise ActionError(
                f"aborting a handshake from {address}",
                errno=error.errno,
                hint="the kernel needs CONFIG_INET_DIAG_DESTROY, and the caller CAP_NET_ADMIN",
            ) from error
        return True

    def unmarked(self, address: str, backup: bool) -> Unmarked:
        """Which subflows from ``address`` have not the flag ``backup``; needs CAP_NET_ADMIN.

        A join may carry data only when its fourth packet has arrived, and the kernel sends no
        MP_PRIO on it before (__mptcp_subflow_active, net/mptcp/protocol.h).
        """
        ready = opening = 0
        code = _source_filter(address)
        for family in _families(address):
            for entry in self._dump(family, SENDING_STATES, _WITH_ULP, code):
                if _ULP_NAME not in bytes(entry.data):
                    continue
                found = _mptcp_attributes(dict(attributes(entry.data[_MESSAGE.size :])))
                flags = None if found is None else found.get(MPTCP_SUBFLOW_ATTR_FLAGS, 0)
                if flags is None or bool(flags & MPTCP_SUBFLOW_FLAGS["bkup_loc"]) is backup:
                    continue
                joins = flags & MPTCP_SUBFLOW_FLAGS["join_loc"]
                full = flags & MPTCP_SUBFLOW_FLAGS["fully_established"]
                if entry.state in _CARRYING and (full or not joins):
                    ready += 1
                else:
                    opening += 1
        return Unmarked(ready, opening)

    def subflows(self) -> list[Subflow]:
        """Every MPTCP subflow of this namespace, both families; needs CAP_NET_ADMIN."""
        found = (
            _to_subflow(entry)
            for family in (socket.AF_INET, socket.AF_INET6)
            for entry in self._dump(family, SUBFLOW_STATES, _WITH_ULP, b"")
            if _ULP_NAME in bytes(entry.data)  # cheap; the parse decides
        )
        return [subflow for subflow in found if subflow is not None]
