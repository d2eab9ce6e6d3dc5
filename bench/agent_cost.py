# SPDX-License-Identifier: GPL-2.0-or-later
"""What the agent costs: processor time and memory, idle and beside traffic on two uplinks.

Two networks: uplinks of 20 Mbit/s (bulk, and 50 small messages a second), and of 50 Mbit/s each,
whose bulk transfers make 100 Mbit/s together.

    python -m bench.agent_cost [--seconds 10] [--out out/agent_cost.json]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bench.command import run
from bench.output import write_json
from omrfast.lab.agentproc import Agent
from omrfast.lab.topology import Lab, TopologySpec, UplinkSpec
from omrfast.lab.traffic import Stream, StreamSpec

SETTLE = 4.0
IDLE_SETTLE = 8.0
"""The first seconds are for getting to know the paths, by probes four times a second."""
FAST_RATE = 50e6
SLOW = TopologySpec()
FAST = TopologySpec(
    uplinks=(UplinkSpec(rtt=0.04, rate=FAST_RATE), UplinkSpec(rtt=0.08, rate=FAST_RATE)),
    tcp_wmem_max=None,
)
LOADS = ((SLOW, "", ("bulk-up", "bulk-down", "paced-up")), (FAST, "fast-", ("up", "down")))


def duration(seconds: float) -> float:
    """How long measure(seconds) takes, about."""
    loads = sum(len(kinds) for _, _, kinds in LOADS)
    return IDLE_SETTLE + seconds + loads * (SETTLE + seconds) + 5


def processor_seconds(pid: int) -> float:
    """User and system time of a process and all its threads, to the nanosecond: its CPU clock, as
    clock_getcpuclockid(3) makes it. /proc/PID/stat counts ticks of 10 ms, of which an idle agent
    takes four in ten seconds."""
    return time.clock_gettime(~pid << 3 | 2)


def resident_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0])


def share(pid: int, seconds: float) -> float:
    """Share of one core over the next ``seconds``."""
    before = processor_seconds(pid)
    begun = time.monotonic()
    time.sleep(seconds)
    return (processor_seconds(pid) - before) / (time.monotonic() - begun)


def measure(seconds: float) -> dict[str, float]:
    """Shares of a core by load ("idle", "bulk-up", "fast-up", ...), "... Mbit/s" delivered beside
    them, and "resident KiB"."""
    figures: dict[str, float] = {}
    for topology, prefix, kinds in LOADS:
        with Lab(topology) as lab:
            agent = Agent(lab)
            agent.start()
            try:
                agent.wait_state("wan2", "up")
                if "idle" not in figures:
                    print("idle ...", file=sys.stderr, flush=True)
                    time.sleep(IDLE_SETTLE)
                    figures["idle"] = share(agent.pid, seconds)
                for kind in kinds:
                    print(f"{prefix}{kind} ...", file=sys.stderr, flush=True)
                    figures |= _beside(lab, agent, prefix, kind, seconds)
                figures["resident KiB"] = resident_kib(agent.pid)
            finally:
                agent.stop()
    return figures


def _beside(lab: Lab, agent: Agent, prefix: str, kind: str, seconds: float) -> dict[str, float]:
    """The agent's share beside one stream, and what that delivered."""
    with Stream(lab, StreamSpec("load", kind if not prefix else f"bulk-{kind}")) as stream:
        time.sleep(SETTLE)
        begun, at = stream.delivered(), time.monotonic()
        used = share(agent.pid, seconds)
        rate = 8e-6 * (stream.delivered() - begun) / (time.monotonic() - at)
    return {f"{prefix}{kind}": used, f"{prefix}{kind} Mbit/s": rate}


def work(args: argparse.Namespace) -> None:
    print(f"about {duration(args.seconds):.0f} s", file=sys.stderr, flush=True)
    figures = measure(args.seconds)
    write_json(args.out, figures)
    for name, value in figures.items():
        plain = "/" in name or "KiB" in name
        print(f"{name:20} {value:.1f}" if plain else f"{name:20} {value:.2%}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=Path("out/agent_cost.json"))
    args = parser.parse_args()
    return run(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
