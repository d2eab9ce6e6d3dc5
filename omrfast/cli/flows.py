# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast flows`: the flows with most bytes, as the data path measures them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from omrfast.cli.common import (
    FINE,
    Subparsers,
    add_json,
    duration,
    number,
    print_json,
    run_dir,
    size,
    table,
)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: write a whole number from 1")
    return int(text)


def register(subparsers: Subparsers, parents: Sequence[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("flows", parents=parents, help="the flows with most bytes")
    add_json(parser)
    parser.add_argument(
        "--top", type=_count, default=20, metavar="N", help="how many (default: 20)"
    )
    parser.set_defaults(handler=handle)


def _socket(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _kind(flow: dict[str, Any]) -> str:
    if flow["fallback"]:
        return "tcp fallback"
    if not flow["mptcp"]:
        return "tcp"
    return ("join" if flow["joined"] else "mptcp") + (" backup" if flow["backup"] else "")


def _row(flow: dict[str, Any]) -> list[str]:
    rtt, token, connection = flow["rtt_ms"], flow["token"], flow["connection"]
    return [
        flow["path"],
        _socket(flow["local"], flow["local_port"]),
        _socket(flow["remote"], flow["remote_port"]),
        _kind(flow),
        "-" if connection is None else f"#{connection}",
        "-" if token is None else f"{token:08x}",
        flow["state"],
        number(rtt["smoothed"]),
        number(rtt["min"]),
        size(flow["tx_bytes"]),
        size(flow["rx_bytes"]),
        f"{flow['retransmitted_segments']}/{flow['tx_segments']}",
        duration(flow["idle_s"]),
    ]


_HEADERS = (
    "PATH",
    "LOCAL",
    "REMOTE",
    "KIND",
    "CONN",
    "TOKEN",
    "STATE",
    "RTT ms",
    "MIN ms",
    "SENT",
    "RECEIVED",
    "AGAIN/SEGMENTS",
    "IDLE",
)


def handle(args: argparse.Namespace) -> int:
    from omrfast.export.client import request

    flows = request(run_dir(args), "flows", top=args.top)
    if args.json:
        print_json(flows)
    elif flows:
        print(table(_HEADERS, [_row(flow) for flow in flows], " " * 7 + ">" * 6))
    else:
        print("no flows yet")
    return FINE
