# SPDX-License-Identifier: GPL-2.0-or-later
"""When a path's next probe is due, and when its judgement could next change without an event."""

from __future__ import annotations

from dataclasses import replace
from zlib import crc32

from omrfast.core import choosing, limits, overrides, services
from omrfast.core import model as measure
from omrfast.core.asking import note_asked
from omrfast.core.config import probe_budget
from omrfast.core.state import CoreState, PathRecord, ProbeOrder, TargetRecord
from omrfast.core.types import Origin, PathState, Role

_S = PathState
_NEVER = float("inf")
_GIVEN_UP = frozenset({_S.DOWN, _S.UNREACHABLE})


def send_due(state: CoreState, now: float) -> tuple[CoreState, tuple[ProbeOrder, ...]]:
    """Whom to ask on which path now, and the state that has taken note of it."""
    orders: list[ProbeOrder] = []
    for name in [record.config.name for record in state.paths]:
        record = state.path(name)
        if record.role is Role.OFF or not record.link_up:
            continue
        record, keys = _due(record, now)
        if record.suspicion is None:
            keys += _inquiries(state, record, keys)
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
    if suspicion is not None:
        spacing = limits.burst_spacing(record.model)
        left = suspicion.burst_left - 1
        suspicion = replace(suspicion, burst_left=left, next_probe=now + spacing)
        keys = choosing.burst(record)
    elif record.state in _GIVEN_UP:
        keys = choosing.recovery(record)
    else:
        keys = choosing.regular(record)
    record = replace(record, suspicion=suspicion, rounds=record.rounds + 1)
    return replace(record, next_probe=now + _interval(record, now)), keys


def _inquiries(state: CoreState, record: PathRecord, already: tuple[str, ...]) -> tuple[str, ...]:
    """Whom to ask on this path because they are silent on another: it tells who is to blame."""
    if record.state in (*_GIVEN_UP, _S.UNKNOWN):
        return ()
    since: dict[str, float] = {}
    for other in state.paths:
        if other.config.name != record.config.name:
            for entry in choosing.beyond(other):
                at = _in_question(other, entry)
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
    due = {e.target.key for e in record.targets if now >= _service_at(record, e)}
    due |= set(services.inquiries(state, record))
    return tuple(entry.target.key for entry in record.targets if entry.target.key in due)


def _service_at(record: PathRecord, entry: TargetRecord) -> float:
    interval = entry.target.interval or limits.SERVICE_PROBE
    seed = f"{entry.target.key} {entry.asked_at}"
    return services.due_at(record, entry, interval * spread(record, seed))


def _in_question(record: PathRecord, entry: TargetRecord) -> float | None:
    """Since when somebody's silence on a path is to be compared with the other paths."""
    if entry.waiting_since is None or not entry.answers or entry.excused:
        return None
    if record.suspicion is not None and entry.asked_at >= record.suspicion.since:
        return record.suspicion.since
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
    if now < record.watch_until:
        return record.next_probe
    if record.state is _S.UP and (record.answers or record.deaf) and not choosing.several(record):
        return max(record.next_probe, record.model.passive_at + _interval(record, now))
    return record.next_probe


def _interval(record: PathRecord, now: float) -> float:
    lasts_long = now - record.since > limits.SLOW_AFTER
    if now < record.watch_until:
        return limits.LOSS_PROBE
    if record.sober in _GIVEN_UP:
        return limits.DOWN_PROBE_SLOW if lasts_long else limits.DOWN_PROBE
    if record.sober in (_S.DEGRADED, _S.PROBATION, _S.UNKNOWN, _S.FAILING):
        return limits.WATCH_PROBE_SLOW if lasts_long else limits.WATCH_PROBE
    unknown = not (record.answers or record.deaf)
    if (unknown or record.model.smoothed < measure.SETTLED) and not lasts_long:
        return limits.WATCH_PROBE
    own = record.config.probe_interval
    idle = limits.IDLE_PROBE[record.role] if own is None else own
    gone = [e.waiting_since or now for e in record.targets if e.excused and e.burstable]
    if gone and probe_budget(record.config) is None:
        just = now - max(gone) < limits.SLOW_AFTER
        idle = min(idle, limits.GONE_PROBE if just else limits.GONE_PROBE_SLOW)
    return idle * spread(record, str(record.rounds))


def spread(record: PathRecord, seed: str) -> float:
    """A factor that differs from probe to probe and from path to path, but not by chance."""
    share = crc32(f"{record.config.name} {seed}".encode()) / 2**32
    return 1 + limits.SPREAD * (2 * share - 1)


def wake(record: PathRecord, now: float) -> float:
    """The earliest moment at which this path's judgement could change without an event."""
    over = overrides.wake(record)
    if not record.link_up or record.role is Role.OFF:
        return min(over, now + limits.BUSY)
    again = min((_again_at(record, entry) for entry in choosing.beyond(record)), default=_NEVER)
    again = min([again, *(_service_at(record, entry) for entry in record.targets)])
    due = min(over, again, _probe_at(record, now), now + limits.BUSY)
    suspicion = record.suspicion
    if suspicion is not None:
        return min(due, suspicion.waits_until or suspicion.deadline)
    if record.state in _GIVEN_UP:
        return due
    asked = record.asked
    last_tx = record.model.counters.last_tx if record.model.counters else None
    if asked is not None:
        limit = limits.unanswered_limit(record.model)
        due = min(due, max(asked + limit, record.calm_until))
    elif last_tx is not None and now - last_tx < limits.BUSY:
        due = min(due, now + limits.unanswered_limit(record.model))
    if record.unsampled >= limits.WAVE:
        wave = record.unsampled_at + limits.wave_limit(record.model)
        due = min(due, max(wave, record.calm_until))
    most = limits.quiet_limit(record.model)
    if most is not None:
        due = min(due, max(record.heard + most, record.calm_until))
    return due
