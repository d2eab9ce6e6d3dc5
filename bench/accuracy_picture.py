# SPDX-License-Identifier: GPL-2.0-or-later
"""The figures of bench/accuracy.py as heat maps: error over RTT and loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.accuracy_cell import Figures

SCALE_TOP = 10.0
"""Per cent, where the colours end."""
CELL_WIDTH, CELL_HEIGHT = 0.85, 0.5
"""Inches."""
DIRECTIONS = {"up": "upload", "down": "download"}
QUANTITIES: tuple[tuple[str, Callable[[Figures], float], Callable[[Figures], str]], ...] = (
    (
        "smoothed RTT, median error\n(small: median tcpi_rtt)",
        lambda f: f.srtt.median,
        lambda f: f"{f.kernel_srtt * 1e3:.0f} ms",
    ),
    (
        "minimum RTT, error\n(small: tcpi_min_rtt)",
        lambda f: abs(f.min_rtt.error),
        lambda f: f"{f.min_rtt.kernel * 1e3:.1f} ms",
    ),
    (
        "segments sent again, error\n(small: ours / kernel's)",
        lambda f: abs(f.repeats.error),
        lambda f: f"{f.repeats.ours:.0f} / {f.repeats.kernel:.0f}",
    ),
)
"""Title, error as a ratio, and what stands below it in small."""


def draw(figures: list[Figures], path: Path) -> None:
    """Small multiples: a row per direction of the data, a column per quantity."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    losses = sorted({f.condition.loss for f in figures})
    links = sorted({(f.condition.mptcp, f.condition.rtt) for f in figures})
    size = (
        2.4 + len(QUANTITIES) * max(CELL_WIDTH * len(losses), 2.4),
        1.8 + len(DIRECTIONS) * CELL_HEIGHT * max(len(links), 2),
    )
    figure, grid = pyplot.subplots(
        len(DIRECTIONS),
        len(QUANTITIES),
        figsize=size,
        layout="constrained",
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    for row, way in enumerate(DIRECTIONS):
        cells = {
            (links.index((c.mptcp, c.rtt)), losses.index(c.loss)): f
            for f in figures
            if (c := f.condition).direction == way
        }
        for axes, (_, value, note) in zip(grid[row], QUANTITIES, strict=True):
            image = _map(axes, cells, (len(links), len(losses)), value, note)
        grid[row][0].set_yticks(range(len(links)), [_name(*link) for link in links])
        grid[row][0].set_ylabel(f"{DIRECTIONS[way]}\nRTT of the link")
    for axes, (title, _, _) in zip(grid[0], QUANTITIES, strict=True):
        axes.set_title(title, loc="left", fontsize=10)
    for axes in grid[-1]:
        axes.set_xticks(range(len(losses)), [f"{loss:.0%}" for loss in losses])
        axes.set_xlabel("packet loss, each way")
    bar = figure.colorbar(image, ax=grid, shrink=0.6, extend="max", aspect=30)
    bar.set_label("error against tcp_info, %")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _name(mptcp: bool, rtt: float) -> str:
    return f"{rtt * 1e3:.0f} ms" + ("\nMPTCP" if mptcp else "")


def _map(
    axes: Any,
    cells: dict[tuple[int, int], Figures],
    shape: tuple[int, int],
    value: Callable[[Figures], float],
    note: Callable[[Figures], str],
) -> Any:
    """One heat map; every cell says its error and, in small, its size."""
    table = [
        [100 * value(cells[y, x]) if (y, x) in cells else float("nan") for x in range(shape[1])]
        for y in range(shape[0])
    ]
    image = axes.imshow(table, cmap="YlOrRd", vmin=0, vmax=SCALE_TOP, aspect="auto")
    for (y, x), figures in cells.items():
        colour = "white" if table[y][x] > 0.7 * SCALE_TOP else "black"
        style = {"ha": "center", "va": "center", "color": colour}
        axes.text(x, y - 0.15, f"{table[y][x]:.1f} %", fontsize=9.5, **style)
        axes.text(x, y + 0.25, note(figures), fontsize=7, **style)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image
