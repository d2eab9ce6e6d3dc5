# SPDX-License-Identifier: GPL-2.0-or-later
"""How well the data path's RTT and loss agree with the kernel's own TCP, live, in the lab.

    python -m bench.accuracy [--quick] [--out out/accuracy.json]

One bulk connection per cell of RTT x loss x direction, each on an uplink of its own (10 Mbit/s,
100 ms of queue each way); the cells of one RTT run at the same time, at 40 ms once more over MPTCP
with one subflow. Loss is of packets, independent, in both directions. A cell lasts 200 round trips
and at least 12 s. No agent runs: the measuring programs alone are attached, at the router's end of
each uplink.

What is compared with what, per connection (times in seconds, errors as ratios of the kernel's):

srtt       The flow's smoothed RTT with tcpi_rtt of the end that sends: the router's own socket for
           uploads, the server's for downloads (whose router sends nothing but acknowledgements, so
           that its own tcpi_rtt is the handshake's). The kernel is read before and after ours: what
           lies between the two agrees. Median and 90th percentile of the distance, and the median
           with its sign. With windows of a few segments (--congestion cubic and loss) the receiver
           delays many acknowledgements: tcpi_rtt then has up to 40 ms more in it than the path.
min_rtt    The flow's minimum with tcpi_min_rtt of that end, at the last reading.
rcv_rtt    Downloads, for scale: how far tcpi_rcv_rtt of the router's own kernel is from tcpi_rtt of
           the server, computed like srtt.
rttvar     Medians over the readings of the flow's RTTVAR and of tcpi_rttvar. Both follow RFC 6298,
           but the kernel feeds its own at every acknowledgement, whose RTT is close to that of the
           one before, we once a round trip: ours is the larger, no error is computed. So it is with
           the jitter (RFC 3550 over samples a round trip apart), which stands beside it.
repeats    Uploads: segments sent again less spurious ones, with tcpi_total_retrans less
           tcpi_dsack_dups of the router. Downloads: inbound segments that fill a hole or come
           twice, with tcpi_total_retrans of the server times the share of packets that the link let
           through, because nobody at the receiving end can know of a repeat that was lost itself
           (an expectation: it has the spread of the lost repeats' number). Uploads count from the
           handshake on, downloads from the first reading on: while a connection starts, the queue
           overflows and loses more of the repeats than of the rest. The loss is switched off before
           the count is taken, until nothing is sent again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench import accuracy_picture, accuracy_table
from bench.accuracy_cell import Cell, Condition, Figures
from bench.accuracy_meter import Meter, Reading, eventually
from bench.command import run
from bench.output import write_json
from omrfast.lab.addresses import uplink_address
from omrfast.lab.devices import LabError
from omrfast.lab.links import Link, LinkStats
from omrfast.lab.topology import Lab, TopologySpec, UplinkSpec
from omrfast.lab.traffic import Stream, StreamSpec

RTTS = (0.010, 0.020, 0.040, 0.100, 0.200, 0.500)
LOSSES = (0.0, 0.01, 0.03, 0.10)
DIRECTIONS = ("up", "down")
MPTCP_RTT = 0.040
RATE = 10e6
"""Bit/s of each uplink, each way."""
ROUND_TRIPS = 200
LEAST_SECONDS = 12.0
PATIENCE = 30.0
DEFAULT_CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")
QUIET_LEAST = 0.5


@dataclass(frozen=True, slots=True)
class Step:
    """What runs at the same time: some losses, both directions, at one RTT."""

    mptcp: bool
    rtt: float
    losses: tuple[float, ...]

    @property
    def seconds(self) -> float:
        return max(LEAST_SECONDS, ROUND_TRIPS * self.rtt)

    @property
    def warm_up(self) -> float:
        """Seconds until the connection has found its rate, and both estimators forgot its start."""
        return 1 + 20 * self.rtt

    @property
    def interval(self) -> float:
        """Seconds between two readings."""
        return max(0.05, self.rtt / 4)

    @property
    def title(self) -> str:
        return f"{'MPTCP' if self.mptcp else 'TCP'} {self.rtt * 1e3:.0f} ms"

    @property
    def conditions(self) -> list[Condition]:
        return [
            Condition(self.mptcp, self.rtt, loss, direction)
            for loss in self.losses
            for direction in DIRECTIONS
        ]


QUICK = (Step(False, 0.040, (0.0, 0.03)),)
FULL = (*(Step(False, rtt, LOSSES) for rtt in RTTS), Step(True, MPTCP_RTT, LOSSES))


class Bench:
    """Steps, one after the other, in one lab. Raises LabError if a connection breaks."""

    def __init__(self, lab: Lab, meter: Meter, congestion: str | None) -> None:
        self._lab = lab
        self._meter = meter
        self._congestion = congestion

    def run(self, step: Step, advance: Callable[[float], None]) -> list[Figures]:
        """``advance`` is told the seconds that have passed."""
        conditions = list(enumerate(step.conditions, 1))
        for uplink, _ in conditions:
            self._link(uplink).change(delay=step.rtt / 2, loss=0.0)
        cells = [Cell(condition, uplink) for uplink, condition in conditions]
        with ExitStack() as stack:
            for cell in cells:
                cell.port = stack.enter_context(self._stream(cell)).port
            eventually(lambda: self._measured(cells), "a connection per uplink", PATIENCE)
            for cell in cells:  # not before, so that no SYN is lost
                self._link(cell.uplink).change(loss=cell.condition.loss)
            _wait(step.warm_up, advance)
            for cell in cells:
                cell.link = self._stats(cell)
            seconds = self._sample(step, cells, advance)
            last = self._settle(step, cells)
            figures = [
                cell.figures(reading, self._stats(cell), seconds)
                for cell, reading in zip(cells, last, strict=True)
            ]
        eventually(self._meter.idle, "the connections' end", PATIENCE)
        return figures

    # --- one cell's link and stream ---

    def _link(self, uplink: int) -> Link:
        return self._lab.links[f"wan{uplink}"]

    def _stats(self, cell: Cell) -> LinkStats:
        return self._link(cell.uplink).stats(cell.condition.direction)

    def _stream(self, cell: Cell) -> Stream:
        return Stream(
            self._lab,
            StreamSpec(
                f"uplink{cell.uplink}",
                f"bulk-{cell.condition.direction}",
                source=uplink_address(cell.uplink),
                mptcp=cell.condition.mptcp,
                congestion=self._congestion,
            ),
        )

    # --- the parts of a step ---

    def _read(self, cells: list[Cell], partly: bool = False) -> list[Reading]:
        """In the order of the cells; ``partly``: those that are there."""
        found = self._meter.read({cell.uplink: cell.port for cell in cells})
        missing = [f"wan{cell.uplink}" for cell in cells if cell.uplink not in found]
        if missing and not partly:
            raise LabError(f"no connection any more on {', '.join(missing)}")
        return [found[cell.uplink] for cell in cells if cell.uplink in found]

    def _measured(self, cells: list[Cell]) -> bool:
        """Every cell's connection is there and has an RTT."""
        readings = self._read(cells, partly=True)
        return len(readings) == len(cells) and all(r.ours.rtt_samples for r in readings)

    def _sample(self, step: Step, cells: list[Cell], advance: Callable[[float], None]) -> float:
        """Readings for step.seconds; how long it really took."""
        began = now = time.monotonic()
        while now - began < step.seconds:
            for cell, reading in zip(cells, self._read(cells), strict=True):
                cell.readings.append(reading)
            advance(step.interval)
            time.sleep(step.interval)
            now = time.monotonic()
        return now - began

    def _settle(self, step: Step, cells: list[Cell]) -> list[Reading]:
        """Per cell a reading at whose time nothing had been sent again for some round trips."""
        for cell in cells:
            self._link(cell.uplink).change(loss=0.0)
        quiet = max(QUIET_LEAST, 3 * step.rtt)
        since = dict.fromkeys(range(len(cells)), (-1, 0.0))
        settled: dict[int, Reading] = {}

        def look() -> bool:
            now = time.monotonic()
            for number, reading in enumerate(self._read(cells)):
                way = cells[number].condition.direction
                count = reading.after.sender(way).total_retrans
                if count != since[number][0]:
                    since[number] = (count, now)
                elif now - since[number][1] > quiet:
                    settled.setdefault(number, reading)
            return len(settled) == len(cells)

        eventually(look, "an end of what is sent again", PATIENCE + 10 * step.rtt)
        return [settled[number] for number in range(len(cells))]


