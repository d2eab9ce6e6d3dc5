# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast detach`: take the packet programs off the interfaces and remove their pins."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from omrfast.cli.common import FINE, CommandError, Subparsers, run_dir


def register(subparsers: Subparsers, parents: Sequence[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "detach", parents=parents, help="remove the packet programs of an agent that is gone"
    )
    parser.add_argument("--force", action="store_true", help="even while the agent runs")
    parser.set_defaults(handler=handle)


def handle(args: argparse.Namespace) -> int:
    from omrfast.export.control import peer_pid

    folder = run_dir(args)
    pid = peer_pid(folder)
    if pid is not None and not args.force:
        raise CommandError(
            f"the agent of {folder} runs (pid {pid}) and measures with these programs; "
            f"stop it first (kill {pid}), or use --force"
        )
    from omrfast.dataplane.attach import detach_all

    count = detach_all(folder)
    print(f"{count} packet programs detached; no pin below {folder} is left")
    return FINE
