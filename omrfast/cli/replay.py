# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast replay`: a capture through the packet programs."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omrfast.cli.common import FAILED, FINE, Subparsers, add_json, print_json
from omrfast.cli.replay_text import text
from omrfast.replay.sides import Given, parse_local

if TYPE_CHECKING:
    from omrfast.replay.capture import Capture
    from omrfast.replay.planes import Target

Json = dict[str, Any]

_DESCRIPTION = """Run a capture (pcap or pcapng, also packed by gzip; - is standard input) through
the packet programs, each packet at its own time, and show what they measure: flows, round-trip
times, loss, MPTCP connections. Both data planes give the same answer; the kernel's needs root."""

_PATIENCE = 1.0
"""Seconds after which progress is shown."""


def _local(value: str) -> str:
    try:
        parse_local([value])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return value


def _number(value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= 1 << 24:
        raise argparse.ArgumentTypeError(f"{value!r}: write a whole number from 1 to 16777216")
    return int(value)


def register(subparsers: Subparsers, parents: Sequence[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "replay",
        parents=parents,
        help="run a capture through the packet programs",
        description=_DESCRIPTION,
    )
    parser.add_argument("file", metavar="FILE", help="the capture")
    add_json(parser)
    parser.add_argument(
        "--local",
        action="append",
        type=_local,
        default=[],
        metavar="NET|MAC|auto",
        help="what is this machine: addresses, networks or MAC addresses; may be given several "
        "times (default: auto: as the capture says, or a guess)",
    )
    parser.add_argument(
        "--samples", action="store_true", help="each RTT sample with its packet's number"
    )
    parser.add_argument(
        "--top",
        type=_number,
        default=100,
        metavar="N",
        help="how many flows to show, those with most bytes (default: 100; --json has all)",
    )
    parser.add_argument(
        "--dataplane",
        choices=("kernel", "native"),
        help="where the programs run (default: kernel if that can be had)",
    )
    parser.add_argument(
        "--flows",
        type=_number,
        default=65536,
        metavar="N",
        help="flows that there is room for, each of IPv4 and IPv6 (default: 65536)",
    )
    parser.set_defaults(handler=handle)


class _Progress:
    """A line on a terminal's standard error while it takes long."""

    def __init__(self, path: str) -> None:
        self._whole = os.path.getsize(path) if os.path.isfile(path) else 0
        self._started = self._last = time.monotonic()
        self._shown = False

    def __call__(self, packets: int, position: int) -> None:
        now = time.monotonic()
        if not sys.stderr.isatty() or now - self._started < _PATIENCE or now - self._last < 0.2:
            return
        self._last, self._shown = now, True
        share = f", {100 * position // self._whole} %" if self._whole else ""
        sys.stderr.write(f"\r{packets:,} packets{share} \033[K")
        sys.stderr.flush()

    def finish(self) -> float:
        """Seconds since the start."""
        if self._shown:
            sys.stderr.write("\r\033[K")
        return time.monotonic() - self._started


def run(capture: Capture, given: Given, target: Target, samples: bool) -> Json:
    """Replay through a target with empty tables; the document of omrfast.replay.

    Raises CaptureError, ShimError or OSError.
    """
    from omrfast.replay import report
    from omrfast.replay.engine import replay

    progress = _Progress(capture.name)
    try:
        outcome = replay(capture, target, given, progress, each_sample=samples)
    finally:
        seconds = progress.finish()
    found: Json = {"file": capture.name, "format": capture.format}
    found.update(report.document(outcome))
    found["run"] = {
        "dataplane": target.name,
        "seconds": round(seconds, 3),
        "packets_per_second": round(outcome.packets / seconds) if seconds else None,
    }
    if samples:
        found["samples"] = report.samples(outcome)
    return found


def handle(args: argparse.Namespace) -> int:
    from omrfast.replay.capture import open_capture
    from omrfast.replay.planes import open_target

    with open_capture(args.file) as capture, open_target(args.dataplane, args.flows) as target:
        found = run(capture, parse_local(args.local), target, args.samples)
    if args.json:
        print_json(found)
    else:
        print(text(found, args.top, args.flows))
    if found["damage"]:
        print(f"omrfast: {found['damage']}", file=sys.stderr)
        return FAILED
    return FINE
