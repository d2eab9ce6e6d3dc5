# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast run`: the agent, in the foreground."""

from __future__ import annotations

import argparse
import logging
import signal
from collections.abc import Sequence
from dataclasses import replace

from omrfast.cli.common import FINE, Subparsers, load_configuration
from omrfast.core.config import Config


def register(subparsers: Subparsers, parents: Sequence[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("run", parents=parents, help="the agent, in the foreground")
    parser.add_argument("--dry-run", action="store_true", help="measure and decide, change nothing")
    parser.add_argument("--loader", choices=("auto", "prebuilt", "bcc"), help="instead of [agent]")
    parser.add_argument("--ingress", choices=("auto", "tc", "xdp"), help="instead of [agent]")
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="write every measurement to FILE, for `omrfast replay-journal` (it grows without end)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="suspicions, too")
    parser.set_defaults(handler=handle)


def _configuration(args: argparse.Namespace) -> Config:
    """The file's configuration with the command line's choices. Raises ConfigError."""
    config = load_configuration(args)
    agent = replace(
        config.agent,
        loader=args.loader or config.agent.loader,
        ingress=args.ingress or config.agent.ingress,
    )
    return replace(config, agent=agent)


def handle(args: argparse.Namespace) -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the agent listens: it would end it
    import asyncio

    from omrfast.agent import Agent

    config = _configuration(args)
    logging.basicConfig(
        format="%(asctime)s.%(msecs)03d %(levelname)s %(message)s",
        datefmt="%F %T",
        level=logging.DEBUG if args.verbose else logging.INFO,
    )
    logging.getLogger("pyroute2").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    agent = Agent(
        config, dry_run=args.dry_run, record=args.record, reload=lambda: _configuration(args)
    )
    asyncio.run(agent.run())
    return FINE
