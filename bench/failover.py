# SPDX-License-Identifier: GPL-2.0-or-later
"""Failover: what happens to an uplink, without the agent and with it, and what is to be reached.

Two uplinks of 40 and 80 ms RTT, 20 Mbit/s each, NAT on both; the second one active, or backup.
Every run has a lab of its own; the sides of a case take turns, so that a drift of the machine
meets all. Cases that run apart add to the same JSON; the table and the picture are made of all
that it holds.

    python -m bench.failover [--runs 7] [--quick] [--long] [--out FILE] [CASE...]

Exit code: 0 reached, 1 a target of the cases that ran is missed (or a case could not be run),
2 usage. With --quick, one run of each, a missed target does not count: it decides nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import (
    failover_connect,
    failover_long,
    failover_picture,
    failover_quality,
    failover_stalls,
)
from bench.command import positive, run
from bench.failover_case import Case, Figures, Row
from bench.failover_table import markdown
from bench.output import write_json

_PARTS = (failover_stalls, failover_connect, failover_quality, failover_long)
CASES: dict[str, Case] = {case.name: case for part in _PARTS for case in part.CASES}


def rounds(case: Case, runs: int) -> int:
    return 1 if case.once else runs


def duration(cases: Sequence[Case], runs: int) -> float:
    """Seconds that they all take, about."""
    return sum(case.seconds * rounds(case, runs) for case in cases)


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def perform(case: Case, runs: int) -> dict[str, list[Figures]]:
    """All its rounds, the sides in turn."""
    found: dict[str, list[Figures]] = {side: [] for side in case.sides}
    for number in range(1, rounds(case, runs) + 1):
        for side in case.sides:
            figures = case.measure(side)
            found[side].append(figures)
            tell(f"{case.name} {number}/{rounds(case, runs)} {side}: {brief(figures)}")
    return found


def brief(figures: Figures) -> str:
    """Its single figures in one line."""
    words = []
    for name, value in figures.items():
        if isinstance(value, float):
            words.append(f"{name} {value:.4g}")
        elif isinstance(value, int | None):
            words.append(f"{name} {value}")
    return ", ".join(words)


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The cases of an earlier run; none if there is no file."""
    if not path.exists():
        return {}
    cases: dict[str, dict[str, Any]] = json.loads(path.read_text())["cases"]
    return {name: cases[name] for name in CASES if name in cases}


def rows_of(cases: dict[str, dict[str, Any]]) -> list[Row]:
    """The table of all that was measured, in the order of CASES."""
    return [
        row for name in CASES if name in cases for row in CASES[name].judge(cases[name]["runs"])
    ]


def keep(path: Path, case: Case, runs: dict[str, list[Figures]]) -> list[Row]:
    """Add a case to the file; its verdicts."""
    rows = case.judge(runs)
    cases = read(path)
    cases[case.name] = {
        "measured": time.strftime("%F %H:%M"),
        "title": case.title,
        "rows": [asdict(row) for row in rows],
        "runs": runs,
    }
    write_json(path, {"cases": {name: cases[name] for name in CASES if name in cases}})
    return rows


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], epilog=f"cases: {', '.join(CASES)}"
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="default: all but the long ones")
    parser.add_argument("--runs", type=positive, default=7, help="of each side (default: 7)")
    parser.add_argument("--quick", action="store_true", help="one run of each side, no verdict")
    parser.add_argument("--long", action="store_true", help="the long cases too")
    parser.add_argument("--table", action="store_true", help="only show what was measured before")
    parser.add_argument("--out", type=Path, default=Path("out/failover.json"))
    args = parser.parse_args()
    unknown = [name for name in args.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown case {unknown[0]!r}: write some of {', '.join(CASES)}")
    return args


def chosen(args: argparse.Namespace) -> list[Case]:
    if args.table:
        return []
    if args.cases:
        return [CASES[name] for name in args.cases]
    return [case for case in CASES.values() if args.long or not case.long]


def work(args: argparse.Namespace) -> bool:
    """Whether every target of the cases that ran was reached."""
    cases, runs = chosen(args), 1 if args.quick else args.runs
    good = True
    begun = time.monotonic()
    if cases:
        tell(f"{len(cases)} cases, about {duration(cases, runs) / 60:.0f} min")
    for number, case in enumerate(cases):
        left = duration(cases[number:], runs)
        tell(f"{case.title}; about {left / 60:.1f} min left")
        rows = keep(args.out, case, perform(case, runs))
        good = good and all(row.good for row in rows)
        for row in rows:
            for check in row.checks:
                verdict = "reached" if check.good else "MISSED"
                tell(f"  {row.what}: {check.shown} ({check.target}): {verdict}")
    everything = read(args.out)
    failover_picture.draw(everything, args.out.with_suffix(".png"))
    print(markdown(rows_of(everything)))
    tell(f"{args.out}, {args.out.with_suffix('.png')}; {(time.monotonic() - begun) / 60:.1f} min")
    return good or args.quick


def main() -> int:
    args = arguments()
    reached: list[bool] = []
    return run(lambda: reached.append(work(args))) or int(not all(reached))


if __name__ == "__main__":
    sys.exit(main())
