# SPDX-License-Identifier: GPL-2.0-or-later
"""What takes its time: an idle backup that dies, loss for ten minutes, healthy paths, cost."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from bench import agent_cost
from bench.failover_case import Case, Check, Figures, Row, Runs, seconds
from bench.failover_ground import LOWER, WITH, Ground, Said, log_of, rest, two_uplinks
from bench.false_alarms import judge_live, live
from omrfast.lab.traffic import StreamSpec

IDLE_LABS = 7
IDLE_SETTLE = 5.0
KNOWN_MOST = 80.0
"""An idle backup is asked every 60 s ± 20 %; the rest is for the burst that proves."""


# --- the idle backup ----------------------------------------------------------------------------


def idle_backup(side: str) -> Figures:
    """Time until the agent knew that its idle backup is dead, on a router without any traffic; as
    many labs as there are runs in other cases, at once: it is a matter of seconds."""
    with ThreadPoolExecutor(IDLE_LABS) as pool:
        return {"known": list(pool.map(_idle_backup_dies, range(IDLE_LABS)))}


def _idle_backup_dies(number: int) -> float | None:
    with Ground(two_uplinks("backup"), WITH) as ground:
        rest(IDLE_SETTLE + number)  # not all in the same phase of their probes
        at = ground.black_hole("wan2")
        while time.monotonic() < at + KNOWN_MOST + 5:
            rest(0.5)
            dead = [s for s in ground.said(since=at) if s.path == "wan2" and s.entered == "down"]
            if dead:
                return dead[0].at - at
    return None


def judge_idle_backup(runs: Runs) -> list[Row]:
    times = [99.0 if one is None else one for run in runs[WITH] for one in run["known"]]
    check = Check(
        f"known after {seconds(times)}",
        f"before it is needed (≤ {KNOWN_MOST:g} s)",
        max(times) <= KNOWN_MOST,
    )
    return [Row("idle backup uplink dies", "never", (check,))]


# --- ten minutes of loss ------------------------------------------------------------------------

LOSS_SECONDS = 600.0
LOSS = 0.1


def long_loss(side: str) -> Figures:
    """Decisions about an uplink that loses one packet in ten for ten minutes."""
    with Ground(two_uplinks(), side) as ground:
        ground.stream(StreamSpec("request", "request", interval=0.05))
        ground.stream(StreamSpec("paced", "paced-up"))
        rest(3.0)
        at = ground.change("wan1", loss=LOSS)
        rest(LOSS_SECONDS)
        said = ground.said(since=at)
    entered = settled(said, "wan1")
    return {
        "demotions": sum(b in LOWER and a not in LOWER for a, b in pairwise(["up", *entered])),
        "returns": entered.count("up"),
        "log": log_of(said, at, most=200),
    }


def settled(said: list[Said], path: str) -> list[str]:
    """States that a path entered, without suspicions and what they came back from."""
    states: list[str] = []
    for one in said:
        if one.path == path and one.entered and one.entered != "suspect":
            back = one.text.startswith("suspect ->") and states[-1:] == [one.entered]
            if not back and not (one.entered == "up" and not states):
                states.append(one.entered)
    return states


def judge_long_loss(runs: Runs) -> list[Row]:
    run = runs[WITH][0]
    check = Check(
        f"{run['demotions']} demotions, {run['returns']} returns",
        "1 demotion, no flap",
        run["demotions"] == 1 and run["returns"] == 0,
    )
    return [Row("10 % loss for 10 minutes", "-", (check,))]


# --- cost ---------------------------------------------------------------------------------------

IDLE_COST, BUSY_COST = 0.005, 0.02


def cost(side: str) -> Figures:
    return dict(agent_cost.measure(COST_SECONDS))


COST_SECONDS = 30.0


def judge_cost(runs: Runs) -> list[Row]:
    run = runs[WITH][0]
    checks = (
        Check(f"idle {run['idle']:.2%}", f"≤ {IDLE_COST:.1%}", run["idle"] <= IDLE_COST),
        Check(
            f"{run['fast-up Mbit/s']:.0f} Mbit/s up {run['fast-up']:.2%}",
            f"≤ {BUSY_COST:.0%}",
            run["fast-up"] <= BUSY_COST,
        ),
        Check(
            f"{run['fast-down Mbit/s']:.0f} Mbit/s down {run['fast-down']:.2%}",
            f"≤ {BUSY_COST:.0%}",
            run["fast-down"] <= BUSY_COST,
        ),
    )
    return [Row("agent: share of a core, 2 paths", "-", checks)]


CASES = (
    Case(
        name="idle-backup",
        title="idle backup uplink dies",
        sides=(WITH,),
        measure=idle_backup,
        judge=judge_idle_backup,
        seconds=KNOWN_MOST,
        once=True,
    ),
    Case(
        name="agent-cost",
        title="what the agent costs",
        sides=(WITH,),
        measure=cost,
        judge=judge_cost,
        seconds=agent_cost.duration(COST_SECONDS),
        once=True,
    ),
    Case(
        name="long-loss",
        title="10 % loss for 10 minutes",
        sides=(WITH,),
        measure=long_loss,
        judge=judge_long_loss,
        seconds=LOSS_SECONDS + 6,
        once=True,
        long=True,
    ),
    Case(
        name="false-alarms",
        title="ten minutes of web traffic, pauses, idle time and full queues on healthy paths",
        sides=(WITH,),
        measure=live,
        judge=judge_live,
        seconds=610.0,
        once=True,
        long=True,
    ),
)
