# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a path or a server is in its state, and what it waits for, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from omrfast.core import budget, choosing, damping, faults, limits, services, words
from omrfast.core.outcome import Wish
from omrfast.core.state import CoreState, PathRecord, ServerRecord
from omrfast.core.types import Origin, PathState, ServerState
from omrfast.core.wish import wishes
from omrfast.core.words import span

_S = PathState
_RETURNING = frozenset({_S.DEGRADED, _S.FAILING, _S.PROBATION})
_GIVEN_UP = frozenset({_S.DOWN, _S.UNREACHABLE})

Number = float | int | str | bool | None


@dataclass(frozen=True, slots=True)
class Explanation:
    kind: str
    """path or server."""
    name: str
    state: PathState | ServerState
    since_s: float
    reason: str
    lines: tuple[tuple[str, str], ...]
    """(topic, text); topics may repeat."""
    numbers: tuple[tuple[str, Number], ...]
    """What the texts say, for programs; seconds and bytes as named."""


class NothingKnown(Exception):
    """Neither a path nor a server has this name; the text says which there are."""


def explain(state: CoreState, name: str, now: float) -> Explanation:
    """A path, or a server by name or address. Raises NothingKnown."""
    for record in state.paths:
        if record.config.name == name:
            return _path(state, record, now)
    for server in state.servers:
        if name == server.name or name in server.addresses:
            return _server(state, server, now)
    paths = ", ".join(record.config.name for record in state.paths) or "none"
    servers = ", ".join(server.name for server in state.servers) or "none"
    raise NothingKnown(f"nothing is named {name!r}; paths: {paths}; servers: {servers}")


# --- a path -----------------------------------------------------------------------------------


def _path(state: CoreState, record: PathRecord, now: float) -> Explanation:
    wish = dict(wishes(state, now))[record.config.name]
    doubted = "" if record.suspicion is None else f", {record.sober} until then"
    since = span(now - record.since)
    lines = [
        ("state", f"{record.state} for {since}{doubted}, role {record.config.role}"),
        ("why", record.reason),
    ]
    if record.evidence is not None and (text := words.evidence(record.evidence, record.since)):
        lines.append(("evidence", text))
    if state.trouble is not None:
        lines.append(("trouble", f"for {span(now - state.trouble_since)}: {state.trouble}"))
    lines += _override_lines(record, now)
    lines += [("measured", text) for text in _measured(record, now)]
    others = tuple(other for other in state.paths if other is not record)
    lines += [("held by", text) for text in _held(record, others, now)]
    lines += [("services", text) for text in _services(record)]
    lines += [("waits for", text) for text in _waits(record, now)]
    lines += [("asked", text) for text in _asked(record, now)]
    lines += [("budget", text) for text in _budget(record, now)]
    lines.append(("wished", words.wish_words(wish)))
    return Explanation(
        "path",
        record.config.name,
        record.state,
        round(now - record.since, 3),
        record.reason,
        tuple(lines),
        tuple(_path_numbers(record, wish, now)),
    )


def _override_lines(record: PathRecord, now: float) -> Iterator[tuple[str, str]]:
    override = record.override
    if override is None:
        return
    left = "until told otherwise"
    if override.until is not None:
        left = f"for {span(override.until - now)} more"
    kept = "; but no other path is left, so that it is measured, and used if it answers"
    end = kept if record.kept else ", whatever is measured"
    yield "operator", f"{override.role} {left}{end}"


def _measured(record: PathRecord, now: float) -> Iterator[str]:
    """The path's figures beside its limits."""
    model, quality = record.model, record.config.quality
    recent = model.recent_rtt(now)
    if recent is not None:
        low = "" if model.rtt_min is None else f", least {span(model.rtt_min)}"
        yield f"RTT {span(recent)} (limit {span(quality.max_rtt)}{low})"
    elif model.srtt is not None:
        yield f"RTT {span(model.srtt)} when last measured (limit {span(quality.max_rtt)})"
    if model.loss is not None:
        yield f"loss {model.loss:.1%} (limit {faults.loss_limit(record.config):.1%})"
    if model.jitter > 0:
        yield f"jitter {span(model.jitter)} (limit {span(quality.max_jitter)})"
    if record.heard > 0:
        yield f"last packet or answer {span(now - record.heard)} ago"


