# SPDX-License-Identifier: GPL-2.0-or-later
"""What the machines found, as a table, as JSON, and as a list of what is wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.matrix.emulator import MACHINES, folder_of
from tests.matrix.host import BUILD
from tests.matrix.kernels import Kernel

TESTS = ("prog", "abi", "dataplane", "netem")
RUNS = {"alone": "netem failover, kernel alone", "failover": "netem failover, with omrfast"}
STEPS = tuple(step for machine in MACHINES for step in machine.steps)
STALL_LIMIT = 4.0
"""Seconds: the scenario's own window; a stall as long as that was no failover."""


@dataclass
class Row:
    """One kernel."""

    series: str
    release: str
    booted: str = "NO"
    cells: dict[str, str] = field(default_factory=dict)
    """Step to what the table shows."""
    figures: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def _ended(folder: Path, step: str) -> tuple[int, int] | None:
    """Exit code and seconds; None if the step did not end."""
    path = folder / f"{step}.rc"
    if not path.exists():
        return None
    code, seconds = path.read_text().split()
    return int(code), int(seconds)


def _tests(row: Row, folder: Path, step: str) -> None:
    """The results of all processes that shared the tests."""
    count = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for path in folder.glob(f"{step}-*.xml"):
        (suite,) = ElementTree.parse(path).getroot().iter("testsuite")
        for key in count:
            count[key] += int(suite.get(key, "0"))
    failed = count["failures"] + count["errors"]
    passed = count["tests"] - failed - count["skipped"]
    row.figures[step] = {"passed": passed, "failed": failed, "skipped": count["skipped"]}
    row.cells[step] = f"{passed} passed"
    row.cells[step] += f", {failed} FAILED" if failed else ""
    row.cells[step] += f", {count['skipped']} skipped" if count["skipped"] else ""
    if failed:
        row.problems.append(f"{row.series}: {step}: {failed} failed: {folder}/{step}-*.log")
    elif not passed:
        row.problems.append(f"{row.series}: {step}: no test ran: {folder}/{step}-*.log")


def _load(row: Row, folder: Path) -> None:
    text = (folder / "load.log").read_text()
    found = json.loads(text.splitlines()[-1])
    row.figures["load"] = found
    row.cells["load"] = f"{found['load_ms']} ms, {'TCX' if found['tcx'] else 'no TCX: clsact'}"


def _run(row: Row, folder: Path, step: str) -> None:
    """A lab run: it must have been netem, and with the agent the stream must have gone on.

    The stall is the longest time without data; p99 is the latency of the messages that were sent
    in the seconds after the black hole.
    """
    result = json.loads((folder / f"{step}.json").read_text())
    (event,) = result["events"]
    stall = max(event["stalls"].values())
    slow = max(value for value in event["latency_p99"].values() if value is not None)
    acted = event["first_action"]
    row.figures[step] = {
        "backend": result["backend"],
        "stall_ms": round(stall * 1e3),
        "latency_p99_ms": round(slow * 1e3),
        "first_action_ms": None if acted is None else round(acted * 1e3),
    }
    row.cells[step] = f"stall {stall * 1e3:.0f} ms, p99 {slow * 1e3:.0f} ms"
    wrong = []
    if result["backend"] != "netem":
        wrong.append(f"the links were {result['backend']}, not netem")
    if stall >= STALL_LIMIT:
        wrong.append(f"the stream stood still for {stall:.1f} s")
    if result["agent"]:
        row.cells[step] += ", no action" if acted is None else f", acted after {acted * 1e3:.0f} ms"
        if acted is None:
            wrong.append("the agent did nothing")
    row.problems += [f"{row.series}: {step}: {text}" for text in wrong]


def _step(row: Row, folder: Path, step: str) -> None:
    ended = _ended(folder, step)
    log = folder / f"{step}.log"
    if ended is None:
        row.cells[step] = "NOT ENDED"
        row.problems.append(f"{row.series}: {step} did not end: {log}, {folder}/console.log")
        return
    code, seconds = ended
    row.figures[f"{step}_seconds"] = seconds
    if step in TESTS:
        _tests(row, folder, step)
        if code and not any(f"{step}:" in text for text in row.problems):
            row.problems.append(f"{row.series}: {step} ended with {code}: {folder}/{step}-*.log")
    elif code:
        row.cells[step] = f"FAILED ({code})"
        row.problems.append(f"{row.series}: {step} ended with {code}: {log}")
    elif step == "load":
        _load(row, folder)
    elif step in RUNS:
        _run(row, folder, step)


def read(kernel: Kernel, wanted: Sequence[str]) -> Row:
    """What the machines with this kernel left."""
    row = Row(kernel.series, kernel.release)
    for machine in MACHINES:
        steps = [step for step in machine.steps if step in wanted]
        folder = folder_of(kernel, machine)
        booted = folder / "booted"
        if not steps or not booted.exists():
            continue
        row.booted = booted.read_text().strip()
        if row.booted != kernel.release:
            row.problems.append(f"{kernel.series}: {row.booted} booted, not {kernel.release}")
        for step in steps:
            _step(row, folder, step)
    stalls = [row.figures.get(step, {}).get("stall_ms") for step in RUNS]
    if None not in stalls and stalls[1] >= stalls[0]:
        row.problems.append(f"{kernel.series}: failover: the kernel alone was no slower")
    return row


def table(rows: Sequence[Row], every: int) -> str:
    """A line per step, a column per kernel."""
    titles = {"load": "prebuilt object", **{step: f"tests/{step}" for step in TESTS}, **RUNS}
    if every > 1:
        titles["prog"] += f", one in {every}"
    titles["netem"] = "links by netem"
    lines = [["", *(row.series for row in rows)], ["booted", *(row.booted for row in rows)]]
    for step, title in titles.items():
        if any(step in row.cells for row in rows):
            lines.append([title, *(row.cells.get(step, "-") for row in rows)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(rows) + 1)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n" + "\n".join(text) + "\n"


def write(rows: Sequence[Row]) -> None:
    target = BUILD / "matrix.json"
    target.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
