# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast events`: what was decided, done and noticed; with -f also what is to come."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from typing import Any

from omrfast.cli.common import FINE, Subparsers, add_json, clock_time, print_json, run_dir


def register(subparsers: Subparsers, parents: Sequence[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "events", parents=parents, help="decisions and actions, with their reasons"
    )
    add_json(parser)
    parser.add_argument(
        "-f",
        "--follow",
        action="store_true",
        help="go on with those to come; with --json one object a line",
    )
    parser.set_defaults(handler=handle)


def _line(event: dict[str, Any]) -> str:
    details = " ".join(
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in event["details"].items()
        if value is not None
    )
    who = event["path"] or event["server"]
    words = (clock_time(event["at"]), f"{event['kind']:8}", who, event["message"])
    return "  ".join(word for word in (*words, details) if word)


def _follow(items: Iterable[dict[str, Any]], as_json: bool) -> None:
    for event in items:
        print(json.dumps(event, ensure_ascii=False) if as_json else _line(event), flush=True)


def handle(args: argparse.Namespace) -> int:
    from omrfast.export.client import request, stream

    folder = run_dir(args)
    if args.follow:
        _follow(stream(folder, "follow"), args.json)
    elif args.json:
        print_json(request(folder, "events"))
    else:
        for event in request(folder, "events"):
            print(_line(event))
    return FINE
