# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast check`: can this machine run it, and what to do where not."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from omrfast.cli.common import (
    FAILED,
    FINE,
    CommandError,
    Subparsers,
    add_json,
    load_configuration,
    print_json,
)
from omrfast.cli.finding import Finding
from omrfast.core.config import Config

_MARKS = {True: "ok", False: "FAIL", None: "note"}


def register(subparsers: Subparsers, parents: Sequence[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "check", parents=parents, help="can this machine run it; what to do where not"
    )
    add_json(parser)
    parser.set_defaults(handler=handle)


def _agent(config: Config) -> Finding:
    from omrfast.export.client import request
    from omrfast.export.control import ControlError

    try:
        health = request(config.agent.run_dir, "health")
    except ControlError as error:
        return Finding("agent", None, str(error))
    refused = sum(health["flows_refused"].values())
    room = f"{health['flows']} of {health['flow_capacity']} flows"
    if refused:
        return Finding(
            "agent",
            None,
            f"runs; {room}; {refused} flows found no room in the table and are counted per path "
            "only",
            "nothing is wrong with the path counters; `omrfast flows` is incomplete",
        )
    return Finding("agent", True, f"runs; {room}")


def findings(config: Config) -> Iterator[Finding]:
    """Everything that is checked, in the order of the layers below the agent."""
    from omrfast.cli import machine, network

    yield from machine.findings()
    yield from network.findings(config)
    yield _agent(config)


def handle(args: argparse.Namespace) -> int:
    found = list(findings(load_configuration(args)))
    if args.json:
        print_json([asdict(finding) for finding in found])
    else:
        width = max(len(finding.name) for finding in found)
        for finding in found:
            print(f"{_MARKS[finding.ok]:4}  {finding.name:{width}}  {finding.detail}")
            if finding.todo:
                print(f"{'':4}  {'':{width}}  → {finding.todo}")
    fatal = [finding.name for finding in found if finding.ok is False]
    if fatal and not args.json:
        raise CommandError(f"this machine can't run the agent yet: {', '.join(fatal)}")
    return FAILED if fatal else FINE
