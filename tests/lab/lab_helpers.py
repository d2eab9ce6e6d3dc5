# SPDX-License-Identifier: GPL-2.0-or-later
"""Datagrams through a lab with the kernel's arrival time, and waiting for a condition."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from omrfast.lab import netns
from omrfast.lab.addresses import server_address, uplink_address
from omrfast.lab.topology import Lab

SO_TIMESTAMPNS = 35
PORT = 4000
HEADERS = 14 + 20 + 8  # Ethernet, IPv4, UDP
NUMBERED = struct.Struct("!Id")


@dataclass(frozen=True)
class Arrival:
    number: int
    sent: float  # CLOCK_REALTIME
    arrived: float


@dataclass
class Datagrams:
    """Numbered datagrams from the router to server 1 over one uplink."""

    sender: socket.socket
    receiver: socket.socket

    def send(self, numbers: range, frame: int = 300, interval: float = 0.0) -> None:
        """One datagram a number, ``frame`` bytes long on the wire, each ``interval`` seconds."""
        padding = bytes(frame - HEADERS - NUMBERED.size)
        due = time.monotonic()
        for number in numbers:
            self.sender.sendto(
                NUMBERED.pack(number, time.time()) + padding, (server_address(1), PORT)
            )
            due += interval
            if interval:
                time.sleep(max(0.0, due - time.monotonic()))

    def receive(self, count: int, quiet: float = 1.0) -> list[Arrival]:
        """Up to ``count`` arrivals; ends early after ``quiet`` seconds without one."""
        self.receiver.settimeout(quiet)
        arrivals: list[Arrival] = []
        while len(arrivals) < count:
            try:
                data, extra, _, _ = self.receiver.recvmsg(2048, 64)
            except TimeoutError:
                break
            seconds, nanoseconds = struct.unpack("=qq", extra[0][2])
            number, sent = NUMBERED.unpack_from(data)
            arrivals.append(Arrival(number, sent, seconds + nanoseconds / 1e9))
        return arrivals


@contextmanager
def datagrams(lab: Lab, uplink: int = 1) -> Iterator[Datagrams]:
    def new_socket() -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    with (
        netns.call(lab.ns("router"), new_socket) as sender,
        netns.call(lab.ns("vps1"), new_socket) as receiver,
    ):
        sender.bind((uplink_address(uplink), 0))
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.bind((server_address(1), PORT))
        yield Datagrams(sender, receiver)


def eventually(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    """Poll until the condition holds; AssertionError if it never does."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.02)
