# SPDX-License-Identifier: GPL-2.0-or-later
"""What the packet programs cost: ns per packet beside an empty program, a parser, a bare look-up.

All in one run, in turn, so that a drift of the machine meets all. By BPF_PROG_TEST_RUN on packets
that advance (new data, new acknowledgements), for 1, 10,000 and 1,000,000 flows, and live beside
iperf3. Of each series the minimum is judged (what disturbs a run only adds) and the median shown.

    python -m bench.overhead [--quick] [--rounds 15] [--live-rounds 7] [--no-live]
                             [--out out/overhead.json]
                             [--peer OBJECT --peer-egress PROGRAM --peer-ingress PROGRAM]

The peer is another meter's object with two TC programs (ePPing's pping_kern.o, say), measured
beside ours on the same packets.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.command import positive, run
from bench.output import write_json
from bench.overhead_live import Live, measure_live
from bench.overhead_live import text as live_text
from bench.overhead_packets import KINDS, PLACES, Kind, Place
from bench.overhead_picture import draw
from bench.overhead_runs import FEW, MANY, Bench, Figures, compile_object, measure
from omrfast.shim import api

ABOVE_PARSE_NS = 60
OF_PEER = 0.6
OF_LOOKUP = 1.25
THROUGHPUT = 0.98
TARGETS = {
    "above parse, ns": ABOVE_PARSE_NS,
    "of peer": OF_PEER,
    "of lookup": OF_LOOKUP,
    "throughput": THROUGHPUT,
}
COLUMNS = ("empty", "parse", "parse_ours", "lookup", "omrfast", "peer")
HOT_KINDS = ("ACK", "data", "data+DSS")
MANY_KINDS = ("ACK", "data", "data, sampled")


@dataclass(frozen=True)
class Row:
    """One line of the table: every program on the same packets."""

    flows: int
    place: Place
    kind: str
    figures: dict[str, Figures]

    def least(self, program: str) -> int:
        return min(self.figures[program].advancing)

    def above(self, program: str, base: str = "empty") -> int:
        """ns that a program costs beyond another: the loop and the advancing fall out."""
        return self.least(program) - self.least(base)

    def ratio(self, base: str) -> float:
        return self.above("omrfast") / max(self.above(base), 1)

    def name(self) -> str:
        return f"{self.place.name}, {self.kind}, {self.flows:,} flow{'s' * (self.flows > 1)}"

    def json(self) -> dict[str, Any]:
        series = {
            name: {
                way: {"min": min(values), "median": statistics.median(values), "all": values}
                for way, values in (("advancing", f.advancing), ("identical", f.identical))
                if values
            }
            for name, f in self.figures.items()
        }
        return {
            "flows": self.flows,
            "hook": self.place.hook,
            "direction": "egress" if self.place.egress else "ingress",
            "ip": self.place.version,
            "packet": self.kind,
            "ns": series,
        }


@dataclass(frozen=True)
class Plan:
    """What to measure, and how often."""

    flows: int
    capacity: int
    kinds: tuple[str, ...]
    places: tuple[Place, ...]
    rounds: int

    def cases(self) -> Iterator[tuple[Place, Kind]]:
        for place in self.places:
            for kind in self.kinds:
                yield place, KINDS[kind]


def plans(quick: bool, rounds: int) -> list[Plan]:
    few = api.DEFAULT_FLOWS
    tc = tuple(place for place in PLACES if place.hook == "TC")
    if quick:
        return [
            Plan(1, few, HOT_KINDS, PLACES, 2),
            Plan(10_000, few, ("data",), PLACES[:3], 3),
            Plan(1_000_000, 1_000_000, ("data",), tc[:2], 1),
        ]
    return [
        Plan(1, few, HOT_KINDS, PLACES, rounds),
        # Not at XDP: what the kernel does before it runs an XDP program empties the caches.
        Plan(FEW, few, ("data, sampled",), tc, rounds),
        Plan(10_000, few, ("ACK", "data"), PLACES, rounds),
        Plan(1_000_000, 1_000_000, MANY_KINDS, PLACES, max(rounds // 3, 1)),
    ]


def run_plan(
    plan: Plan, peer: Callable[[Bench], Any] | None, say: Callable[[str], None]
) -> list[Row]:
    """Measure one plan in one set of maps."""
    rows = []
    with Bench(plan.capacity) as bench:
        systems = [bench.omrfast]
        if peer and plan.flows < MANY:
            systems.append(peer(bench))
        for place, kind in plan.cases():
            figures = measure(bench, systems, place, kind, plan.flows, plan.rounds)
            rows.append(Row(plan.flows, place, kind.name, figures))
            say(rows[-1].name())
    return rows


def cell(row: Row, program: str) -> str:
    if program not in row.figures:
        return f"{'-':>11}"
    values = row.figures[program].advancing
    return f"{min(values):>5}/{statistics.median(values):<5.0f}"


def table(rows: list[Row]) -> str:
    """Advancing packets; min/median of the rounds, ns, the loop's own cost included."""
    columns = [name for name in COLUMNS if any(name in row.figures for row in rows)]
    lines = [
        f"{'ns per packet, min/median':48}"
        + " ".join(f"{name:>11}" for name in columns)
        + f" {'-parse':>7} {'/lookup':>8}"
        + (f" {'/peer':>6}" if "peer" in columns else "")
    ]
    for row in rows:
        line = f"{row.name():48}" + " ".join(cell(row, name) for name in columns)
        line += f" {row.above('omrfast', 'parse'):>7} {row.ratio('lookup'):>8.2f}"
        if "peer" in row.figures:
            line += f" {row.ratio('peer'):>6.2f}"
        lines.append(line)
    return "\n".join(lines)


