# SPDX-License-Identifier: GPL-2.0-or-later
"""What a million flows cost: memory, the walk over the tables, the fast tick, the agent, overflow.

    python -m bench.scale [--quick] [--rounds 9] [--out out/scale.json]

Walks sum up flows per path and per server, collect what is due and list the top 20: both tables
inside the kernel, both by batches, and as the agent does, each table by what suits its fullness.
The agent is a real one in a lab, its table filled from outside.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import scale_runs as runs
from bench.command import positive, run
from bench.output import write_json

FULL = (1, 10_000, 100_000, 1_000_000)
QUICK = (1, 10_000, 100_000)
WAYS = {"auto": "as the agent does", "kernel": "in the kernel", "batches": "by batches"}
ENTRY_BYTES = 224
WALK_MS = 250
AGENT_MIB = 60
TICK_GROWTH = 1.5
"""The fast tick may differ by so much between 1 and a million flows: what a machine's noise is."""

Say = Callable[[str], None]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """A target of the project beside what was measured."""

    target: str
    measured: str
    met: bool | None
    """None: not measured in this run."""

    def __str__(self) -> str:
        mark = {True: "met", False: "MISSED", None: "not measured"}[self.met]
        return f"{mark:12} {self.target}: {self.measured}"


def measure(flows: int, rounds: int, quick: bool, say: Say) -> Figures:
    """One fullness of the IPv4 table."""
    with runs.table(runs.CAPACITY) as plane:
        say(f"{flows:,} flows: filling")
        plane.set_link(runs.LOOPBACK, 1, 0)
        runs.fill(plane.maps["omr_flows4"], flows, plane.clock()[0])
        say(f"{flows:,} flows: walking")
        walks = runs.walks(plane, flows, rounds)
        say(f"{flows:,} flows: reading paths")
        ticks = runs.ticks(plane, 500 if quick else 5000)
        beside = runs.ticks_beside_walks(plane, 1 if quick else 5)
        memory = {
            f"v{version}": runs.accounted_bytes(plane.maps[f"omr_flows{version}"]) / runs.CAPACITY
            for version in (4, 6)
        }
    return {
        "flows": flows,
        "walk_ms": {way: runs.summary(times) | {"all": times} for way, times in walks.items()},
        "tick_us": runs.summary(ticks),
        "tick_beside_walks_us": runs.summary(beside),
        "bytes_per_entry": memory,
    }


def verdicts(figures: Figures) -> list[Verdict]:
    last = figures["tables"][-1]
    size = last["bytes_per_entry"]["v4"]
    found = [
        Verdict(f"at most {ENTRY_BYTES} bytes an entry, IPv4", f"{size:.1f}", size <= ENTRY_BYTES)
    ]
    walk = last["walk_ms"]["auto"]["median"]
    found.append(
        Verdict(
            f"a million flows walked in at most {WALK_MS} ms",
            f"{walk:.0f} ms, {last['flows']:,} flows",
            walk <= WALK_MS if last["flows"] >= 1_000_000 else None,
        )
    )
    ticks = [row["tick_us"]["median"] for row in figures["tables"]]
    found.append(
        Verdict(
            "the fast tick does not depend on the number of flows",
            " / ".join(f"{tick:.1f}" for tick in ticks) + " us",
            max(ticks) <= TICK_GROWTH * min(ticks),
        )
    )
    memory = figures["agent"]["resident_kib"] / 1024
    found.append(
        Verdict(
            f"the agent takes at most {AGENT_MIB} MiB",
            f"{memory:.1f} MiB with {figures['agent']['flows']:,} flows",
            memory <= AGENT_MIB,
        )
    )
    return [*found, overflow_verdict(figures["overflow"])]


def overflow_verdict(overflow: Figures) -> Verdict:
    wrong = [
        f"{name} {overflow['counted'][name]} instead of {number}"
        for name, number in overflow["expected"].items()
        if overflow["counted"][name] != number
    ]
    if overflow["entries"] != overflow["capacity"]:
        wrong.append(f"{overflow['entries']} entries of {overflow['capacity']}")
    text = f"{overflow['flows_offered']:,} flows beyond {overflow['capacity']:,}: " + (
        ", ".join(wrong) or f"{overflow['counted']['flows_refused']:,} packets refused, all exact"
    )
    return Verdict(
        "a full table leaves accounting exact and counts what it misses", text, not wrong
    )


