# SPDX-License-Identifier: GPL-2.0-or-later
"""What the core answers to an event. All immutable; instants are CLOCK_MONOTONIC seconds."""

from __future__ import annotations

from dataclasses import dataclass

from omrfast.core.state import CoreState, Evidence
from omrfast.core.types import (
    PathState,
    ServerState,
)
from omrfast.core.watch import Watch


@dataclass(frozen=True, slots=True)
class Wish:
    """What a path's endpoint and routes should be. None: leave it as it is."""

    present: bool | None = None
    backup: bool | None = None
    penalty: int | None = None
    """Added to the metric of the path's routes."""
    repeat: int = 0
    """How many more times than once the peer is to be told of a removal (REMOVE_ADDR)."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A path or a server entered another state."""

    at: float
    path: str
    """Of the path, or empty."""
    before: PathState | ServerState
    state: PathState | ServerState
    reason: str
    server: str = ""
    """Of the server, or empty."""
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class ProbeOrder:
    """Ask this target now."""

    path: str
    target: str
    """Key of the Target."""


@dataclass(frozen=True, slots=True)
class Outcome:
    state: CoreState
    wishes: tuple[tuple[str, Wish], ...]
    """By path name."""
    decisions: tuple[Decision, ...]
    probes: tuple[ProbeOrder, ...]
    aborts: frozenset[str]
    """Dead paths that have just been given up: their open handshakes are to be aborted."""
    wake_at: float
    """When to look at the counters again at the latest."""
    watch: Watch
    """What that look may show for no Tick to be needed."""