def identical_table(rows: list[Row]) -> str:
    """The same packet again and again (to a meter: a repeat), without what advances packets."""
    lines = ["", f"{'one packet repeated, min ns':48}" + " ".join(f"{n:>11}" for n in COLUMNS)]
    for row in rows:
        if row.figures["empty"].identical:
            cells = [
                f"{min(row.figures[name].identical):>11}" if name in row.figures else f"{'-':>11}"
                for name in COLUMNS
            ]
            lines.append(f"{row.name():48}" + " ".join(cells))
    return "\n".join(lines)


@dataclass(frozen=True)
class Verdict:
    """A target of the project beside the worst that was measured."""

    target: str
    measured: str
    where: str
    met: bool | None
    """None: not measured in this run."""

    def __str__(self) -> str:
        mark = {True: "met", False: "MISSED", None: "not measured"}[self.met]
        return f"{mark:12} {self.target}: {self.measured}" + (f" ({self.where})" * bool(self.where))


def worst(target: str, limit: float, unit: str, values: list[tuple[float, str]]) -> Verdict:
    """The verdict on the greatest of (value, where)."""
    if not values:
        return Verdict(target, "-", "", None)
    value, where = max(values)
    return Verdict(target, f"{value:.4g}{unit}", where, value <= limit)


def throughput_verdict(live: Live) -> Verdict:
    """The median ratio of TC at both hooks, offloads on; the worse direction counts."""
    target = f"at least {THROUGHPUT} of iperf3's throughput, TC, offloads on"
    found = [(row["median"]["TC"], row["traffic"]) for row in live.throughput if row["offloads"]]
    if not found:
        return Verdict(target, "-", "", None)
    ratio, where = min(found)
    return Verdict(target, f"{ratio:.3f}", where, ratio >= THROUGHPUT)


def verdicts(rows: list[Row]) -> list[Verdict]:
    hot = [row for row in rows if row.flows == 1 and row.place.hook == "TC"]
    found = []
    for egress, name in ((True, "egress"), (False, "ingress")):
        values = [
            (float(row.above("omrfast", "parse")), row.name())
            for row in hot
            if row.place.egress == egress
        ]
        target = f"at most {ABOVE_PARSE_NS} ns above parse, one hot flow, TC {name}"
        found.append(worst(target, ABOVE_PARSE_NS, " ns", values))
    values = [(row.ratio("peer"), row.name()) for row in hot if "peer" in row.figures]
    found.append(worst(f"at most {OF_PEER} of the peer's cost", OF_PEER, "", values))
    for hook in ("TC", "XDP"):
        for sampled, what in ((False, ""), (True, ", every packet a sample")):
            values = [
                (row.ratio("lookup"), row.name())
                for row in rows
                if row.flows >= MANY
                and row.place.hook == hook
                and KINDS[row.kind].sampled == sampled
            ]
            target = f"at most {OF_LOOKUP} of lookup at a million flows, {hook}{what}"
            found.append(worst(target, OF_LOOKUP, "", values))
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds: a minute")
    parser.add_argument("--rounds", type=positive, default=15)
    parser.add_argument("--live-rounds", type=positive, default=7)
    parser.add_argument("--no-live", action="store_true", help="no namespaces, no iperf3")
    parser.add_argument("--peer", type=Path, metavar="OBJECT")
    parser.add_argument("--peer-egress", metavar="PROGRAM")
    parser.add_argument("--peer-ingress", metavar="PROGRAM")
    parser.add_argument("--out", type=Path, default=Path("out/overhead.json"))
    args = parser.parse_args()
    if args.peer and not (args.peer_egress and args.peer_ingress):
        parser.error("--peer needs --peer-egress and --peer-ingress, the names of its programs")
    return args


def work(args: argparse.Namespace) -> None:
    begun = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {what}", file=sys.stderr, flush=True)

    def peer(bench: Bench) -> Any:
        return bench.peer(args.peer, args.peer_egress, args.peer_ingress)

    compile_object()
    rows: list[Row] = []
    for plan in plans(args.quick, args.rounds):
        rows += run_plan(plan, peer if args.peer else None, say)
    live = Live() if args.no_live else measure_live(args.quick, args.live_rounds, say)
    judged = [*verdicts(rows), throughput_verdict(live)]
    print(table(rows) + "\n" + identical_table(rows) + "\n")
    if live.throughput:
        print(live_text(live) + "\n")
    print("\n".join(str(verdict) for verdict in judged))
    if args.quick:
        print("So few rounds: hints, not verdicts.")
    figures = {
        "quick": args.quick,
        "targets": TARGETS,
        "verdicts": [vars(verdict) for verdict in judged],
        "runs": [row.json() for row in rows],
        "bpf_stats": live.stats,
        "throughput": live.throughput,
    }
    write_json(args.out, figures)
    draw(figures, args.out.with_suffix(".png"))


def main() -> int:
    args = arguments()
    return run(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
