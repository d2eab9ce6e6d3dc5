# SPDX-License-Identifier: GPL-2.0-or-later
"""A path becomes suspect, and its own burst clears it or shows who is silent on it. Pure.

What follows from silence, seen beside the other paths, is in verdict.py.
"""

from __future__ import annotations

from omrfast.core import budget, limits
from omrfast.core import model as measure
from omrfast.core.asking import heard_beyond
from omrfast.core.replacing import replace
from omrfast.core.signs import Sign
from omrfast.core.state import Evidence, PathRecord, Suspicion
from omrfast.core.transitions import enter
from omrfast.core.types import PathState

_S = PathState


def suspect(record: PathRecord, sign: Sign, now: float) -> PathRecord:
    """The burst begins now; its silence is proof after the time that an answer may take.

    Where little is left to pay it, it begins when the answer to a single probe is late.
    """
    patience = limits.patience(record.late, now - record.late_at)
    plain = limits.proof_limit(record.model, answers=record.answers, patience=0.0)
    proof = limits.proof_limit(record.model, answers=record.answers, patience=patience)
    probes = limits.burst_size(record.model)
    if probes > limits.PROBES_PER_BURST:
        proof += (probes - 1) * limits.burst_spacing(record.model)
    sparing = budget.is_saving(record, now)
    if sparing:
        proof += limits.answer_limit(record.model)
    deadline = now + proof
    if sign.quiet_before:
        deadline = max(deadline, sign.at + limits.waking_limit(record.model, record.wakes))
    suspicion = Suspicion(
        since=now,
        before=record.state,
        sign=sign.text,
        burst_left=probes,
        next_probe=now,
        deadline=deadline,
        sign_at=sign.at,
        measured=sign.measured,
        limit=sign.limit,
        needs_answer=sign.needs_answer,
        paused=sign.paused,
        refused=sign.refused,
        sparing=sparing,
        plain=plain,
        reason=record.reason,
        evidence=record.evidence,
    )
    record = enter(record, _S.SUSPECT, sign.text, now, sign.evidence)
    return replace(record, suspicion=suspicion)


def postpone(record: PathRecord, ordered_at: float, left_at: float) -> PathRecord:
    """Probes left late: if they began the burst, its time begins with them."""
    suspicion = record.suspicion
    if suspicion is None or suspicion.since != ordered_at:
        return record
    deadline = suspicion.deadline + left_at - ordered_at
    return replace(record, suspicion=replace(suspicion, deadline=deadline))


def judge(record: PathRecord, now: float) -> PathRecord:
    """Cleared by what has arrived since, or as it was."""
    suspicion = record.suspicion
    assert suspicion is not None
    if record.by_gateway:
        alive = record.heard > suspicion.since
    elif suspicion.needs_answer:
        alive = max(record.answered_at, record.model.passive_at) > suspicion.since
    else:
        alive = heard_beyond(record, suspicion.since)
    return _false_alarm(record, suspicion, now) if alive else record


def is_over(record: PathRecord) -> bool:
    """The burst was asked in full, and its time is up, as far as the counters were read."""
    suspicion = record.suspicion
    return (
        suspicion is not None and record.model.at >= suspicion.deadline and not suspicion.burst_left
    )


def evidence(record: PathRecord, now: float) -> Evidence:
    """Of a verdict on a suspect path: the silence from its first sign to now."""
    suspicion = record.suspicion
    assert suspicion is not None
    return Evidence(
        "silence",
        now - suspicion.sign_at,
        suspicion.deadline - suspicion.sign_at,
        suspicion.sign_at,
    )


def proof(record: PathRecord, now: float) -> str:
    """The silence in words."""
    suspicion = record.suspicion
    assert suspicion is not None
    waited = (now - suspicion.since) * 1e3
    probes = limits.burst_size(record.model)
    return f"{suspicion.sign}; {probes} probes unanswered for {waited:.0f} ms"


def clear(record: PathRecord, reason: str, now: float) -> PathRecord:
    """Back to what it was."""
    suspicion = record.suspicion
    assert suspicion is not None
    record = replace(record, model=measure.end_streams(record.model, now))
    return enter(record, suspicion.before, reason, now)


def learn_patience(record: PathRecord, waited: float, now: float) -> PathRecord:
    """It paused for so long and was not dead: the next verdict waits longer than that.

    Of a pause one sees the end only, from wherever the question fell in it: a much shorter one
    keeps what is known from fading.
    """
    known = record.late
    if waited < known * limits.PAUSE_ALIKE:
        known = limits.patience(known, now - record.late_at) / limits.PATIENCE
    return replace(record, late=max(waited, known), late_at=now)


def _false_alarm(record: PathRecord, suspicion: Suspicion, now: float) -> PathRecord:
    alarms = record.alarms + 1 if now - record.alarm_at < limits.ALARM_MEMORY else 1
    if record.tcp_at <= suspicion.since:
        record = replace(record, doubted_at=now)
    brief = suspicion.paused and budget.limit(record.config) is None
    record = replace(
        record,
        alarms=alarms,
        alarm_at=now,
        calm_until=now + limits.calm(record.model, alarms, brief=brief),
        unsampled=0,
    )
    waited = record.heard - suspicion.since
    if record.late and waited > suspicion.plain:
        record = learn_patience(record, waited, now)
    return clear(record, f"alive after all ({suspicion.sign})", now)
