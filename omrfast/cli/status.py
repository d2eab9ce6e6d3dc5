# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast status`: paths, servers and the last actions; exit code 3 when no path is usable.

Tables with what is measured; under each path, in words, what can't be put into a column.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable, Sequence
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

WIDTH = 160
"""Columns that no line exceeds, unless a name does by itself."""
_INDENT = " " * 4
_SHOWN_ACTIONS = 10


def register(subparsers: Subparsers, parents: Sequence[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "status", parents=parents, help="paths and why they are as they are, servers, actions"
    )
    add_json(parser)
    parser.set_defaults(handler=handle)


_PATH_HEADERS = (
    ("PATH", ""),
    ("INTERFACE", ""),
    ("ADDRESS", ""),
    ("ROLE", ""),
    ("STATE", ""),
    ("SINCE", ">"),
    ("ENDPOINT", ""),
    ("RTT ms", ">"),
    ("MIN ms", ">"),
    ("VAR ms", ">"),
    ("P99 ms", ">"),
    ("LOSS %", ">"),
    ("SENT", ">"),
    ("RECEIVED", ">"),
    ("SUBFLOWS", ">"),
)


def _path_row(path: dict[str, Any]) -> list[str]:
    rtt, loss = path["rtt_ms"], path["loss_ratio"]
    return [
        path["name"],
        path["interface"],
        path["address"] or "-",
        path["role"],
        path["state"],
        duration(path["since_s"]),
        path["endpoint"] or ("as found" if path["address"] else "-"),
        number(rtt["smoothed"]),
        number(rtt["min"]),
        number(rtt["variation"]),
        number(rtt["p99"]),
        number(None if loss is None else loss * 100, 2),
        size(path["tx_bytes"]),
        size(path["rx_bytes"]),
        str(path["subflows"]),
    ]


def _path_words(path: dict[str, Any], wide: bool) -> list[str]:
    """What stands under a path; ``wide``: its address has no room in the table."""
    words = [path["address"]] if wide and path["address"] else []
    words += [*_numbers(path["evidence"]), f"objective {path['objective']}"]
    if word := path["override"]:
        left = "" if word["left_s"] is None else f" for {duration(word['left_s'])} more"
        words.append(f"OPERATOR: {word['role']}{left}")
    if path["routes_behind"]:
        words.append("routes behind")
    if path["penalty"] >= 0.01:
        words.append(f"penalty {path['penalty']:.2f}")
    words.append(_probes(path))
    failing = path["services_failing"]
    services = [f"SERVICES FAIL: {'; '.join(failing)}"] if failing else []
    return [path["reason"], *services, " · ".join(words)]


def _probes(path: dict[str, Any]) -> str:
    """What asking has cost, and what it may."""
    words = f"probes {size(path['probe_bytes'])}"
    if path["probe_budget"] is not None:
        words += f" since the start, {size(path['probe_budget'])} in 30 days allowed"
    return f"{words}, SAVING" if path["probes_saving"] else words


def _numbers(evidence: dict[str, Any] | None) -> list[str]:
    """Measured against which limit."""
    if evidence is None or evidence["unit"] is None:
        return []
    unit = evidence["unit"]
    figures = [
        f"{word} {evidence[key]:.4g} {unit}"
        for word, key in (("measured", "measured"), ("limit", "limit"))
        if evidence[key] is not None
    ]
    return [f"{evidence['what']}: {', '.join(figures)}"]


def _wrapped(lines: Iterable[str]) -> list[str]:
    return [
        part
        for line in lines
        for part in textwrap.wrap(
            line, WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT + "  "
        )
    ]


def _with_words(rows: str, words: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, each row followed by its words."""
    header, *lines = rows.splitlines()
    found = [header]
    for line, more in zip(lines, words, strict=True):
        found += [line, *_wrapped(more)]
    return found


def _paths(paths: Sequence[dict[str, Any]]) -> list[str]:
    if not paths:
        return ["no paths: give each uplink an MPTCP endpoint, or name it as [[path]]"]
    columns = list(range(len(_PATH_HEADERS)))
    rows = _columns(paths, columns)
    wide = any(len(line) > WIDTH for line in rows.splitlines())
    if wide:
        columns.remove(_PATH_HEADERS.index(("ADDRESS", "")))
        rows = _columns(paths, columns)
    return _with_words(rows, [_path_words(path, wide) for path in paths])


def _columns(paths: Sequence[dict[str, Any]], columns: Sequence[int]) -> str:
    headers = [_PATH_HEADERS[column] for column in columns]
    rows = [_path_row(path) for path in paths]
    return table(
        [name for name, _ in headers],
        [[row[column] for column in columns] for row in rows],
        "".join(align or " " for _, align in headers),
    )


_SERVER_HEADERS = (
    "SERVER",
    "STATE",
    "SINCE",
    "FLOWS",
    "SUBFLOWS",
    "UNANSWERED",
    "RTT ms",
    "MIN ms",
    "SILENT",
    "ADDRESSES",
)


def _server_row(server: dict[str, Any]) -> list[str]:
    silent = server["silent_s"]
    return [
        server["name"],
        server["state"],
        duration(server["since_s"]),
        str(server["flows"]),
        str(server["subflows"]),
        str(server["handshakes"]),
        number(server["rtt_mean_ms"]),
        number(server["rtt_min_ms"]),
        "-" if silent is None else duration(silent),
        ", ".join(server["addresses"]),
    ]


def _server_words(server: dict[str, Any]) -> list[str]:
    missing = server["unreachable_on"]
    words = _numbers(server["evidence"])
    if missing:
        words.append(f"does not answer on {', '.join(missing)}")
    return [server["reason"], *([" · ".join(words)] if words else [])]


def _servers(servers: Sequence[dict[str, Any]]) -> list[str]:
    rows = table(_SERVER_HEADERS, [_server_row(server) for server in servers], "  " + ">" * 7)
    return _with_words(rows, [_server_words(server) for server in servers])


_ACTION_HEADERS = ("LAST ACTIONS", "PATH", "ACTION", "TOOK ms", "SINCE SIGN ms", "REASON")


def _actions(actions: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        [
            clock_time(action["at"]),
            action["path"],
            action["kind"],
            number(action["took_ms"]),
            number(action["sign_ms"]),
            action["reason"],
        ]
        for action in actions
    ]
    lines = table(_ACTION_HEADERS, rows, "   >>").splitlines()
    column = lines[0].index("REASON")
    return [
        part
        for line in lines
        for part in textwrap.wrap(line, WIDTH, subsequent_indent=" " * column)
    ]


def render(status: dict[str, Any]) -> str:
    """A status (status_json) for people."""
    lines = [
        f"omrfast {status['version']}, {status['loader']} loader, "
        f"up {duration(status['uptime_s'])}",
    ]
    if status["dry_run"]:
        lines.append("DRY RUN: nothing is changed; ENDPOINT and routes are what would be")
    if trouble := status["trouble"]:
        lines.append(f"TROUBLE for {duration(trouble['since_s'])}: {trouble['reason']}")
    if why := status["unrecorded"]:
        lines.append(f"NOT RECORDED, a crash would leave what is changed: {why}")
    lines += ["", *_paths(status["paths"])]
    if status["servers"]:
        lines += ["", *_servers(status["servers"])]
    if actions := status["actions"][-_SHOWN_ACTIONS:]:
        lines += ["", *_actions(actions)]
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
