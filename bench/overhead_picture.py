# SPDX-License-Identifier: GPL-2.0-or-later
"""bench.overhead's figures as a PNG: one hot flow, a million flows, throughput."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

COLOURS = {
    "parse": "#c9c9c9",
    "parse_ours": "#9fb8cf",
    "lookup": "#7a7a7a",
    "omrfast": "#1f6f43",
    "peer": "#b5651d",
    "TC": "#1f6f43",
    "XDP": "#2a6f97",
    "XDP empty": "#9fb8cf",
}
LABELS = {
    "parse": "parse to ports and timestamps",
    "parse_ours": "omrfast's parser alone",
    "lookup": "parse + one look-up",
    "peer": "peer",
}
TARGET = "#b0413e"


def _label(run: dict[str, Any]) -> str:
    return f"{run['hook']} {run['direction']}\nIPv{run['ip']} {run['packet']}"


def _least(run: dict[str, Any], program: str) -> float:
    """ns beyond the empty program; nan if it was not measured there."""
    ns = run["ns"]
    if program not in ns:
        return math.nan
    return float(ns[program]["advancing"]["min"] - ns["empty"]["advancing"]["min"])


def _bars(axes: Any, groups: list[str], series: dict[str, list[float]], digits: int = 0) -> float:
    """Grouped bars with their values; returns the width of one bar."""
    width = 0.84 / len(series)
    for place, (name, values) in enumerate(series.items()):
        at = [group - 0.42 + (place + 0.5) * width for group in range(len(values))]
        axes.bar(at, values, width * 0.94, color=COLOURS[name], label=LABELS.get(name, name))
        for x, value in zip(at, values, strict=True):
            if not math.isnan(value):
                text = f"{value:.{digits}f}"
                axes.annotate(text, (x, value), ha="center", va="bottom", fontsize=6.5)
    axes.set_xticks(range(len(groups)), groups, fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    return width


def _targets(axes: Any, values: list[float], label: str) -> None:
    """A line over each group."""
    for group, value in enumerate(values):
        axes.hlines(
            value,
            group - 0.45,
            group + 0.45,
            color=TARGET,
            lw=1.4,
            label=label if not group else None,
        )


def _legend(axes: Any) -> None:
    axes.legend(frameon=False, fontsize=8, ncols=6, loc="lower right", bbox_to_anchor=(1, 1))


def _draw_hot(axes: Any, runs: list[dict[str, Any]], version: int, limit: int) -> None:
    chosen = [run for run in runs if run["flows"] == 1 and run["ip"] == version]
    names = ["parse", "parse_ours", "lookup", "omrfast"]
    if any("peer" in run["ns"] for run in chosen):
        names.append("peer")
    series = {
        name: [_least(run, name) if name in run["ns"] else math.nan for run in chosen]
        for name in names
    }
    _bars(axes, [_label(run) for run in chosen], series)
    _targets(axes, [value + limit for value in series["parse"]], f"target: parse + {limit} ns")
    axes.set_ylabel("ns per packet beyond\nan empty program")
    axes.set_title(f"One hot flow, IPv{version}", loc="left", fontsize=10)
    _legend(axes)


def _draw_many(axes: Any, runs: list[dict[str, Any]], limit: float) -> None:
    series = {name: [_least(run, name) for run in runs] for name in ("parse", "lookup", "omrfast")}
    _bars(axes, [_label(run).replace(" ", "\n") for run in runs], series)
    _targets(axes, [value * limit for value in series["lookup"]], f"target: {limit} of look-up")
    axes.set_ylabel("ns per packet beyond\nan empty program")
    axes.set_title(f"{runs[0]['flows']:,} flows in random order", loc="left", fontsize=10)
    _legend(axes)


def _draw_throughput(axes: Any, rows: list[dict[str, Any]], limit: float) -> None:
    modes = list(rows[0]["median"])
    series = {mode: [row["median"][mode] for row in rows] for mode in modes}
    width = _bars(axes, [row["traffic"].replace(", ", "\n") for row in rows], series, 2)
    for place, mode in enumerate(modes):
        for group, row in enumerate(rows):
            at = group - 0.42 + (place + 0.5) * width
            axes.plot([at] * len(row["ratios"][mode]), row["ratios"][mode], "k.", ms=2.5)
    axes.axhline(limit, color=TARGET, lw=1.4, label=f"target with offloads on: {limit:.2f}")
    axes.set_ylabel("iperf3 throughput,\nratio to none attached")
    axes.set_title("Throughput through a veth router (dots: runs)", loc="left", fontsize=10)
    _legend(axes)


def draw(figures: dict[str, Any], path: Path) -> None:
    """Write the picture of what overhead.json holds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    runs, rows = figures["runs"], figures["throughput"]
    many = [run for run in runs if run["flows"] >= 100_000]
    targets = figures["targets"]
    figure, grid = pyplot.subplots(
        2 + bool(many) + bool(rows), 1, figsize=(13, 13), layout="constrained", squeeze=False
    )
    axes = list(grid[:, 0])
    for version in (4, 6):
        _draw_hot(axes.pop(0), runs, version, targets["above parse, ns"])
    if many:
        _draw_many(axes.pop(0), many, targets["of lookup"])
    if rows:
        _draw_throughput(axes.pop(0), rows, targets["throughput"])
    figure.suptitle("What the packet programs cost", x=0.01, ha="left", fontweight="bold")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
