# SPDX-License-Identifier: GPL-2.0-or-later
"""Uplink 1 goes silent under a running stream; and heals."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Sequence
from functools import partial

from bench.failover_case import (
    Case,
    Check,
    Figures,
    Row,
    Runs,
    at_most,
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
    two_uplinks,
)
from omrfast.act.apply import apply, observe
from omrfast.core.config import Quality
from omrfast.core.operations import SetWindow
from omrfast.lab import netns
from omrfast.lab.links import UP
from omrfast.lab.traffic import StreamSpec

BOTH_SIDES = (WITHOUT, WITH)
ROLES = ("active", "backup")
STREAMS = {
    "small-up": "paced-up",
    "small-down": "paced-down",
    "bulk-up": "bulk-up",
    "bulk-down": "bulk-down",
}
SETTLE = {"small": 2.0, "bulk": 2.0}
WINDOW = {WITHOUT: 1.7, WITH: 1.2}
"""Seconds after the black hole; without the agent stalls of up to 1.3 s are to be seen whole."""

SMALL_RATIO, SMALL_MOST, BULK_MOST, P95_MOST = 0.25, 0.180, 0.200, 0.300
ACTION_RTTS, ACTION_MORE = 4, 0.040
"""First sign to action: so many smoothed RTTs and so much more."""


# --- a silent black hole under a stream ---------------------------------------------------------


TUNED = {
    "tuning": {
        "stale_loss_cnt": 1,
        "rto_min": "20ms",
        "initial_window": 64,
        "unsent_limit": "32KB",
    }
}
"""The kernel itself sends again elsewhere after a round trip or two. A backup subflow that carried
nothing starts with 10 segments unless its route says more; what waits unsent on a subflow is in the
way of what another one's death has sent again."""
TUNED_SERVER = {
    "net/mptcp/stale_loss_cnt": 1,
    "net/ipv4/tcp_rto_min_us": 20_000,
    "net/ipv4/tcp_notsent_lowat": 32_000,
}
"""The same for what the server sends, where no agent of ours is."""
SERVER_WINDOW = 44
"""Segments, initcwnd of the server's routes: what it sends again before REMOVE_ADDR arrives begins
with what has arrived and was not acknowledged (at the rate of uplink 1, half of its RTT is 35
segments), and that takes two round trips and more from ten segments on."""
PHASE = 0.12
"""The black hole comes at a random moment of so many seconds: a stream over two uplinks arrives in
a pattern of some 60 ms, and how long it stalls depends on where in that it is cut."""


def stall(kind: str, role: str, tuned: bool, side: str) -> Figures:
    """The longest time without delivered data after uplink 1 went silent."""
    with Ground(two_uplinks(role), side, TUNED if tuned else None) as ground:
        if tuned and side == WITH:
            _tune(ground.lab.ns("vps1"))
        ground.settle()
        stream = ground.stream(StreamSpec(kind, STREAMS[kind]))
        rest(SETTLE[kind.partition("-")[0]] + random.uniform(0.0, PHASE))
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


def _tune(server: str) -> None:
    """A server's namespace."""

    def windows() -> None:
        for route, _ in observe(None, ()).windows:
            apply(SetWindow(route, SERVER_WINDOW))

    netns.sysctl(server, TUNED_SERVER)
    netns.call(server, windows)


def _since_sign(details: object) -> float | None:
    """Seconds from the first sign to the call of the kernel, as its event has it."""
    assert isinstance(details, dict)
    sign_ms = details.get("sign_ms")
    return None if sign_ms is None else float(sign_ms) / 1e3


def judge_stall(kind: str, title: str, runs: Runs) -> list[Row]:
    without, with_agent = (known(runs[side], "stall", 0.0) for side in BOTH_SIDES)
    bulk = kind.startswith("bulk")
    most = BULK_MOST if bulk else SMALL_MOST
    ratio = median(with_agent) / median(without)
    share = (Check(f"{ratio:.2f} x", f"≤ {SMALL_RATIO:g} x", ratio <= SMALL_RATIO),)
    longer = pairs_longer(with_agent, without)
    quantiles = "" if never_longer(with_agent, without) else ", by distribution too"
    checks = (
        Check(ms(with_agent), f"≤ {most * 1e3:.0f} ms", median(with_agent) <= most),
        *(() if bulk else share),
        Check(
            f"p95 {p95(with_agent) * 1e3:.0f} ms",
            f"≤ {P95_MOST * 1e3:.0f} ms",
            at_most(with_agent, P95_MOST),
        ),
        Check(
            f"longer in {longer} of {len(without)} pairs{quantiles}",
            "never longer",
            not longer and not quantiles,
        ),
        _sign_check(runs),
    )
    return [Row(title, ms(without), checks)]


