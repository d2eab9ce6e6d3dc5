# SPDX-License-Identifier: GPL-2.0-or-later
"""A path that carries packets while the services over it do not work, and servers likewise. Pure.

Carriers let echo requests pass when a data plan is used up, and throttle or redirect the rest. A
service that fails over one path and works over another is the path's fault; one that works nowhere
is its own.
"""

from __future__ import annotations

from omrfast.core import limits
from omrfast.core.replacing import replace
from omrfast.core.servers import change, entries
from omrfast.core.state import NEVER, CoreState, Evidence, PathRecord, ServerRecord, TargetRecord
from omrfast.core.transitions import enter, pardon
from omrfast.core.types import Origin, PathState, ProbeKind, ServerState

_S = PathState
_ASKED_IN = frozenset({_S.UNKNOWN, _S.UP, _S.DEGRADED, _S.FAILING, _S.PROBATION})
_JUDGED_IN = frozenset({_S.UP, _S.DEGRADED, _S.PROBATION})
HOST_MOST = 20.0
"""A server whose ports fail is not judged for so long while its host is being asked."""
_COMPARED_IN = frozenset({_S.UP, _S.DEGRADED, _S.PROBATION, _S.FAILING})


def is_service(entry: TargetRecord) -> bool:
    return entry.target.kind is not ProbeKind.ICMP


def failing(record: PathRecord) -> tuple[TargetRecord, ...]:
    """Services that do not work on this path, whoever is to blame for it; none while it carries
    nothing."""
    if record.unused or record.sober not in _COMPARED_IN:
        return ()
    return tuple(e for e in record.targets if is_service(e) and e.failures >= limits.FAILURES)


# --- asking --------------------------------------------------------------------------------------


def due_at(record: PathRecord, entry: TargetRecord, interval: float) -> float:
    """When a service is to be asked next; ``interval`` is its own, as far as it is healthy.

    A first failure is checked at once, since one says nothing; a path that is failing is asked
    more often, to hear it recover; and where probes are answered and traffic is not, now.
    """
    if not is_service(entry) or record.state not in _ASKED_IN or entry.excused:
        return float("inf")
    if entry.asked_at == NEVER:
        return record.since
    if entry.failures and entry.failed_at >= entry.asked_at:
        if entry.failures < limits.FAILURES:
            return entry.failed_at + limits.FAILED_AGAIN
        if record.state is _S.FAILING or entry.target.origin is Origin.SERVER:
            return entry.asked_at + min(interval, limits.FAILING_PROBE)
    due = entry.asked_at + interval
    if record.doubted_at > entry.asked_at:
        due = min(due, max(record.doubted_at, entry.asked_at + limits.FAILING_PROBE))
    return due


def inquiries(state: CoreState, record: PathRecord) -> dict[str, float]:
    """Keys of services to ask on this path because they fail on another one, and since when."""
    if record.state not in _COMPARED_IN:
        return {}
    since = {
        entry.target.key: entry.failed_since
        for other in state.paths
        if other.config.name != record.config.name and other.state in _COMPARED_IN
        for entry in failing(other)
    }
    return {
        entry.target.key: since[entry.target.key]
        for entry in record.targets
        if entry.target.key in since and entry.asked_at < since[entry.target.key]
    }


# --- judging -------------------------------------------------------------------------------------


def judge(state: CoreState, now: float) -> CoreState:
    """Servers whose port is dead everywhere, and paths over which services fail."""
    used = [r for r in state.paths if r.sober in _COMPARED_IN and not r.unused]
    servers = tuple(
        _judge_server(server, used, now) if _has_port(server, state.paths, used) else server
        for server in state.servers
    )
    if servers != state.servers:
        state = replace(state, servers=servers)
    state = _pardoned(state, now)
    paths = tuple(
        _judge_path(record, [other for other in used if other is not record], state.quorum, now)
        if record.suspicion is None and record in used
        else record
        for record in state.paths
    )
    return state if paths == state.paths else replace(state, paths=paths)


def _has_port(server: ServerRecord, paths: tuple[PathRecord, ...], used: list[PathRecord]) -> bool:
    """Or none at all is asked for any more; on paths that carry nothing its port tells nothing."""
    named = [record for record in paths if any(_is_port(e, server) for e in record.targets)]
    return not named or any(record in used for record in named)


def _is_port(entry: TargetRecord, server: ServerRecord) -> bool:
    target = entry.target
    return is_service(entry) and target.origin is Origin.SERVER and target.name == server.name


