# SPDX-License-Identifier: GPL-2.0-or-later
"""Make the recorded journals anew, in the real lab: `python -m tests.journals.record [CASE…]`.

Needs root, and a machine on which nothing else runs. Each case ends as CASE.jsonl.gz beside this
file; the times of its marks go to marks.json.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from pathlib import Path

from omrfast.lab.agentproc import Agent
from omrfast.lab.faults import SERVER_DEAD
from omrfast.lab.topology import Lab, TopologySpec
from omrfast.lab.traffic import Stream, StreamSpec
from tests.journals.cases import CASES, RECOVER_AFTER, Case

FOLDER = Path(__file__).parent
MARKS = FOLDER / "marks.json"
MOST = 150_000
"""Bytes of one journal, packed."""
STREAMS = (StreamSpec("up", "paced-up"), StreamSpec("down", "paced-down"))
QUALITY = {"quality": {"recover_after": f"{RECOVER_AFTER:g}s"}, "journal": {"size": "0B"}}


class LabStage:
    """The lab, with the moments that a script named."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.marks: dict[str, float] = {}

    def mark(self, name: str) -> None:
        self.marks[name] = time.monotonic()

    def change(self, **settings: object) -> None:
        self._lab.links["wan1"].change(**settings)

    def server(self, alive: bool) -> None:
        if alive:
            SERVER_DEAD.end(self._lab, 1)
        else:
            SERVER_DEAD.begin(self._lab, 1)


def file_of(case: Case) -> Path:
    return FOLDER / f"{case.name}.jsonl.gz"


def record(case: Case) -> dict[str, float]:
    """Run one case; its marks, in CLOCK_MONOTONIC seconds."""
    with Lab(TopologySpec()) as lab:
        tape = lab.directory / "tape"
        agent = Agent(lab, QUALITY, ["--record", str(tape)])
        agent.start()
        try:
            for path in ("wan1", "wan2"):
                agent.wait_state(path, "up")
            with Stream(lab, STREAMS[0]), Stream(lab, STREAMS[1]):
                stage = LabStage(lab)
                case.script(stage)
        finally:
            agent.stop()
        packed = gzip.compress(tape.read_bytes(), mtime=0)
    if len(packed) > MOST:
        raise SystemExit(f"{case.name}: {len(packed)} bytes, more than {MOST}: make it shorter")
    file_of(case).write_bytes(packed)
    print(f"{case.name}: {len(packed):,} bytes", file=sys.stderr)
    return stage.marks


def main() -> None:
    parser = argparse.ArgumentParser(description="make the recorded journals anew")
    known = {case.name: case for case in CASES}
    parser.add_argument("case", nargs="*", choices=[[], *known], help="default: all")
    names = parser.parse_args().case or list(known)
    for name in names:
        print(f"{name} …", file=sys.stderr)
        marks = json.loads(MARKS.read_text()) if MARKS.exists() else {}
        marks[name] = record(known[name])
        MARKS.write_text(json.dumps(marks, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
