# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of a path's targets to ask now. Pure."""

from __future__ import annotations

from omrfast.core.state import PathRecord, TargetRecord
from omrfast.core.types import Origin, ProbeKind, Target

AT_ONCE = 2
"""Targets beyond the gateway that a burst asks, and one more if all of them are servers', which may
die together: each costs a packet a probe."""
GIVE_UP = 6
"""A gateway that has left so many questions open, and never answered one, is not asked."""
TRY_EVERY = 8
"""Rounds between questions to those who never answered on a path where others do."""
MUTE = 6
"""Echo requests that a host leaves open before it may be one that answers no more of them."""

_RANK = {Origin.SERVER: 0, Origin.PEER: 1, Origin.WITNESS: 2, Origin.SERVICE: 3}


def subject(target: Target) -> str:
    """Who is behind a target: all addresses and ports of a server are one."""
    return target.name if target.origin is Origin.SERVER else target.key


def beyond(record: PathRecord) -> list[TargetRecord]:
    """Whom to ask whether the path lives, best first: those who answer here, servers first.

    A server's port only where its host answers no echo request.
    """
    entries = [entry for entry in record.targets if entry.burstable]
    if len(entries) < 2:
        return entries
    pings = {
        subject(entry.target)
        for entry in entries
        if entry.target.kind is ProbeKind.ICMP and entry.answers
    }
    entries = [
        entry
        for entry in entries
        if entry.target.kind is ProbeKind.ICMP or subject(entry.target) not in pings
    ]
    return sorted(
        entries,
        key=lambda e: (
            e.excused,
            not e.answers,
            e.target.kind is not ProbeKind.ICMP,
            _RANK[e.target.origin],
        ),
    )


def near(record: PathRecord) -> list[TargetRecord]:
    """The path's gateways, unless they ignore us."""
    gateways = [entry for entry in record.targets if not entry.beyond]
    return [entry for entry in gateways if entry.answers or entry.unanswered < GIVE_UP]


def burst(record: PathRecord) -> tuple[str, ...]:
    """Keys: a few beyond the gateway, and the gateway, to tell the two apart."""
    entries = beyond(record)
    if any(entry.answers for entry in entries):
        entries = [entry for entry in entries if entry.answers]
    chosen = [*_apart(entries), *near(record)[:1]]
    return tuple(entry.target.key for entry in chosen)


def _apart(entries: list[TargetRecord]) -> list[TargetRecord]:
    """The first of them that are not likely to be silent for the same reason: another address of
    the same server only if there is nobody else."""
    first: dict[str, TargetRecord] = {}
    for entry in entries:
        first.setdefault(subject(entry.target), entry)
    apart = list(first.values())
    chosen = (apart + [entry for entry in entries if entry not in apart])[:AT_ONCE]
    if all(entry.target.origin is Origin.SERVER for entry in chosen):
        rest = apart[AT_ONCE:]
        chosen += sorted(rest, key=lambda e: e.target.origin is Origin.SERVER)[:1]
    return chosen


def first(record: PathRecord) -> tuple[str, ...]:
    """Key of whom a burst asks alone, where little is left of the budget."""
    keys = burst(record)
    return keys[-1:] if record.by_gateway else keys[:1]


def several(record: PathRecord) -> bool:
    """More than one server answers here: traffic with one of them says nothing of the others."""
    answering = [entry for entry in record.targets if entry.burstable and entry.answers]
    return len({e.target.name for e in answering if e.target.origin is Origin.SERVER}) > 1


def spoken_at(record: PathRecord) -> float:
    """When traffic last spoke for the path: that with others says nothing of its servers."""
    served = any(entry.target.origin is Origin.SERVER for entry in record.targets)
    return min(record.model.passive_at, record.served_at) if served else record.model.passive_at


def regular(record: PathRecord) -> tuple[str, ...]:
    """Keys for a regular probe: one that answers here, by turns, so that none is forgotten.

    Beside it one that is down, to hear it come back; and now and then one that never answered.
    """
    entries = beyond(record)
    answering = [entry for entry in entries if entry.answers]
    if not answering:
        return burst(record)
    living = [entry for entry in answering if not entry.excused]
    gone = [entry for entry in answering if entry.excused]
    mute = [entry for entry in entries if not entry.answers]
    chosen = _turn(living, record.rounds) if living else near(record)[:1]
    chosen += _turn(gone, record.rounds)
    if record.rounds % TRY_EVERY == 0:
        chosen += _turn(mute, record.rounds // TRY_EVERY)
    return tuple(entry.target.key for entry in chosen)


def _turn(entries: list[TargetRecord], count: int) -> list[TargetRecord]:
    """The one whose turn it is, if there is any."""
    return [entries[count % len(entries)]] if entries else []


def recovery(record: PathRecord) -> tuple[str, ...]:
    """Keys for a path that was given up: whoever answered beyond the gateway; it too if alone.

    The best one each time, and another by turns: the first ones may be what has died. Now and then
    the port of a host that may have come to drop echo requests.
    """
    entries = beyond(record)
    answering = [entry for entry in entries if entry.answers]
    if len(answering) >= AT_ONCE:
        entries = answering
    chosen = entries[:1] + _turn(entries[1:], record.rounds)
    if record.rounds % TRY_EVERY == 0:
        chosen += _turn(_ports(record), record.rounds // TRY_EVERY)
    if record.by_gateway:
        chosen += near(record)[:1]
    return tuple(entry.target.key for entry in chosen)


def _ports(record: PathRecord) -> list[TargetRecord]:
    """Ports of the servers whose echo answered, and has been silent for MUTE questions."""
    silent = {
        entry.target.name for entry in beyond(record) if entry.answers and entry.unanswered >= MUTE
    }
    return [
        entry
        for entry in record.targets
        if entry.target.kind is ProbeKind.TCP and entry.burstable and entry.target.name in silent
    ]
