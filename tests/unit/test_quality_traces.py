# SPDX-License-Identifier: GPL-2.0-or-later
"""Quality on counters of the real data path: recorded in the lab, without an agent, every 50 ms.

Two uplinks of 40 and 80 ms RTT, 20 Mbit/s each, queues of 100 ms; the traffic starts at 0.5 s, the
change comes when EXPECTED says. traces/*.json.gz: columns, instants, and for each path the
differences from row to row (times in microseconds). There were no probes, which decide sooner.
"""

from __future__ import annotations

import gzip
import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from omrfast.core import model as measure
from omrfast.core import quality
from omrfast.core.config import PathConfig
from omrfast.core.state import PathRecord
from omrfast.core.types import Objective, PathCounters, PathState

TRACES = Path(__file__).with_name("traces")
START = 1000.0
HEALTHY: dict[str, str] = {
    "bbr-shallow-queues": "two BBR uploads and a download, queues of 20 ms: 7 to 11 % lost",
    "cubic-two": "two CUBIC uploads fill the queues again and again",
    "requests-one-percent": "requests and a paced stream at 1 % loss each way",
    "cubic-bloat": "requests, then a CUBIC upload into a queue of a second: RTT up to 620 ms",
}
BAD: dict[str, tuple[float, float, str, set[Objective]]] = {
    # when, within how long, what, under which objectives
    "bbr-up-lossy": (5.0, 3.0, "loss", {Objective.LATENCY}),
    "bbr-down-lossy": (5.0, 3.0, "loss", {Objective.LATENCY}),
    "paced-down-lossy": (3.0, 9.0, "loss", {Objective.LATENCY}),
    "bbr-slow": (5.0, 2.0, "rtt", {Objective.LATENCY, Objective.THROUGHPUT}),
}


def replayed(name: str, objective: Objective) -> list[tuple[float, PathRecord]]:
    """(seconds into the trace, record) of every change of state."""
    trace = json.loads(gzip.decompress((TRACES / f"{name}.json.gz").read_bytes()))
    totals = [list(itertools.accumulate(rows, _add)) for rows in trace["paths"]]
    records = [
        PathRecord(
            PathConfig(f"wan{n}", f"wan{n}", objective=objective),
            state=PathState.UP,
            since=START,
        )
        for n in range(1, len(totals) + 1)
    ]
    changes = []
    for row, at in enumerate(trace["at"]):
        now = START + at
        for n, rows in enumerate(totals):
            counters = _counters(trace["columns"], rows[row])
            record = replace(records[n], model=measure.observe(records[n].model, counters, now))
            judged = quality.judge(record, records[:n] + records[n + 1 :], now)
            if judged.state is not record.state:
                changes.append((at, judged))
            records[n] = judged
    return changes


def _add(total: list[int], row: list[int]) -> list[int]:
    return [a + b for a, b in zip(total, row, strict=True)]


def _counters(columns: list[str], row: list[int]) -> PathCounters:
    values = {
        name: value / 1e6 if name.startswith("rtt_") and name != "rtt_samples" else value
        for name, value in zip(columns, row, strict=True)
    }
    return PathCounters(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_path_is_left_alone(name: str, objective: Objective) -> None:
    assert replayed(name, objective) == []


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("name", BAD)
def test_a_bad_path_is_demoted_in_time(name: str, objective: Objective) -> None:
    when, within, what, objectives = BAD[name]
    changes = [
        (at, record.config.name, record.state, record.evidence and record.evidence.what)
        for at, record in replayed(name, objective)
    ]
    if objective not in objectives:
        assert changes == []
        return
    assert [change[1:] for change in changes] == [("wan1", PathState.DEGRADED, what)]
    assert when + 0.7 <= changes[0][0] <= when + within
