# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of probes share: a listener that keeps what it is told, targets, paths."""

from __future__ import annotations

import asyncio
import os
import socket
import time

from omrfast.core.types import Origin, ProbeKind, Target
from omrfast.probe.base import ProbePath

WAN1 = ProbePath("one", "wan1", "10.77.1.2", "fd77:1::2")
WAN2 = ProbePath("two", "wan2", "10.77.2.2", "fd77:2::2")
GATEWAY = {4: "10.77.1.1", 6: "fd77:1::1"}


def only(path, family):
    """The path as the agent has it: with the address of one family."""
    if family == 4:
        return ProbePath(path.name, path.interface, path.source4, None, path.resolvers)
    return ProbePath(path.name, path.interface, None, path.source6, path.resolvers)


def place(address, port):
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def service(kind, address, timeout=10.0, **expected):
    kind = ProbeKind(kind)
    key = f"{kind} {address}"
    return Target(key, kind, address, Origin.SERVICE, key, timeout=timeout, **expected)


def bound_sockets():
    """Devices of this process's sockets that are bound to one."""
    devices = []
    for name in os.listdir("/proc/self/fd"):
        try:
            copy = os.dup(int(name))
        except OSError:
            continue
        try:
            opened = socket.socket(fileno=copy)
        except OSError:  # no socket
            os.close(copy)
            continue
        with opened:
            device = opened.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
        if device.strip(b"\0"):
            devices.append(device.strip(b"\0").decode())
    return devices


class Listener:
    """Keeps what it is told, as tuples that begin with the kind."""

    def __init__(self):
        self.heard = []
        self.costs = []

    def on_cost(self, path, key, cost):
        self.costs.append(cost)

    def on_reply(self, path, key, rtt, at):
        self.heard.append(("reply", path, key, rtt, at))

    def on_unreachable(self, path, key, sender, reason, at):
        self.heard.append(("unreachable", path, key, sender, reason, at))

    def on_failed(self, path, key, reason, at, alive):
        self.heard.append(("failed", path, key, reason, alive, at))

    def on_error(self, path, key, reason, code):
        self.heard.append(("error", path, key, code, reason))

    async def until(self, count, deadline=20.0):
        end = time.monotonic() + deadline
        while len(self.heard) < count:
            assert time.monotonic() < end, f"only {self.heard}"
            await asyncio.sleep(0.005)
        return self.heard


def probing(lab, make, body):
    """Run ``body(prober, listener)`` on a loop inside the router."""

    async def main():
        listener = Listener()
        prober = make(asyncio.get_running_loop(), listener)
        try:
            return await body(prober, listener)
        finally:
            prober.close()

    return lab.router.call(lambda: asyncio.run(main()))


def outcome(lab, make, path, target, costs=None):
    """What becomes of one probe, without its instant; ``costs`` takes what it is said to cost."""

    async def body(prober, listener):
        before = time.monotonic()
        prober.send(path, target)
        assert listener.heard == []
        (heard,) = await listener.until(1)
        if costs is not None:
            costs.extend(listener.costs)
        if heard[0] == "reply":
            assert 0 < heard[3] < time.monotonic() - before
            return heard[:3]
        if heard[0] == "error":
            return heard
        assert before < heard[-1] <= time.monotonic()
        return heard[:-1]

    return probing(lab, make, body)
