# SPDX-License-Identifier: GPL-2.0-or-later
"""What the agent costs: processor time and memory, idle and beside traffic on two uplinks.

python -m bench.agent_cost [--seconds 10] [--out out/agent_cost.json]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from bench.output import write_json
from omrfast.lab.agentproc import Agent
from omrfast.lab.topology import Lab, TopologySpec
from omrfast.lab.traffic import Stream, StreamSpec

SETTLE = 4.0


def processor_seconds(pid: int) -> float:
    """User and system time of a process, from /proc/PID/stat (fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0])


def share(pid: int, seconds: float) -> float:
    """Share of one core over the next ``seconds``."""
    before = processor_seconds(pid)
    time.sleep(seconds)
    return (processor_seconds(pid) - before) / seconds


def measure(seconds: float) -> dict[str, float]:
    figures: dict[str, float] = {}
    with Lab(TopologySpec()) as lab:
        agent = Agent(lab)
        agent.start()
        try:
            agent.wait_state("wan2", "up")
            time.sleep(SETTLE)
            figures["idle"] = share(agent.pid, seconds)
            for kind in ("bulk-up", "bulk-down", "paced-up"):
                with Stream(lab, StreamSpec("load", kind)) as stream:
                    time.sleep(SETTLE)
                    begun = stream.delivered()
                    figures[kind] = share(agent.pid, seconds)
                    figures[f"{kind} Mbit/s"] = 8e-6 * (stream.delivered() - begun) / seconds
            figures["resident KiB"] = resident_kib(agent.pid)
        finally:
            agent.stop()
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=Path("out/agent_cost.json"))
    args = parser.parse_args()
    figures = measure(args.seconds)
    write_json(args.out, figures)
    for name, value in figures.items():
        print(
            f"{name:20} {value:.2%}" if value < 1 and "/" not in name else f"{name:20} {value:.1f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
