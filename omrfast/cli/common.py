# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands share: exit codes, configuration, output."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from omrfast.configfile import load_config
from omrfast.core.config import Config

FINE = 0
FAILED = 1
USAGE = 2
DEGRADED = 3

CONFIG_VARIABLE = "OMRFAST_CONFIG"

Subparsers = Any
"""argparse's own class for it is private and generic."""


class CommandError(Exception):
    """A command can't do what it was asked for; the text says why and what to do."""


def add_json(parser: argparse.ArgumentParser) -> None:
    """Give a command that reads something its ``--json``."""
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def load_configuration(args: argparse.Namespace) -> Config:
    """The file of ``--config``, else of OMRFAST_CONFIG, else the default.

    Raises ConfigError.
    """
    return load_config(args.config or os.environ.get(CONFIG_VARIABLE) or None)


def run_dir(args: argparse.Namespace) -> str:
    """Where the agent that this command is about keeps its socket and pins."""
    return load_configuration(args).agent.run_dir


def print_json(value: object) -> None:
    """One document, indented where a person reads it."""
    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps(value, indent=indent, ensure_ascii=False))


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> str:
    """Aligned columns; a character ``>`` in ``right`` aligns its column to the right."""
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    lines = []
    for row in (headers, *rows):
        cells = [
            cell.rjust(width) if right[number : number + 1] == ">" else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def number(value: float | None, digits: int = 1) -> str:
    """A number, or ``-`` where it is unknown."""
    return "-" if value is None else f"{value:.{digits}f}"


def size(count: float) -> str:
    """Bytes in SI units, three figures: ``999 B``, ``1.23 MB``."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        count /= 1000
        if count < 999.5 or unit == "PB":
            break
    return f"{count:.{2 if count < 9.995 else 1 if count < 99.95 else 0}f} {unit}"


def duration(seconds: float) -> str:
    """``4.2 s``, ``3m 07s``, ``5h 02m``, ``12d 03h``."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02}h"


def clock_time(at: float) -> str:
    """Unix time as local date and time, milliseconds included."""
    return f"{time.strftime('%F %T', time.localtime(at))}.{int(at % 1 * 1000):03}"
