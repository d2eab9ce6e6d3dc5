# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run of a scenario found; times are seconds from time 0 of the scenario."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

DEMOTED = ("degraded", "failing", "unreachable", "down", "probation")


@dataclass(frozen=True, slots=True)
class EventResult:
    """One change of a link and what it did to the streams."""

    at: float
    """When it really happened."""
    where: str
    label: str
    bad: bool
    stalls: Mapping[str, float]
    """Stream name to the longest time without delivered data, seconds."""
    stall_starts: Mapping[str, float]
    latency_p99: Mapping[str, float | None]
    """Stream name to seconds; None for streams without messages."""
    first_action: float | None = None
    """Seconds from the change to the agent's first action on the uplink."""
    demoted: float | None = None
    """Seconds from the change until the agent showed the uplink in a lesser state than before."""


@dataclass(frozen=True, slots=True)
class StreamResult:
    """One stream over the whole run."""

    name: str
    kind: str
    bytes: int
    rate: tuple[float, ...]
    """Bit/s delivered, one per ``step`` from ``begin``."""
    begin: float
    step: float
    latency: tuple[float | None, ...]
    """Seconds: the slowest message sent in each step; None where none was sent."""
    messages: int
    unanswered: int
    """New connections that had not got their first byte at the end."""
    errors: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class PathSample:
    """What the agent showed of one path."""

    at: float
    state: str
    reason: str
    rtt: float | None
    """Smoothed, seconds."""
    loss: float | None


@dataclass(frozen=True, slots=True)
class ActionResult:
    at: float
    path: str
    kind: str
    reason: str
    took_ms: float


@dataclass(frozen=True, slots=True)
class DecisionResult:
    at: float
    subject: str
    """A path, a server, or "agent" for what concerns all."""
    text: str


@dataclass(frozen=True, slots=True)
class Result:
    """A run; ``to_json`` is plain data."""

    scenario: str
    agent: bool
    duration: float
    settle: float
    backend: str
    events: tuple[EventResult, ...]
    streams: tuple[StreamResult, ...]
    paths: Mapping[str, tuple[PathSample, ...]] = field(default_factory=dict)
    actions: tuple[ActionResult, ...] = ()
    decisions: tuple[DecisionResult, ...] = ()
    """Without suspicions that came to nothing."""
    links: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    """Counters of the emulator: link, direction, counter."""
    agent_log: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def demoted_after(samples: tuple[PathSample, ...], at: float, until: float) -> float | None:
    """Seconds from ``at`` to the first sample before ``until`` that shows a new, lesser state."""
    before = [sample.state for sample in samples if sample.at < at]
    for sample in samples:
        new = not before or sample.state != before[-1]
        if at <= sample.at < until and new and sample.state in DEMOTED:
            return sample.at - at
    return None


def acted_after(
    actions: tuple[ActionResult, ...], path: str, at: float, until: float
) -> float | None:
    """Seconds from ``at`` to the end of the first action on a path before ``until``."""
    times = [a.at - at for a in actions if a.path == path and at <= a.at < until]
    return min(times, default=None)


def decisive(told: Iterable[DecisionResult]) -> list[DecisionResult]:
    """Without the suspicions and the returns from those that came to nothing."""
    kept: list[DecisionResult] = []
    before: dict[str, str] = {}
    for decision in told:
        left, arrow, rest = decision.text.partition(" -> ")
        state = rest.partition(":")[0]
        if arrow and state == "suspect":
            before[decision.subject] = left
        elif not (arrow and left == "suspect" and state == before.get(decision.subject)):
            kept.append(decision)
    return kept
