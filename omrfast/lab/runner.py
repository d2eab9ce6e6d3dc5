# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a scenario: builds its lab, starts agent and streams, changes links, gathers what happened.

One thread applies the changes at their time; the caller's thread samples the agent and the
streams ten times a second and hands each sample to an observer (the live view).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from omrfast.lab.agentproc import Agent
from omrfast.lab.links import DOWN, UP
from omrfast.lab.result import (
    ActionResult,
    DecisionResult,
    EventResult,
    PathSample,
    Result,
    StreamResult,
    acted_after,
    decisive,
    demoted_after,
)
from omrfast.lab.scenario import Change, Scenario
from omrfast.lab.services import Services
from omrfast.lab.topology import Lab
from omrfast.lab.traffic import Stream, StreamRecord

SAMPLE_INTERVAL = 0.1
RATE_SAMPLES = 6
RATE_STEP = 0.1


@dataclass(frozen=True, slots=True)
class Live:
    """One sample of a run, for the observer."""

    scenario: Scenario
    agent: bool
    at: float
    status: Mapping[str, Any] | None
    """The agent's status answer."""
    rates: Mapping[str, float]
    """Bit/s delivered over the last half second or so, per stream."""
    happened: tuple[Change, ...]


Observer = Callable[[Live], None]


@dataclass
class _Samples:
    paths: dict[str, list[PathSample]] = field(default_factory=dict)
    actions: dict[tuple[float, str, str], ActionResult] = field(default_factory=dict)


class _Timeline(threading.Thread):
    """Applies the changes; ``happened`` holds (time, change) of those done."""

    def __init__(self, lab: Lab, changes: tuple[Change, ...], zero: float) -> None:
        super().__init__(name="timeline", daemon=True)
        self._lab, self._changes, self._zero = lab, changes, zero
        self._ended = threading.Event()
        self.happened: list[tuple[float, Change]] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            for change in self._changes:
                left = self._zero + change.at - time.monotonic()
                if self._ended.wait(max(left, 0.0)):
                    return
                begun = time.monotonic() - self._zero  # netem takes its time
                change.apply(self._lab)
                self.happened.append((begun, change))
        except Exception as error:
            self.failure = error

    def stop(self) -> None:
        self._ended.set()
        self.join()


def _rates(history: Sequence[tuple[float, dict[str, int]]]) -> dict[str, float]:
    """Bit/s of each stream from the oldest to the newest of (instant, bytes so far)."""
    (begin, before), (end, after) = history[0], history[-1]
    return {name: 8 * (after[name] - before[name]) / max(end - begin, 1e-3) for name in after}


