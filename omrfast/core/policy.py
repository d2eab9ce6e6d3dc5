# SPDX-License-Identifier: GPL-2.0-or-later
"""The path state machine: step(state, event, now) -> Outcome. Pure.

A path goes silent: suspect, and a burst of probes leaves on it; anything that arrives on it
clears the suspicion; silence until the proof's deadline is death. A path goes bad: degraded after
``hold``. It comes back through probation, where it has to answer for ``recover_after``; but when
a probe that left before the verdict is answered after it, the path was slow and not dead, and is
degraded at once: nothing that arrives within the proof's deadline could have told the two apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from omrfast.core import damping, limits, quality
from omrfast.core import model as measure
from omrfast.core.config import PathConfig
from omrfast.core.schedule import send_due, wake
from omrfast.core.signs import silence
from omrfast.core.state import (
    CoreState,
    Decision,
    Event,
    LinkChanged,
    Outcome,
    PathRecord,
    ProbeFailed,
    ProbeOrder,
    ProbeReply,
    Suspicion,
    TargetRecord,
    TargetsChanged,
    Tick,
)
from omrfast.core.transitions import enter
from omrfast.core.types import PathCounters, PathState, Role, Target
from omrfast.core.wish import wishes

_S = PathState
_SILENT_KINDS = frozenset({_S.UNKNOWN, _S.UP, _S.DEGRADED, _S.PROBATION})
"""States in which silence makes a path suspect."""


def step(state: CoreState, event: Event, now: float) -> Outcome:
    """Take in one event. The answer holds the new state, what is wished, decided and probed."""
    before = state
    match event:
        case Tick(counters):
            state = replace(
                state,
                paths=tuple(_on_tick(r, counters.get(r.config.name), now) for r in state.paths),
            )
        case ProbeReply(path, target, rtt, at):
            state = _change(state, path, lambda r: _on_reply(r, target, rtt, at, now))
        case ProbeFailed(path):
            state = _change(state, path, lambda r: _on_failure(r, event, now))
        case TargetsChanged(path, targets):
            state = _change(state, path, lambda r: _on_targets(r, targets))
        case LinkChanged(path, up, text):
            state = _change(state, path, lambda r: _on_link(r, up, text, now))
    probes: list[ProbeOrder] = []
    records = []
    for record in state.paths:
        due: tuple[str, ...] = ()
        if record.config.role is not Role.OFF:
            others = tuple(r for r in state.paths if r.config.name != record.config.name)
            record, due = send_due(_judge(record, others, now), now)
        records.append(record)
        probes += (ProbeOrder(record.config.name, key) for key in due)
    state = _keep_admitted(before, replace(state, paths=tuple(records)), now)
    wished = wishes(state, now)
    decisions = _decisions(before, state, now)
    given_up = {name for name, wish in wished if wish.present is False}
    return Outcome(
        state=state,
        wishes=wished,
        decisions=decisions,
        probes=tuple(probes),
        aborts=frozenset(d.path for d in decisions if d.state is _S.DOWN and d.path in given_up),
        wake_at=min((wake(record, now) for record in state.paths), default=now + limits.BUSY),
    )


def _keep_admitted(before: CoreState, after: CoreState, now: float) -> CoreState:
    """A dead path that was not taken away needs no admission when it answers again."""
    if not any(
        old.state is _S.DOWN and new.state is _S.PROBATION
        for old, new in zip(before.paths, after.paths, strict=True)
    ):
        return after
    kept = {name for name, wish in wishes(before, now) if wish.present is not False}
    return replace(
        after,
        paths=tuple(
            replace(new, admitted=True)
            if old.state is _S.DOWN and new.state is _S.PROBATION and new.config.name in kept
            else new
            for old, new in zip(before.paths, after.paths, strict=True)
        ),
    )


def _change(state: CoreState, name: str, change: Callable[[PathRecord], PathRecord]) -> CoreState:
    return replace(
        state, paths=tuple(change(r) if r.config.name == name else r for r in state.paths)
    )


def _decisions(before: CoreState, after: CoreState, now: float) -> tuple[Decision, ...]:
    return tuple(
        Decision(now, new.config.name, old.state, new.state, new.reason, evidence=new.evidence)
        for old, new in zip(before.paths, after.paths, strict=True)
        if old.state is not new.state
    )


# --- what happened to one path ------------------------------------------------------------------


def _on_tick(record: PathRecord, counters: PathCounters | None, now: float) -> PathRecord:
    if counters is None:
        return replace(record, model=replace(record.model, at=now))
    waiting = record.model.outstanding
    record = replace(record, model=measure.observe(record.model, counters, now))
    if not record.answers and waiting:
        ignored = record.heard - waiting[0] > limits.deaf_limit(record.model)
        record = replace(record, deaf=record.deaf or ignored)
    return record


def _on_targets(record: PathRecord, targets: tuple[Target, ...]) -> PathRecord:
    known = {entry.target.key: entry for entry in record.targets}
    return replace(
        record,
        targets=tuple(
            replace(known[target.key], target=target)
            if target.key in known
            else TargetRecord(target)
            for target in targets
        ),
    )


def _answered(record: PathRecord, key: str, rtt: float, at: float) -> PathRecord:
    return replace(
        record,
        targets=tuple(
            replace(entry, answered_at=at, rtt=rtt, waiting_since=None, failures=0)
            if entry.target.key == key
            else entry
            for entry in record.targets
        ),
    )


def _on_reply(record: PathRecord, target: str, rtt: float, at: float, now: float) -> PathRecord:
    record = _answered(record, target, rtt, at)
    model = measure.probe_answered(record.model, rtt, at, now)
    record = replace(record, model=model, answered_at=at, answers=True, deaf=False)
    if record.state is _S.UNKNOWN:
        return enter(record, _S.UP, f"a probe was answered in {rtt * 1e3:.1f} ms", now)
    if record.state is _S.DOWN and record.link_up:
        if at - rtt < record.since:
            return _on_late_reply(record, rtt, now)
        return enter(record, _S.PROBATION, f"answers again, in {rtt * 1e3:.1f} ms", now)
    return record


def _on_late_reply(record: PathRecord, rtt: float, now: float) -> PathRecord:
    """The verdict was wrong: the next one waits longer."""
    record = replace(record, late=rtt, late_at=now)
    return enter(record, _S.DEGRADED, f"slow, not dead: answers in {rtt * 1e3:.0f} ms", now)


def _on_failure(record: PathRecord, event: ProbeFailed, now: float) -> PathRecord:
    if not event.sent:
        record = replace(record, model=measure.probe_unsent(record.model))
    if not event.proof or record.state in (_S.DOWN, _S.SUSPECT):
        return record
    if record.heard > now - limits.unanswered_limit(record.model, after_quiet=True):
        return record
    return enter(record, _S.DOWN, event.text, now)


def _on_link(record: PathRecord, up: bool, text: str, now: float) -> PathRecord:
    record = replace(record, link_up=up)
    if not up:
        return record if record.state is _S.DOWN else enter(record, _S.DOWN, text, now)
    if record.state is _S.DOWN and not record.answers:
        return _on_trial(record, text, now)
    return replace(record, next_probe=now)


def _on_trial(record: PathRecord, why: str, now: float) -> PathRecord:
    """Nobody answers probes on this path, so only traffic can show whether it lives again."""
    reason = f"{why}; no target answers probes, so it is tried as backup"
    return replace(enter(record, _S.PROBATION, reason, now), admitted=True)


# --- judgement ----------------------------------------------------------------------------------


def _judge(record: PathRecord, others: tuple[PathRecord, ...], now: float) -> PathRecord:
    """At most one transition; the order is the order of certainty."""
    if record.state is _S.SUSPECT:
        return _judge_suspicion(record, now)
    if record.state is _S.DOWN and record.link_up and not record.answers:
        return _judge_unanswering(record, now)
    if record.state is _S.UNKNOWN and record.heard > record.since:
        return enter(record, _S.UP, "packets arrive", now)
    if record.state in _SILENT_KINDS:
        sign = silence(record, now)
        if sign is not None:
            return _suspect(record, sign, now)
    if record.state in (_S.UP, _S.DEGRADED, _S.PROBATION):
        return quality.judge(record, others, now)
    return record


def _suspect(record: PathRecord, sign: str, now: float) -> PathRecord:
    patience = limits.patience(record.late, now - record.late_at)
    proof = limits.proof_limit(record.model, answers=record.answers, patience=patience)
    deadline = now + proof
    suspicion = Suspicion(now, record.state, sign, limits.PROBES_PER_BURST, now, deadline)
    return replace(enter(record, _S.SUSPECT, sign, now), suspicion=suspicion)


def _judge_unanswering(record: PathRecord, now: float) -> PathRecord:
    if record.heard > record.since:
        return _on_trial(record, "packets arrive again", now)
    waited = now - record.since
    if waited > damping.trial_time(record, now):
        return _on_trial(record, f"dead for {waited:.0f} s", now)
    return record


def _judge_suspicion(record: PathRecord, now: float) -> PathRecord:
    suspicion = record.suspicion
    assert suspicion is not None
    if record.heard > suspicion.since:
        return _false_alarm(record, suspicion, now)
    if record.model.at < suspicion.deadline or suspicion.burst_left:
        return record
    proof = (
        f"{limits.PROBES_PER_BURST} probes unanswered for {(now - suspicion.since) * 1e3:.0f} ms"
    )
    return enter(record, _S.DOWN, f"{suspicion.sign}; {proof}", now)


def _false_alarm(record: PathRecord, suspicion: Suspicion, now: float) -> PathRecord:
    alarms = record.alarms + 1 if now - record.alarm_at < limits.ALARM_MEMORY else 1
    record = replace(
        record,
        alarms=alarms,
        alarm_at=now,
        calm_until=now + limits.calm(record.model, alarms),
        model=measure.end_streams(record.model),
    )
    return enter(record, suspicion.before, f"alive after all ({suspicion.sign})", now)


# --- the paths of an agent -----------------------------------------------------------------------


def start(records: tuple[PathRecord, ...], now: float) -> CoreState:
    """The state at the beginning: nothing heard yet, a probe due on every path."""
    return CoreState(
        paths=tuple(replace(record, since=now, next_probe=now) for record in records),
        started=now,
    )


def reconfigure(state: CoreState, paths: tuple[PathConfig, ...], now: float) -> CoreState:
    """Other paths, or the same with other limits; paths known by name keep what is known."""
    known = {record.config.name: record for record in state.paths}
    return replace(
        state,
        paths=tuple(
            replace(known[path.name], config=path)
            if path.name in known
            else PathRecord(path, since=now, next_probe=now)
            for path in paths
        ),
    )
