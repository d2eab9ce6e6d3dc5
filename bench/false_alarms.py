# SPDX-License-Identifier: GPL-2.0-or-later
"""Healthy paths under traffic that looks like trouble: nothing may be declared down.

Ten minutes in a lab: bursts of web traffic, a server that stands still, long idle times, queues
that the traffic itself fills (CUBIC, 400 ms of queue).

    python -m bench.false_alarms [--seconds 600] [--out out/false_alarms.json]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.command import run
from bench.failover_case import Check, Figures, Row, Runs
from bench.failover_ground import (
    FIRST_RTT,
    SECOND_RTT,
    WITH,
    Ground,
    Said,
    log_of,
    rest,
    rest_until,
)
from bench.failover_table import markdown
from bench.output import write_json
from omrfast.core import budget
from omrfast.lab import faults
from omrfast.lab.topology import TopologySpec, UplinkSpec
from omrfast.lab.traffic import StreamSpec

SECONDS = 600.0
QUEUE = 0.4
"""Of each uplink, each way; what CUBIC fills."""
ALARMS = ("down", "unreachable", "failing")
PAUSES = (0.2, 0.5, 1.0, 2.0)
"""Seconds that the server stands still, in turn, one every PAUSE_EVERY."""
PAUSE_EVERY = 8.0


@dataclass(frozen=True, slots=True)
class Phase:
    """A share of the whole time, and what happens in it."""

    name: str
    share: float
    streams: tuple[StreamSpec, ...] = ()
    pauses: bool = False


def _bulk(kind: str) -> StreamSpec:
    return StreamSpec(kind, kind, congestion="cubic")


WEB = StreamSpec("web", "web", interval=2.0)
REQUESTS = StreamSpec("requests", "request", interval=0.2)
PACED = StreamSpec("paced", "paced-down")
PHASES = (
    Phase("web", 0.25, (WEB,)),
    Phase("idle", 0.15),
    Phase("server pauses", 0.2, (WEB, PACED, REQUESTS), pauses=True),
    Phase("upload fills the queue", 0.1, (_bulk("bulk-up"),)),
    Phase("download fills the queue", 0.1, (_bulk("bulk-down"), WEB)),
    Phase("idle again", 0.1),
    Phase("web again", 0.1, (WEB, REQUESTS)),
)


def topology() -> TopologySpec:
    """Both roles, so that the budget of a backup path is at stake too."""
    return TopologySpec(
        uplinks=(
            UplinkSpec(rtt=FIRST_RTT, queue=QUEUE),
            UplinkSpec(rtt=SECOND_RTT, queue=QUEUE),
            UplinkSpec(rtt=SECOND_RTT, queue=QUEUE, role="backup"),
        ),
        tcp_wmem_max=None,
    )


def live(side: str = WITH, length: float = SECONDS) -> Figures:
    """Alarms by path and phase, suspicions, and bytes that probes took."""
    with Ground(topology(), side) as ground:
        begun = time.monotonic()
        phases = []
        for phase in PHASES:
            print(f"{phase.name}, {phase.share * length:.0f} s", file=sys.stderr, flush=True)
            at = time.monotonic()
            _play(ground, phase, at + phase.share * length)
            phases.append(_told(phase.name, ground.said(since=at), at))
        assert ground.agent is not None
        status = ground.agent.status() or {"paths": []}
        lasted = time.monotonic() - begun
    probes = {path["name"]: _probes(path, lasted) for path in status["paths"]}
    return {"seconds": round(lasted), "phases": phases, "probes": probes}


def _play(ground: Ground, phase: Phase, end: float) -> None:
    streams = [ground.stream(spec) for spec in phase.streams]
    turn = 0
    while phase.pauses and time.monotonic() + PAUSE_EVERY < end:
        faults.SERVER_HELD.begin(ground.lab, 1)
        rest(PAUSES[turn % len(PAUSES)])
        faults.SERVER_HELD.end(ground.lab, 1)
        rest(PAUSE_EVERY - PAUSES[turn % len(PAUSES)])
        turn += 1
    rest_until(end)
    for stream in streams:
        stream.close()


def _told(phase: str, said: list[Said], at: float) -> dict[str, Any]:
    decisions = [one for one in said if one.kind == "decision"]
    lower = [one for one in decisions if one.entered not in ("suspect", "up", "unknown")]
    back = [one for one in lower if one.text.startswith("suspect -> degraded: alive")]
    wrong = [one for one in lower if one not in back]
    return {
        "phase": phase,
        "alarms": sum(one.entered in ALARMS for one in wrong),
        "demotions": sum(one.entered == "degraded" for one in wrong),
        "suspicions": sum(one.entered == "suspect" for one in decisions),
        "log": log_of(wrong, at),
    }


def _probes(path: dict[str, Any], lasted: float) -> dict[str, float | None]:
    """Bytes of probes so far, and what the budget of 30 days allows in this time at most."""
    limit = path["probe_budget"]
    share = budget.START + budget.DEBT + budget.RATE * lasted / budget.MONTH
    return {"bytes": path["probe_bytes"], "allowed": None if limit is None else limit * share}


def judge_live(runs: Runs) -> list[Row]:
    run_ = runs[WITH][0]
    alarms = sum(phase["alarms"] for phase in run_["phases"])
    demotions = sum(phase["demotions"] for phase in run_["phases"])
    suspicions = sum(phase["suspicions"] for phase in run_["phases"])
    probes = run_["probes"]
    words = ", ".join(_bytes(name, p["bytes"], p["allowed"]) for name, p in probes.items())
    within = all(p["allowed"] is None or p["bytes"] <= p["allowed"] for p in probes.values())
    minutes = run_["seconds"] / 60
    checks = (
        Check(
            f"declared down {alarms} times ({demotions} demotions, {suspicions} suspicions)",
            "never",
            alarms == 0,
        ),
        Check(f"probes: {words}", "within budget (5 MB a month)", within),
    )
    return [Row(f"healthy paths under odd traffic for {minutes:.0f} min", "-", checks)]


def _bytes(path: str, used: float, allowed: float | None) -> str:
    of = "" if allowed is None else f" of {allowed / 1e3:.0f} allowed by then"
    return f"{path} {used / 1e3:.0f}{of} kB"


def work(args: argparse.Namespace) -> None:
    figures = live(length=args.seconds)
    write_json(args.out, figures)
    print(markdown(judge_live({WITH: [figures]})))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--out", type=Path, default=Path("out/false_alarms.json"))
    args = parser.parse_args()
    return run(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
