# SPDX-License-Identifier: GPL-2.0-or-later
"""The picture of the failover benchmark: a dot for every run, medians as bars, targets in black."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import failover_connect, failover_long, failover_quality, failover_stalls
from bench.failover_case import Figures, median, quantile
from bench.failover_ground import ALONE, WITH, WITHOUT
from omrfast.core.config import Quality

COLOURS = {WITHOUT: "#b0413e", WITH: "#2a6f97", ALONE: "#8a8a8a"}
WORDS = {WITHOUT: "kernel alone", WITH: "with omrfast", ALONE: "good uplink alone"}
BAR = 0.36
Runs = Mapping[str, Sequence[Figures]]


@dataclass(frozen=True, slots=True)
class Group:
    """Bars side by side: values of each side, and what is to be reached."""

    label: str
    values: Mapping[str, Sequence[float]]
    target: float | None
    bar: Mapping[str, float] | None = None
    """Heights, if they are not the medians."""


def _floats(runs: Sequence[Figures], key: str, scale: float = 1.0) -> list[float]:
    return [run[key] * scale for run in runs if run.get(key) is not None]


def _runs(cases: Mapping[str, Mapping[str, Any]], name: str) -> Runs | None:
    return cases[name]["runs"] if name in cases else None


# --- what each panel shows ----------------------------------------------------------------------


def stalls(cases: Mapping[str, Mapping[str, Any]]) -> list[Group]:
    """Longest stalls, ms."""
    groups = []
    for name in (f"{k}-{r}" for k in failover_stalls.STREAMS for r in failover_stalls.ROLES):
        for more in ("", "-tuned"):
            runs = _runs(cases, f"blackhole-{name}{more}")
            if runs is None:
                continue
            kind, way, role = name.split("-")
            values = {side: _floats(runs[side], "stall", 1e3) for side in (WITHOUT, WITH)}
            most = failover_stalls.BULK_MOST * 1e3
            if kind == "small":
                share = failover_stalls.SMALL_RATIO * median(values[WITHOUT])
                most = min(failover_stalls.SMALL_MOST * 1e3, share)
            label = f"{kind}\n{way}\n2nd\n{role}" + ("\ntuned" if more else "")
            groups.append(Group(label, values, most))
    return groups


def connections(cases: Mapping[str, Mapping[str, Any]]) -> list[Group]:
    """Slowest new connections, seconds."""
    groups = []
    for name, label in (
        ("active", "2nd\nactive"),
        ("quiet-backup", "2nd backup,\nafter quiet"),
    ):
        runs = _runs(cases, f"connect-{name}")
        if runs is None:
            continue
        for key, words in (("worst", ""), ("later", "\nlater")):
            values = {side: _floats(runs[side], key) for side in (WITHOUT, WITH)}
            normal = median(_floats(runs[WITH], "normal"))
            target = failover_connect.WORST_MOST
            if key == "later":
                target = failover_connect.LATER_RATIO * normal
            groups.append(Group(f"{label}{words}", values, target))
    return groups


def messages(cases: Mapping[str, Mapping[str, Any]]) -> list[Group]:
    """p99 of messages on a bad uplink, ms: of all runs as the bar, of each run as a dot."""
    groups = []
    for spoil, (words, _) in failover_quality.SPOILS.items():
        for kind in failover_quality.STREAMS:
            runs = _runs(cases, f"{spoil}-{kind}")
            if runs is None:
                continue
            each = {
                side: [quantile(run["times"], 0.99) * 1e3 for run in runs[side]]
                for side in failover_quality.ALL_SIDES
            }
            whole = {
                side: quantile([one * 1e3 for run in runs[side] for one in run["times"]], 0.99)
                for side in failover_quality.ALL_SIDES
            }
            target = failover_quality.P99_RATIO * whole[ALONE]
            groups.append(Group(f"{words}\n{kind}", each, target, whole))
    return groups


def goodput(cases: Mapping[str, Mapping[str, Any]]) -> list[Group]:
    """Mbit/s."""
    groups = []
    for spoil, (words, _, least) in failover_quality.THROUGHPUT_SPOILS.items():
        runs = _runs(cases, f"throughput-{spoil}")
        if runs is not None:
            values = {s: _floats(runs[s], "goodput", 1e-6) for s in runs}
            groups.append(Group(f"{words}\nthroughput", values, least / 1e6))
    runs = _runs(cases, "far-second")
    if runs is not None:
        values = {s: _floats(runs[s], "goodput", 1e-6) for s in failover_quality.ALL_SIDES}
        target = failover_quality.FAR_RATIO * median(values[ALONE])
        groups.append(Group("2nd uplink\n900 ms", values, target))
    return groups


def shares(cases: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[float]]]:
    """Everything with an upper limit, as shares of it."""
    found: list[tuple[str, list[float]]] = []

    def add(label: str, values: list[float], limit: float) -> None:
        if values:
            found.append((label, [value / limit for value in values]))

    signs = []
    for name in cases:
        for run in cases[name]["runs"][WITH] if name.startswith("blackhole-") else ():
            took = run["sign"] if run["sign"] is not None else run["action"]
            if took is not None and run["srtt"] is not None:
                limit = failover_stalls.ACTION_RTTS * run["srtt"] + failover_stalls.ACTION_MORE
                signs.append(took / limit)
    add("sign to action (4 srtt + 40 ms)", signs, 1.0)
    for spoil, (words, _) in failover_quality.SPOILS.items():
        demoted = [
            value
            for kind in failover_quality.STREAMS
            for value in _floats((_runs(cases, f"{spoil}-{kind}") or {WITH: []})[WITH], "demoted")
        ]
        add(f"demotion, {words} (2 s)", demoted, failover_quality.DEMOTED_MOST)
    healed = _runs(cases, "recovery") or {WITH: []}
    most = Quality().recover_after + failover_stalls.RECOVER_MORE
    add(f"carries again ({most:g} s)", _floats(healed[WITH], "carrying"), most)
    add("stall of recovery (100 ms)", _floats(healed[WITH], "stall"), failover_stalls.RECOVER_STALL)
    cost = _runs(cases, "agent-cost") or {WITH: []}
    add("processor, idle (0.5 %)", _floats(cost[WITH], "idle"), failover_long.IDLE_COST)
    add("processor, 100 Mbit/s (2 %)", _floats(cost[WITH], "fast-up"), failover_long.BUSY_COST)
    return found


# --- drawing ------------------------------------------------------------------------------------


def _bars(axes: Any, groups: list[Group], title: str, unit: str, how: str = ".0f") -> None:
    _title(axes, title)
    axes.set_ylabel(unit)
    for place, group in enumerate(groups):
        width = BAR if len(group.values) == 2 else 0.27
        for number, (side, values) in enumerate(group.values.items()):
            at = place + (number - (len(group.values) - 1) / 2) * width
            height = median(values) if group.bar is None else group.bar[side]
            axes.bar(at, height, 0.92 * width, color=COLOURS[side], alpha=0.35, lw=0)
            axes.plot([at] * len(values), values, "o", ms=3, color=COLOURS[side], alpha=0.8)
            axes.annotate(
                f"{height:{how}}",
                (at, max(height, *values) if len(values) > 1 else max(height, values[0])),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
                color=COLOURS[side],
            )
        if group.target is not None:
            axes.hlines(group.target, place - 0.46, place + 0.46, color="black", lw=1.4, zorder=5)
    axes.set_xticks(range(len(groups)), [group.label for group in groups], fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.14)


def _shares(axes: Any, entries: list[tuple[str, list[float]]]) -> None:
    _title(axes, "With omrfast, as a share of what is allowed")
    for place, (label, values) in enumerate(entries):
        axes.barh(place, median(values), 0.42, color=COLOURS[WITH], alpha=0.35, lw=0)
        axes.plot(values, [place] * len(values), "o", ms=3, color=COLOURS[WITH], alpha=0.8)
        axes.annotate(
            label, (0.0, place - 0.36), xytext=(3, 0), textcoords="offset points", fontsize=8
        )
    axes.axvline(1.0, color="black", lw=1.4)
    axes.set_yticks([])
    axes.set_ylim(len(entries) - 0.6, -0.9)
    axes.set_xlim(0, 1.05 * max([1.1, *(max(values) for _, values in entries)]))
    axes.spines[["top", "right"]].set_visible(False)


def _title(axes: Any, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10, fontweight="bold")


def draw(cases: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Write the PNG; panels of cases that were not measured are left empty."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(9.2, 9.6), layout="constrained")
    grid = figure.add_gridspec(3, 2)
    _bars(
        figure.add_subplot(grid[0, :]),
        stalls(cases),
        "Uplink 1 (40 ms) goes silent: longest stall of a running stream",
        "ms",
    )
    slow = figure.add_subplot(grid[1, 0])
    _bars(slow, connections(cases), "New connection: the slowest", "seconds", ".2f")
    slow.set_yscale("log")
    slow.set_ylim(0.1, 12)
    slow.set_yticks([0.1, 0.5, 1, 5, 10], ["0.1", "0.5", "1", "5", "10"])
    slow.minorticks_off()
    _bars(figure.add_subplot(grid[1, 1]), messages(cases), "Uplink 1 turns bad: p99", "ms")
    _bars(figure.add_subplot(grid[2, 0]), goodput(cases), "Goodput of an upload", "Mbit/s", ".1f")
    entries = shares(cases)
    if entries:
        _shares(figure.add_subplot(grid[2, 1]), entries)
    used = figure.axes[0]
    for side, colour in COLOURS.items():
        used.plot([], [], "s", color=colour, alpha=0.6, label=WORDS[side])
    used.plot([], [], "-", color="black", lw=1.4, label="to reach")
    used.legend(frameon=False, fontsize=8, ncols=4, loc="upper right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
