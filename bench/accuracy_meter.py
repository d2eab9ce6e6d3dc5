# SPDX-License-Identifier: GPL-2.0-or-later
"""The data path on every uplink of a lab, and the kernel's own TCP at both ends, read together."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from bench.tcp_info import TcpInfo, TcpSockets
from omrfast.core.types import PathLink
from omrfast.core.views import FlowView
from omrfast.dataplane.attach import attach, detach_all
from omrfast.dataplane.loader import open_dataplane
from omrfast.lab import netns
from omrfast.lab.devices import LabError
from omrfast.lab.topology import Lab

ARPHRD_ETHER = 1
FLOWS = 4096
POLL = 0.02


@dataclass(frozen=True, slots=True)
class Kernel:
    """Both ends of one connection at one moment."""

    router: TcpInfo
    server: TcpInfo

    def sender(self, direction: str) -> TcpInfo:
        """The end whose data the direction (up, down) is named after."""
        return self.router if direction == "up" else self.server


@dataclass(frozen=True, slots=True)
class Reading:
    """One connection: what the data path says, between two looks at the kernel."""

    at: float
    """CLOCK_MONOTONIC seconds, of the second look."""
    before: Kernel
    ours: FlowView
    after: Kernel


class Meter:
    """Attached to all uplinks of a lab's router, without an agent; a context manager.

    Uplink n (from 1) is path index n - 1. Raises DataPlaneError, ShimError, NetlinkError.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._router = lab.ns("router")
        self._run_dir = str(lab.directory / "run")
        self._uplinks = range(1, len(lab.spec.uplinks) + 1)
        self._names = {n - 1: f"wan{n}" for n in self._uplinks}

    def __enter__(self) -> Meter:
        self._plane = netns.call(self._router, open_dataplane, self._run_dir, flows=FLOWS)
        netns.call(self._router, self._attach)
        self._sockets = (TcpSockets(self._router), TcpSockets(self._lab.ns("vps1")))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for sockets in self._sockets:
            sockets.close()
        self._plane.close()
        netns.call(self._router, detach_all, self._run_dir)

    def _attach(self) -> None:
        for index, name in self._names.items():
            device = PathLink(index, socket.if_nametoindex(name), name, ARPHRD_ETHER)
            attach(self._plane, device)

    # --- reading ---

    def kernel(self) -> dict[int, Kernel]:
        """By the server's port, which every connection has to itself."""
        router, server = (sockets.read() for sockets in self._sockets)
        at_server = {info.local_port: info for info in server}
        return {
            info.remote_port: Kernel(info, at_server[info.remote_port])
            for info in router
            if info.remote_port in at_server
        }

    def idle(self) -> bool:
        """No connection is left at either end."""
        return not any(sockets.read() for sockets in self._sockets)

    def read(self, ports: dict[int, int]) -> dict[int, Reading]:
        """``ports``: server's port by uplink. Connections that one side lacks are left out."""
        before = self.kernel()
        flows = {
            (flow.path, flow.remote_port): flow
            for flow in self._plane.flows(self._names, FLOWS)
            if flow.state == "established"
        }
        after = self.kernel()
        now = time.monotonic()
        return {
            uplink: Reading(now, before[port], flows[f"wan{uplink}", port], after[port])
            for uplink, port in ports.items()
            if port in before and port in after and (f"wan{uplink}", port) in flows
        }


def eventually(condition: Callable[[], bool], what: str, patience: float) -> None:
    """Poll until it holds; LabError if it does not within ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"not within {patience:g} s: {what}")
        time.sleep(POLL)
