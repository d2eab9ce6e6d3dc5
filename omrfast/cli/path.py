# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast path`: the operator's word for a path, before all that is measured."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from omrfast.cli.common import FINE, Subparsers, add_json, print_json, run_dir
from omrfast.core.types import Role
from omrfast.core.values import duration
from omrfast.core.words import span

_DESCRIPTION = """Say what a path is to be, whatever is measured: up (carries traffic), backup
(carries it only when no other does) or off; auto gives the decision back. It outlasts a restart
of the agent, and is shown by `omrfast status`. What would leave no path is refused."""

_ROLES = {"up": Role.ACTIVE, "backup": Role.BACKUP, "off": Role.OFF, "auto": None}


def _seconds(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: write {error}") from None


def register(subparsers: Subparsers, parents: Sequence[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "path", parents=parents, help="put a path up, to backup or off", description=_DESCRIPTION
    )
    parser.add_argument("name", metavar="NAME", help="of the path")
    parser.add_argument("role", choices=tuple(_ROLES), help="what it is to be")
    parser.add_argument(
        "--for",
        dest="seconds",
        type=_seconds,
        metavar="TIME",
        help='how long, such as "10m" or "2h" (default: until told otherwise)',
    )
    add_json(parser)
    parser.set_defaults(handler=handle, parser=parser)


def handle(args: argparse.Namespace) -> int:
    from omrfast.export.client import request

    if args.role == "auto" and args.seconds is not None:
        args.parser.error("auto takes no --for: it lasts until told otherwise")
    role = _ROLES[args.role]
    done = request(run_dir(args), "override", path=args.name, role=role, seconds=args.seconds)
    if args.json:
        print_json(done)
    elif role is None:
        print(f"path {args.name} goes by what is measured")
    else:
        left = "until told otherwise" if args.seconds is None else f"for {span(args.seconds)}"
        print(f"path {args.name} is {role} {left}, whatever is measured")
    if done["problem"] is not None:
        print(f"omrfast: {done['problem']}", file=sys.stderr)
    return FINE
