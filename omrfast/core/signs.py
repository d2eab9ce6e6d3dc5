# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes a path suspect: signs of silence in its own traffic. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from omrfast.core import budget, limits
from omrfast.core.state import Evidence, PathRecord

_NEVER = float("inf")
_GRAIN = 1e-6
"""Seconds: journals keep instants to it, and their sums are not exact."""


@dataclass(frozen=True, slots=True)
class Sign:
    """Seconds of silence, how many were allowed, and when it began."""

    words: str
    measured: float
    limit: float
    at: float
    quiet_before: bool = False
    """The question was the first for a while and may have had to wake a radio."""
    needs_answer: bool = False
    """What leaves seems to be lost, so that an arrival says nothing."""
    paused: bool = False
    """A stream pauses."""
    refused: bool = False
    """No silence yet: the gateway has said that somebody can't be reached."""

    @property
    def text(self) -> str:
        allowed = f"(limit {self.limit * 1e3:.0f} ms)"
        return f"{self.words} for {self.measured * 1e3:.0f} ms {allowed}"

    @property
    def evidence(self) -> Evidence:
        return Evidence("silence", self.measured, self.limit, self.at)


def silence(record: PathRecord, now: float) -> Sign | None:
    """Why the path is suspect, or None: RFC 6298's deviation decides what is too long.

    Silence is measured up to the moment of the last read; what came later is not known yet.
    """
    seen = record.model.at
    if now < record.calm_until or not budget.may_owe(record, 0, now):
        return None
    limit = limits.unanswered_limit(record.model)
    asked = record.asked
    if asked is not None and seen - asked > limit:
        quiet = asked - record.heard > limits.BUSY
        return Sign("unanswered", seen - asked, limit, asked, quiet_before=quiet)
    if not record.answers:
        return None  # a stream that ends could not be told from a path that died
    most = limits.quiet_limit(record.model)
    quiet_for = seen - record.heard
    if most is not None and quiet_for > most:
        return Sign("silent", quiet_for, most, record.heard, paused=True)
    most = _answers_limit(record)
    if quiet_for > most - _GRAIN and asked is not None and _goes_on(record, asked):
        return Sign("unanswered", quiet_for, most, record.heard, paused=True)
    return _wave(record, seen)


def refusal(record: PathRecord, asked: float, text: str, now: float) -> Sign | None:
    """The gateway's word about one question, where it proves nothing; None: no time for it."""
    if now < record.calm_until or not budget.may_owe(record, 0, now):
        return None
    limit = limits.unanswered_limit(record.model)
    quiet = asked - record.heard > limits.BUSY
    return Sign(f"{text}, unanswered", now - asked, limit, asked, quiet_before=quiet, refused=True)


def _goes_on(record: PathRecord, asked: float) -> bool:
    """Whether the next question left no later than the next answer was due."""
    return asked - record.heard <= record.model.arrivals.worst + limits.JIFFY


def _answers_limit(record: PathRecord) -> float:
    """Seconds without answers to a stream of ours; infinite: they do not tell. Where probes have
    a budget, answers that are a little late are not worth three."""
    if budget.limit(record.config) is not None:
        return _NEVER
    limit = limits.answers_limit(record.model)
    return _NEVER if limit is None else limit


def _wave(record: PathRecord, seen: float) -> Sign | None:
    """What leaves is lost while things still arrive: data without an answer of its own."""
    limit = limits.wave_limit(record.model)
    since = _unsampled_since(record)
    if record.excused or record.unsampled < limits.WAVE or seen - since <= limit:
        return None
    return Sign("data unacknowledged", seen - since, limit, since, needs_answer=True)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a path may be without before that is a sign; infinite: without it for ever."""

    answers: float
    """Seconds from a question."""
    arrivals: float
    """Seconds from the last arrival."""
    samples_at: float
    """An RTT sample, until that moment."""
    calm_until: float
    """Nothing is a sign before."""


FOREVER = Allowance(_NEVER, _NEVER, _NEVER, _NEVER)


def allowance(record: PathRecord) -> Allowance:
    """As of the last read. What has run out without being a sign is left out."""
    at = record.model.at
    calm_until = max(record.calm_until, budget.affordable_at(record, 0, at, floor=-budget.DEBT))
    answers = limits.unanswered_limit(record.model)
    if not record.answers:
        return Allowance(answers, _NEVER, _NEVER, calm_until)
    quiet = limits.quiet_limit(record.model)
    arrivals = _NEVER if quiet is None else quiet
    for_ours = _answers_limit(record)
    asked = record.asked
    if record.heard + for_ours >= at if asked is None else _goes_on(record, asked):
        arrivals = min(arrivals, for_ours)
    return Allowance(answers, arrivals, _samples_due(record), calm_until)


def _unsampled_since(record: PathRecord) -> float:
    """While nothing arrived nothing was answered either: that is silence, not loss one way."""
    return max(record.unsampled_at, record.model.arrivals.since)


def _samples_due(record: PathRecord) -> float:
    if record.excused or not record.unsampled:
        return _NEVER
    due = _unsampled_since(record) + limits.wave_limit(record.model)
    over = record.unsampled < limits.WAVE and due <= record.model.at
    return _NEVER if over else due


def due(
    allowed: Allowance, asked: float | None, heard: float, last_tx: float | None, now: float
) -> float:
    """When silence could next become a sign, if nothing arrives; infinite: never.

    ``asked``: the question that is open; what left lately may be one, and the next read tells.
    """
    at = min(heard + allowed.arrivals, allowed.samples_at)
    if asked is not None:
        at = min(at, asked + allowed.answers)
    elif last_tx is not None and now - last_tx < limits.BUSY:
        at = min(at, now + allowed.answers)
    return max(at, allowed.calm_until)
