# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast replay`: a capture through the packet programs."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omrfast.cli.common import (
    FAILED,
    FINE,
    Subparsers,
    add_json,
    duration,
    number,
    print_json,
    size,
    table,
)
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


def _local(text: str) -> str:
    try:
        parse_local([text])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _flows(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1 << 24:
        raise argparse.ArgumentTypeError(f"{text!r}: write a whole number from 1 to 16777216")
    return int(text)


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
        "--dataplane",
        choices=("kernel", "native"),
        help="where the programs run (default: kernel if that can be had)",
    )
    parser.add_argument(
        "--flows",
        type=_flows,
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
        outcome = replay(capture, target, given, progress)
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
        _print(found, args.flows)
    if found["damage"]:
        print(f"omrfast: {found['damage']}", file=sys.stderr)
        return FAILED
    return FINE


# --- for people -------------------------------------------------------------------------------

_HEADERS = (
    "#",
    "LOCAL",
    "REMOTE",
    "KIND",
    "STATE",
    "RTT ms",
    "MIN",
    "P50",
    "P99",
    "SAMPLES",
    "SENT",
    "RECEIVED",
    "AGAIN/SEGMENTS",
    "NEEDLESS",
    "REFILLED/SEGMENTS",
)


def _kind(flow: Json) -> str:
    mptcp = flow["mptcp"]
    if flow["fallback"]:
        return "tcp fallback"
    if not mptcp:
        return "tcp"
    kind = "join" if mptcp["joined"] else "mptcp"
    return f"{kind} {mptcp['connection']}" + (" backup" if mptcp["backup"] else "")


def _row(index: int, flow: Json) -> list[str]:
    rtt = flow["rtt_ms"]
    return [
        str(index),
        flow["local"],
        flow["remote"],
        _kind(flow),
        flow["state"] if flow["role"] != "midlife" else f"{flow['state']}, midlife",
        number(rtt["smoothed"], 3),
        number(rtt["min"], 3),
        number(rtt["p50"], 3),
        number(rtt["p99"], 3),
        str(rtt["samples"]),
        size(flow["tx_bytes"]),
        size(flow["rx_bytes"]),
        f"{flow['retransmitted_segments']}/{flow['tx_segments']}",
        str(flow["spurious_retransmissions"]),
        f"{flow['refilled_segments']}/{flow['rx_segments']}",
    ]


def _connection_row(index: int, connection: Json) -> list[str]:
    token = connection["token"]
    return [
        str(index),
        "-" if token is None else f"{token:08x}",
        str(connection["version"]),
        ", ".join(f"#{flow}" for flow in connection["subflows"])
        + (" (fallback)" if connection["fallback"] else ""),
    ]


def _counts(counts: Json) -> str:
    return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts.items())


def _print(found: Json, room: int) -> None:
    parts = []
    if found["flows"]:
        rows = [_row(i, flow) for i, flow in enumerate(found["flows"])]
        parts.append(table(_HEADERS, rows, ">    " + ">" * 10))
    else:
        parts.append("no TCP flow: none of the packets that leave is TCP")
    if found["connections"]:
        rows = [_connection_row(i, row) for i, row in enumerate(found["connections"])]
        parts.append(table(("MPTCP", "TOKEN", "VERSION", "SUBFLOWS"), rows, ">"))
    if "samples" in found:
        rows = [
            [str(s["packet"]), f"#{s['flow']}", f"{s['rtt_us'] / 1e3:.3f}", s["source"]]
            for s in found["samples"]
        ]
        parts.append(table(("PACKET", "FLOW", "RTT ms", "SOURCE"), rows, "> >"))
    parts.append("\n".join(_summary(found, room)))
    print("\n\n".join(parts))


def _summary(found: Json, room: int) -> list[str]:
    totals, local = found["totals"], found["local"]
    span = "" if found["duration_s"] is None else f" over {duration(found['duration_s'])}"
    lines = [f"{found['packets']} packets{span}, {found['replayed']} replayed"]
    if found["left_out"]:
        lines.append(f"left out: {_counts(found['left_out'])}")
    if found["parse_errors"]:
        lines.append(f"not or not wholly understood: {_counts(found['parse_errors'])}")
    rtt = found["rtt_ms"]
    if rtt["samples"]:
        lines.append(
            f"RTT: {rtt['samples']} samples, least {rtt['min']:.3f} ms, "
            f"median {rtt['p50']:.3f} ms, p99 {rtt['p99']:.3f} ms"
        )
    if totals["tx_segments"]:
        lines.append(
            f"segments sent: {totals['tx_segments']}, again: {totals['retransmitted_segments']}, "
            f"of these for nothing: {totals['spurious_segments']}"
        )
    if totals["syn_retransmissions"]:
        lines.append(f"SYN and SYN-ACK sent again: {totals['syn_retransmissions']}")
    if totals["flows_refused"]:
        lines.append(
            f"{totals['flows_refused']} packets found no room for their flow: --flows {room * 4}"
        )
    if found["packets_back_in_time"]:
        lines.append(f"{found['packets_back_in_time']} packets go back in time")
    if local["addresses"]:
        shown = ", ".join(local["addresses"])
        lines.append(f"taken for local: {shown} (by {', '.join(local['by'])}; --local NET says it)")
    elif local["by"]:
        lines.append(f"direction by {', '.join(local['by'])}")
    run_ = found["run"]
    lines.append(
        f"{run_['seconds']:.2f} s by the {run_['dataplane']} data plane"
        + (f", {run_['packets_per_second']:,} packets/s" if run_["packets_per_second"] else "")
    )
    return lines
