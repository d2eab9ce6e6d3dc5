# SPDX-License-Identifier: GPL-2.0-or-later
"""Two tun devices and what carries packets between them: a link without Ethernet headers."""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from omrfast.lab import devices as dev
from omrfast.lab import netns

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 1, 0x1000
MTU = 1500


@dataclass(frozen=True)
class TunEnd:
    """One device to be made: its namespace, name, and address (CIDR form)."""

    namespace: str
    device: str
    address: str


def _open(end: TunEnd) -> int:
    def body() -> int:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", end.device.encode(), IFF_TUN | IFF_NO_PI))
        return fd

    fd = netns.call(end.namespace, body)
    netns.call(end.namespace, dev.set_up, end.device)
    dev.address(end.namespace, end.device, end.address)
    return fd


class _Carrier(threading.Thread):
    """Carries packets both ways, ``delay`` seconds each, and loses a share of them."""

    def __init__(self, ends: tuple[int, int], delay: float, loss: float, seed: int) -> None:
        super().__init__(name="tunnel", daemon=True)
        self._ends = ends
        self._delay = delay
        self._loss = loss
        self._random = random.Random(seed)
        self._queue: list[tuple[float, int, int, bytes]] = []
        self._ending = os.eventfd(0)

    def end(self) -> None:
        os.eventfd_write(self._ending, 1)
        self.join()
        os.close(self._ending)

    def run(self) -> None:
        number = 0
        while True:
            left = max(self._queue[0][0] - time.monotonic(), 0) if self._queue else None
            ready, _, _ = select.select([*self._ends, self._ending], [], [], left)
            if self._ending in ready:
                return
            for fd in ready:
                other = self._ends[self._ends[0] == fd]
                packet = os.read(fd, MTU)
                if self._random.random() >= self._loss:
                    number += 1
                    due = time.monotonic() + self._delay
                    heapq.heappush(self._queue, (due, number, other, packet))
            self._deliver()

    def _deliver(self) -> None:
        while self._queue and self._queue[0][0] <= time.monotonic():
            _, _, fd, packet = heapq.heappop(self._queue)
            os.write(fd, packet)


@contextmanager
def tunnel(a: TunEnd, b: TunEnd, delay: float, loss: float, seed: int = 1) -> Iterator[None]:
    """Two devices that exist, and are connected, for as long as the context lasts."""
    ends = (_open(a), _open(b))
    carrier = _Carrier(ends, delay, loss, seed)
    carrier.start()
    try:
        yield
    finally:
        carrier.end()
        for fd in ends:
            os.close(fd)
