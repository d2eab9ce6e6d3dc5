# SPDX-License-Identifier: GPL-2.0-or-later
"""ICMP echo (RFC 792, RFC 4443) through one device, for an asyncio loop.

Our own and not icmplib: that one waits in a thread or a coroutine for each ping, reads every ICMP
packet of the machine in Python, and cannot tell when a reply arrived from when it was read. Here a
socket per path and family has a filter in the kernel for its own identifier, so that other
people's pings wake nobody, and the kernel's receive time stamp.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import secrets
import socket
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from omrfast.core.types import Target
from omrfast.probe import icmp_packet as packet
from omrfast.probe.base import ProbeListener, ProbePath
from omrfast.probe.bound import ANCILLARY, arrival, open_socket, sockaddr, stamp_arrivals

_REMEMBERED = 30.0
"""Seconds after which a probe without an answer is forgotten."""
_FULL = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM)


@dataclass(slots=True)
class _Channel:
    """One socket: a path and a family."""

    path: ProbePath
    family: int
    socket: socket.socket
    identifier: int
    token: bytes
    sequence: int = 0
    waiting: OrderedDict[int, tuple[Target, float]] = field(default_factory=OrderedDict)
    """Sequence number: (target, sent at). Oldest first."""


def _open(path: ProbePath, version: int) -> _Channel:
    """Raises OSError."""
    protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    opened = open_socket(path, version, socket.SOCK_RAW, protocol)
    try:
        identifier = secrets.randbelow(0x10000)
        packet.attach_filter(opened, version, identifier)
        stamp_arrivals(opened)
    except OSError:
        opened.close()
        raise
    return _Channel(path, version, opened, identifier, secrets.token_bytes(8))


def _waiting(channel: _Channel) -> Iterator[tuple[float, bytes, str]]:
    """What lies in the socket: instant of arrival, packet, sender; 64 at most.

    After ENETDOWN, when the device went, nothing: the next send() meets the same and reports it.
    """
    for _ in range(64):
        try:
            data, ancillary, _flags, sender = channel.socket.recvmsg(2048, ANCILLARY)
        except OSError:
            return
        yield arrival(ancillary), data, sender[0]


class IcmpProber:
    """A Prober; to be made and used on the loop's thread, in the network namespace to probe from.

    Needs CAP_NET_RAW; without it every send() ends in on_error().
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, listener: ProbeListener) -> None:
        self._loop = loop
        self._listener = listener
        self._channels: dict[tuple[str, int], _Channel] = {}

    def send(self, path: ProbePath, target: Target) -> None:
        """See Prober.send(); ValueError if Target.address is no address."""
        version = ipaddress.ip_address(target.address).version
        try:
            channel, fresh = self._channel(path, version)
            code = self._transmit(channel, target)
            if code and code not in _FULL and not fresh:
                # The device may have been made anew under its name: once more with a new socket.
                self._drop((path.name, version))
                channel, fresh = self._channel(path, version)
                code = self._transmit(channel, target)
        except OSError as error:
            code = error.errno or errno.EIO
        if code:
            if code not in _FULL:
                self._drop((path.name, version))
            reason = f"probe to {target.address} through {path.interface}: {os.strerror(code)}"
            self._loop.call_soon(self._listener.on_error, path.name, target.key, reason, code)

    def _channel(self, path: ProbePath, version: int) -> tuple[_Channel, bool]:
        key = (path.name, version)
        channel = self._channels.get(key)
        if channel is not None and channel.path == path:
            return channel, False
        self._drop(key)
        channel = _open(path, version)
        self._channels[key] = channel
        self._loop.add_reader(channel.socket, self._receive)
        return channel, True

    def _transmit(self, channel: _Channel, target: Target) -> int:
        """Send one request; returns 0 or an errno."""
        now = time.monotonic()
        waiting = channel.waiting
        while waiting and now - next(iter(waiting.values()))[1] > _REMEMBERED:
            waiting.popitem(last=False)
        channel.sequence = (channel.sequence + 1) & 0xFFFF
        request = packet.echo_request(
            channel.family, channel.identifier, channel.sequence, channel.token
        )
        try:
            channel.socket.sendto(request, sockaddr(target.address, channel.path.interface))
        except OSError as error:
            return error.errno or errno.EIO
        waiting.pop(channel.sequence, None)
        waiting[channel.sequence] = (target, now)
        return 0

    def collect(self) -> None:
        """See Collector. No answer is there where no question is open."""
        if any(channel.waiting for channel in self._channels.values()):
            self._receive()

    def _receive(self) -> None:
        """In the order of arrival, whatever the path: paths are compared."""
        arrived = [
            (at, channel, data, sender)
            for channel in self._channels.values()
            for at, data, sender in _waiting(channel)
        ]
        for at, channel, data, sender in sorted(arrived, key=lambda each: each[0]):
            if any(channel is kept for kept in self._channels.values()):
                self._received(channel, data, sender, at)

    def _received(self, channel: _Channel, data: bytes, sender: str, at: float) -> None:
        answer = packet.parse(channel.family, data)
        if answer is None or answer.identifier != channel.identifier:
            return
        probe = channel.waiting.get(answer.sequence)
        if probe is None:
            return
        target, sent = probe
        name = channel.path.name
        speaker = sender.partition("%")[0]
        if answer.unreachable:
            asked = ipaddress.ip_address(target.address.partition("%")[0])
            if answer.target != asked:
                return
            answered = ipaddress.ip_address(speaker) == asked
        elif answer.payload.startswith(channel.token):
            answered = True
        else:
            return
        del channel.waiting[answer.sequence]
        if answered:
            self._listener.on_reply(name, target.key, max(0.0, at - sent), max(at, sent))
        else:
            self._listener.on_unreachable(name, target.key, speaker, answer.unreachable, at)

    def _drop(self, key: tuple[str, int]) -> None:
        channel = self._channels.pop(key, None)
        if channel is not None:
            self._loop.remove_reader(channel.socket)
            channel.socket.close()

    def forget(self, path: str) -> None:
        """Drop the sockets of the path of that name."""
        for version in (4, 6):
            self._drop((path, version))

    def close(self) -> None:
        """Drop all sockets; nothing is reported from then on."""
        for key in list(self._channels):
            self._drop(key)