def table(figures: Figures) -> str:
    """Markdown, as the README has it."""
    rows = figures["tables"]
    lines = [
        "| flows | " + " | ".join(f"{row['flows']:,}" for row in rows) + " |",
        "|---" * (len(rows) + 1) + "|",
    ]
    for way in rows[-1]["walk_ms"]:
        cells = [f"{s['median']:.1f} ({s['least']:.1f}-{s['most']:.1f})"
                 for s in (row["walk_ms"][way] for row in rows)]  # fmt: skip
        lines.append(f"| walk {WAYS[way]}, ms: median (range) | " + " | ".join(cells) + " |")
    for key, name in (("tick_us", "fast tick"), ("tick_beside_walks_us", "beside walks")):
        cells = [f"{row[key]['median']:.1f} ({row[key]['p99']:.1f})" for row in rows]
        lines.append(f"| {name}, us: median (p99) | " + " | ".join(cells) + " |")
    size, agent = rows[-1]["bytes_per_entry"], figures["agent"]
    lines += [
        "",
        f"Kernel memory an entry: {size['v4']:.1f} bytes (IPv4), {size['v6']:.1f} (IPv6). "
        f"Agent with {agent['flows']:,} flows: {agent['resident_kib'] / 1024:.1f} MiB "
        f"({agent['resident_kib_empty'] / 1024:.1f} with none), "
        f"{agent['processor_share']:.1%} of a core.",
    ]
    return "\n".join(lines)


def draw(figures: Figures, path: Path) -> None:
    """Walks and fast ticks over the number of flows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = figures["tables"]
    flows = [row["flows"] for row in rows]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    colours = {"auto": "#1f6f43", "kernel": "#9fb8cf", "batches": "#7a7a7a"}
    for way, colour in reversed(colours.items()):
        series = [row["walk_ms"][way]["median"] for row in rows if way in row["walk_ms"]]
        if series:
            left.plot(flows, series, "o-", color=colour, label=WAYS[way])
            left.annotate(f"{series[-1]:.0f}", (flows[-1], series[-1]), xytext=(6, 0),
                          textcoords="offset points",
                          va={"kernel": "bottom", "auto": "top"}.get(way, "center"))  # fmt: skip
    left.axhline(WALK_MS, color="#b0413e", ls="--", lw=1, label=f"target, {WALK_MS} ms")
    left.set_ylabel("ms, median")
    left.set_title("Walk: per path, per server, top 20")
    ticks = [row["tick_us"]["median"] for row in rows]
    right.plot(flows, ticks, "o-", color="#1f6f43", label="fast tick")
    for at, tick in zip(flows, ticks, strict=True):
        right.annotate(f"{tick:.1f}", (at, tick), xytext=(0, 6), textcoords="offset points",
                       ha="center")  # fmt: skip
    right.set_ylabel("us, median")
    right.set_title("Fast tick: all paths' counters")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlabel("flows in the table")
        axes.margins(x=0.12)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    left.set_yscale("log")
    right.set_ylim(0, 1.6 * max(ticks))
    figure.savefig(path, dpi=130)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100,000 flows, half a minute")
    parser.add_argument("--rounds", type=positive, default=9, help="walks of each way")
    parser.add_argument("--out", type=Path, default=Path("out/scale.json"))
    return parser.parse_args()


def work(args: argparse.Namespace) -> None:
    begun = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {what}", file=sys.stderr, flush=True)

    fullness = QUICK if args.quick else FULL
    rounds = min(args.rounds, 3) if args.quick else args.rounds
    figures: Figures = {"capacity": runs.CAPACITY}
    figures["tables"] = [measure(flows, rounds, args.quick, say) for flows in fullness]
    entries = fullness[-1]
    say("agent: starting in a lab")
    cost = runs.agent_cost(entries, 3 if args.quick else 5, 2 if args.quick else 10, say)
    figures["agent"] = {"flows": entries, "capacity": runs.CAPACITY, **cost}
    capacity = 65_536 if args.quick else runs.CAPACITY
    say(f"overflow: filling {capacity:,} entries")
    with runs.table(capacity) as plane:
        figures["overflow"] = runs.overflow(plane, capacity, 1_000)
    judged = verdicts(figures)
    figures["verdicts"] = [vars(verdict) for verdict in judged]
    print(table(figures) + "\n")
    print("\n".join(str(verdict) for verdict in judged))
    write_json(args.out, figures)
    draw(figures, args.out.with_suffix(".png"))


def main() -> int:
    args = arguments()
    return run(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
