# SPDX-License-Identifier: GPL-2.0-or-later
"""The one entry of the core: step(state, event, now) -> Outcome. Pure.

A path goes silent: suspect, and a burst of probes leaves on it; anything that arrives on it
from beyond its gateway clears the suspicion; silence until the proof's deadline is death, or, where
the gateway answers, a question to the other paths (verdict.py). A path goes bad: degraded after
``hold``. It comes back through probation, where it has to answer for ``recover_after``; but when
a probe that left before the verdict is answered after it, the path was slow and not dead, and is
degraded at once: nothing that arrives within the proof's deadline could have told the two apart.

Between the ticks the counters are looked at as often as silence has to be noticed in time; most of
these looks find none, and the core does not hear of them (glance.py).
"""

from __future__ import annotations

from collections.abc import Callable

from omrfast.core import (
    damping,
    glance,
    limits,
    overrides,
    quality,
    reach,
    servers,
    services,
    suspicion,
    trouble,
    verdict,
)
from omrfast.core.asking import are_mute, heard_beyond, note_deaf, traffic_answers
from omrfast.core.config import PathConfig
from omrfast.core.events import (
    Event,
    LinkChanged,
    OverrideChanged,
    PathProof,
    ProbeFailed,
    ProbeReply,
    ProbesLate,
    ServersChanged,
    TargetsChanged,
    Tick,
    Walked,
)
from omrfast.core.happenings import (
    on_failure,
    on_link,
    on_proof,
    on_reply,
    on_tail,
    on_targets,
    on_tick,
    on_trial,
)
from omrfast.core.outcome import Decision, Outcome, Wish
from omrfast.core.replacing import replace
from omrfast.core.schedule import send_due
from omrfast.core.signs import silence
from omrfast.core.state import CoreState, Evidence, PathRecord
from omrfast.core.transitions import GIVEN_UP, enter
from omrfast.core.types import PathState
from omrfast.core.wish import settle, wishes

_S = PathState
_SILENT_KINDS = frozenset({_S.UNKNOWN, _S.UP, _S.DEGRADED, _S.FAILING, _S.PROBATION})
"""States in which silence makes a path suspect."""


def step(state: CoreState, event: Event, now: float) -> Outcome:
    """Take in one event. The answer holds the new state, what is wished, decided and probed."""
    return _judged(state, overrides.expire(_take(state, event, now), now), now)


def _judged(before: CoreState, state: CoreState, now: float) -> Outcome:
    state = servers.listen(state, now)
    paths = state.paths
    state = replace(
        state,
        paths=tuple(
            record
            if record.unused
            else _judge(record, tuple(r for r in paths if r is not record), now)
            for record in paths
        ),
    )
    for judgement in (verdict, reach, trouble, services):
        state = judgement.judge(state, now)
    state = _keep_admitted(before, state, now)
    state, probes = send_due(state, now)
    state = settle(state, now)
    wished = wishes(state, now)
    given_up = _given_up(state, wished)
    watch, wake_at = glance.watch(state, now)
    return Outcome(
        state=state,
        wishes=wished,
        decisions=_decisions(before, state, now),
        probes=probes,
        aborts=given_up - _given_up(before, wishes(before, now)) if given_up else given_up,
        wake_at=wake_at,
        watch=watch,
    )


def _given_up(state: CoreState, wished: tuple[tuple[str, Wish], ...]) -> frozenset[str]:
    """Dead paths that new connections are led away from: one that is kept as the last is not."""
    return frozenset(
        name for name, wish in wished if wish.penalty and state.path(name).state in GIVEN_UP
    )


def _take(state: CoreState, event: Event, now: float) -> CoreState:
    match event:
        case Tick(counters):
            paths = (on_tick(r, counters.get(r.config.name), now) for r in state.paths)
            return replace(state, paths=tuple(paths))
        case Walked(sums, tails):
            paths = (on_tail(r, tails.get(r.config.name), now) for r in state.paths)
            return servers.on_walk(replace(state, paths=tuple(paths)), sums, now)
        case ServersChanged(named, quorum):
            return replace(servers.sync(state, named, now), quorum=quorum)
        case ProbesLate(names, ordered_at, left_at):
            late = (
                suspicion.postpone(r, ordered_at, left_at) if r.config.name in names else r
                for r in state.paths
            )
            return replace(state, paths=tuple(late))
        case ProbeReply(path):
            shared = trouble.lately(state, now)
            return _change(state, path, lambda r: on_reply(r, event, now, shared=shared))
        case ProbeFailed(path):
            return _change(state, path, lambda r: on_failure(r, event, now))
        case PathProof(path, text):
            return _change(state, path, lambda r: on_proof(r, text, None, now))
        case TargetsChanged(path, targets):
            return _change(state, path, lambda r: on_targets(r, targets, now))
        case LinkChanged(path, up, text):
            return _change(state, path, lambda r: on_link(r, up, text, now))
        case OverrideChanged(path, override):
            return _change(state, path, lambda r: overrides.on_word(r, override, now))


