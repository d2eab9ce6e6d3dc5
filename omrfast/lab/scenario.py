# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios are data: a topology, streams through it, and what happens to its links when.

A test, the demo and a benchmark that name the same scenario say the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omrfast.lab.faults import Fault
from omrfast.lab.links import BOTH
from omrfast.lab.topology import Lab, TopologySpec
from omrfast.lab.traffic import StreamSpec


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happens to a link or to another part of the lab."""

    at: float
    """Seconds after the streams have settled."""
    where: str
    """wan<n>, or vps<n> for a fault of a server."""
    label: str
    """For people: "black hole"."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Members of LinkSettings that change."""
    direction: str = BOTH
    bad: bool = True
    """Whether it does harm (stalls are told for every change, but demotion only for these)."""
    fault: Fault | None = None
    """What begins, if ``bad``, else ends."""

    def apply(self, lab: Lab) -> None:
        """Do it. LabError or LinkError if it cannot be done."""
        if self.settings:
            lab.links[self.where].change(self.direction, **self.settings)
        if self.fault is not None:
            act = self.fault.begin if self.bad else self.fault.end
            act(lab, int(self.where[3:]))


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that a run needs."""

    name: str
    summary: str
    streams: tuple[StreamSpec, ...]
    changes: tuple[Change, ...]
    duration: float
    """Seconds, from when the streams have settled."""
    topology: TopologySpec = field(default_factory=TopologySpec)
    settle: float = 3.0
    """Seconds between the start of the streams and time 0."""
    window: float = 6.0
    """Seconds after a change in which its stall is looked for, at most up to the next change."""
    services: bool = False
    """Every server offers HTTP and DNS (services.py)."""
    agent: bool = True
    agent_config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def slow(at: float, uplink: str, rtt: float, extra: float) -> Change:
    """The round trip of an uplink of ``rtt`` becomes longer by ``extra`` seconds."""
    return Change(at, uplink, f"+{extra * 1e3:.0f} ms", {"delay": (rtt + extra) / 2})


def fast(at: float, uplink: str, rtt: float) -> Change:
    return Change(at, uplink, "heals", {"delay": rtt / 2}, bad=False)


def dead(at: float, uplink: str) -> Change:
    """Everything vanishes silently, in both directions."""
    return Change(at, uplink, "black hole", {"blackhole": True})


def alive(at: float, uplink: str) -> Change:
    return Change(at, uplink, "heals", {"blackhole": False}, bad=False)


def breaks(at: float, where: str, label: str, fault: Fault) -> Change:
    return Change(at, where, label, fault=fault)


def mends(at: float, where: str, fault: Fault) -> Change:
    return Change(at, where, "heals", fault=fault, bad=False)


def lossy(at: float, uplink: str, loss: float) -> Change:
    return Change(at, uplink, f"{loss:.0%} loss", {"loss": loss})


def one_way(at: float, uplink: str, direction: str) -> Change:
    """Everything in one direction vanishes silently."""
    return Change(at, uplink, f"{direction} black hole", {"blackhole": True}, direction)
