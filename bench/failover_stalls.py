# SPDX-License-Identifier: GPL-2.0-or-later
"""Uplink 1 goes silent, under streams that run and under connections that begin; and heals."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from bench.failover_case import (
    Case,
    Figures,
    Row,
    Runs,
    known,
    median,
    ms,
    never_longer,
    p95,
    pairs_longer,
    seconds,
)
from bench.failover_ground import (
    WITH,
    WITHOUT,
    Ground,
    applied,
    log_of,
    removal,
    rest,
    rest_until,
    two_uplinks,
)
from omrfast.core.config import Quality
from omrfast.lab.links import UP
from omrfast.lab.traffic import Attempt, StreamSpec

BOTH_SIDES = (WITHOUT, WITH)
ROLES = ("active", "backup")
STREAMS = {
    "small-up": "paced-up",
    "small-down": "paced-down",
    "bulk-up": "bulk-up",
    "bulk-down": "bulk-down",
}
SETTLE = {"small": 2.0, "bulk": 2.5}
WINDOW = {WITHOUT: 2.0, WITH: 1.2}
"""Seconds after the black hole; without the agent stalls of up to 1.3 s are to be seen whole."""

SMALL_RATIO, SMALL_MOST, BULK_MOST, P95_MOST = 0.25, 0.180, 0.200, 0.300
ACTION_RTTS, ACTION_MORE = 4, 0.040
"""First sign to action: so many smoothed RTTs and so much more."""


# --- a silent black hole under a stream ---------------------------------------------------------


def stall(kind: str, role: str, side: str) -> Figures:
    """The longest time without delivered data after uplink 1 went silent."""
    with Ground(two_uplinks(role), side) as ground:
        stream = ground.stream(StreamSpec(kind, STREAMS[kind]))
        rest(SETTLE[kind.partition("-")[0]])
        srtt = ground.smoothed_rtt("wan1")
        at = ground.black_hole("wan1")
        rest(WINDOW[side])
        said = ground.said(since=at)
        record = stream.record()
    action = removal(said, "wan1")
    figures: Figures = {"stall": record.longest_gap(at, record.taken)}
    if side == WITH:
        figures |= {
            "action": None if action is None else applied(action) - at,
            "sign": None if action is None else _since_sign(action.details),
            "srtt": srtt,
            "log": log_of(said, at),
        }
    return figures


def _since_sign(details: object) -> float | None:
    """Seconds from the first sign to where the action took effect, as its event has it."""
    assert isinstance(details, dict)
    if details.get("sign_ms") is None:
        return None
    return (float(details["sign_ms"]) - float(details.get("took_ms") or 0.0)) / 1e3


def judge_stall(kind: str, title: str, runs: Runs) -> list[Row]:
    without, with_agent = (known(runs[side], "stall", 0.0) for side in BOTH_SIDES)
    ratio = median(with_agent) / median(without)
    bulk = kind.startswith("bulk")
    most = BULK_MOST if bulk else SMALL_MOST
    target = f"≤ {most * 1e3:.0f} ms" + ("" if bulk else f", ≤ {SMALL_RATIO:g} x")
    rows = [
        Row(
            f"{title}: longest stall",
            ms(without),
            f"{ms(with_agent)}, {ratio:.2f} x",
            target,
            median(with_agent) <= most and (bulk or ratio <= SMALL_RATIO),
        ),
        Row(
            f"{title}: p95",
            f"{p95(without) * 1e3:.0f} ms",
            f"{p95(with_agent) * 1e3:.0f} ms",
            f"≤ {P95_MOST * 1e3:.0f} ms",
            p95(with_agent) <= P95_MOST,
        ),
        Row(
            f"{title}: longer than without",
            "-",
            f"{pairs_longer(with_agent, without)} of {len(without)} pairs, "
            + ("no" if never_longer(with_agent, without) else "a")
            + " quantile",
            "never",
            not pairs_longer(with_agent, without) and never_longer(with_agent, without),
        ),
    ]
    return [*rows, _sign_row(title, runs)]


def _sign_row(title: str, runs: Runs) -> Row:
    """First sign to action applied; where the event lacks the sign, from the black hole itself."""
    times = [run["sign"] if run["sign"] is not None else run["action"] for run in runs[WITH]]
    limits = [ACTION_RTTS * (run["srtt"] or 0.0) + ACTION_MORE for run in runs[WITH]]
    done = [(t, limit) for t, limit in zip(times, limits, strict=True) if t is not None]
    whole = len(done) == len(times)
    if not done:
        return Row(f"{title}: sign to action", "-", "no action", "p95 ≤ 4 srtt + 40 ms", False)
    over = p95([t / limit for t, limit in done])
    shown = f"{ms([t for t, _ in done])}, p95 {over:.2f} of the limit"
    if not whole:
        shown += f", none in {len(times) - len(done)} runs"
    limit = median([limit for _, limit in done])
    target = f"p95 ≤ 4 srtt + 40 ms ({limit * 1e3:.0f} ms)"
    return Row(f"{title}: sign to action", "-", shown, target, whole and over <= 1)


def _stall_case(kind: str, role: str) -> Case:
    title = f"black hole, {kind.replace('-', ' ')}, second {role}"
    settle = SETTLE[kind.partition("-")[0]]
    return Case(
        name=f"blackhole-{kind}-{role}",
        title=title,
        sides=BOTH_SIDES,
        measure=partial(stall, kind, role),
        judge=partial(judge_stall, kind, title),
        seconds=2 * settle + sum(WINDOW.values()) + 2.5,
    )


# --- new connections while the default uplink is dead -------------------------------------------

CONNECT_EVERY = 0.05
NORMAL_EVERY = 0.1
CONNECT_WINDOW = 3.4
"""Beyond the kernel's SYN at 3 s, the one without MP_CAPABLE."""
AFTERWARDS = 1.0
LATER = 0.5
WORST_MOST, LATER_RATIO = 0.500, 1.5


