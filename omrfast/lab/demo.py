# SPDX-License-Identifier: GPL-2.0-or-later
"""The main job, shown: one scenario without the agent, then with it, side by side."""

from __future__ import annotations

import json
import time
from pathlib import Path

from omrfast.lab.report import outcome, wide_console
from omrfast.lab.result import Result
from omrfast.lab.runner import run
from omrfast.lab.scenario import Scenario
from omrfast.lab.view import open_view, progress


def _describe(scenario: Scenario) -> str:
    uplinks = ", ".join(
        f"wan{n} {u.rtt * 1e3:.0f} ms {u.rate / 1e6:.0f} Mbit/s"
        for n, u in enumerate(scenario.topology.uplinks, 1)
    )
    streams = ", ".join(f"{stream.name} ({stream.kind})" for stream in scenario.streams)
    return f"{scenario.summary}\nuplinks: {uplinks}; streams over MPTCP: {streams}"


def _run(scenario: Scenario, agent: bool, part: str) -> Result:
    title = f"{part}: {'with' if agent else 'without'} the agent"
    with open_view(title) as view:
        return run(scenario, agent=agent, observer=view.show)


def compare(scenario: Scenario, out: Path) -> int:
    """Run the scenario twice, print the tables, write ``out`` (PNG) and its JSON; exit code."""
    from omrfast.lab.picture import draw

    began = time.monotonic()
    each = scenario.duration + scenario.settle
    progress(f"omrfast lab {scenario.name}: {_describe(scenario)}")
    progress(f"two runs of {each:.0f} s each, {2 * each + 10:.0f} s in all")
    without = _run(scenario, False, "1 of 2")
    result = _run(scenario, True, "2 of 2")
    console = wide_console()
    console.print(outcome(result, without))
    progress("drawing ...")
    draw(result, without, scenario, out)
    data = {"with_agent": result.to_json(), "without_agent": without.to_json()}
    out.with_suffix(".json").write_text(json.dumps(data))
    console.print(f"picture: {out}   figures: {out.with_suffix('.json')}", soft_wrap=True)
    progress(f"took {time.monotonic() - began:.0f} s")
    return 0
