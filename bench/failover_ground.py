# SPDX-License-Identifier: GPL-2.0-or-later
"""One run of a case: a lab of its own, the agent in it or not, and what the agent said.

Instants are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from omrfast.export import client
from omrfast.lab.agentproc import Agent, Overrides
from omrfast.lab.devices import LabError
from omrfast.lab.topology import Lab, TopologySpec, UplinkSpec
from omrfast.lab.traffic import Stream, StreamSpec

FIRST_RTT, SECOND_RTT = 0.04, 0.08
"""Of the two uplinks, seconds."""
WITHOUT, WITH, ALONE = "without", "with", "alone"
"""The sides of a case: no agent, the agent, no agent and the good uplink only."""
PATIENCE = 30.0
SETTLED = 1 / 16
"""RTTVAR begins as half of the first RTT (RFC 6298)."""
LOWER = ("degraded", "failing", "unreachable", "down")


def two_uplinks(second: str = "active") -> TopologySpec:
    """The network of every case; ``second``: role of the second uplink."""
    return TopologySpec(
        uplinks=(UplinkSpec(rtt=FIRST_RTT), UplinkSpec(rtt=SECOND_RTT, role=second))
    )


def good_alone(rtt: float = SECOND_RTT) -> TopologySpec:
    """Only the uplink that stays good; its name is wan1 here."""
    return TopologySpec(uplinks=(UplinkSpec(rtt=rtt),))


@dataclass(frozen=True, slots=True)
class Said:
    """One decision or action of the agent."""

    at: float
    kind: str
    """decision or action."""
    path: str
    text: str
    details: Mapping[str, Any]

    @property
    def entered(self) -> str:
        """State that the path entered by this decision; empty for an action."""
        if self.kind != "decision":
            return ""
        return self.text.partition(" -> ")[2].partition(":")[0]


class Ground:
    """A lab and, on the side WITH, the agent in its router with every path known.

    Raises LabError or LinkError if it cannot be built.
    """

    def __init__(self, topology: TopologySpec, side: str, config: Overrides | None = None) -> None:
        self.lab = Lab(topology)
        self.agent: Agent | None = None
        self._side, self._config = side, config
        self._stack = ExitStack()

    def __enter__(self) -> Ground:
        try:
            self._stack.enter_context(self.lab)
            if self._side == WITH:
                self._start_agent()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _start_agent(self) -> None:
        self.agent = Agent(self.lab, self._config)
        self._stack.callback(self.agent.stop)
        self.agent.start()
        self.agent.wait_for(_all_known, PATIENCE, "paths that are known")

    def settle(self) -> None:
        """Until the agent's RTTs have forgotten how they began, as those of one that has been up
        for minutes have; nothing without an agent. Before any stream."""
        if self.agent is not None:
            self.agent.wait_for(_all_settled, PATIENCE, "settled RTTs")

    def stream(self, spec: StreamSpec) -> Stream:
        """Start a stream; it ends with the run."""
        return self._stack.enter_context(Stream(self.lab, spec))

    def change(self, uplink: str, **settings: Any) -> float:
        """Change an uplink in both directions; when."""
        self.lab.links[uplink].change(**settings)
        return time.monotonic()

    def black_hole(self, uplink: str) -> float:
        """Everything on it vanishes silently, both ways; since when."""
        return self.change(uplink, blackhole=True)

    def smoothed_rtt(self, uplink: str) -> float | None:
        """What the agent holds for an uplink, seconds; None without an agent."""
        status = self.agent.status() if self.agent else None
        if status is None:
            return None
        shown = next(path for path in status["paths"] if path["name"] == uplink)["rtt_ms"]
        return None if shown["smoothed"] is None else float(shown["smoothed"]) / 1e3

    def said(self, since: float) -> list[Said]:
        """What the agent decided and did from then on; empty without an agent.

        LabError if it has ended, or if something failed in it: such a run measures nothing.
        """
        if self.agent is None:
            return []
        if not self.agent.running() or "Traceback" in self.agent.log_path.read_text():
            raise LabError(f"the agent failed:\n{self.agent.log_tail()}")
        wall_less_monotonic = time.time() - time.monotonic()
        found = [
            Said(
                event["at"] - wall_less_monotonic,
                event["kind"],
                event["path"] or "",
                event["message"],
                event["details"],
            )
            for event in client.request(self.agent.run_dir, "events")
            if event["kind"] in ("decision", "action")
        ]
        return [one for one in found if one.at >= since]


def rest_until(at: float) -> None:
    """Let the lab run until then."""
    time.sleep(max(0.0, at - time.monotonic()))


def rest(seconds: float) -> None:
    """Let the lab run for so long."""
    time.sleep(seconds)


def _all_known(status: Mapping[str, Any]) -> bool:
    return all(path["state"] not in ("unknown", "suspect") for path in status["paths"])


def _all_settled(status: Mapping[str, Any]) -> bool:
    shown = [path["rtt_ms"] for path in status["paths"]]
    return all((rtt["variation"] or 0.0) < SETTLED * rtt["smoothed"] for rtt in shown)


def removal(said: list[Said], path: str) -> Said | None:
    """The action that took a path's endpoint away."""
    return _endpoint_action(said, path, " removed")


def made_backup(said: list[Said], path: str) -> Said | None:
    """The action that made a path's endpoint a backup one."""
    return _endpoint_action(said, path, " is backup")


def _endpoint_action(said: list[Said], path: str, end: str) -> Said | None:
    for one in said:
        of_endpoint = one.kind == "action" and one.text.startswith("endpoint")
        if of_endpoint and one.path == path and one.text.endswith(end):
            return one
    return None


def applied(action: Said) -> float:
    """When an action took effect: as its call began, for a deletion goes on to wait for RCU."""
    return action.at - float(action.details.get("took_ms") or 0.0) / 1e3


def log_of(said: list[Said], zero: float, most: int = 40) -> list[list[Any]]:
    """[ms from ``zero``, path, text] for the record."""
    return [[round((s.at - zero) * 1e3, 1), s.path, s.text] for s in said[:most]]
