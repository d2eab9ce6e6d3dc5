# SPDX-License-Identifier: GPL-2.0-or-later
"""The timeline of a scenario as a PNG: RTT and state per path, delivered rate, stalls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omrfast.lab.result import ActionResult, PathSample, Result, StreamResult
from omrfast.lab.scenario import Scenario

STATE_COLOURS = {
    "up": "#5aae61",
    "suspect": "#fee08b",
    "degraded": "#f4a259",
    "down": "#d1495b",
    "probation": "#66a5d8",
    "unknown": "#cccccc",
}
PATH_COLOURS = (
    "#1f4e79",
    "#b5651d",
    "#5b3c88",
    "#3a7d44",
    "#7a7a7a",
    "#999933",
    "#882255",
    "#44aa99",
)
WITH, WITHOUT = "#1f6f43", "#9a9a9a"
SMOOTHING = 3
"""Rate steps that one point of the curve averages."""
HEADROOM = 1.3
LABEL_ROOM = 0.05
"""Of the duration: what the name of an action takes."""
SHOWN_KINDS = ("backup", "nobackup", "delete", "add")


def bands(samples: tuple[PathSample, ...], end: float) -> list[tuple[float, float, str]]:
    """(begin, end, state) of each stretch of the same state."""
    found: list[tuple[float, float, str]] = []
    for sample in samples:
        if found and found[-1][2] == sample.state:
            continue
        if found:
            found[-1] = (found[-1][0], sample.at, found[-1][2])
        found.append((sample.at, end, sample.state))
    return found


def _smooth(values: tuple[float, ...]) -> list[float]:
    padded = [values[0]] * (SMOOTHING // 2) + list(values) + [values[-1]] * (SMOOTHING // 2)
    return [sum(padded[i : i + SMOOTHING]) / SMOOTHING for i in range(len(values))]


def _draw_rtt(axes: Any, result: Result) -> None:
    used: dict[str, Any] = {}
    for number, (name, samples) in enumerate(sorted(result.paths.items())):
        known = [(s.at, s.rtt * 1e3) for s in samples if s.rtt is not None]
        if known:
            times, values = zip(*known, strict=True)
            (used[name],) = axes.plot(times, values, color=PATH_COLOURS[number], lw=1.6)
    axes.set_ylabel("smoothed RTT, ms")
    axes.set_ylim(bottom=0)
    _legend(axes, used)


def _draw_states(axes: Any, result: Result) -> None:
    names = sorted(result.paths)
    used: dict[str, Any] = {}
    for row, name in enumerate(names):
        for begin, end, state in bands(result.paths[name], result.duration):
            used[state] = axes.broken_barh(
                [(begin, end - begin)],
                (row - 0.36, 0.72),
                facecolors=STATE_COLOURS.get(state, "#cccccc"),
                edgecolor="white",
                linewidth=0.6,
                zorder=3,
            )
        _draw_actions(axes, row, [a for a in result.actions if a.path == name], result)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    _legend(axes, used)


def _draw_actions(axes: Any, row: int, actions: list[ActionResult], result: Result) -> None:
    """A tick for each action on the endpoint, with its name where there is room."""
    free_from = float("-inf")
    for action in actions:
        shown = -result.settle <= action.at <= result.duration
        if action.kind not in SHOWN_KINDS or not shown:
            continue
        axes.plot(action.at, row, marker="|", color="black", ms=14, mew=1.2, zorder=4)
        if action.at < free_from:
            continue
        free_from = action.at + LABEL_ROOM * result.duration
        axes.annotate(
            action.kind,
            (action.at, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            zorder=5,
        )


def _legend(axes: Any, entries: dict[str, Any]) -> None:
    """In one line above the axes, at the right."""
    axes.legend(
        entries.values(),
        entries.keys(),
        loc="lower right",
        bbox_to_anchor=(1.0, 0.98),
        ncols=max(len(entries), 1),
        frameon=False,
        borderaxespad=0.1,
        handlelength=1.4,
    )


def _draw_stream(axes: Any, agent: bool, stream: StreamResult, twin: StreamResult | None) -> None:
    """Delivered rate of a transfer, time to the answer of a stream of messages."""
    used = {}
    own = (stream, WITH, "with the agent") if agent else (stream, WITHOUT, "without the agent")
    for one, colour, label in ((twin, WITHOUT, "without"), own):
        if one is None:
            continue
        times = [one.begin + (i + 0.5) * one.step for i in range(len(one.rate))]
        if stream.messages:
            points = [
                (t, v * 1e3) for t, v in zip(times, one.latency, strict=True) if v is not None
            ]
            times, values = [t for t, _ in points], [v for _, v in points]
        else:
            values = [rate / 1e6 for rate in _smooth(one.rate)]
        (used[label],) = axes.plot(times, values, color=colour, lw=1.3)
    axes.set_ylabel("time to answer, ms" if stream.messages else "delivered, Mbit/s")
    axes.set_title(stream.name, loc="left", fontsize=10, fontweight="bold")
    axes.set_ylim(0, axes.get_ylim()[1] * HEADROOM)
    _legend(axes, used)


def _mark_changes(axes: Any, result: Result, labels: bool) -> None:
    bad_since: dict[str, float] = {}
    for event in result.events:
        if event.bad:
            bad_since[event.where] = event.at
        else:
            begin = bad_since.pop(event.where, event.at)
            axes.axvspan(begin, event.at, color="#d1495b", alpha=0.08, lw=0)
        axes.axvline(event.at, color="#555555", lw=0.8, ls=":")
        if labels:
            axes.annotate(
                f"{event.where} {event.label}",
                (event.at, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(3, 4),
                textcoords="offset points",
                fontsize=9,
            )
    for begin in bad_since.values():
        axes.axvspan(begin, result.duration, color="#d1495b", alpha=0.08, lw=0)


def _annotate_stalls(axes: Any, result: Result, other: Result | None, stream: str) -> None:
    """For every change: the longest stall as a bar at the foot and in words at the top."""
    for number, event in enumerate(result.events):
        twin = other.events[number] if other else None
        for one, colour, level in ((twin, "#555555", 0.05), (event, WITH, 0.02)):
            if one is not None:
                begin, length = one.stall_starts[stream], one.stalls[stream]
                axes.plot(
                    [begin, begin + length],
                    [level, level],
                    transform=axes.get_xaxis_transform(),
                    color=colour,
                    lw=4,
                    solid_capstyle="butt",
                )
        text = f"stall {event.stalls[stream] * 1e3:.0f} ms"
        if twin is not None:
            text += f"\nwithout {twin.stalls[stream] * 1e3:.0f} ms"
        axes.annotate(
            text,
            (event.at, 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=8.5,
            va="top",
            linespacing=1.25,
        )


def draw(result: Result, other: Result | None, scenario: Scenario, path: Path) -> None:
    """Write the picture; ``other`` is the same scenario without the agent.

    Without an agent in ``result`` there is no RTT and no state to show, streams only.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    upper = [2.2, 0.45 * len(result.paths) + 0.1] if result.paths else []
    heights = upper + [2.4] * len(result.streams)
    figure, grid = pyplot.subplots(
        len(heights),
        1,
        sharex=True,
        squeeze=False,
        figsize=(12, sum(heights) + 1.6),
        height_ratios=heights,
        layout="constrained",
    )
    all_axes = list(grid[:, 0])
    if result.paths:
        _draw_rtt(all_axes[0], result)
        _draw_states(all_axes[1], result)
    for axes, stream in zip(all_axes[len(upper) :], result.streams, strict=True):
        twin = next((s for s in other.streams if s.name == stream.name), None) if other else None
        _draw_stream(axes, result.agent, stream, twin)
        _annotate_stalls(axes, result, other, stream.name)
    for number, axes in enumerate(all_axes):
        _mark_changes(axes, result, labels=number == 0)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[-1].set_xlabel("seconds")
    all_axes[-1].set_xlim(-result.settle / 2, result.duration)
    figure.suptitle(scenario.summary, x=0.01, ha="left", fontsize=13, fontweight="bold")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