def _judge_server(server: ServerRecord, used: list[PathRecord], now: float) -> ServerRecord:
    ports = [
        entry
        for record in used
        for entry in record.targets
        if _is_port(entry, server) and entry.asked_at > NEVER
    ]
    if server.state is ServerState.FAILING and (not ports or any(_works(e) for e in ports)):
        return change(server, ServerState.UP, "its port answers again", now, Evidence("service"))
    if server.state is not ServerState.UP or not ports:
        return server
    if any(entry.failures < limits.FAILURES for entry in ports):
        return server
    since = min(entry.failed_since - entry.target.timeout for entry in ports)
    hosts = [e for r in used for e in entries(r, server.name) if e.answers and not is_service(e)]
    if hosts and all(entry.answered_at <= since for entry in hosts):
        if now - since < HOST_MOST:
            return server if server.doubted_at >= since else replace(server, doubted_at=now)
        hosts = []
    who = "its host answers, its port does not" if hosts else "its port does not answer"
    reason = f"{who}, on any path: {ports[0].error}"
    evidence = Evidence("service", 0.0, 1.0, since)
    return change(server, ServerState.FAILING, reason, now, evidence)


def _pardoned(state: CoreState, now: float) -> CoreState:
    """Losses that demoted a path between the last sign of a service and its verdict were its."""
    paths = state.paths
    for server in state.servers:
        if server.state is not ServerState.FAILING or server.evidence is None:
            continue
        signs = (server.evidence.sign_at, server.mute_since)
        since = min((at for at in signs if at is not None), default=now)
        reason = f"withdrawn: {server.name} works on no path"
        paths = tuple(
            pardon(record, since, reason, now) if record.penalty_at <= server.since else record
            for record in paths
        )
    same = all(new is old for new, old in zip(paths, state.paths, strict=True))
    return state if same else replace(state, paths=paths)


def _works(entry: TargetRecord) -> bool:
    return entry.failures == 0 and entry.answers


def _judge_path(
    record: PathRecord, others: list[PathRecord], quorum: float, now: float
) -> PathRecord:
    services = [entry for entry in record.targets if is_service(entry)]
    if not services:
        return record
    working = [entry for entry in services if _works(entry)]
    if record.state is _S.FAILING:
        return _judge_failing(record, services, others, quorum, now)
    broken = [entry for entry in failing(record) if _works_elsewhere(entry, others)]
    share = _share(working, broken)
    if record.state not in _JUDGED_IN or share >= quorum:
        return record
    since = min(entry.failed_since for entry in broken)
    what = "; ".join(f"{entry.target.name}: {entry.error}" for entry in broken)
    reason = f"packets pass, services do not, and do on other paths ({what})"
    return enter(record, _S.FAILING, reason, now, Evidence("service", share, quorum, since))


def _judge_failing(
    record: PathRecord,
    services: list[TargetRecord],
    others: list[PathRecord],
    quorum: float,
    now: float,
) -> PathRecord:
    """It comes back when the services work again, or work nowhere."""
    failing = [entry for entry in services if entry.failures]
    broken = [entry for entry in failing if not _fails_elsewhere(entry, others)]
    share = _share([entry for entry in services if _works(entry)], broken)
    if share < quorum:
        return record
    how = "do not work on other paths either" if failing and not broken else "work again"
    evidence = Evidence("service", share, quorum)
    return replace(enter(record, _S.PROBATION, f"services {how}", now, evidence), admitted=True)


def _share(working: list[TargetRecord], broken: list[TargetRecord]) -> float:
    """Of the weights of those that could work; 1 if there is none."""
    good = sum(entry.target.weight for entry in working)
    bad = sum(entry.target.weight for entry in broken)
    return good / (good + bad) if good + bad else 1.0


def _twins(entry: TargetRecord, others: list[PathRecord]) -> list[TargetRecord]:
    """The same target on other paths."""
    key = entry.target.key
    return [twin for other in others for twin in other.targets if twin.target.key == key]


def _works_elsewhere(entry: TargetRecord, others: list[PathRecord]) -> bool:
    """It works on another path, and was asked there since it began to fail here.

    Where it had failed there as well, the last failure here must be of a question that left since
    it works there: it may just have come back, and not have been asked here since.
    """
    return any(
        _works(twin)
        and twin.answered_at >= entry.failed_since
        and twin.works_since <= entry.asked_at <= entry.failed_at
        for twin in _twins(entry, others)
    )


def _fails_elsewhere(entry: TargetRecord, others: list[PathRecord]) -> bool:
    """It works on no other path."""
    asked = [twin for twin in _twins(entry, others) if twin.asked_at > NEVER]
    return bool(asked) and all(twin.failures >= limits.FAILURES for twin in asked)
