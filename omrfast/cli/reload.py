# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast reload`: the running agent reads its configuration anew, or says why it does not."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from omrfast.cli.common import FINE, Subparsers, run_dir
from omrfast.core.config import ConfigError


def register(subparsers: Subparsers, parents: Sequence[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "reload", parents=parents, help="let the agent read its configuration anew"
    )
    parser.set_defaults(handler=handle)


def handle(args: argparse.Namespace) -> int:
    from omrfast.export.client import request

    answer = request(run_dir(args), "reload")
    if answer["refused"] is not None:
        raise ConfigError(f"not reloaded: {answer['refused']}")
    print(f"reloaded {answer['source']}")
    for part in answer["later"]:
        print(f"{part} changes with a restart only")
    return FINE
