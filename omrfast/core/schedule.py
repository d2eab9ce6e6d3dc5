# SPDX-License-Identifier: GPL-2.0-or-later
"""When a path's next probe is due, and when its judgement could next change without an event."""

from __future__ import annotations

from omrfast.core import budget, choosing, limits, overrides, pace, services
from omrfast.core.asking import cost_of, note_asked
from omrfast.core.outcome import ProbeOrder
from omrfast.core.replacing import replace
from omrfast.core.state import CoreState, PathRecord, Suspicion, TargetRecord
from omrfast.core.types import Origin, PathState

_S = PathState
_NEVER = float("inf")
_GIVEN_UP = frozenset({_S.DOWN, _S.UNREACHABLE})

LASTS = 60.0
"""A service that fails for so long on a path is asked on others even if that has to be owed."""


def send_due(state: CoreState, now: float) -> tuple[CoreState, tuple[ProbeOrder, ...]]:
    """Whom to ask on which path now, and the state that has taken note of it."""
    orders: list[ProbeOrder] = []
    for name in [record.config.name for record in state.paths]:
        record = state.path(name)
        if record.unused or not record.link_up:
            continue
        record, keys = _due(record, now)
        if record.suspicion is None:
            keys += _inquiries(state, record, keys, now)
            keys += _services(state, record, now)
        if keys:
            record = note_asked(record, keys, now)
            orders += (ProbeOrder(name, key) for key in keys)
        if record is not state.path(name):
            state = replace(
                state, paths=tuple(record if r.config.name == name else r for r in state.paths)
            )
    return state, tuple(orders)


def _due(record: PathRecord, now: float) -> tuple[PathRecord, tuple[str, ...]]:
    """Keys of the path's own probes that are due."""
    if now < _probe_at(record, now):
        return record, tuple(
            entry.target.key for entry in choosing.beyond(record) if now >= _again_at(record, entry)
        )
    suspicion = record.suspicion
    keys = _own(record)
    if suspicion is not None:
        suspicion = _after_probe(record, suspicion, now)
    due = now + pace.interval(record, cost_of(record, keys), now)
    return replace(record, suspicion=suspicion, rounds=record.rounds + 1, next_probe=due), keys


def _after_probe(record: PathRecord, suspicion: Suspicion, now: float) -> Suspicion:
    """One of the burst's probes leaves, or the one before it."""
    if suspicion.sparing:
        waits = limits.answer_limit(record.model)
        return replace(suspicion, sparing=False, next_probe=now + waits)
    spacing = limits.burst_spacing(record.model)
    left = suspicion.burst_left - 1
    return replace(suspicion, burst_left=left, next_probe=now + spacing)


def _own(record: PathRecord) -> tuple[str, ...]:
    """Keys of whom the path's next probe asks."""
    if record.suspicion is not None:
        sparing = record.suspicion.sparing
        return choosing.first(record) if sparing else choosing.burst(record)
    if record.state in _GIVEN_UP:
        return choosing.recovery(record)
    return choosing.regular(record)


def _inquiries(
    state: CoreState, record: PathRecord, already: tuple[str, ...], now: float
) -> tuple[str, ...]:
    """Whom to ask on this path because they are silent on another, which tells who is to blame, or
    because their flows on any path only send again.

    Where probes have a budget, only when the other path's own burst has come to nothing.
    """
    if record.state in (*_GIVEN_UP, _S.UNKNOWN) or not budget.may_owe(record, 0, now):
        return ()
    patient = budget.limit(record.config) is not None
    since = {server.name: server.doubted_at for server in state.servers}
    for other in state.paths:
        if other.config.name != record.config.name:
            for entry in choosing.beyond(other):
                at = _in_question(other, entry, now if patient else _NEVER)
                if at is not None:
                    name = choosing.subject(entry.target)
                    since[name] = max(at, since.get(name, at))
    return tuple(
        entry.target.key
        for entry in choosing.beyond(record)
        if entry.answers
        and not entry.excused
        and entry.target.key not in already
        and entry.asked_at < since.get(choosing.subject(entry.target), entry.asked_at)
    )


