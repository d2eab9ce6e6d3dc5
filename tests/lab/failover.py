# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab with its agent that several tests share: each finds it as built and leaves it so."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from omrfast.lab import diag, netns
from omrfast.lab.addresses import uplink_address
from omrfast.lab.agentproc import Agent, Overrides
from omrfast.lab.faults import Fault
from omrfast.lab.services import Services
from omrfast.lab.topology import Lab, TopologySpec
from omrfast.lab.traffic import Stream
from tests.lab.conftest import Router, entered, eventually

GIVEN_UP = frozenset({"down", "unreachable"})
"""States of a path that has lost its endpoint."""
FORGETS = {"quality": {"recover_after": "1s", "half_life": "1s"}}
"""Comes back soon however often it has failed: the tests before must not matter."""

OFTEN = {"path": {f"wan{n}": {"probe_interval": "1s"} for n in (1, 2)}}
"""Everybody is asked soon, busy or not."""


class Site:
    """The lab, the agent, and what was decided since `mark`."""

    def __init__(self, lab: Lab, agent: Agent) -> None:
        self.lab, self.agent = lab, agent
        self.router = Router(lab)
        self.names = [f"wan{n}" for n in range(1, len(lab.spec.uplinks) + 1)]
        self.as_built = self.router.found()
        self.settings_as_built = self.router.settings()
        self._since = 0.0

    # --- what the agent says ---

    def status(self) -> dict[str, Any]:
        return self.agent.status() or {"paths": [], "servers": [], "actions": [], "trouble": None}

    def path(self, name: str) -> dict[str, Any]:
        return next((p for p in self.status()["paths"] if p["name"] == name), {"state": None})

    def server(self, name: str) -> dict[str, Any]:
        return next((s for s in self.status()["servers"] if s["name"] == name), {"state": None})

    def mark(self) -> None:
        """Forget what was decided up to now."""
        self._since = time.time()

    def decided(self, name: str) -> list[str]:
        """States that a path or a server entered since the mark, see entered()."""
        return entered((e for e in self.agent.events() if e["at"] >= self._since), name)

    def reasons(self, name: str) -> list[str]:
        """What was decided and done about a path or a server since the mark, in words."""
        return [
            event["message"]
            for event in self.agent.events()
            if event["kind"] in ("decision", "server", "action")
            and event["at"] >= self._since
            and name in (event["path"], event.get("server"))
        ]

    # --- what to wait for ---

    def until_path(self, name: str, *states: str, timeout: float = 30.0) -> dict[str, Any]:
        what = f"{name} {' or '.join(states)}"

        def reached() -> dict[str, Any] | None:
            path = self.path(name)
            return path if path["state"] in states else None

        found: dict[str, Any] = eventually(reached, what, timeout)
        return found

    def until_server(self, name: str, state: str, timeout: float = 30.0) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            server = self.server(name)
            return server if server["state"] == state else None

        found: dict[str, Any] = eventually(reached, f"{name} {state}", timeout)
        return found

    def until_given_up(self, name: str, heir: str) -> None:
        """The path is without endpoint and new connections go to ``heir``."""
        self.until_path(name, *GIVEN_UP)
        address = self.path(name)["address"]
        eventually(lambda: address not in self.router.endpoints(), f"{address} without endpoint")
        eventually(lambda: self.router.default_routes()[0][1] == heir, f"default route by {heir}")

    def until_as_built(self, timeout: float = 40.0) -> None:
        """Every path is up and the router as the lab made it."""
        for name in self.names:
            self.until_path(name, "up", timeout=timeout)
        eventually(lambda: self.router.found() == self.as_built, "the router as built", timeout)

    # --- what the kernel says ---

    def until_used(self, *streams: Stream) -> None:
        """Each stream has an established subflow over every uplink."""
        for stream in streams:
            version = 6 if stream.spec.ipv6 else 4
            all_of_them = {uplink_address(int(name[3:]), version) for name in self.names}
            eventually(
                partial(self._joined, stream.port, all_of_them),
                f"{stream.spec.name} over {', '.join(sorted(all_of_them))}",
            )

    def _joined(self, port: int, addresses: set[str]) -> bool:
        found = diag.subflow_info(self.lab.ns("router"))
        ours = [s for s in found if s.remote_port == port and s.state == "established"]
        return {s.local for s in ours} == addresses

    def mib(self, name: str) -> int:
        """A counter of the router's MPTCP (/proc/net/netstat, MPTcpExt)."""
        text = netns.call(self.lab.ns("router"), Path("/proc/thread-self/net/netstat").read_text)
        lines = [line.split() for line in text.splitlines() if line.startswith("MPTcpExt:")]
        return int(dict(zip(*lines, strict=True))[name])

    @contextmanager
    def broken(self, fault: Fault, n: int = 1) -> Iterator[None]:
        """The fault lasts as long as the block."""
        fault.begin(self.lab, n)
        try:
            yield
        finally:
            fault.end(self.lab, n)


def goes_on(stream: Stream, what: str, more: int = 0) -> None:
    """Wait until the stream has delivered more than ``more`` bytes from now on."""
    delivered = stream.delivered()
    eventually(lambda: stream.delivered() > delivered + more, what)


def configured(*parts: Overrides) -> dict[str, dict[str, Any]]:
    """Overrides on top of each other, section by section."""
    merged: dict[str, dict[str, Any]] = {}
    for part in parts:
        for section, keys in part.items():
            merged[section] = merged.get(section, {}) | dict(keys)
    return merged


def fresh(here: Site) -> Iterator[None]:
    """For a fixture round each test of a shared site; shows the agent's log of a failure."""
    here.until_as_built()
    here.mark()
    told = len(here.agent.log_path.read_text())
    yield
    print(here.agent.log_path.read_text()[told:])


@contextmanager
def site(spec: TopologySpec, *overrides: Overrides, services: bool = False) -> Iterator[Site]:
    """A lab with an agent that has found every path up; its log is shown if a test fails."""
    with Lab(spec) as lab:
        for v in range(1, spec.servers + 1) if services else ():
            lab.guests[f"services{v}"] = Services(lab.ns(f"vps{v}"), lab.server_addresses(v))
        agent = Agent(lab, configured(FORGETS, *overrides))
        built = Site(lab, agent)
        agent.start()
        try:
            built.until_as_built()
            yield built
        finally:
            agent.stop()
            print(agent.log_path.read_text())


def omrfast(where: Site, *words: str) -> str:
    """Output of the command, run in the router; CalledProcessError if it fails."""
    command = [sys.executable, "-m", "omrfast.cli.main", *words]
    done = netns.call(
        where.lab.ns("router"),
        subprocess.run,
        [*command, "--config", str(where.agent.config_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    return str(done.stdout)