class _Run:
    """One run, from streams to result."""

    def __init__(
        self, scenario: Scenario, lab: Lab, agent: Agent | None, observer: Observer | None
    ) -> None:
        self._scenario, self._lab = scenario, lab
        self._agent, self._observer = agent, observer
        self._samples = _Samples()

    def go(self) -> Result:
        scenario = self._scenario
        with ExitStack() as stack:
            for v in range(1, scenario.topology.servers + 1) if scenario.services else ():
                addresses = self._lab.server_addresses(v)
                stack.enter_context(Services(self._lab.ns(f"vps{v}"), addresses))
            streams = [stack.enter_context(Stream(self._lab, spec)) for spec in scenario.streams]
            self._zero = time.monotonic() + scenario.settle
            self._wall_zero = time.time() + scenario.settle
            timeline = _Timeline(self._lab, scenario.changes, self._zero)
            timeline.start()
            stack.callback(timeline.stop)
            self._watch(streams, timeline)
            records = [stream.record() for stream in streams]
        return self._result(records, timeline.happened)

    def _watch(self, streams: list[Stream], timeline: _Timeline) -> None:
        end = self._zero + self._scenario.duration
        history: deque[tuple[float, dict[str, int]]] = deque(maxlen=RATE_SAMPLES)
        next_sample = time.monotonic()
        while (now := time.monotonic()) < end:
            if timeline.failure:
                raise timeline.failure
            status = self._agent.status() if self._agent else None
            if status is not None:
                self._keep(status, now - self._zero)
            if self._observer:
                history.append((now, {s.spec.name: s.delivered() for s in streams}))
                happened = tuple(change for _, change in timeline.happened)
                self._observer(
                    Live(
                        self._scenario,
                        self._agent is not None,
                        now - self._zero,
                        status,
                        _rates(history),
                        happened,
                    )
                )
            next_sample += SAMPLE_INTERVAL
            time.sleep(max(0.0, next_sample - time.monotonic()))

    def _keep(self, status: Mapping[str, Any], at: float) -> None:
        for path in status["paths"]:
            rtt = path["rtt_ms"]["smoothed"]
            self._samples.paths.setdefault(path["name"], []).append(
                PathSample(
                    at=at,
                    state=path["state"],
                    reason=path["reason"],
                    rtt=None if rtt is None else rtt / 1e3,
                    loss=path["loss_ratio"],
                )
            )
        for action in status["actions"]:
            key = action["at"], action["path"], action["kind"]
            self._samples.actions[key] = ActionResult(
                at=action["at"] - self._wall_zero,
                path=action["path"],
                kind=action["kind"],
                reason=action["reason"],
                took_ms=action["took_ms"],
            )

    def _result(self, records: list[StreamRecord], happened: list[tuple[float, Change]]) -> Result:
        scenario = self._scenario
        paths = {name: tuple(samples) for name, samples in self._samples.paths.items()}
        actions = tuple(sorted(self._samples.actions.values(), key=lambda a: a.at))
        ends = ([at for at, _ in happened] + [scenario.duration])[1:]
        return Result(
            scenario=scenario.name,
            agent=self._agent is not None,
            duration=scenario.duration,
            settle=scenario.settle,
            backend=self._lab.backend.name,
            events=tuple(
                self._event(records, paths, actions, at, change, end)
                for (at, change), end in zip(happened, ends, strict=True)
            ),
            streams=tuple(self._stream(record) for record in records),
            paths=paths,
            actions=actions,
            decisions=self._decisions(),
            links={
                name: {way: asdict(link.stats(way)) for way in (UP, DOWN)}
                for name, link in self._lab.links.items()
            },
            agent_log=self._agent.log_path.read_text() if self._agent else "",
        )

    def _decisions(self) -> tuple[DecisionResult, ...]:
        if self._agent is None or not self._agent.running():
            return ()
        told = [
            DecisionResult(
                at=event["at"] - self._wall_zero,
                subject=event["path"] or event.get("server") or "agent",
                text=event["message"],
            )
            for event in self._agent.events()
            if event["kind"] in ("decision", "server", "agent")
        ]
        return tuple(decisive(told))

    def _event(
        self,
        records: list[StreamRecord],
        paths: Mapping[str, tuple[PathSample, ...]],
        actions: tuple[ActionResult, ...],
        at: float,
        change: Change,
        end: float,
    ) -> EventResult:
        begin, until = self._zero + at, self._zero + min(end, at + self._scenario.window)
        # What the next change does is told there.
        gaps = {r.name: r.gap_at(begin, until, clip=self._zero + end) for r in records}
        return EventResult(
            at=at,
            where=change.where,
            label=change.label,
            bad=change.bad,
            stalls={name: length for name, (_, length) in gaps.items()},
            stall_starts={name: start - self._zero for name, (start, _) in gaps.items()},
            latency_p99={r.name: r.latency(begin, until, 0.99) for r in records},
            first_action=acted_after(actions, change.where, at, end),
            demoted=demoted_after(paths.get(change.where, ()), at, end) if change.bad else None,
        )

    def _stream(self, record: StreamRecord) -> StreamResult:
        begin = self._zero - self._scenario.settle
        end = self._zero + self._scenario.duration
        return StreamResult(
            name=record.name,
            kind=record.kind,
            bytes=record.total_bytes,
            rate=tuple(record.rate(begin, end, RATE_STEP)),
            begin=-self._scenario.settle,
            step=RATE_STEP,
            latency=tuple(record.latencies(begin, end, RATE_STEP)),
            messages=len(record.messages),
            unanswered=sum(attempt.done is None for attempt in record.attempts),
            errors=tuple((at - self._zero, text) for at, text in record.errors),
        )


def run(
    scenario: Scenario,
    agent: bool | None = None,
    observer: Observer | None = None,
    token: str | None = None,
) -> Result:
    """Run a scenario in a lab of its own; ``agent`` overrides the scenario's wish.

    Raises LabError or LinkError with the cause (and the agent's last lines) if it cannot be run.
    """
    with Lab(scenario.topology, token) as lab:
        with_agent = scenario.agent if agent is None else agent
        if not with_agent:
            return _Run(scenario, lab, None, observer).go()
        process = Agent(lab, scenario.agent_config)
        try:
            process.start()
            return _Run(scenario, lab, process, observer).go()
        finally:
            process.stop()
