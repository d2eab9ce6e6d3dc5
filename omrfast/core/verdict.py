# SPDX-License-Identifier: GPL-2.0-or-later
"""What a suspicion comes to: is the path silent, or the server? Pure.

A burst that nobody answers, not even the gateway, is the path's death. Where the gateway answers,
something behind it is wrong, and the other paths tell what: whoever answers on one of them is
beyond reach on this one; whoever answers on none is down, and no path is to blame.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

from omrfast.core import choosing, limits, suspicion
from omrfast.core.asking import gateway_answered
from omrfast.core.choosing import subject
from omrfast.core.replacing import replace
from omrfast.core.servers import excuse
from omrfast.core.state import NEVER, CoreState, Evidence, PathRecord, Suspicion, TargetRecord
from omrfast.core.transitions import GIVEN_UP, enter, pardon, restore
from omrfast.core.types import PathState

_S = PathState


class Standing(Enum):
    """What a path knows of somebody who is silent elsewhere."""

    HEARD = auto()
    OPEN = auto()
    SILENT = auto()
    NOTHING = auto()
    """It can't tell: it is not in use, or has never had an answer from there."""


def judge(state: CoreState, now: float) -> CoreState:
    """Conclude the suspicions whose time is up."""
    for name in [record.config.name for record in state.paths]:
        if suspicion.is_over(state.path(name)):
            state = _conclude(state, state.path(name), now)
    return state


def put(state: CoreState, record: PathRecord) -> CoreState:
    """The state with this record instead of the one of the same name."""
    name = record.config.name
    if any(known is record for known in state.paths):
        return state
    return replace(state, paths=tuple(record if r.config.name == name else r for r in state.paths))


def asked_about(record: PathRecord, since: float = NEVER) -> dict[str, TargetRecord]:
    """By subject, who answered here before, was asked since then, and whose silence is in
    question."""
    return {
        subject(entry.target): entry
        for entry in choosing.beyond(record)
        if entry.answers and not entry.excused and entry.asked_at >= since
    }


# --- a suspect path ------------------------------------------------------------------------------


def _conclude(state: CoreState, record: PathRecord, now: float) -> CoreState:
    doubt = record.suspicion
    assert doubt is not None
    proof, evidence = suspicion.proof(record, now), suspicion.evidence(record, now)
    if not gateway_answered(record, doubt.since):
        return put(state, enter(record, _S.DOWN, proof, now, evidence))
    if not record.answers:
        reason = f"{proof}; its gateway answers, nothing behind it does"
        return put(state, enter(record, _S.DOWN, reason, now, evidence))
    return _compare(state, record, doubt, now)


def _compare(state: CoreState, record: PathRecord, doubt: Suspicion, now: float) -> CoreState:
    """Its gateway answers: what do the other paths hear of those who are silent on it?"""
    proof, evidence = suspicion.proof(record, now), suspicion.evidence(record, now)
    about = asked_about(record, doubt.since)
    others = [other for other in state.paths if other.config.name != record.config.name]
    found = {
        (name, other.config.name): standing(other, name, doubt.since, now)
        for name in about
        for other in others
    }
    heard = {
        heard_by(record, state.path(where), name): (name, where)
        for (name, where), known in found.items()
        if known is Standing.HEARD
    }
    if heard:
        sure_at = min(heard)
        if now < sure_at:
            return put(state, replace(record, suspicion=replace(doubt, waits_until=sure_at)))
        name, where = heard[sure_at]
        reason = f"{proof}; its gateway answers, and {name} does on {where}"
        return put(state, enter(record, _S.UNREACHABLE, reason, now, evidence))
    latest = doubt.deadline + limits.COMPARE_MOST
    if Standing.OPEN in found.values() and now < latest:
        return put(state, replace(record, suspicion=replace(doubt, waits_until=latest)))
    if {Standing.SILENT, Standing.OPEN} & set(found.values()):
        return blame_servers(state, about, evidence, now)
    reason = f"{proof}; its gateway answers, nobody behind it does, no other path can tell why"
    return put(state, enter(record, _S.DOWN, reason, now, evidence))


