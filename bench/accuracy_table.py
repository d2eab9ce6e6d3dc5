# SPDX-License-Identifier: GPL-2.0-or-later
"""The figures of bench/accuracy.py as a table."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.accuracy_cell import Figures

FILE_WIDTH = 144
NOTABLE = 0.05
"""Errors above this are marked."""
FEW = 0.25
"""So are fewer samples per round trip: an error that is small now would not be seen to grow."""


def _marked(text: str, bad: bool) -> str:
    return f"[bold red]{text}[/]" if bad else text


def _percent(value: float) -> str:
    return _marked(f"{value:.1%}", abs(value) > NOTABLE)


def _row(f: Figures) -> list[str]:
    c = f.condition
    return [
        f"{c.rtt * 1e3:.0f} ms",
        f"{c.loss:.0%}",
        c.direction + (" MPTCP" if c.mptcp else ""),
        f"{f.kernel_srtt * 1e3:.1f}",
        _percent(f.srtt.median),
        f"{f.srtt.p90:.0%}",
        f"{f.srtt.bias:+.1%}",
        "-" if f.rcv_rtt is None else f"{f.rcv_rtt.median:.0%}",
        _percent(f.min_rtt.error),
        _marked(f"{f.samples_per_rtt:.2f}", f.samples_per_rtt < FEW),
        f"{f.rttvar.ours * 1e3:.1f}/{f.rttvar.kernel * 1e3:.1f}",
        f"{f.jitter * 1e3:.1f}",
        f"{f.repeats.ours:.0f}/{f.repeats.kernel:.0f}",
        _percent(f.repeats.error),
    ]


COLUMNS = (
    "link",
    "loss",
    "data",
    "tcpi_rtt\nms",
    "srtt\nerror",
    "\np90",
    "\nbias",
    "rcv_rtt\nerror",
    "min_rtt\nerror",
    "samples\nper RTT",
    "rttvar ms\nours/kernel",
    "jitter\nms",
    "repeats\nours/kernel",
    "\nerror",
)


def table(figures: list[Figures]) -> Table:
    """One row per cell."""
    shown = Table(title="omrfast against tcp_info", title_justify="left", box=SIMPLE_HEAD)
    for name in COLUMNS:
        shown.add_column(name, justify="left" if name == "data" else "right")
    for number, one in enumerate(figures):
        shown.add_row(*_row(one), end_section=_last_of_step(figures, number))
    return shown


def _last_of_step(figures: list[Figures], number: int) -> bool:
    here, after = figures[number].condition, figures[number + 1 : number + 2]
    return any((c.condition.mptcp, c.condition.rtt) != (here.mptcp, here.rtt) for c in after)


def show(figures: list[Figures]) -> None:
    """On standard output; a file gets lines that hold every column."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=FILE_WIDTH)
    console.print(table(figures))
