# SPDX-License-Identifier: GPL-2.0-or-later
"""Sockets that can use one path only, and what the kernel knows of their errors.

SO_BINDTODEVICE makes the kernel look for routes through that device alone, whatever the tables
prefer. Without one there, IPv6 says so at once; IPv4 takes the target to be on the device's link,
and this host says "host unreachable" after three questions to the neighbours, a second apart.
IP_RECVERR (ip(7); for a TCP handshake since Linux 5.9) keeps the ICMP error that ended it, with
the address of who sent it.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from omrfast.probe.base import ProbePath
from omrfast.probe.icmp_packet import UNREACHABLE

_IP_RECVERR, _IPV6_RECVERR = 11, 25
_ORIGIN_ICMP = (2, 3)  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6
_EXTENDED = struct.Struct("=IBBBBII")
"""struct sock_extended_err (linux/errqueue.h): errno, origin, type, code, pad, info, data.
Behind it stands the sockaddr of who sent the error."""
_TCP_INFO = struct.Struct("=5xB62xI28xI24xQII56xQ")
"""Of struct tcp_info (linux/tcp.h, Linux 4.19): tcpi_options, tcpi_rtt in microseconds,
tcpi_total_retrans, tcpi_bytes_received, tcpi_segs_out, tcpi_segs_in, tcpi_bytes_sent."""
_TIMESTAMPS = 1  # TCPI_OPT_TIMESTAMPS
_RESET = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE)
_FAREWELL = 3
"""Packets after close(): two FINs, of which one acknowledges, and the last acknowledgement."""

_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
ANCILLARY = socket.CMSG_SPACE(_TIMESPEC.size)
"""Room for the kernel's time stamp, for recvmsg()."""

SockAddr = tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class IcmpError:
    """An ICMP error about a packet of ours."""

    sender: str
    """Address without a scope."""
    reason: str


class ProbeFailure(Exception):
    """The probe left, and came to nothing. The text is the reason."""

    def __init__(self, reason: str, *, alive: bool, said_by: str | None = None) -> None:
        """``said_by``: who said by ICMP that the target cannot be reached, if not the target."""
        super().__init__(reason)
        self.alive = alive
        self.said_by = said_by


def sockaddr(address: str, interface: str, port: int = 0) -> SockAddr:
    """What bind() and connect() take; a link-local address gets the interface as its scope.

    Raises OSError if it has one and the interface is gone, ValueError if it is no address.
    """
    parsed = ipaddress.ip_address(address)
    if parsed.version == 4:
        return (address, port)
    scope = socket.if_nametoindex(interface) if parsed.is_link_local else 0
    return (address.partition("%")[0], port, 0, scope)


def open_socket(path: ProbePath, version: int, kind: int, protocol: int = 0) -> socket.socket:
    """A non-blocking socket bound to the path's device and address. Raises OSError."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    source = path.source4 if version == 4 else path.source6
    opened = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    try:
        device = path.interface.encode() + b"\0"
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        if source is not None:
            opened.bind(sockaddr(source, path.interface))
    except OSError:
        opened.close()
        raise
    return opened


async def connect(
    path: ProbePath, address: str, port: int, receive_buffer: int | None = None
) -> socket.socket:
    """A TCP connection (no MPTCP) over the path; the caller closes it.

    Raises OSError if nothing could be sent, ProbeFailure if the other end or somebody on the way
    refused. ``receive_buffer``: bytes, bounds what can arrive without being read.
    """
    version = ipaddress.ip_address(address).version
    opened = open_socket(path, version, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        keep_errors(opened)
        if receive_buffer is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        code = opened.connect_ex(sockaddr(address, path.interface, port))
        if code == errno.EINPROGRESS:
            await writable(opened)
            code = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise refusal(opened, address, code)
        elif code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        opened.close()
        raise
    return opened


def handshake(connected: socket.socket) -> tuple[float, bool]:
    """RTT in seconds, as the kernel measured it, and whether the SYN had to be sent again."""
    _, rtt, sent_again, *_ = _tcp_info(connected)
    return rtt / 1e6, sent_again > 0


def bytes_used(connected: socket.socket) -> int:
    """IP bytes of all packets of the connection, both ways, with a farewell that is to come."""
    options, _, _, received, segments_out, segments_in, sent = _tcp_info(connected)
    header = 40 if connected.family == socket.AF_INET else 60
    if options & _TIMESTAMPS:
        header += 12
    return sent + received + (segments_out + segments_in + _FAREWELL) * header


def _tcp_info(connected: socket.socket) -> tuple[int, ...]:
    info = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    return _TCP_INFO.unpack(info)


def keep_errors(opened: socket.socket) -> None:
    """Have the kernel keep ICMP errors for icmp_error()."""
    if opened.family == socket.AF_INET:
        opened.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    else:
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)


def icmp_error(opened: socket.socket) -> IcmpError | None:
    """Takes the oldest ICMP error that the kernel kept for this socket; None: there is none."""
    try:
        _, ancillary, _, _ = opened.recvmsg(512, 512, socket.MSG_ERRQUEUE)
    except OSError:
        return None
    version = 4 if opened.family == socket.AF_INET else 6
    for _level, _kind, data in ancillary:
        if len(data) < _EXTENDED.size:
            continue
        code, origin, icmp_type, icmp_code, *_ = _EXTENDED.unpack_from(data)
        if origin in _ORIGIN_ICMP:
            words = UNREACHABLE.get((version, icmp_type, icmp_code), os.strerror(code))
            return IcmpError(_offender(data[_EXTENDED.size :]), words)
    return None


def _offender(raw: bytes) -> str:
    """The address in a struct sockaddr_in or sockaddr_in6."""
    (family,) = struct.unpack_from("=H", raw)
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, raw[4:8])
    return socket.inet_ntop(socket.AF_INET6, raw[8:24])


def stamp_arrivals(opened: socket.socket) -> None:
    """Have the kernel stamp what arrives, for arrival()."""
    opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def arrival(ancillary: list[tuple[int, int, bytes]]) -> float:
    """CLOCK_MONOTONIC seconds of a packet's arrival, from the kernel's CLOCK_REALTIME stamp.

    Both clocks are read now and the packet's age is taken off; a step of the wall clock in
    between would make that age absurd, and then it counts as none.
    """
    now, wall = time.monotonic(), time.time()
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            age: float = wall - (seconds + nanoseconds / 1e9)
            if 0 <= age < 5:
                return now - age
    return now


def refusal(opened: socket.socket, address: str, code: int) -> ProbeFailure:
    """Why a socket that asked ``address`` had this errno: a reset, or an ICMP error.

    Of a TCP connection that stands, the kernel does not keep who sent such an error.
    """
    error = icmp_error(opened)
    if error is not None:
        if ipaddress.ip_address(error.sender) != ipaddress.ip_address(address.partition("%")[0]):
            return ProbeFailure(error.reason, alive=False, said_by=error.sender)
        return ProbeFailure(error.reason, alive=True)
    return ProbeFailure(os.strerror(code), alive=code in _RESET)


async def writable(opened: socket.socket) -> None:
    """Wait until the socket can be written to, or has failed."""
    loop = asyncio.get_running_loop()
    await _once(loop.add_writer, loop.remove_writer, opened)


async def readable(opened: socket.socket) -> None:
    """Wait until there is something to read, or the socket has failed."""
    loop = asyncio.get_running_loop()
    await _once(loop.add_reader, loop.remove_reader, opened)


async def _once(
    add: Callable[..., None], remove: Callable[[socket.socket], bool], opened: socket.socket
) -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    add(opened, wake)
    try:
        await ready
    finally:
        remove(opened)