def heard_by(record: PathRecord, other: PathRecord, name: str) -> float:
    """By when somebody who answered on the other path must have been heard on this one, too.

    Both were asked at about the same time; a machine that stood still answers both when it goes on.
    """
    answered = max(e.answered_at for e in other.targets if subject(e.target) == name)
    nearer = other.model.rtt_min or 0.0
    further = max(0.0, limits.srtt(record.model) - nearer) / 2
    return answered + further + limits.slack(record.model)


def standing(record: PathRecord, name: str, since: float, now: float) -> Standing:
    """What a path says about somebody who has been silent on another one since then."""
    if record.unused or not record.link_up:
        return Standing.NOTHING
    entries = [e for e in choosing.beyond(record) if e.answers and subject(e.target) == name]
    if not entries:
        return Standing.NOTHING
    if any(e.answered_at - (e.rtt or 0.0) >= since for e in entries):
        return Standing.HEARD
    if record.state in GIVEN_UP:
        recent = record.fall is not None and record.since > since - limits.WITHDRAW
        return Standing.SILENT if recent and not _gateway_died(record) else Standing.NOTHING
    if record.state is _S.UNKNOWN:
        return Standing.NOTHING
    if suspicion.is_over(record) or all(is_silent(record, e, now) for e in entries):
        return Standing.SILENT
    return Standing.OPEN


def is_silent(record: PathRecord, entry: TargetRecord, now: float) -> bool:
    """Several questions in a row without an answer, for twice as long as one may take."""
    if entry.waiting_since is None or entry.unanswered < limits.burst_size(record.model):
        return False
    return now - entry.waiting_since > 2 * limits.unanswered_limit(record.model)


def _gateway_died(record: PathRecord) -> bool:
    """Its gateway answered once, and does not now: that path is dead whoever else is."""
    gateways = [entry for entry in record.targets if not entry.beyond and entry.answers]
    return bool(gateways) and all(entry.waiting_since is not None for entry in gateways)


def blame_servers(
    state: CoreState, names: Iterable[str], evidence: Evidence, now: float
) -> CoreState:
    """They answer on no path, so that no path is to blame: verdicts on paths are taken back."""
    blamed = frozenset(names)
    servers = tuple(
        replace(
            server,
            silent_at=now,
            silent_since=now if evidence.sign_at is None else evidence.sign_at,
            unreachable_on=frozenset(),
        )
        if server.name in blamed and server.silent_at is None
        else server
        for server in state.servers
    )
    state = replace(state, servers=servers)
    state = excuse(state, dict.fromkeys(blamed, True), now)
    heard_at = min((s.heard_at for s in state.servers if s.name in blamed), default=now)
    paths = (_acquit(record, blamed, evidence, now) for record in state.paths)
    who = ", ".join(sorted(blamed))
    reason = f"withdrawn: {who} answers on no path"
    return replace(state, paths=tuple(pardon(path, heard_at, reason, now) for path in paths))


def _acquit(
    record: PathRecord, blamed: frozenset[str], evidence: Evidence, now: float
) -> PathRecord:
    who = ", ".join(sorted(blamed))
    doubt = record.suspicion
    if doubt is not None and gateway_answered(record, doubt.since) and _explained(record, doubt):
        return suspicion.clear(record, f"alive: {who} answers on no path", now)
    withdrawn = (
        record.excused
        and record.state in GIVEN_UP
        and record.fall is not None
        and record.link_up
        and now - record.since < limits.WITHDRAW
        and not _gateway_died(record)
    )
    if withdrawn:
        return restore(record, f"withdrawn: {who} answers on no path", now, evidence)
    return record


def _explained(record: PathRecord, doubt: Suspicion) -> bool:
    """All who were asked because of it are down."""
    asked = [e for e in choosing.beyond(record) if e.answers and e.asked_at >= doubt.since]
    return record.excused or (bool(asked) and all(entry.excused for entry in asked))