def _keep_admitted(before: CoreState, after: CoreState, now: float) -> CoreState:
    """A dead path that was not taken away needs no admission when it answers again."""
    if not any(_answers_again(o, n) for o, n in zip(before.paths, after.paths, strict=True)):
        return after
    kept = {name for name, wish in wishes(before, now) if wish.present is not False}
    return replace(
        after,
        paths=tuple(
            replace(new, admitted=True)
            if _answers_again(old, new) and new.config.name in kept
            else new
            for old, new in zip(before.paths, after.paths, strict=True)
        ),
    )


def _answers_again(before: PathRecord, after: PathRecord) -> bool:
    return before.state in GIVEN_UP and after.state is _S.PROBATION


def _change(state: CoreState, name: str, change: Callable[[PathRecord], PathRecord]) -> CoreState:
    return replace(
        state, paths=tuple(change(r) if r.config.name == name else r for r in state.paths)
    )


def _decisions(before: CoreState, after: CoreState, now: float) -> tuple[Decision, ...]:
    paths = tuple(
        _decision(old, new, now)
        for old, new in zip(before.paths, after.paths, strict=True)
        if old.state is not new.state
    )
    return (
        *overrides.decisions(before, after, now),
        *paths,
        *servers.decisions(before, after, now),
    )


def _decision(old: PathRecord, new: PathRecord, now: float) -> Decision:
    """A suspicion that came to nothing says so; the path itself says on why it is what it is."""
    if old.suspicion is not None and old.suspicion.before is new.state:
        return Decision(now, new.config.name, old.state, new.state, new.cleared)
    return Decision(now, new.config.name, old.state, new.state, new.reason, evidence=new.evidence)


# --- judgement of one path ------------------------------------------------------------------------


def _judge(record: PathRecord, others: tuple[PathRecord, ...], now: float) -> PathRecord:
    """At most one transition; the order is the order of certainty."""
    if record.state is _S.SUSPECT:
        return suspicion.judge(record, now)
    if record.state is _S.DOWN and record.link_up:
        return _judge_mute(record, now) if record.answers else _judge_unanswering(record, now)
    if record.state is _S.UNKNOWN and heard_beyond(record, record.since):
        return enter(record, _S.UP, "packets arrive", now, Evidence("answers"))
    if record.state in _SILENT_KINDS:
        sign = silence(record, now)
        if sign is not None:
            return suspicion.suspect(record, sign, now)
    measured = not record.excused and now >= record.settles_at
    if record.state in (_S.UP, _S.DEGRADED, _S.PROBATION) and measured:
        return quality.judge(record, others, now)
    return record


def _judge_unanswering(record: PathRecord, now: float) -> PathRecord:
    if heard_beyond(record, record.since):
        return on_trial(record, "packets arrive again", now)
    waited = now - record.since
    if waited > damping.trial_time(record, now):
        return on_trial(record, f"dead for {waited:.0f} s", now)
    return record


def _judge_mute(record: PathRecord, now: float) -> PathRecord:
    """Probes were answered before it died: traffic brings it back only if they no longer are."""
    since = record.good_since
    if not traffic_answers(record, now):
        return record if since is None else replace(record, good_since=None)
    if since is None:
        return replace(record, good_since=now)
    if now - since > limits.MUTE_FOR and are_mute(record, since):
        return on_trial(note_deaf(record), "packets are answered again", now)
    return record


# --- the paths of an agent ------------------------------------------------------------------------


def start(records: tuple[PathRecord, ...], now: float) -> CoreState:
    """The state at the beginning: nothing heard yet, a probe due on every path."""
    return CoreState(
        paths=tuple(replace(record, since=now, next_probe=now) for record in records),
        started=now,
    )


def reconfigure(state: CoreState, paths: tuple[PathConfig, ...], now: float) -> CoreState:
    """Other paths, or the same with other limits; paths known by name keep what is known."""
    known = {record.config.name: record for record in state.paths}
    return replace(
        state,
        paths=tuple(
            overrides.follow(known[path.name], replace(known[path.name], config=path), now)
            if path.name in known
            else PathRecord(path, since=now, next_probe=now)
            for path in paths
        ),
    )
