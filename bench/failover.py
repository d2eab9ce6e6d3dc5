# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a running stream stalls when its uplink goes silent, with the agent and without.

Two uplinks of 40 and 80 ms RTT, 20 Mbit/s each, NAT on both; uplink 1 becomes a black hole under
one stream. Runs alternate, without and with the agent, so that a drift of the machine meets both.

    python -m bench.failover [--runs 7] [--out out/failover.json] [SCENARIO...]
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from bench.output import write_json
from omrfast.lab import runner
from omrfast.lab.scenario import SCENARIOS

CASES = (
    "blackhole-bulk-up",
    "blackhole-bulk-down",
    "blackhole-small-up",
    "blackhole-small-down",
)


def measure(name: str, agent: bool) -> dict[str, float | None]:
    """One run: the longest stall (s) after the black hole, and when the agent first acted (s)."""
    result = runner.run(SCENARIOS[name], agent=agent)
    event = result.events[0]
    return {"stall": max(event.stalls.values()), "action": event.first_action}


def summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))],
        "least": ordered[0],
        "most": ordered[-1],
    }


def case(name: str, runs: int) -> dict[str, Any]:
    """``runs`` pairs of one scenario."""
    pairs = []
    for number in range(runs):
        pairs.append((measure(name, agent=False), measure(name, agent=True)))
        without, with_agent = (pair["stall"] or 0.0 for pair in pairs[-1])
        acted = pairs[-1][1]["action"]
        print(
            f"{name} {number + 1}/{runs}: without {without * 1e3:.0f} ms, "
            f"with {with_agent * 1e3:.0f} ms, acted after "
            + ("-" if acted is None else f"{acted * 1e3:.0f} ms"),
            file=sys.stderr,
            flush=True,
        )
    without_all = [float(pair[0]["stall"] or 0) for pair in pairs]
    with_all = [float(pair[1]["stall"] or 0) for pair in pairs]
    actions = [pair[1]["action"] for pair in pairs]
    return {
        "without": without_all,
        "with": with_all,
        "actions": actions,
        "summary": {"without": summary(without_all), "with": summary(with_all)},
    }


def table(cases: dict[str, dict[str, Any]]) -> str:
    """Markdown, as the README has it."""
    lines = [
        "| longest stall, ms | without: median (range) | with: median (range) | ratio |",
        "|---|---|---|---|",
    ]
    for name, figures in cases.items():
        cells = []
        for side in ("without", "with"):
            s = {key: value * 1e3 for key, value in figures["summary"][side].items()}
            cells.append(f"{s['median']:.0f} ({s['least']:.0f}-{s['most']:.0f})")
        ratio = figures["summary"]["with"]["median"] / figures["summary"]["without"]["median"]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {ratio:.2f} |")
    return "\n".join(lines)


def draw(cases: dict[str, dict[str, Any]], path: Path) -> None:
    """Every run as a dot, the median as a bar."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.2), layout="constrained")
    colours = {"without": "#b0413e", "with": "#2a6f97"}
    for place, figures in enumerate(cases.values()):
        for side, shift in (("without", -0.18), ("with", 0.18)):
            values = [value * 1e3 for value in figures[side]]
            median = figures["summary"][side]["median"] * 1e3
            axes.bar(place + shift, median, 0.32, color=colours[side], alpha=0.35)
            axes.plot([place + shift] * len(values), values, "o", ms=4, color=colours[side])
            axes.annotate(f"{median:.0f}", (place + shift, 12), ha="center", va="bottom")
    axes.set_xticks(range(len(cases)), [name.removeprefix("blackhole-") for name in cases])
    axes.set_ylabel("longest stall, ms")
    axes.set_title("Uplink 1 (40 ms) goes silent; uplink 2 (80 ms) takes over")
    for side, label in (("without", "kernel alone"), ("with", "with omrfast")):
        axes.plot([], [], "s", color=colours[side], alpha=0.6, label=label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", default=CASES, metavar="SCENARIO")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("out/failover.json"))
    args = parser.parse_args()
    cases = {name: case(name, args.runs) for name in args.scenarios}
    write_json(args.out, {"runs": args.runs, "cases": cases})
    draw(cases, args.out.with_suffix(".png"))
    print(table(cases))
    return 0


if __name__ == "__main__":
    sys.exit(main())
