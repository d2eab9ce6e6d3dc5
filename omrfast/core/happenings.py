# SPDX-License-Identifier: GPL-2.0-or-later
"""What an event means for the one path that it is about. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from omrfast.core import limits, signs, suspicion
from omrfast.core import model as measure
from omrfast.core.asking import (
    all_refused,
    counts,
    entry_of,
    heard_beyond,
    note_answered,
    note_failed,
    note_refused,
    note_unsent,
    set_targets,
)
from omrfast.core.events import ProbeFailed, ProbeReply
from omrfast.core.replacing import replace
from omrfast.core.state import NEVER, Evidence, PathRecord, TargetRecord
from omrfast.core.transitions import GIVEN_UP, enter, restore
from omrfast.core.types import Origin, PathCounters, PathState, ProbeKind, RttTail, Target

_S = PathState
_DOUBTED = frozenset({_S.UP, _S.DEGRADED, _S.FAILING, _S.PROBATION})
"""States in which a gateway's word about somebody makes a path suspect."""


def on_tick(record: PathRecord, counters: PathCounters | None, now: float) -> PathRecord:
    if counters is None:
        return replace(record, model=measure.unread(record.model, now))
    before = record.model.counters
    waiting = record.model.outstanding
    arrived_at, tcp_at = _arrived(record, before, counters, now)
    heard = max(arrived_at, record.answered_at)
    question_at = record.question_at
    if question_at <= heard and counters.asked is not None:
        # The data path takes an ICMP error for an answer, and the next packet for a first question.
        question_at = counters.asked
    model = measure.observe(record.model, counters, now)
    stale = model.losses.stale[0] - record.model.losses.stale[0]
    unsampled_at, unsampled = _left(record, before, counters, stale, now)
    ignored = waiting and not record.answers and heard - waiting[0] > limits.deaf_limit(model)
    return replace(
        record,
        model=model,
        arrived_at=arrived_at,
        tcp_at=tcp_at,
        question_at=question_at,
        unsampled_at=unsampled_at,
        unsampled=unsampled,
        deaf=record.deaf or bool(ignored),
    )


def _arrived(
    record: PathRecord, before: PathCounters | None, after: PathCounters, now: float
) -> tuple[float, float]:
    """PathRecord's arrived_at, tcp_at: when something arrived that shows life; an ICMP error says
    that something is wrong."""
    if after.last_rx is None:
        return record.arrived_at, record.tcp_at
    if before is None or after.rx_packets < before.rx_packets:
        return max(record.arrived_at, after.last_rx), record.tcp_at
    tcp = after.rx_segments > before.rx_segments or after.rtt_samples > before.rtt_samples
    errors = after.icmp_errors - before.icmp_errors
    if errors and not tcp and after.rx_packets - before.rx_packets <= errors:
        return record.arrived_at, record.tcp_at
    return max(record.arrived_at, after.last_rx), now if tcp else record.tcp_at


def _left(
    record: PathRecord, before: PathCounters | None, after: PathCounters, stale: int, now: float
) -> tuple[float, int]:
    """PathRecord's unsampled_at, unsampled: data that has left since the last RTT sample; not what
    an outage had taken before, of which ``stale`` segments were sent again, and whose answers give
    no sample."""
    if before is None:
        return record.unsampled_at, record.unsampled
    if after.tx_segments < before.tx_segments:
        return NEVER, 0
    since, left = record.unsampled_at, record.unsampled - max(0, stale)
    segments, samples = before.tx_segments, before.rtt_samples
    read = (now, after.tx_segments, after.rtt_samples)
    looks = ((look[0], look[4], look[5]) for look in after.looks)
    for at, segments_then, samples_then in (*looks, read):
        if samples_then != samples:
            since, left = NEVER, 0
        elif segments_then > segments:
            since = since if left > 0 else at
            left += segments_then - segments
        segments, samples = segments_then, samples_then
    return (since, left) if left > 0 else (NEVER, 0)


def on_tail(record: PathRecord, tail: RttTail | None, now: float) -> PathRecord:
    if tail is None:
        return record
    return replace(record, model=measure.tail_seen(record.model, tail, now))


def on_targets(record: PathRecord, targets: Iterable[Target], now: float) -> PathRecord:
    """Whom to ask from now on; the first ones are asked at once."""
    first = not record.targets
    record = set_targets(record, targets)
    return replace(record, next_probe=now) if first and record.targets else record


def on_reply(
    record: PathRecord, event: ProbeReply, now: float, *, shared: bool = False
) -> PathRecord:
    """``shared``: every path went silent when this one did."""
    entry = entry_of(record, event.target)
    if entry is None:
        return record  # of somebody who is not asked any more
    record = note_answered(record, event.target, event.rtt, event.at, now)
    late = record.state in GIVEN_UP and event.at - event.rtt < record.since
    if shared and late and entry.burstable and record.link_up and record.fall is not None:
        reason = f"withdrawn: all paths paused at once, answers in {event.rtt * 1e3:.0f} ms"
        return restore(record, reason, now, Evidence("rtt", event.rtt))
    return _alive(record, entry.target.origin, event.rtt, event.at, now)


