# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast status`: the paths and the last actions; exit code 3 when no path is usable."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from omrfast.cli.common import (
    DEGRADED,
    FINE,
    Subparsers,
    add_json,
    clock_time,
    duration,
    number,
    print_json,
    run_dir,
    size,
    table,
)

_SHOWN_ACTIONS = 10


def register(subparsers: Subparsers, parents: Sequence[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("status", parents=parents, help="paths, RTT, loss, actions")
    add_json(parser)
    parser.set_defaults(handler=handle)


def _path_row(path: dict[str, Any]) -> list[str]:
    rtt, loss = path["rtt_ms"], path["loss_ratio"]
    return [
        path["name"],
        path["interface"],
        path["address"] or "-",
        path["role"],
        path["state"],
        duration(path["since_s"]),
        number(rtt["smoothed"]),
        number(rtt["min"]),
        number(rtt["variation"]),
        number(rtt["p99"]),
        number(None if loss is None else loss * 100, 2),
        size(path["tx_bytes"]),
        size(path["rx_bytes"]),
        str(path["subflows"]),
        path["reason"],
    ]


_PATH_HEADERS = (
    ("PATH", ""),
    ("INTERFACE", ""),
    ("ADDRESS", ""),
    ("ROLE", ""),
    ("STATE", ""),
    ("SINCE", ">"),
    ("RTT ms", ">"),
    ("MIN ms", ">"),
    ("VAR ms", ">"),
    ("P99 ms", ">"),
    ("LOSS %", ">"),
    ("SENT", ">"),
    ("RECEIVED", ">"),
    ("SUBFLOWS", ">"),
    ("REASON", ""),
)


_SERVER_HEADERS = ("SERVER", "FLOWS", "SUBFLOWS", "UNANSWERED", "RTT ms", "MIN ms", "SILENT")


def _server_row(server: dict[str, Any]) -> list[str]:
    silent = server["silent_s"]
    return [
        server["address"],
        str(server["flows"]),
        str(server["subflows"]),
        str(server["handshakes"]),
        number(server["rtt_mean_ms"]),
        number(server["rtt_min_ms"]),
        "-" if silent is None else duration(silent),
    ]


def render(status: dict[str, Any]) -> str:
    """A status (status_json) for people."""
    right = "".join(align or " " for _, align in _PATH_HEADERS)
    lines = [
        f"omrfast {status['version']}, {status['loader']} loader, "
        f"up {duration(status['uptime_s'])}",
        "",
        table([name for name, _ in _PATH_HEADERS], [_path_row(p) for p in status["paths"]], right),
    ]
    if not status["paths"]:
        lines[-1] = "no paths: give each uplink an MPTCP endpoint, or name it as [[path]]"
    if servers := status["servers"]:
        rows = [_server_row(server) for server in servers]
        lines += ["", table(_SERVER_HEADERS, rows, " " + ">" * 6)]
    if actions := status["actions"][-_SHOWN_ACTIONS:]:
        rows = [
            [clock_time(a["at"]), a["path"], a["kind"], number(a["took_ms"]), a["reason"]]
            for a in actions
        ]
        lines += ["", table(("LAST ACTIONS", "PATH", "ACTION", "TOOK ms", "REASON"), rows, "   >")]
    return "\n".join(lines)


def handle(args: argparse.Namespace) -> int:
    from omrfast.export.client import request
    from omrfast.export.status import usable

    status = request(run_dir(args), "status")
    if args.json:
        print_json(status)
    else:
        print(render(status))
    return FINE if usable(status) else DEGRADED
