# SPDX-License-Identifier: GPL-2.0-or-later
"""Uplink 1 turns bad without dying; uplink 2 is far away."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from bench.failover_case import (
    Case,
    Check,
    Figures,
    Row,
    Runs,
    at_most,
    known,
    median,
    megabits,
    ms,
    quantile,
)
from bench.failover_ground import (
    ALONE,
    FIRST_RTT,
    WITH,
    WITHOUT,
    Ground,
    Said,
    applied,
    good_alone,
    log_of,
    made_backup,
    removal,
    rest,
    rest_until,
    two_uplinks,
)
from omrfast.lab.topology import TopologySpec, UplinkSpec
from omrfast.lab.traffic import StreamSpec

ALL_SIDES = (WITHOUT, WITH, ALONE)
DEMOTED_MOST = 2.0
"""Seconds; what follows them is "afterwards", with the agent and without."""
WINDOW = 2.5
SETTLE = 1.5
REST = 0.4
"""For the last answers."""
P99_RATIO = 1.3
STREAMS = {
    "request": StreamSpec("request", "request", interval=0.05),
    "paced": StreamSpec("paced", "paced-up"),
}
SPOILS = {
    "slow": ("+300 ms", {"delay": (FIRST_RTT + 0.3) / 2}),
    "lossy": ("10 % loss", {"loss": 0.1}),
}


def demotion(said: list[Said], path: str, at: float) -> float | None:
    """Seconds from ``at`` until the path's endpoint was made backup, or removed."""
    done = (made_backup(said, path), removal(said, path))
    return min((applied(one) - at for one in done if one is not None), default=None)


def _demoted(said: list[Said], at: float) -> Figures:
    return {
        "demoted": demotion(said, "wan1", at),
        "removed": removal(said, "wan1") is not None,
        "log": log_of(said, at),
    }


# --- objective = "latency" ----------------------------------------------------------------------


def latency(spoil: str, kind: str, side: str) -> Figures:
    """Messages sent from DEMOTED_MOST after uplink 1 turned bad; ALONE: on uplink 2 only."""
    with Ground(good_alone() if side == ALONE else two_uplinks(), side) as ground:
        stream = ground.stream(STREAMS[kind])
        rest(SETTLE)
        at = ground.change("wan1", **({} if side == ALONE else SPOILS[spoil][1]))
        begin = at + (0.0 if side == ALONE else DEMOTED_MOST)
        rest_until(begin + WINDOW + REST)
        said = ground.said(since=at)
        record = stream.record()
    times = [got - sent for sent, got in record.messages if begin <= sent < begin + WINDOW]
    figures: Figures = {"times": [round(one, 6) for one in times]}
    if side == WITH:
        figures |= _demoted(said, at)
    return figures


def _p99(runs: Runs, side: str) -> float:
    """Over the messages of all runs."""
    return quantile([one for run in runs[side] for one in run["times"]], 0.99)


def judge_latency(title: str, runs: Runs) -> list[Row]:
    demoted = known(runs[WITH], "demoted", 99.0)
    without, with_agent, alone = (_p99(runs, side) for side in ALL_SIDES)
    middle = median([one for run in runs[WITH] for one in run["times"]])
    removed = sum(run["removed"] for run in runs[WITH])
    more = f", removed in {removed}" if removed else ""
    checks = (
        Check(
            f"demoted after {ms(demoted)}{more}",
            f"≤ {DEMOTED_MOST:g} s",
            at_most(demoted, DEMOTED_MOST),
        ),
        Check(
            f"p99 {with_agent * 1e3:.0f} ms (median {middle * 1e3:.0f}), "
            f"{with_agent / alone:.2f} x the good uplink alone ({alone * 1e3:.0f})",
            f"≤ {P99_RATIO:g} x",
            with_agent <= P99_RATIO * alone,
        ),
    )
    return [Row(title, f"never · p99 {without * 1e3:.0f} ms", checks)]


def _latency_case(spoil: str, kind: str) -> Case:
    title = f"{SPOILS[spoil][0]}, {kind}"
    each = SETTLE + WINDOW + REST
    return Case(
        name=f"{spoil}-{kind}",
        title=title,
        sides=ALL_SIDES,
        measure=partial(latency, spoil, kind),
        judge=partial(judge_latency, title),
        seconds=3 * each + 2 * DEMOTED_MOST + 3.0,
    )


# --- goodput ------------------------------------------------------------------------------------