def connect(role: str, quiet: bool, side: str) -> Figures:
    """New connections by an application that retries; ``quiet``: the first packets for seconds.

    The good path's normal time is that of connections bound to it, before the black hole.
    """
    with Ground(two_uplinks(role), side) as ground:
        normal = ground.stream(
            StreamSpec("normal", "connect", interval=NORMAL_EVERY, source="10.2.0.2")
        )
        new = StreamSpec("new", "connect", interval=CONNECT_EVERY)
        stream = None if quiet else ground.stream(new)
        rest(SETTLE["small"])
        usual = [a.done - a.began for a in normal.record().attempts if a.done is not None]
        if quiet:
            normal.close()
            rest(SETTLE["small"])
        at = ground.black_hole("wan1")
        stream = stream or ground.stream(new)
        rest_until(at + CONNECT_WINDOW)
        ground.change("wan1", blackhole=False)
        rest(AFTERWARDS)
        said = ground.said(since=at)
        record = stream.record()
    begun = [a for a in record.attempts if at <= a.began < at + CONNECT_WINDOW - LATER]
    later = [a for a in begun if a.began >= begun[0].began + LATER]
    # Accepted before the black hole and not heard since: nothing but their own time-out ends them.
    before = [a for a in record.attempts if at - 1 <= a.began < at]
    figures: Figures = {
        "normal": median(usual),
        "worst": max(_took(a, record.taken) for a in begun),
        "later": max(_took(a, record.taken) for a in later),
        "later median": median([_took(a, record.taken) for a in later]),
        "unanswered": sum(a.done is None for a in begun),
        "unanswered, begun before": sum(a.done is None for a in before),
        "plain TCP": sum(a.done is not None and not a.mptcp for a in record.attempts),
    }
    return figures | ({"log": log_of(said, at)} if side == WITH else {})


def _took(attempt: Attempt, end: float) -> float:
    """Until its first byte, at least as long as it was watched."""
    return (end if attempt.done is None else attempt.done) - attempt.began


def _never(runs: Sequence[Figures]) -> str:
    """In words: how many had no first byte while they were watched."""
    words = ""
    for key, when in (("unanswered", "not at all"), ("unanswered, begun before", "begun before")):
        count = sum(run[key] for run in runs)
        words += f", {count} {when}" if count else ""
    return words


