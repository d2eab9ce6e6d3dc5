# SPDX-License-Identifier: GPL-2.0-or-later
"""What is recorded in the lab, and what has to be decided on it.

A case is a script of changes to a real lab with two uplinks of 40 and 80 ms and a stream in each
direction; record.py runs it, and tests/unit/test_recorded.py replays what it wrote. Instants are
told by their marks: moments of the script whose times record.py keeps in marks.json.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from omrfast.core.types import Objective

RECOVER_AFTER = 2.0
"""Seconds; of every recording, so that it need not be long."""


class Stage(Protocol):
    """The running lab, as a script sees it."""

    def mark(self, name: str) -> None:
        """This moment has a name from now on."""

    def change(self, **settings: object) -> None:
        """Of the link of wan1, both ways (LinkSettings)."""

    def server(self, alive: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Enters:
    """A path or server enters a state in good time, and nothing else since what came before."""

    state: str
    mark: str
    earliest: float
    """Seconds after the mark."""
    latest: float


@dataclass(frozen=True, slots=True)
class Is:
    """Its state at a moment is one of these."""

    states: frozenset[str]
    mark: str
    after: float
    """Seconds."""


Expected = tuple[Enters, ...] | tuple[Is, ...]


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    script: Callable[[Stage], None]
    expected: Mapping[str, Expected]
    """By path or server: every state entered from the first mark on, in this order, or states at
    moments. Who is not named enters none."""
    at_most: Mapping[str, int] = field(default_factory=dict)
    """How often wan1 may enter a state."""
    patient: Mapping[str, object] = field(default_factory=dict)
    """Members of Quality and PathConfig under which wan1 enters no state at all."""


WAY = 0.020
"""Seconds, one way, of wan1."""


def _black_hole(stage: Stage) -> None:
    time.sleep(3)
    stage.mark("broken")
    stage.change(blackhole=True)
    time.sleep(4)
    stage.mark("healed")
    stage.change(blackhole=False)
    time.sleep(5)


def _slow_drift(stage: Stage) -> None:
    time.sleep(2)
    stage.mark("begins")
    for step in range(1, 25):
        stage.change(delay=WAY + 0.005 * step)
        if step == 21:
            stage.mark("beyond")  # 2 * 125 ms, the limit of the RTT
        time.sleep(0.5)
    time.sleep(2)
    stage.mark("healed")
    stage.change(delay=WAY)
    time.sleep(5)


PAUSES = (0.3, 0.5, 0.8, 1.0, 1.5)
STEP = 0.02


def _pause(stage: Stage, seconds: float) -> None:
    """What enters the link waits until the pause is over, to within a STEP; nothing is lost."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        stage.change(delay=WAY + left)
        time.sleep(min(STEP, left))
    stage.change(delay=WAY)


def _lte_stalls(stage: Stage) -> None:
    time.sleep(3)
    for number, seconds in enumerate(PAUSES):
        stage.mark(f"pause{number}")
        _pause(stage, seconds)
        time.sleep(6)


def _loss(stage: Stage) -> None:
    time.sleep(5)
    stage.mark("broken")
    stage.change(loss=0.10)
    time.sleep(15)


def _flapping(stage: Stage) -> None:
    time.sleep(3)
    for number in range(4):
        stage.mark(f"broken{number}")
        stage.change(blackhole=True)
        time.sleep(2)
        stage.mark(f"healed{number}")
        stage.change(blackhole=False)
        time.sleep(5 + 4 * number)


def _server_death(stage: Stage) -> None:
    time.sleep(4)
    stage.mark("dead")
    stage.server(alive=False)
    time.sleep(10)
    stage.mark("alive")
    stage.server(alive=True)
    time.sleep(6)


def _slow(stage: Stage) -> None:
    time.sleep(4)
    stage.mark("broken")
    stage.change(delay=WAY + 0.150)
    time.sleep(6)
    stage.mark("healed")
    stage.change(delay=WAY)
    time.sleep(5)


ALIVE = frozenset({"up", "degraded", "probation"})

CASES = (
    Case(
        "black_hole",
        _black_hole,
        {
            "wan1": (
                Enters("down", "broken", 0.05, 0.4),
                Enters("probation", "healed", 0.0, 1.0),
                Enters("up", "healed", RECOVER_AFTER, RECOVER_AFTER + 2),
            )
        },
    ),
    Case(
        "slow_drift",
        _slow_drift,
        {
            "wan1": (
                Enters("degraded", "beyond", -6.0, 2.0),
                Enters("up", "healed", RECOVER_AFTER, RECOVER_AFTER + 2),
            )
        },
        patient={"max_rtt": 1.0, "max_rise": 100.0},
    ),
    Case(
        "lte_stalls",
        _lte_stalls,
        {
            "wan1": tuple(
                Is(ALIVE, f"pause{number}", seconds + 1.0) for number, seconds in enumerate(PAUSES)
            )
        },
        at_most={"down": len(PAUSES)},
    ),
    Case(
        "loss",
        _loss,
        {"wan1": (Enters("degraded", "broken", 0.2, 2.0),)},
        patient={"objective": Objective.THROUGHPUT},
    ),
    Case(
        "flapping",
        _flapping,
        {
            "wan1": tuple(
                step
                for number, (soonest, latest) in enumerate(((2, 3), (2.5, 5), (4, 8), (6, 12)))
                for step in (
                    Enters("down", f"broken{number}", 0.05, 0.5),
                    Enters("probation", f"healed{number}", 0.0, 1.0),
                    Enters("up", f"healed{number}", soonest, latest),
                )
            )
        },
    ),
    Case(
        "server_death",
        _server_death,
        {"vps1": (Enters("down", "dead", 0.05, 2.0), Enters("up", "alive", 0.0, 2.0))},
    ),
    Case(
        "slow",
        _slow,
        {"wan1": tuple(Is(frozenset({"degraded"}), "broken", after) for after in (2.0, 4.0, 6.0))},
        at_most={"degraded": 1},
    ),
)