THROUGHPUT = {"agent": {"objective": "throughput"}}
OWN_BUFFER: dict[str, Any] = {"tcp_wmem_max": None}
"""Goodput is measured with the kernel's own send buffer: the bound that keeps stalls short costs
some of it where packets are lost."""
BULK_SETTLE = 2.5
GOODPUT_WINDOW = 4.0
SLOW_LEAST, LOSSY_LEAST = 19e6, 34e6
FAR_RTT = 0.9
FAR_RATIO = 0.9
FAR_SETTLE = 5.0
"""Two round trips until the far subflow is joined, and the agent's two seconds."""
THROUGHPUT_SPOILS = {
    "slow": ("RTT 500 ms", {"delay": 0.25}, SLOW_LEAST),
    "lossy": ("10 % loss", {"loss": 0.1}, LOSSY_LEAST),
}


def throughput(spoil: str, side: str) -> Figures:
    """Goodput of an upload from DEMOTED_MOST after uplink 1 turned bad; ALONE: on uplink 2 only."""
    topology = good_alone() if side == ALONE else two_uplinks()
    with Ground(replace(topology, **OWN_BUFFER), side, THROUGHPUT) as ground:
        stream = ground.stream(StreamSpec("upload", "bulk-up"))
        rest(BULK_SETTLE)
        at = ground.change("wan1", **({} if side == ALONE else THROUGHPUT_SPOILS[spoil][1]))
        rest_until(at + DEMOTED_MOST + GOODPUT_WINDOW)
        said = ground.said(since=at)
        record = stream.record()
    begin = at + DEMOTED_MOST
    figures: Figures = {
        "goodput": 8 * record.delivered(begin, begin + GOODPUT_WINDOW) / GOODPUT_WINDOW
    }
    if side == WITH:
        figures |= _demoted(said, at)
    return figures


def judge_throughput(spoil: str, runs: Runs) -> list[Row]:
    words, _, least = THROUGHPUT_SPOILS[spoil]
    without, with_agent = (known(runs[side], "goodput", 0.0) for side in (WITHOUT, WITH))
    alone = known(runs.get(ALONE, ()), "goodput", 0.0)
    beside = f" (the good uplink alone {median(alone) / 1e6:.1f})" if alone else ""
    check = Check(
        megabits(with_agent) + beside,
        f"≥ {least / 1e6:.0f} Mbit/s",
        median(with_agent) >= least,
    )
    return [Row(f"{words}, throughput: bulk goodput", megabits(without), (check,))]


def _throughput_case(spoil: str) -> Case:
    sides = ALL_SIDES if spoil == "slow" else (WITHOUT, WITH)
    return Case(
        name=f"throughput-{spoil}",
        title=f"{THROUGHPUT_SPOILS[spoil][0]}, objective throughput",
        sides=sides,
        measure=partial(throughput, spoil),
        judge=partial(judge_throughput, spoil),
        seconds=len(sides) * (BULK_SETTLE + DEMOTED_MOST + GOODPUT_WINDOW) + 2,
    )


def far(side: str) -> Figures:
    """Goodput of an upload with an active uplink of FAR_RTT beside the good one, or without it."""
    near = UplinkSpec(rtt=FIRST_RTT)
    uplinks = (near,) if side == ALONE else (near, UplinkSpec(rtt=FAR_RTT))
    with Ground(TopologySpec(uplinks=uplinks, **OWN_BUFFER), side) as ground:
        stream = ground.stream(StreamSpec("upload", "bulk-up"))
        rest(FAR_SETTLE if side != ALONE else BULK_SETTLE)
        begin = ground.change("wan1")
        rest(GOODPUT_WINDOW)
        said = ground.said(since=0.0)
        record = stream.record()
    figures: Figures = {
        "goodput": 8 * record.delivered(begin, begin + GOODPUT_WINDOW) / GOODPUT_WINDOW
    }
    return figures | ({"log": log_of(said, begin)} if side == WITH else {})


def judge_far(runs: Runs) -> list[Row]:
    rates = {side: known(runs[side], "goodput", 0.0) for side in ALL_SIDES}
    ratio = median(rates[WITH]) / median(rates[ALONE])
    check = Check(
        f"{megabits(rates[WITH])}, {ratio:.2f} x the good uplink alone "
        f"({median(rates[ALONE]) / 1e6:.1f})",
        f"≥ {FAR_RATIO:g} x",
        ratio >= FAR_RATIO,
    )
    return [Row("second uplink of 900 ms: bulk goodput", megabits(rates[WITHOUT]), (check,))]


CASES = (
    *(_latency_case(spoil, kind) for spoil in SPOILS for kind in STREAMS),
    *(_throughput_case(spoil) for spoil in THROUGHPUT_SPOILS),
    Case(
        name="far-second",
        title="second uplink of 900 ms",
        sides=ALL_SIDES,
        measure=far,
        judge=judge_far,
        seconds=2 * FAR_SETTLE + BULK_SETTLE + 3 * GOODPUT_WINDOW + 3.5,
    ),
)
