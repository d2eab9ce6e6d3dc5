# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers that are silent while the paths live by others, and paths that reach no server. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from omrfast.core import choosing, limits
from omrfast.core.asking import heard_beyond
from omrfast.core.choosing import subject
from omrfast.core.replacing import replace
from omrfast.core.state import CoreState, Evidence, PathRecord, ServerRecord
from omrfast.core.transitions import enter
from omrfast.core.types import PathState, ServerState
from omrfast.core.verdict import asked_about, blame_servers, heard_by, is_silent, put

_S = PathState
WALKS = 1.5
"""Seconds from an arrival to a walk that shows it, when little is to be walked."""
_LIVING = frozenset({_S.UP, _S.DEGRADED, _S.FAILING, _S.PROBATION})


@dataclass(slots=True)
class _Heard:
    """What the living paths know of one server, by path name."""

    silent: dict[str, float] = field(default_factory=dict)
    """Since when several questions have had no answer."""
    asked: list[float] = field(default_factory=list)
    """When the last of these left, on each of those paths."""
    heard: dict[str, float] = field(default_factory=dict)
    """When the question left that was answered last."""
    is_open: bool = False
    """A path can't tell yet."""


def judge(state: CoreState, now: float) -> CoreState:
    """Find the servers that answer nowhere or not everywhere, and the paths that reach none."""
    for server in state.servers:
        if server.state in (ServerState.UP, ServerState.FAILING) and server.silent_at is None:
            state = _judge_server(state, server, now)
    for name in [record.config.name for record in state.paths]:
        record = state.path(name)
        if record.state in _LIVING:
            state = put(state, _judge_path(state, record, now))
    return state


def _listen(state: CoreState, server: ServerRecord, now: float) -> _Heard:
    found = _Heard()
    for record in state.paths:
        entries = [e for e in choosing.beyond(record) if subject(e.target) == server.name]
        entries = [entry for entry in entries if entry.answers]
        if record.state not in _LIVING or not entries or record.unused:
            continue
        waiting = [e.waiting_since for e in entries if e.waiting_since is not None]
        name = record.config.name
        if len(waiting) < len(entries):
            found.heard[name] = max(e.answered_at - (e.rtt or 0.0) for e in entries)
        elif all(is_silent(record, entry, now) for entry in entries):
            found.silent[name] = min(waiting)
            found.asked.append(max(entry.asked_at for entry in entries))
        else:
            found.is_open = True
    return found


def _judge_server(state: CoreState, server: ServerRecord, now: float) -> CoreState:
    found = _listen(state, server, now)
    lost = _lost(state, server, found, now)
    if lost != server.unreachable_on:
        state = replace(
            state,
            servers=tuple(
                replace(s, unreachable_on=lost) if s.name == server.name else s
                for s in state.servers
            ),
        )
    if not found.silent or found.heard or found.is_open:
        return state
    since = min(found.silent.values())
    lives = (heard_beyond(state.path(name), at) for name, at in found.silent.items())
    if server.heard_at >= min(found.asked) or not (len(found.silent) > 1 or any(lives)):
        return state  # what was under way may have come after the first question had left
    return blame_servers(state, [server.name], Evidence("answers", now - since, sign_at=since), now)


def _lost(state: CoreState, server: ServerRecord, found: _Heard, now: float) -> frozenset[str]:
    """Paths on which it is silent although another path has heard it since."""
    return frozenset(
        name
        for name, since in found.silent.items()
        if any(
            asked >= since and now >= heard_by(state.path(name), state.path(other), server.name)
            for other, asked in found.heard.items()
        )
    )


def _may_speak(server: ServerRecord, since: float) -> bool:
    """Whether TCP that has arrived since then may be this server's."""
    return server.arrived_at > since or server.walked_at < since + WALKS


def _judge_path(state: CoreState, record: PathRecord, now: float) -> PathRecord:
    """A path that lives but reaches no server that answers elsewhere is of no use."""
    known = {server.name: server for server in state.servers}
    name = record.config.name
    about = {n: e for n, e in asked_about(record).items() if n in known}
    if not about or any(name not in known[n].unreachable_on for n in about):
        return record
    since = min(e.waiting_since for e in about.values() if e.waiting_since is not None)
    if record.heard < since + limits.answer_limit(record.model):
        return record  # nothing has come since an answer was due: the path may be silent
    if record.tcp_at > since and any(_may_speak(known[n], since) for n in about):
        return record
    evidence = Evidence("answers", now - since, sign_at=since)
    who = ", ".join(sorted(about))
    reason = f"{who} does not answer for {(now - since) * 1e3:.0f} ms, and does on other paths"
    return enter(record, _S.UNREACHABLE, reason, now, evidence)
