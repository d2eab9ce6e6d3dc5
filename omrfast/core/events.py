# SPDX-License-Identifier: GPL-2.0-or-later
"""What may happen to the core. All immutable; instants are CLOCK_MONOTONIC seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from omrfast.core.state import Override
from omrfast.core.types import (
    FlowSum,
    PathCounters,
    RttTail,
    Target,
)


@dataclass(frozen=True, slots=True)
class Tick:
    """Fresh counters of every path; also what a due deadline looks like."""

    counters: Mapping[str, PathCounters]


@dataclass(frozen=True, slots=True)
class Walked:
    """A walk over the flow tables: sums of the flows to each address of a server. Once a second at
    most."""

    servers: Mapping[str, FlowSum]
    tails: Mapping[str, RttTail] = field(default_factory=dict)
    """By path: of the RTT samples of about the last ten seconds."""


@dataclass(frozen=True, slots=True)
class TargetsChanged:
    """Whom to ask on a path from now on; what is known of those that stay is kept."""

    path: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class ServersChanged:
    """The servers of the configuration: name and addresses; and what share of the services must
    work."""

    servers: tuple[tuple[str, tuple[str, ...]], ...]
    quorum: float = 0.5
    """By weight, see AgentConfig."""


@dataclass(frozen=True, slots=True)
class OverrideChanged:
    """The operator's word for a path; None: the state machine decides again."""

    path: str
    override: Override | None


@dataclass(frozen=True, slots=True)
class ProbesLate:
    """Probes left that much later than they were ordered: this machine had other things to do."""

    paths: tuple[str, ...]
    ordered_at: float
    left_at: float


@dataclass(frozen=True, slots=True)
class ProbeReply:
    path: str
    target: str
    """Key of the Target."""
    rtt: float
    at: float
    """When the answer arrived."""


@dataclass(frozen=True, slots=True)
class ProbeFailed:
    """A probe could not leave, was refused on its way, or its service did not work."""

    path: str
    target: str
    """Key of the Target; empty: there is none to ask."""
    text: str
    proof: bool
    """The path can't carry anything: no route, no device, unreachable by its own gateway."""
    sent: bool
    """It left, so that silence after it still counts."""
    alive: bool = False
    """The target's host answered, so the path carries packets: only its service does not work."""


@dataclass(frozen=True, slots=True)
class PathProof:
    """The kernel knows that nothing can pass: its neighbour entry of the gateway has FAILED."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class LinkChanged:
    path: str
    up: bool
    text: str


Event = (
    Tick
    | Walked
    | ProbesLate
    | ProbeReply
    | ProbeFailed
    | PathProof
    | LinkChanged
    | TargetsChanged
    | ServersChanged
    | OverrideChanged
)