def _services(state: CoreState, record: PathRecord, now: float) -> tuple[str, ...]:
    """Keys of the services whose time has come, by their own interval or for comparison."""
    asked = [entry for entry in record.targets if services.is_service(entry)]
    if not asked:
        return ()
    due = {e.target.key for e in asked if now >= _service_at(record, e, now)}
    for key, since in services.inquiries(state, record).items():
        if _may_inquire(record, cost_of(record, {*due, key}), since, now):
            due.add(key)
    return tuple(entry.target.key for entry in record.targets if entry.target.key in due)


def _may_inquire(record: PathRecord, cost: int, since: float, now: float) -> bool:
    """Whether services may be asked for so many bytes to compare paths: what is there pays for it,
    or it is owed if one fails for long; half the debt is left to what is cheap and urgent."""
    floor = -budget.DEBT / 2 if now - since > LASTS else 0.0
    return budget.affordable_at(record, cost, now, floor=floor) <= now


def _service_at(record: PathRecord, entry: TargetRecord, now: float) -> float:
    due = services.due_at(record, entry, pace.service_interval(record, entry))
    return max(due, budget.saved_up_at(record, now))


def _in_question(record: PathRecord, entry: TargetRecord, by: float) -> float | None:
    """Since when somebody's silence on a path is to be compared with the other paths; while it is
    suspect, if its own burst must end ``by`` then."""
    if entry.waiting_since is None or not entry.answers or entry.excused:
        return None
    if record.suspicion is not None and entry.asked_at >= record.suspicion.since:
        return record.suspicion.since if by >= record.suspicion.deadline else None
    if record.state in _GIVEN_UP or record.state is _S.UNKNOWN:
        return None
    return entry.waiting_since if entry.unanswered >= limits.burst_size(record.model) else None


def _again_at(record: PathRecord, entry: TargetRecord) -> float:
    """When to repeat a question to a server that is silent on a path that lives."""
    if (
        entry.target.origin is not Origin.SERVER
        or not entry.answers
        or entry.excused
        or record.suspicion is not None
        or record.state in _GIVEN_UP
        or not 0 < entry.unanswered < limits.burst_size(record.model)
    ):
        return _NEVER
    return entry.asked_at + limits.waking_limit(record.model, record.wakes)


def _probe_at(record: PathRecord, now: float) -> float:
    """When the next probe is due: never while traffic measures a good path that is known."""
    if record.suspicion is not None:
        return record.suspicion.next_probe if record.suspicion.burst_left else _NEVER
    if pace.is_watched(record, now):
        return record.next_probe
    bounded = budget.limit(record.config) is not None
    cost = cost_of(record, _own(record)) if bounded else 0
    due = max(record.next_probe, _paid_at(record, cost, now)) if bounded else record.next_probe
    if record.state is _S.UP and (record.answers or record.deaf) and not choosing.several(record):
        return max(due, choosing.spoken_at(record) + pace.interval(record, cost, now))
    return due


def _paid_at(record: PathRecord, cost: int, now: float) -> float:
    """From when on the budget allows the path's own probes: in debt, too, those that are stretched
    take half of what flows in."""
    if record.state is _S.DEGRADED:
        return budget.saved_up_at(record, now)
    return budget.affordable_at(record, cost, now, floor=-budget.DEBT)


def due_at(record: PathRecord, now: float) -> float:
    """When something is due on this path whatever its traffic does: a probe, the end of a
    suspicion's time, or of the operator's word."""
    over = overrides.wake(record)
    if record.unused or not record.link_up:
        return over
    again = min((_again_at(record, entry) for entry in choosing.beyond(record)), default=_NEVER)
    asked = [entry for entry in record.targets if services.is_service(entry)]
    again = min([again, *(_service_at(record, entry, now) for entry in asked)])
    due = min(over, again, _probe_at(record, now))
    suspicion = record.suspicion
    return due if suspicion is None else min(due, suspicion.waits_until or suspicion.deadline)


def is_listened_to(record: PathRecord) -> bool:
    """Whether silence of its traffic would make it suspect."""
    if record.unused or not record.link_up:
        return False
    return record.suspicion is None and record.state not in _GIVEN_UP