def _held(record: PathRecord, others: tuple[PathRecord, ...], now: float) -> Iterator[str]:
    """What keeps a path that is alive from being up, or begins to."""
    if record.sober not in (_S.UP, *_RETURNING) or record.unused:
        return
    fault = faults.find(record, others, now)
    if fault is not None:
        yield fault.words + (", which our own load may have made" if fault.own else "")
    elif record.state is _S.FAILING:
        yield "its services"
    elif record.state in _RETURNING and record.good_since is None:
        share = f"{faults.EXIT:.0%}"
        what = "RTT, its 99th percentile or jitter"
        yield f"{what}: good is below {share} of the limits, and no longer risen so much"
    if record.state in _RETURNING and record.lossy:
        yield "it was lossy: enough must cross it without loss to show that it no longer is"
    if damping.holds_tail(record, now):
        yield "its 99th percentile was too slow, and too little crosses it to show what it is now"


def _services(record: PathRecord) -> Iterator[str]:
    """Those that fail without being held against the path."""
    if record.state is _S.FAILING:
        return
    for entry in services.failing(record):
        yield (
            f"{entry.target.name} does not work ({entry.error}), which is not held against the "
            "path: on no other path does it work, or none is there to compare with"
        )


def _waits(record: PathRecord, now: float) -> Iterator[str]:
    if record.unused:
        yield _waits_for_word(record, now)
        return
    if not record.link_up:
        yield "its link"
        return
    suspicion = record.suspicion
    if suspicion is not None:
        probes = limits.burst_size(record.model)
        sent = max(0, probes - suspicion.burst_left)
        verdict = span(suspicion.deadline - now)
        yield f"an answer to {sent} of {probes} probes; verdict in {verdict}"
    elif record.state is _S.UNKNOWN:
        yield f"the first answer or packet; {_next_probe(record, now)}"
    elif record.state in _GIVEN_UP:
        yield from _waits_for_life(record, now)
    elif record.state in _RETURNING:
        yield from _waits_for_good(record, now)
    elif record.bad_since is not None:
        bad, hold = now - record.bad_since, record.config.quality.hold
        yield f"better figures: beyond a limit for {span(bad)}, demoted after {span(hold)}"
    else:
        yield f"nothing; {_next_probe(record, now)}"


def _waits_for_word(record: PathRecord, now: float) -> str:
    name, override = record.config.name, record.override
    if override is None:
        return f"nothing: its role is off; `omrfast path {name} up` takes it into use"
    if override.until is not None:
        return f"the end of the operator's word, in {span(override.until - now)}"
    return f"the operator: it is switched off; `omrfast path {name} auto` ends that"


def _waits_for_life(record: PathRecord, now: float) -> Iterator[str]:
    needed = damping.recover_time(record, now)
    if record.answers:
        yield f"an answer to a probe; {_next_probe(record, now)}"
        yield f"and then {span(needed)} of good answers: half of it alone, half as backup"
    else:
        left = damping.trial_time(record, now) - (now - record.since)
        yield f"a trial as backup in {span(left)}: nobody ever answered a probe on it"
    yield from _damping(record, now)


def _waits_for_good(record: PathRecord, now: float) -> Iterator[str]:
    needed = damping.recover_time(record, now)
    if record.good_since is None:
        yield f"good figures, and then {span(needed)} of them"
    else:
        good = now - record.good_since
        yield f"good for {span(good)} of {span(needed)}: up in {span(needed - good)} if it lasts"
        if record.state is _S.PROBATION and not record.admitted:
            yield f"back as backup in {span(needed / 2 - good)}"
    yield from _damping(record, now)


