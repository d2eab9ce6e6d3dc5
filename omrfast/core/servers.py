# SPDX-License-Identifier: GPL-2.0-or-later
"""The servers over all paths: what is heard of them, and what follows for their targets. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from omrfast.core import limits
from omrfast.core import model as measure
from omrfast.core.choosing import subject
from omrfast.core.state import (
    NEVER,
    CoreState,
    Decision,
    Evidence,
    PathRecord,
    ServerRecord,
    TargetRecord,
)
from omrfast.core.types import FlowSum, Origin, ServerState

_S = ServerState


def sync(state: CoreState, servers: Iterable[tuple[str, tuple[str, ...]]], now: float) -> CoreState:
    """The servers of the configuration; what is known of those that stay is kept."""
    known = {server.name: server for server in state.servers}
    return replace(
        state,
        servers=tuple(
            replace(known[name], addresses=addresses)
            if name in known
            else ServerRecord(name, addresses, since=now)
            for name, addresses in servers
        ),
    )


def on_walk(state: CoreState, sums: Mapping[str, FlowSum]) -> CoreState:
    """Flows that receive show that their server is there."""
    changed = []
    for server in state.servers:
        arrived = [
            flows.arrived
            for address in server.addresses
            if (flows := sums.get(address)) is not None and flows.arrived is not None
        ]
        changed.append(replace(server, heard_at=max([server.heard_at, *arrived])))
    return replace(state, servers=tuple(changed))


def entries(record: PathRecord, name: str) -> list[TargetRecord]:
    """A server's targets on a path."""
    return [
        entry
        for entry in record.targets
        if entry.target.origin is Origin.SERVER and entry.target.name == name
    ]


def listen(state: CoreState, now: float) -> CoreState:
    """Take note of what was heard: from a server that was down, too; excuse who is down."""
    servers = tuple(_listen(server, state.paths, now) for server in state.servers)
    state = replace(state, servers=servers)
    down = {s.name: s.silent_at is not None for s in servers}
    for record in state.paths:
        for entry in record.targets:
            if entry.excused and entry.waiting_since is None:
                down.setdefault(subject(entry.target), False)  # no server; has answered somewhere
    return excuse(state, down, now)


def _listen(server: ServerRecord, paths: tuple[PathRecord, ...], now: float) -> ServerRecord:
    answered = [e.answered_at for record in paths for e in entries(record, server.name)]
    heard_at = max([server.heard_at, *answered])
    if heard_at != server.heard_at:
        server = replace(server, heard_at=heard_at)
    if server.state is _S.UNKNOWN and heard_at > NEVER:
        return change(server, _S.UP, "heard", now, Evidence("answers"))
    if server.silent_at is None:
        return server
    if heard_at > server.silent_at:
        server = replace(server, silent_at=None)
        if server.state is not _S.DOWN:
            return server
        gone = heard_at - server.silent_since
        return change(server, _S.UP, f"heard again after {gone:.1f} s", now, Evidence("answers"))
    silent = now - server.silent_since
    if server.state is _S.DOWN or silent < limits.GONE:
        return server
    evidence = Evidence("answers", silent, limits.GONE, server.silent_since)
    reason = f"answers on no path for {silent:.1f} s, and the paths live"
    return change(server, _S.DOWN, reason, now, evidence)


def wake(state: CoreState) -> float:
    """When a server that is silent everywhere counts as down."""
    waiting = [
        server.silent_since + limits.GONE
        for server in state.servers
        if server.silent_at is not None and server.state is not _S.DOWN
    ]
    return min(waiting, default=float("inf"))


def excuse(state: CoreState, down: Mapping[str, bool], now: float) -> CoreState:
    """Mark, on every path, whose silence says nothing about the path; others stay marked as is."""
    paths = tuple(_excuse(record, down, now) for record in state.paths)
    unchanged = all(new is old for new, old in zip(paths, state.paths, strict=True))
    return state if unchanged else replace(state, paths=paths)


def _excuse(record: PathRecord, down: Mapping[str, bool], now: float) -> PathRecord:
    if all(down.get(subject(e.target), e.excused) == e.excused for e in record.targets):
        return record
    targets = tuple(_marked(entry, down) for entry in record.targets)
    model = measure.forget_losses(record.model)
    record = replace(record, targets=targets, model=model, bad_since=None, next_probe=NEVER)
    return replace(record, settles_at=now + limits.SETTLES)


def _marked(entry: TargetRecord, down: Mapping[str, bool]) -> TargetRecord:
    """Questions that were open while it was down say nothing when it is back."""
    is_down = down.get(subject(entry.target), entry.excused)
    if entry.excused and not is_down:
        return replace(entry, excused=False, waiting_since=None, unanswered=0)
    return replace(entry, excused=is_down)


def change(
    server: ServerRecord, state: ServerState, reason: str, now: float, evidence: Evidence
) -> ServerRecord:
    return replace(server, state=state, since=now, reason=reason, evidence=evidence)


def decisions(before: CoreState, after: CoreState, now: float) -> tuple[Decision, ...]:
    """Servers that entered another state; the first word of one is no news."""
    known = {server.name: server.state for server in before.servers}
    return tuple(
        Decision(now, "", known[s.name], s.state, s.reason, server=s.name, evidence=s.evidence)
        for s in after.servers
        if s.name in known and s.state is not known[s.name]
    )
