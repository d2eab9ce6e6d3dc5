# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab that stays up after the command that made it has ended.

The keeper is a process of its own; it says one JSON line on standard output when the lab is up
(or why it is not) and removes the lab on SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from omrfast.lab import ownership
from omrfast.lab.agentproc import AGENT_CONFIG, Agent
from omrfast.lab.devices import LabError
from omrfast.lab.process import check_root, end_on_signals
from omrfast.lab.topology import Lab, TopologySpec, UplinkSpec

DOWN_PATIENCE = 30.0
RTTS = (0.04, 0.08, 0.12)
DEFAULT_NAME = "lab"


@dataclass(frozen=True, slots=True)
class Wish:
    """What ``lab up`` was asked for."""

    name: str = DEFAULT_NAME
    uplinks: int = 2
    servers: int = 1
    lan: bool = False
    ipv6: bool = False
    agent: bool = False

    def topology(self) -> TopologySpec:
        return TopologySpec(
            uplinks=tuple(UplinkSpec(rtt=rtt) for rtt in RTTS[: self.uplinks]),
            servers=self.servers,
            lan=self.lan,
            ipv6=self.ipv6,
        )


def find(name: str) -> ownership.Owner | None:
    """The living lab of that name. LabError without the right to look."""
    check_root()
    return next((o for o in ownership.owners() if o.token == name and o.alive()), None)


def agent_config(name: str) -> Path:
    """Configuration of the agent of the lab of that name."""
    return ownership.root() / name / AGENT_CONFIG


def up(wish: Wish) -> dict[str, str]:
    """Start a keeper; part of the lab to its namespace. LabError if it cannot."""
    if find(wish.name) is not None:
        raise LabError(f"lab {wish.name} is up already: `omrfast lab down` ends it")
    process = subprocess.Popen(
        [sys.executable, "-m", "omrfast.lab.keeper", json.dumps(asdict(wish))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    answer: dict[str, dict[str, str] | str] = json.loads(line) if line else {}
    parts = answer.get("parts")
    if not isinstance(parts, dict):
        process.wait(DOWN_PATIENCE)
        raise LabError(str(answer.get("error", "the lab's keeper ended without a word")))
    return parts


def down(name: str) -> bool:
    """End the lab of that name; whether there was one. LabError if it does not end."""
    check_root()
    if name in ownership.collect_stale():
        return True
    owner = find(name)
    if owner is None:
        return False
    os.kill(owner.pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_PATIENCE
    while (ownership.root() / name).exists() or owner.alive():
        if time.monotonic() > deadline:
            raise LabError(f"lab {name} (process {owner.pid}) does not end")
        time.sleep(0.05)
    return True


def _keep(wish: Wish) -> None:
    with Lab(wish.topology(), wish.name) as lab:
        agent = Agent(lab) if wish.agent else None
        try:
            if agent is not None:
                agent.start()
            print(json.dumps({"parts": {p: lab.ns(p) for p in lab.parts}}), flush=True)
            signal.pause()
        finally:
            if agent is not None:
                agent.stop()


def main() -> int:
    end_on_signals()
    try:
        _keep(Wish(**json.loads(sys.argv[1])))
    except Exception as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
