# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast explain`: why a path or a server is in its state, and what it waits for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from omrfast.cli.common import FINE, Subparsers, add_json, print_json, run_dir


def register(subparsers: Subparsers, parents: Sequence[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "explain",
        parents=parents,
        help="why a path or server is in its state, and what it waits for",
    )
    parser.add_argument("name", metavar="PATH|SERVER", help="its name; a server's address, too")
    add_json(parser)
    parser.set_defaults(handler=handle)


def _print(found: dict[str, Any]) -> None:
    print(f"{found['kind']} {found['name']}: {found['state']}")
    before = ""
    for line in found["lines"]:
        topic = line["topic"]
        print(f"  {'' if topic == before else topic:10}  {line['text']}")
        before = topic


def handle(args: argparse.Namespace) -> int:
    from omrfast.export.client import request

    found = request(run_dir(args), "explain", name=args.name)
    if args.json:
        print_json(found)
    else:
        _print(found)
    return FINE