def _alive(
    record: PathRecord, origin: Origin, rtt: float | None, at: float, now: float
) -> PathRecord:
    """Somebody has answered; ``rtt`` None: not what was asked."""
    if origin is Origin.GATEWAY and not record.by_gateway:
        return record
    who = "its gateway" if origin is Origin.GATEWAY else "a probe"
    took = "" if rtt is None else f" in {rtt * 1e3:.1f} ms"
    evidence = Evidence("answers", rtt)
    if record.state is _S.UNKNOWN:
        return enter(record, _S.UP, f"{who} answered{took}", now, evidence)
    if record.state not in GIVEN_UP or not record.link_up:
        return record
    if record.state is _S.UNREACHABLE and origin not in (Origin.SERVER, Origin.PEER):
        return record  # it was known that others answer
    if rtt is not None and at - rtt < record.since:
        return _on_late_reply(record, rtt, now)
    return enter(record, _S.PROBATION, f"{who} answers again{took}", now, evidence)


def _on_late_reply(record: PathRecord, rtt: float, now: float) -> PathRecord:
    """The verdict was wrong: the next one waits longer."""
    record = suspicion.learn_patience(record, rtt, now)
    reason = f"slow, not dead: answers in {rtt * 1e3:.0f} ms"
    return enter(record, _S.DEGRADED, reason, now, Evidence("rtt", rtt))


def on_failure(record: PathRecord, event: ProbeFailed, now: float) -> PathRecord:
    entry = entry_of(record, event.target)
    if not event.sent:
        record = note_unsent(record, event.target)
    elif entry is not None and entry.target.kind is not ProbeKind.ICMP:
        record = note_failed(record, event.target, event.text, now)
    if entry is not None and event.alive:
        record = note_answered(record, event.target, None, now, now)
        return _alive(record, entry.target.origin, None, now, now)
    if not event.proof:
        return record
    if entry is None or not event.sent:
        return on_proof(record, event.text, None, now)
    if not entry.beyond:
        return on_proof(record, event.text, entry.waiting_since, now)
    return _on_refusal(record, entry, event.text, now)


def _on_refusal(record: PathRecord, entry: TargetRecord, text: str, now: float) -> PathRecord:
    """A gateway may refuse one host or service and pass the rest on. It is proof if it refuses all
    who tell whether the path lives and nothing was heard lately; else these are asked."""
    asked, again, doubt = entry.waiting_since, entry.refused, record.suspicion
    if asked is None or not counts(record, entry) or record.state is _S.DOWN:
        return record
    record = note_refused(record, entry.target.key, now)
    since = min(asked, now - limits.waking_limit(record.model, record.wakes))
    if doubt is not None and not doubt.refused:
        since = doubt.since
    if all_refused(record) and not heard_beyond(record, since):
        return _dead(record, text, now)
    if again or record.state not in _DOUBTED:
        return record
    sign = signs.refusal(record, asked, text, now)
    return record if sign is None else suspicion.suspect(record, sign, now)


def on_proof(record: PathRecord, text: str, since: float | None, now: float) -> PathRecord:
    """Nothing can pass, says somebody who must know, unless something was heard meanwhile.

    ``since``: when the question left that was refused; None: nothing was asked.
    """
    if record.state is _S.DOWN:
        return record
    if record.suspicion is not None:
        since = record.suspicion.since
    if since is None:
        since = now - limits.waking_limit(record.model, record.wakes)
    return record if record.heard > since else _dead(record, text, now)


def _dead(record: PathRecord, text: str, now: float) -> PathRecord:
    sign_at = record.asked if record.suspicion is None else record.suspicion.sign_at
    evidence = Evidence("gateway", sign_at=now if sign_at is None else sign_at)
    return enter(record, _S.DOWN, text, now, evidence)


def on_link(record: PathRecord, up: bool, text: str, now: float) -> PathRecord:
    record = replace(record, link_up=up)
    if not up:
        if record.state is _S.DOWN:
            return replace(record, fall=None)
        record = enter(record, _S.DOWN, text, now, Evidence("link", sign_at=now))
        return replace(record, fall=None)
    if record.state is _S.DOWN and not record.answers:
        return on_trial(record, text, now)
    return replace(record, next_probe=now)


def on_trial(record: PathRecord, why: str, now: float) -> PathRecord:
    """Nobody answers probes on this path, so only traffic can show whether it lives again."""
    reason = f"{why}; no target answers probes, so it is tried as backup"
    return replace(enter(record, _S.PROBATION, reason, now), admitted=True)