def _sign_check(runs: Runs) -> Check:
    """First sign to action applied; where the event lacks the sign, from the black hole itself."""
    times = [run["sign"] if run["sign"] is not None else run["action"] for run in runs[WITH]]
    limits = [ACTION_RTTS * (run["srtt"] or 0.0) + ACTION_MORE for run in runs[WITH]]
    done = [(t, limit) for t, limit in zip(times, limits, strict=True) if t is not None]
    idle = len(times) - len(done)
    target = f"p95 ≤ 4 srtt + 40 ms ({median(limits) * 1e3:.0f})"
    if not done:
        return Check("no action", target, False)
    worst = p95([t / limit for t, limit in done])
    shown = f"sign to action {ms([t for t, _ in done])}, p95 {worst:.2f} of its limit"
    shown += f", none in {idle} runs" if idle else ""
    return Check(shown, target, not idle and worst <= 1)


def _stall_case(kind: str, role: str, tuned: bool = False) -> Case:
    title = f"black hole, {kind.replace('-', ' ')}, second {role}"
    title += ", tuned" if tuned else ""
    settle = SETTLE[kind.partition("-")[0]]
    return Case(
        name=f"blackhole-{kind}-{role}{'-tuned' if tuned else ''}",
        title=title,
        sides=BOTH_SIDES,
        measure=partial(stall, kind, role, tuned),
        judge=partial(judge_stall, kind, title),
        seconds=2 * settle + sum(WINDOW.values()) + 4.0,
    )


# --- recovery -----------------------------------------------------------------------------------

OUTAGE = 2.0
RECOVER_MORE, RECOVER_STALL = 2.0, 0.100
LOOK = 0.05
CARRIES, CARRIES_FOR = 8e6, 1.0
"""Bit/s, for so many seconds, on an uplink of 20 Mbit/s that carries a bulk transfer."""


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
    """When uplink 1 began to carry CARRIES for CARRIES_FOR; None: not by then.

    What was left in the buffers of a subflow that died is sent again as soon as its uplink heals;
    that is of no use to anybody, and less than CARRIES times CARRIES_FOR.
    """
    link = ground.lab.links["wan1"]
    seen = deque([(time.monotonic(), link.stats(UP).bytes)], maxlen=round(CARRIES_FOR / LOOK))
    while seen[-1][0] < until + CARRIES_FOR:
        rest(LOOK)
        seen.append((time.monotonic(), link.stats(UP).bytes))
        if len(seen) == seen.maxlen and _rate(seen, 1) > CARRIES / 2 and _rate(seen, -1) > CARRIES:
            return seen[0][0]
    return None


def _rate(seen: Sequence[tuple[float, int]], last: int) -> float:
    """Bit/s from the first look to another."""
    (begin, first), (end, bytes_then) = seen[0], seen[last]
    return 8 * (bytes_then - first) / (end - begin)


def judge_recovery(runs: Runs) -> list[Row]:
    most = Quality().recover_after + RECOVER_MORE
    times = {side: known(runs[side], "carrying", 99.0) for side in BOTH_SIDES}
    stalls = {side: known(runs[side], "stall", 0.0) for side in BOTH_SIDES}
    checks = (
        Check(
            f"carries again after {seconds(times[WITH])}",
            f"≤ {most:g} s",
            at_most(times[WITH], most),
        ),
        Check(
            f"longest stall meanwhile {ms(stalls[WITH])}",
            f"≤ {RECOVER_STALL * 1e3:.0f} ms",
            at_most(stalls[WITH], RECOVER_STALL),
        ),
    )
    without = f"{seconds(times[WITHOUT])} · {ms(stalls[WITHOUT])}"
    return [Row("recovery", without, checks)]


CASES = (
    *(_stall_case(kind, role) for kind in STREAMS for role in ROLES),
    *(_stall_case(kind, role, tuned=True) for kind in STREAMS for role in ROLES),
    Case(
        name="recovery",
        title="recovery",
        sides=BOTH_SIDES,
        measure=recovery,
        judge=judge_recovery,
        seconds=2 * (SETTLE["bulk"] + OUTAGE + 2) + Quality().recover_after + 3,
    ),
)