def _damping(record: PathRecord, now: float) -> Iterator[str]:
    quality = record.config.quality
    penalty = damping.penalty(record, now)
    needed, usual = damping.recover_time(record, now), quality.recover_after
    if damping.holds_tail(record, now):
        times = "" if record.tails < 2 else f", {record.tails} times in a row"
        yield f"{span(needed)} because its 99th percentile was too slow{times}"
    elif span(needed) == span(usual):
        return
    elif needed > usual:
        yield (
            f"{span(needed)} instead of {span(usual)} because it was demoted "
            f"before: penalty {penalty:.1f}, halves every {span(quality.half_life)}"
        )
    else:
        clean = span(record.clean_for)
        yield f"{span(needed)} instead of {span(usual)} because it had been up for {clean}"


def _next_probe(record: PathRecord, now: float) -> str:
    if record.state is _S.UP and now - choosing.spoken_at(record) < 2 * limits.BUSY:
        return "traffic measures it, which saves probes"
    if record.next_probe <= now:
        return "the next probe is due"
    return f"the next probe is due in {span(record.next_probe - now)}"


def _asked(record: PathRecord, now: float) -> Iterator[str]:
    for entry in record.targets:
        yield f"{entry.target.key} ({words.origin(entry)}): {words.answer(entry, now)}"


def _budget(record: PathRecord, now: float) -> Iterator[str]:
    most = budget.limit(record.config)
    if most is None:
        return
    left = budget.level(record, now)
    there = f"{left / 1e3:.1f} kB are there" if left >= 0 else f"{-left / 1e3:.1f} kB are owed"
    yield (
        f"probes may take {most / 1e6:g} MB in 30 days: {record.probe_bytes / 1e3:.1f} kB so far, "
        f"{there}"
    )
    if budget.is_saving(record, now):
        until = span(budget.saved_up_at(record, now) - now)
        yield f"saving for {until}: only what can't wait is asked, and that less often"


def _path_numbers(record: PathRecord, wish: Wish, now: float) -> Iterator[tuple[str, Number]]:
    yield "role", record.config.role
    found = record.evidence
    if found is not None:
        yield "what", found.what
        yield "measured", found.measured
        yield "limit", found.limit
        yield "sign_s", None if found.sign_at is None else record.since - found.sign_at
    yield "bad_for_s", None if record.bad_since is None else now - record.bad_since
    yield "good_for_s", None if record.good_since is None else now - record.good_since
    yield "needed_s", damping.recover_time(record, now)
    yield "penalty", damping.penalty(record, now)
    yield "half_life_s", record.config.quality.half_life
    yield "next_probe_s", max(0.0, record.next_probe - now) if record.next_probe > 0 else 0.0
    yield "probe_budget", budget.limit(record.config)
    yield "probe_bytes", record.probe_bytes
    override = record.override
    yield "override", None if override is None else override.role
    left = None if override is None or override.until is None else override.until - now
    yield "override_left_s", left
    yield "present", wish.present
    yield "backup", wish.backup
    yield "route_penalty", wish.penalty


# --- a server ---------------------------------------------------------------------------------


def _server(state: CoreState, server: ServerRecord, now: float) -> Explanation:
    addresses = ", ".join(server.addresses)
    lines = [
        ("state", f"{server.state} for {span(now - server.since)}, {addresses}"),
        ("why", server.reason),
    ]
    entries = [
        (record.config.name, entry)
        for record in state.paths
        for entry in record.targets
        if entry.target.origin is Origin.SERVER and entry.target.name == server.name
    ]
    for path, entry in entries:
        said = f"{path}, {entry.target.key}: {words.answer(entry, now)}"
        if path in server.unreachable_on:
            said += "; it answers on other paths, so this one does not reach it"
        lines.append(("asked", said))
    waits = {
        ServerState.UNKNOWN: "its first answer, on any path",
        ServerState.UP: "nothing",
        ServerState.FAILING: "its service: a connection to its port, on any path",
        ServerState.DOWN: "an answer or a packet from it, on any path",
    }
    lines.append(("waits for", waits[server.state]))
    numbers: tuple[tuple[str, Number], ...] = (
        ("targets", len(entries)),
        (
            "answering",
            sum(entry.waiting_since is None and entry.rtt is not None for _, entry in entries),
        ),
        ("unreachable_on", ", ".join(sorted(server.unreachable_on)) or None),
    )
    since = round(now - server.since, 3)
    return Explanation(
        "server", server.name, server.state, since, server.reason, tuple(lines), numbers
    )
