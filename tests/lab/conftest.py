# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab per test, the agent in it, and the kernel's own view of its router."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from omrfast.lab import netns
from omrfast.lab.agentproc import Agent
from omrfast.lab.result import DecisionResult, decisive
from omrfast.lab.topology import Lab, TopologySpec
from omrfast.shim import api, link

QUICK = {"quality": {"recover_after": "1s"}}
"""Comes back soon, so that a test need not wait."""


class Router:
    """What iproute2 says about the lab's router."""

    def __init__(self, lab: Lab) -> None:
        self._namespace = lab.ns("router")

    def ip(self, *arguments: str) -> Any:
        """Parsed output of ``ip -j``."""
        return json.loads(self._ip("-j", *arguments) or "[]")

    def _ip(self, *arguments: str) -> str:
        command = ["ip", "-n", self._namespace, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def endpoints(self) -> dict[str, tuple[int, frozenset[str]]]:
        """Address to (id, flags)."""
        found = self.ip("mptcp", "endpoint", "show")
        kinds = ("subflow", "signal", "backup", "fullmesh")
        return {
            e["address"]: (e["id"], frozenset(kind for kind in kinds if e.get(kind))) for e in found
        }

    def default_routes(self) -> list[tuple[int, str]]:
        """(metric, device) of the main table, best first."""
        return sorted((r.get("metric", 0), r["dev"]) for r in self.ip("route", "show", "default"))

    def found(self) -> tuple[object, object]:
        """All that the agent may change."""
        return self.endpoints(), self.default_routes()

    def settings(self) -> list[str]:
        """Most bytes of a send buffer, ticks until a subflow is stale, limit of subflows."""

        def read() -> list[str]:
            names = ("ipv4/tcp_wmem", "mptcp/stale_loss_cnt")
            return [Path("/proc/sys/net", name).read_text().split()[-1] for name in names]

        limits = self._ip("mptcp", "limits", "show").split()
        return [*netns.call(self._namespace, read), limits[limits.index("subflows") + 1]]

    def hooks(self) -> list[tuple[str, int, int]]:
        """(device, hook, programs on it) of every TCX hook that has any; asks the kernel."""

        def query() -> list[tuple[str, int, int]]:
            return [
                (name, hook, len(programs))
                for index, name in socket.if_nameindex()
                for hook in (api.HOOK_TCX_INGRESS, api.HOOK_TCX_EGRESS)
                if (programs := link.tcx_query(index, hook))
            ]

        return netns.call(self._namespace, query)


def eventually(
    condition: Callable[[], Any], what: str, timeout: float = 30.0, every: float = 0.05
) -> Any:
    """The first true answer of ``condition``; fails when there is none in time."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        time.sleep(every)
    pytest.fail(f"not within {timeout:g} s: {what}")


def entered(events: Iterable[dict[str, Any]], name: str) -> list[str]:
    """States that a path or a server entered; suspicions that came to nothing left out."""
    told = [
        DecisionResult(event["at"], name, event["message"])
        for event in events
        if event["kind"] in ("decision", "server") and name in (event["path"], event["server"])
    ]
    changes = [decision.text.partition(":")[0] for decision in decisive(told)]
    return [change.partition(" -> ")[2] for change in changes]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Two uplinks of 40 and 80 ms, 20 Mbit/s each, NAT on both, one server."""
    with Lab(TopologySpec()) as running:
        yield running


@pytest.fixture
def router(lab: Lab) -> Router:
    return Router(lab)


@pytest.fixture
def agent(lab: Lab) -> Iterator[Agent]:
    """Started, with both paths up; its log is shown if the test fails."""
    process = Agent(lab, QUICK)
    process.start()
    try:
        for path in ("wan1", "wan2"):
            process.wait_state(path, "up")
        yield process
    finally:
        process.stop()
        print(process.log_path.read_text())
