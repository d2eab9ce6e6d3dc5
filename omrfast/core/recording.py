# SPDX-License-Identifier: GPL-2.0-or-later
"""What the core was given, and the same again: recorded inputs through the policy. Pure.

A replay goes through the recorded inputs at their recorded instants. Measurements that came after
an action are those that were recorded: what another decision would have done to the traffic is
not known. Nor is what a probe would have met that was not sent then: it counts as one that could
not leave.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum

from omrfast.core import policy
from omrfast.core.config import Config, PathConfig
from omrfast.core.events import Event, ProbeFailed, ServersChanged
from omrfast.core.outcome import Decision, ProbeOrder
from omrfast.core.replacing import replace
from omrfast.core.state import CoreState
from omrfast.core.types import PathState


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """Other paths, or other limits, from now on: an input besides the events."""

    paths: tuple[PathConfig, ...]


Input = Event | Reconfigured


@dataclass(frozen=True, slots=True)
class Segment:
    """Inputs without a gap, from a known state on."""

    begun: float
    """CLOCK_MONOTONIC of the recording machine, as all instants below."""
    wall: float
    """Unix time of ``begun``."""
    state: CoreState
    inputs: tuple[tuple[float, Input], ...]
    decisions: tuple[Decision, ...] = ()
    """As recorded."""
    asked: tuple[tuple[float, ProbeOrder], ...] = ()
    """The probes that were sent."""

    @property
    def ended(self) -> float:
        return self.inputs[-1][0] if self.inputs else self.begun


def replay(
    segment: Segment,
    config: Config | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Decision, ...]:
    """What the policy decides on a segment's inputs.

    config: with its limits and roles. progress: told of the inputs that are done.
    """
    state = segment.state
    if config is not None:
        paths = tuple(record.config for record in state.paths)
        state = _configured(state, paths, config)
    sent = _Sent(segment.asked)
    decisions: list[Decision] = []
    for done, (now, item) in enumerate(segment.inputs):
        progress(done)
        if isinstance(item, Reconfigured):
            paths = item.paths if config is None else _adapted(item.paths, config)
            state = policy.reconfigure(state, paths, now)
            continue
        if isinstance(item, ServersChanged) and config is not None:
            item = replace(item, quorum=config.agent.quorum)
        waiting: list[Event] = [item]
        while waiting:
            outcome = policy.step(state, waiting.pop(0), now)
            state = outcome.state
            decisions += outcome.decisions
            waiting += (_unsent(o) for o in outcome.probes if not sent.includes(o, now))
    return tuple(decisions)


SAME_TIME = 0.010
"""Seconds: a recorded probe within this time of one that is wished stands for it."""


class _Sent:
    """The recorded probes, by path and target."""

    def __init__(self, asked: Iterable[tuple[float, ProbeOrder]]) -> None:
        self._times: dict[ProbeOrder, list[float]] = {}
        for at, order in asked:
            self._times.setdefault(order, []).append(at)

    def includes(self, order: ProbeOrder, now: float) -> bool:
        times = self._times.get(order, [])
        first = bisect_left(times, now - SAME_TIME)
        return first < len(times) and times[first] <= now + SAME_TIME


def _unsent(order: ProbeOrder) -> ProbeFailed:
    text = "not asked when this was recorded"
    return ProbeFailed(order.path, order.target, text, proof=False, sent=False)


def _configured(state: CoreState, paths: tuple[PathConfig, ...], config: Config) -> CoreState:
    adapted = _adapted(paths, config)
    return replace(
        state,
        quorum=config.agent.quorum,
        paths=tuple(
            replace(record, config=path) for record, path in zip(state.paths, adapted, strict=True)
        ),
    )


def _adapted(paths: tuple[PathConfig, ...], config: Config) -> tuple[PathConfig, ...]:
    """Limits, objective and roles of ``config`` for paths of the same name."""
    if not config.paths:
        objective = config.agent.objective
        return tuple(replace(p, quality=config.quality, objective=objective) for p in paths)
    named = {path.name: path for path in config.paths}
    return tuple(
        replace(named[path.name], interface=path.interface, address=path.address)
        if path.name in named
        else path
        for path in paths
    )


# --- decisions ------------------------------------------------------------------------------------


def told(decisions: Iterable[Decision]) -> tuple[Decision, ...]:
    """Without the suspicions, and without their ends where nothing came of them.

    What a suspicion led to is told as a change from the state before it.
    """
    before: dict[str, PathState] = {}
    result = []
    for decision in decisions:
        if isinstance(decision.before, PathState) and isinstance(decision.state, PathState):
            if decision.state is PathState.SUSPECT:
                before[decision.path] = decision.before
                continue
            if decision.before is PathState.SUSPECT and decision.path in before:
                sober = before.pop(decision.path)
                if sober is decision.state:
                    continue
                decision = replace(decision, before=sober)
        result.append(decision)
    return tuple(result)


class Match(StrEnum):
    """How a decision of the replay stands to the recorded ones."""

    SAME = "same"
    MOVED = "moved"
    """The same decision at another time."""
    NEW = "new"
    """Not among the recorded ones."""
    MISSING = "missing"
    """Recorded, but not decided in the replay."""


@dataclass(frozen=True, slots=True)
class Compared:
    decision: Decision
    match: Match
    recorded_at: float | None
    """When the recorded one fell; None for a new one."""


def compare(recorded: Iterable[Decision], replayed: Iterable[Decision]) -> tuple[Compared, ...]:
    """Both side by side, in the order of time; decisions of one path or server keep theirs."""
    left, right = _by_subject(recorded), _by_subject(replayed)
    result: list[Compared] = []
    for subject in left.keys() | right.keys():
        result += _align(left.get(subject, []), right.get(subject, []))
    result.sort(key=lambda entry: (entry.decision.at, _subject(entry.decision)))
    return tuple(result)


def _subject(decision: Decision) -> tuple[str, str]:
    return decision.path, decision.server


def _by_subject(decisions: Iterable[Decision]) -> Mapping[tuple[str, str], list[Decision]]:
    found: dict[tuple[str, str], list[Decision]] = {}
    for decision in decisions:
        found.setdefault(_subject(decision), []).append(decision)
    return found


def _align(recorded: list[Decision], replayed: list[Decision]) -> list[Compared]:
    result = []
    matcher = SequenceMatcher(
        a=[(d.before, d.state) for d in recorded],
        b=[(d.before, d.state) for d in replayed],
        autojunk=False,
    )
    for change, left, left_end, right, right_end in matcher.get_opcodes():
        if change == "equal":
            for old, new in zip(recorded[left:left_end], replayed[right:right_end], strict=True):
                match = Match.SAME if old.at == new.at else Match.MOVED
                result.append(Compared(new, match, old.at))
            continue
        result += [Compared(d, Match.MISSING, d.at) for d in recorded[left:left_end]]
        result += [Compared(d, Match.NEW, None) for d in replayed[right:right_end]]
    return result