def judge_connect(title: str, runs: Runs) -> list[Row]:
    worst = {side: known(runs[side], "worst", 0.0) for side in BOTH_SIDES}
    ratios = {side: [run["later"] / run["normal"] for run in runs[side]] for side in BOTH_SIDES}
    plain = {side: sum(run["plain TCP"] for run in runs[side]) for side in BOTH_SIDES}
    normal = median(known(runs[WITH], "normal", 0.0))
    return [
        Row(
            f"{title}: begun at the worst moment",
            ms(worst[WITHOUT]) + _never(runs[WITHOUT]),
            ms(worst[WITH]) + _never(runs[WITH]),
            f"≤ {WORST_MOST * 1e3:.0f} ms",
            p95(worst[WITH]) <= WORST_MOST,
        ),
        Row(
            f"{title}: any begun 500 ms after",
            f"{median(ratios[WITHOUT]):.1f} x normal",
            f"{ms(known(runs[WITH], 'later', 0.0))}, {median(ratios[WITH]):.2f} x normal "
            f"({normal * 1e3:.0f} ms)",
            f"≤ {LATER_RATIO:g} x",
            p95(ratios[WITH]) <= LATER_RATIO,
        ),
        Row(
            f"{title}: plain TCP afterwards",
            f"{plain[WITHOUT]} connections",
            f"{plain[WITH]} connections",
            "none",
            plain[WITH] == 0,
        ),
    ]


def _connect_case(role: str, quiet: bool) -> Case:
    title = f"new connections{' after quiet' if quiet else ''}, second {role}"
    each = SETTLE["small"] * (2 if quiet else 1) + CONNECT_WINDOW + AFTERWARDS
    return Case(
        name=f"connect-{'quiet-' if quiet else ''}{role}",
        title=title,
        sides=BOTH_SIDES,
        measure=partial(connect, role, quiet),
        judge=partial(judge_connect, title),
        seconds=2 * each + 2.5,
    )


# --- recovery -----------------------------------------------------------------------------------

OUTAGE = 2.0
RECOVER_MORE, RECOVER_STALL = 2.0, 0.100
LOOK = 0.05
CARRIES = 2e6
"""Bit/s that the emulator lets through on an uplink that carries traffic; probes are far below."""


def recovery(side: str) -> Figures:
    """Uplink 1 heals after OUTAGE: when it carries an upload again, and the stalls meanwhile."""
    limit = Quality().recover_after + RECOVER_MORE
    with Ground(two_uplinks(), side) as ground:
        stream = ground.stream(StreamSpec("upload", "bulk-up"))
        rest(SETTLE["bulk"])
        ground.black_hole("wan1")
        rest(OUTAGE)
        at = ground.change("wan1", blackhole=False)
        carrying = _carrying(ground, until=at + limit + 2)
        rest(1.0)
        said = ground.said(since=at)
        record = stream.record()
    figures: Figures = {
        "carrying": None if carrying is None else carrying - at,
        "stall": record.longest_gap(at, record.taken - 0.2),
    }
    return figures | ({"log": log_of(said, at)} if side == WITH else {})


def _carrying(ground: Ground, until: float) -> float | None:
    """When uplink 1 first carried traffic; None: not by then."""
    link = ground.lab.links["wan1"]
    before, then = link.stats(UP).bytes, time.monotonic()
    while (now := time.monotonic()) < until:
        rest(LOOK)
        sent = link.stats(UP).bytes
        if 8 * (sent - before) / (time.monotonic() - then) > CARRIES:
            return now
        before, then = sent, time.monotonic()
    return None


def judge_recovery(runs: Runs) -> list[Row]:
    most = Quality().recover_after + RECOVER_MORE
    times = {side: known(runs[side], "carrying", 99.0) for side in BOTH_SIDES}
    stalls = {side: known(runs[side], "stall", 0.0) for side in BOTH_SIDES}
    return [
        Row(
            "recovery: carries traffic again",
            seconds(times[WITHOUT]),
            seconds(times[WITH]),
            f"≤ {most:g} s",
            p95(times[WITH]) <= most,
        ),
        Row(
            "recovery: longest stall meanwhile",
            ms(stalls[WITHOUT]),
            ms(stalls[WITH]),
            f"≤ {RECOVER_STALL * 1e3:.0f} ms",
            p95(stalls[WITH]) <= RECOVER_STALL,
        ),
    ]


CASES = (
    *(_stall_case(kind, role) for kind in STREAMS for role in ROLES),
    *(_connect_case(role, quiet=False) for role in ROLES),
    _connect_case("active", quiet=True),
    Case(
        name="recovery",
        title="recovery",
        sides=BOTH_SIDES,
        measure=recovery,
        judge=judge_recovery,
        seconds=2 * (SETTLE["bulk"] + OUTAGE + Quality().recover_after + 3.0) + 2.5,
    ),
)
