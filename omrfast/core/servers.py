# SPDX-License-Identifier: GPL-2.0-or-later
"""The servers over all paths: what is heard of them, and what follows for their targets. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from omrfast.core import limits, shares
from omrfast.core import model as measure
from omrfast.core.choosing import subject
from omrfast.core.outcome import Decision
from omrfast.core.quality import ask_in_place_of_traffic
from omrfast.core.replacing import replace
from omrfast.core.spoilt import spoil
from omrfast.core.state import NEVER, CoreState, Evidence, PathRecord, ServerRecord, TargetRecord
from omrfast.core.transitions import pardon
from omrfast.core.types import FlowSum, Origin, ServerState

_S = ServerState

DOUBT = 0.5
"""Seconds without a sign of life, while segments are sent again to it, after which it is asked,"""
DOUBT_LASTS = 1.5
DOUBT_MOST = 10.0
"""and no path is judged for so long: until the next walk, and while it has just gone; after that
little is sent again."""
RESUMES = 2.0
RESUMES_MOST = 20.0
"""Seconds in which flows that have had no answer send what was left over: at least, and at most.
Time-outs double, so that the last one may come as late as the first ones were mute for."""


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


def on_walk(state: CoreState, sums: Mapping[str, FlowSum], now: float) -> CoreState:
    """Flows that receive show that their server is there; those that only send again, that it may
    not be, or does not listen to them: what they lose is no path's loss."""
    before = state.servers
    again = {r.config.name for r in state.paths if _syns(r) > r.syns_again}
    state = replace(state, servers=tuple(_walked(s, sums, bool(again), now) for s in before))
    stuck = any(_stuck(old, new) for old, new in zip(before, state.servers, strict=True))
    arrived = max((server.arrived_at for server in state.servers), default=NEVER)
    paths = (_served(r, arrived, stuck and r.config.name in again) for r in state.paths)
    state = replace(state, paths=tuple(paths))
    if any(_may_be_gone(server, now) for server in state.servers):
        until = now + DOUBT_LASTS
        paths = (replace(r, settles_at=max(r.settles_at, until)) for r in state.paths)
        state = replace(state, paths=tuple(paths))
    for old, server in zip(before, state.servers, strict=True):
        since = _spoilt_since(old, server, now)
        if since is not None:
            turned = (old.mute_since is None) is not (server.mute_since is None)
            state = _spoil(state, server, since, now, turned=turned)
    return state


def _may_be_gone(server: ServerRecord, now: float) -> bool:
    """It has to be asked whether it is there, and no path is to be judged before it answers."""
    gone = server.silent_at is not None and now - server.silent_since > DOUBT_MOST
    return server.doubted_at == now and not gone


def _syns(record: PathRecord) -> int:
    counters = record.model.counters
    return 0 if counters is None else counters.syn_retransmissions


def _served(record: PathRecord, arrived: float, stuck: bool) -> PathRecord:
    served_at = record.served_at if stuck else arrived
    return replace(record, served_at=served_at, syns_again=_syns(record))


def _stuck(before: ServerRecord, server: ServerRecord) -> bool:
    """Handshakes had no answer at two walks in a row."""
    return before.handshakes > 0 and server.handshakes > 0


def _walked(
    server: ServerRecord, sums: Mapping[str, FlowSum], syns: bool, now: float
) -> ServerRecord:
    """``syns``: handshakes were sent again, to whomever."""
    before = server
    flows = [sums[address] for address in server.addresses if address in sums]
    arrived = max([server.arrived_at, *(f.arrived for f in flows if f.arrived is not None)])
    heard_at = max(server.heard_at, arrived)
    again = sum(f.retransmitted_segments for f in flows)
    more = again > server.retransmitted
    server = _listened(server, arrived, more and NEVER < arrived < now - DOUBT, now)
    server = replace(
        server,
        heard_at=heard_at,
        retransmitted=again,
        handshakes=sum(f.handshakes for f in flows),
        walked_at=now,
    )
    more = more or (syns and _stuck(before, server))
    doubtful = more and NEVER < heard_at < now - DOUBT
    return replace(server, doubted_at=now) if doubtful else server


def _listened(server: ServerRecord, arrived: float, mute: bool, now: float) -> ServerRecord:
    """Whether its flows have had an answer; ``mute``: they send again, and have had none."""
    server = replace(server, arrived_at=arrived)
    if server.mute_since is None:
        since = max(arrived, now - DOUBT_LASTS)
        return replace(server, mute_since=since, mute_at=now) if mute else server
    if arrived > server.mute_at:
        lasts = min(RESUMES_MOST, max(RESUMES, now - server.mute_since))
        return replace(server, mute_since=None, resumes_until=now + lasts)
    return replace(server, mute_at=now)


def _spoilt_since(before: ServerRecord, server: ServerRecord, now: float) -> float | None:
    """Since when what its flows lose is no sign against a path; None: it may be one.

    Not for long where it answers otherwise, for a path may carry nothing but its flows.
    """
    if server.mute_since is not None and now - server.mute_since <= DOUBT_MOST:
        return server.mute_since
    if server.mute_since is None and now <= server.resumes_until:
        return max(server.mute_at, now - DOUBT_LASTS)
    if server.state is _S.FAILING and server.retransmitted != before.retransmitted:
        return now - DOUBT_LASTS
    return None


def _spoil(
    state: CoreState, server: ServerRecord, since: float, now: float, *, turned: bool
) -> CoreState:
    """Until the next walk only probes tell what the paths lose.

    ``turned``: its flows have just fallen mute, or are answered again. What that has demoted before
    this walk is taken back, unless all of it was on one path, which may be why.
    """
    losing = {
        record.config.name
        for record in state.paths
        if shares.recent(record.model.losses, now, now - since).lost
    }
    paths = state.paths
    if turned and (len(losing) > 1 or server.state is _S.FAILING):
        reason = f"withdrawn: {server.name} takes nothing, on any path"
        if server.mute_since is None:
            reason = f"withdrawn: {server.name} takes again what was sent before, on any path"
        paths = tuple(pardon(record, since, reason, now) for record in paths)
    paths = tuple(
        ask_in_place_of_traffic(record, now) if record.config.name in losing else record
        for record in paths
    )
    return replace(state, paths=tuple(_without_traffic(record, since, now) for record in paths))


def _without_traffic(record: PathRecord, since: float, now: float) -> PathRecord:
    losses = spoil(record.model.losses, since, now + DOUBT_LASTS)
    return replace(record, model=replace(record.model, losses=losses))


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