def _wait(seconds: float, advance: Callable[[float], None]) -> None:
    for _ in range(max(round(seconds), 1)):
        time.sleep(seconds / max(round(seconds), 1))
        advance(1)


def measure(steps: tuple[Step, ...], congestion: str | None, errors: Console) -> list[Figures]:
    uplinks = max(len(step.conditions) for step in steps)
    spec = TopologySpec(
        uplinks=tuple(UplinkSpec(rate=RATE) for _ in range(uplinks)),
        endpoints=False,
        tcp_wmem_max=None,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    found: list[Figures] = []
    total = sum(step.warm_up + step.seconds for step in steps)
    with Lab(spec) as lab, Meter(lab) as meter, Progress(*columns, console=errors) as progress:
        bench = Bench(lab, meter, congestion)
        task = progress.add_task("", total=total)
        for number, step in enumerate(steps, 1):
            title = f"{number}/{len(steps)}: {step.title}, {len(step.conditions)} connections"
            progress.update(task, description=title)
            if not errors.is_terminal:
                errors.print(f"{title}, {step.warm_up + step.seconds:.0f} s")
            found += bench.run(step, lambda seconds: progress.advance(task, seconds))
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="four cells, half a minute")
    parser.add_argument("--congestion", help="congestion control (default: the kernel's own)")
    parser.add_argument("--out", type=Path, default=Path("out/accuracy.json"))
    return parser.parse_args()


def work(args: argparse.Namespace) -> None:
    figures = measure(QUICK if args.quick else FULL, args.congestion, Console(stderr=True))
    settings = {
        "congestion": args.congestion or DEFAULT_CONGESTION.read_text().strip(),
        "rate_bit_s": RATE,
        "queue_s": UplinkSpec().queue,
    }
    write_json(args.out, {"settings": settings, "cells": [asdict(one) for one in figures]})
    picture = args.out.with_suffix(".png")
    accuracy_picture.draw(figures, picture)
    accuracy_table.show(figures)
    print(f"{args.out}, {picture}")


def main() -> int:
    args = arguments()
    return run(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
