# SPDX-License-Identifier: GPL-2.0-or-later
"""New connections while the default uplink is dead, by an application that tries again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bench.failover_case import Case, Check, Figures, Row, Runs, at_most, known, median, ms
from bench.failover_ground import WITH, WITHOUT, Ground, log_of, rest, rest_until, two_uplinks
from omrfast.lab.traffic import Attempt, StreamSpec

BOTH_SIDES = (WITHOUT, WITH)
SETTLE = 1.0
CONNECT_EVERY = 0.05
NORMAL_EVERY = 0.1
CONNECT_WINDOW = 3.4
"""Beyond the kernel's SYN at 3 s, the one without MP_CAPABLE."""
AFTERWARDS = 0.7
LATER = 0.5
WORST_MOST, LATER_RATIO = 0.500, 1.5


def connect(role: str, quiet: bool, side: str) -> Figures:
    """New connections by an application that retries; ``quiet``: the first packets for seconds.

    The good path's normal time is that of connections bound to it, before the black hole.
    """
    with Ground(two_uplinks(role), side) as ground:
        ground.settle()
        normal = ground.stream(
            StreamSpec("normal", "connect", interval=NORMAL_EVERY, source="10.2.0.2")
        )
        new = StreamSpec("new", "connect", interval=CONNECT_EVERY)
        stream = None if quiet else ground.stream(new)
        rest(SETTLE)
        usual = [a.done - a.began for a in normal.record().attempts if a.done is not None]
        if quiet:
            normal.close()
            rest(SETTLE)
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
    checks = (
        Check(
            f"worst {ms(worst[WITH])}{_never(runs[WITH])}",
            f"≤ {WORST_MOST * 1e3:.0f} ms",
            at_most(worst[WITH], WORST_MOST),
        ),
        Check(
            f"begun 500 ms after: {median(ratios[WITH]):.2f} x normal ({normal * 1e3:.0f} ms)",
            f"≤ {LATER_RATIO:g} x",
            at_most(ratios[WITH], LATER_RATIO),
        ),
        Check(f"plain TCP: {plain[WITH]}", "none", plain[WITH] == 0),
    )
    without = (
        f"{ms(worst[WITHOUT])}{_never(runs[WITHOUT])} · {median(ratios[WITHOUT]):.1f} x"
        f" · plain TCP: {plain[WITHOUT]}"
    )
    return [Row(title, without, checks)]


def _connect_case(role: str, quiet: bool) -> Case:
    title = f"new connections{' after quiet' if quiet else ''}, second {role}"
    each = SETTLE * (2 if quiet else 1) + CONNECT_WINDOW + AFTERWARDS
    return Case(
        name=f"connect-{'quiet-' if quiet else ''}{role}",
        title=title,
        sides=BOTH_SIDES,
        measure=partial(connect, role, quiet),
        judge=partial(judge_connect, title),
        seconds=2 * each + 4.0,
    )


CASES = (
    _connect_case("active", quiet=False),
    _connect_case("backup", quiet=True),
)
