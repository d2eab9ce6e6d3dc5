# SPDX-License-Identifier: GPL-2.0-or-later
"""What the core remembers, what may happen to it, and what it answers. All immutable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from omrfast.core.config import PathConfig
from omrfast.core.model import PathModel
from omrfast.core.types import PathCounters, PathState

NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A path went silent; a burst of probes decides."""

    since: float
    """When it became suspect. Any arrival later than this clears it."""
    before: PathState
    sign: str
    """What made it suspect, with figures."""
    burst_left: int
    next_probe: float
    deadline: float


@dataclass(frozen=True, slots=True)
class PathRecord:
    config: PathConfig
    state: PathState = PathState.UNKNOWN
    since: float = 0.0
    reason: str = "not heard yet"
    model: PathModel = field(default_factory=PathModel)
    link_up: bool = True
    suspicion: Suspicion | None = None
    bad_since: float | None = None
    good_since: float | None = None
    admitted: bool = False
    """On probation: has answered for long enough to come back as backup."""
    answers: bool = False
    """A target has answered a probe on this path: silence after a probe means something."""
    deaf: bool = False
    """None has, although the path was alive: silence after a probe means nothing."""
    late: float = 0.0
    late_at: float = NEVER
    """RTT of an answer that came after the verdict, and when: patience for the next one."""
    answered_at: float = NEVER
    """Last probe reply."""
    next_probe: float = NEVER
    calm_until: float = NEVER
    alarms: int = 0
    """Suspicions in a row that proved wrong, since alarm_at not long ago."""
    alarm_at: float = NEVER
    penalty: float = 0.0
    penalty_at: float = 0.0

    @property
    def sober(self) -> PathState:
        """The state without a suspicion that is not decided yet."""
        return self.state if self.suspicion is None else self.suspicion.before

    @property
    def asked(self) -> float | None:
        """Since when something that calls for an answer has had none: traffic, or a probe."""
        counters = self.model.counters
        waiting = []
        if self.answers or not (self.deaf or self.sober is PathState.UNKNOWN):
            waiting = [at for at in self.model.outstanding if at > self.heard][:1]
        if counters is not None and counters.asked is not None and counters.asked > self.heard:
            if counters.asked >= self.since or self.answers:
                waiting.append(counters.asked)
            elif self.model.traffic_at > self.since:
                # The data path holds the first question only; there have been others since.
                waiting.append(self.since)
        return min(waiting, default=None)

    @property
    def heard(self) -> float:
        """When anything last arrived: a packet that the data path counted, or a probe reply."""
        counters = self.model.counters
        if counters is None or counters.last_rx is None:
            return self.answered_at
        return max(counters.last_rx, self.answered_at)


@dataclass(frozen=True, slots=True)
class CoreState:
    paths: tuple[PathRecord, ...]
    started: float

    def path(self, name: str) -> PathRecord:
        """Raises KeyError for a name that is not configured."""
        for record in self.paths:
            if record.config.name == name:
                return record
        raise KeyError(name)


# --- events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Fresh counters of every path; also what a due deadline looks like."""

    counters: Mapping[str, PathCounters]


@dataclass(frozen=True, slots=True)
class ProbeReply:
    path: str
    rtt: float
    at: float
    """When the answer arrived."""


@dataclass(frozen=True, slots=True)
class ProbeFailed:
    """A probe could not leave, or was refused on its way."""

    path: str
    text: str
    proof: bool
    """The path can't carry anything: no route, no device, unreachable by its own gateway."""
    sent: bool
    """It left, so that silence after it still counts."""


@dataclass(frozen=True, slots=True)
class LinkChanged:
    path: str
    up: bool
    text: str


Event = Tick | ProbeReply | ProbeFailed | LinkChanged


# --- answers ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wish:
    """What a path's endpoint and routes should be. None: leave it as it is."""

    present: bool | None = None
    backup: bool | None = None
    penalty: int | None = None
    """Added to the metric of the path's routes."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A path entered another state."""

    at: float
    path: str
    before: PathState
    state: PathState
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    state: CoreState
    wishes: tuple[tuple[str, Wish], ...]
    decisions: tuple[Decision, ...] = ()
    probes: tuple[str, ...] = ()
    """Paths on which one probe to each target is to leave now."""
    aborts: frozenset[str] = frozenset()
    """Paths that have just died and are given up: their open handshakes are to be aborted."""
    wake_at: float = 0.0
    """When to send the next Tick at the latest."""
