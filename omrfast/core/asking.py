# SPDX-License-Identifier: GPL-2.0-or-later
"""What a path remembers of each target: when it was asked, and what came of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from omrfast.core import budget, choosing, limits
from omrfast.core import model as measure
from omrfast.core.choosing import subject
from omrfast.core.replacing import replace
from omrfast.core.state import NEVER, PathRecord, TargetRecord
from omrfast.core.types import ProbeKind, Target


def set_targets(record: PathRecord, targets: Iterable[Target]) -> PathRecord:
    """Whom to ask from now on; what is known of those that stay is kept."""
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


def entry_of(record: PathRecord, key: str) -> TargetRecord | None:
    return next((entry for entry in record.targets if entry.target.key == key), None)


def _change(
    record: PathRecord, keys: Iterable[str], change: Callable[[TargetRecord], TargetRecord]
) -> PathRecord:
    chosen = frozenset(keys)
    return replace(
        record,
        targets=tuple(change(e) if e.target.key in chosen else e for e in record.targets),
    )


def cost_of(record: PathRecord, keys: Iterable[str]) -> int:
    """Bytes of IP packets that asking them takes, both ways."""
    chosen = frozenset(keys)
    return sum(entry.target.cost for entry in record.targets if entry.target.key in chosen)


def note_asked(record: PathRecord, keys: Iterable[str], now: float) -> PathRecord:
    """These are asked now."""
    keys = tuple(keys)
    entries = [entry for entry in record.targets if entry.target.key in keys]
    counted = [entry.target.key for entry in entries if counts(record, entry)]
    if counted:
        record = replace(record, model=measure.probe_sent(record.model, now, counted))
    record = budget.spend(record, cost_of(record, keys), now)
    if now - max(record.heard, _last_left(record)) > limits.BUSY:
        record = replace(record, woken_at=now)
    return _change(
        record,
        keys,
        lambda e: replace(
            e,
            asked_at=now,
            waiting_since=now if e.waiting_since is None else e.waiting_since,
            unanswered=e.unanswered + 1,
        ),
    )


def _last_left(record: PathRecord) -> float:
    counters = record.model.counters
    left = None if counters is None else counters.last_tx
    return NEVER if left is None else left


def counts(record: PathRecord, entry: TargetRecord) -> bool:
    """Its silence says something about the path, or will once somebody has answered."""
    if entry.excused or not (entry.answers or not record.answers):
        return False
    return entry in choosing.beyond(record)


def note_unsent(record: PathRecord, key: str) -> PathRecord:
    """The last question never left."""
    entry = entry_of(record, key)
    if entry is None or not entry.unanswered:
        return record
    if counts(record, entry):
        record = replace(record, model=measure.probe_unsent(record.model, key))
    left = entry.unanswered - 1
    since = entry.waiting_since if left else None
    return _change(record, (key,), lambda e: replace(e, unanswered=left, waiting_since=since))


def note_answered(
    record: PathRecord, key: str, rtt: float | None, at: float, now: float
) -> PathRecord:
    """It answered, at that moment; ``rtt`` None: it is there, and its service does not work."""
    entry = entry_of(record, key)
    if entry is None:
        return record
    record = _change(
        record,
        (key,),
        lambda e: replace(
            e,
            answered_at=max(at, e.answered_at),
            waiting_since=None,
            unanswered=0,
            rtt=e.rtt if rtt is None else rtt,
            failures=e.failures if rtt is None else 0,
            works_since=at if rtt is not None and (e.failures or not e.answers) else e.works_since,
        ),
    )
    if not entry.beyond:
        return record
    if rtt is not None and entry.burstable and entry.target.kind is ProbeKind.TCP:
        record = _unlearn(record, lambda e: subject(e.target) == entry.target.name)
    record = replace(record, answered_at=max(at, record.answered_at))
    if rtt is None or not entry.burstable:
        return record
    if entry.excused:  # it was down: how long that took is not the path's RTT
        return replace(record, answers=True, deaf=False)
    if entry.asked_at == record.woken_at and entry.unanswered == 1:
        late = max(0.0, rtt - limits.srtt(record.model))
        record = replace(record, wakes=(*record.wakes, late)[-limits.WAKES :])
    model = measure.probe_answered(record.model, rtt, at, now, key, entry.rtt)
    return replace(record, model=model, answers=True, deaf=False)


def _unlearn(record: PathRecord, whom: Callable[[TargetRecord], bool]) -> PathRecord:
    """They are there and have left MUTE echo requests open: they count as if they had never
    answered one, until they do."""
    if not any(_is_mute(entry) and whom(entry) for entry in record.targets):
        return record
    return replace(
        record,
        targets=tuple(
            replace(e, answered_at=NEVER) if _is_mute(e) and whom(e) else e for e in record.targets
        ),
    )


def _is_mute(entry: TargetRecord) -> bool:
    echo = entry.burstable and entry.target.kind is ProbeKind.ICMP
    return echo and entry.answers and entry.unanswered >= choosing.MUTE


def traffic_answers(record: PathRecord, now: float) -> bool:
    """Whether traffic has answers to what left after the path came to be what it is.

    The counters may have been read up to BUSY seconds after these.
    """
    model = record.model
    left = model.passive_at - limits.BUSY - (model.last_rtt or 0.0)
    return left > record.since and now - model.passive_at <= 2 * limits.BUSY


def are_mute(record: PathRecord, since: float) -> bool:
    """All whom probes ask, but for who is down, are silent for long, and were asked since then."""
    known = [e for e in record.targets if e.burstable and e.answers and not e.excused]
    return all(_is_mute(entry) and entry.asked_at > since for entry in known)


def note_deaf(record: PathRecord) -> PathRecord:
    """The path lives, and nobody answers probes on it any more."""
    return replace(_unlearn(record, lambda _: True), answers=False, deaf=True)


def note_failed(record: PathRecord, key: str, text: str, now: float) -> PathRecord:
    """Its service does not work."""
    return _change(
        record,
        (key,),
        lambda e: replace(
            e,
            failures=e.failures + 1,
            failed_at=now,
            failed_since=e.failed_since if e.failures else now,
            error=text,
        ),
    )


def note_refused(record: PathRecord, key: str, now: float) -> PathRecord:
    """The gateway says that it can't be reached."""
    return _change(record, (key,), lambda e: replace(e, refused_at=now))


def all_refused(record: PathRecord) -> bool:
    """So says the gateway of everybody beyond it who would be asked whether the path lives."""
    keys = choosing.burst(record)
    asked = [entry for entry in record.targets if entry.beyond and entry.target.key in keys]
    return bool(asked) and all(entry.refused for entry in asked)


def gateway_answered(record: PathRecord, since: float) -> bool:
    return any(not e.beyond and e.answered_at > since for e in record.targets)


def heard_beyond(record: PathRecord, since: float) -> bool:
    """Whether anything from beyond the gateway has arrived since then.

    The data path tells what arrived when, not from whom; while a gateway was asked or has just
    answered, an arrival may be its answer, and only TCP's data and RTT samples count.
    """
    if record.answered_at > since or record.tcp_at > since:
        return True
    if record.heard <= since:
        return False
    near = [e for e in record.targets if not e.beyond and e.asked_at > since - limits.BUSY]
    return all(
        e.waiting_since is None and record.heard > e.answered_at + limits.TELL_APART for e in near
    )
