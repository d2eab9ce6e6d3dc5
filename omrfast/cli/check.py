# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast check`: can this machine run it, and what to do where not."""

from __future__ import annotations

import argparse
import os
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


def _elsewhere(pid: int) -> bool:
    """Whether a process lives in another network namespace than this one."""
    try:
        return not os.path.samefile(f"/proc/{pid}/ns/net", "/proc/self/ns/net")
    except OSError:
        return False  # it has just ended, or is none of our business


def _agent(config: Config) -> Finding:
    from omrfast.export.client import request
    from omrfast.export.control import ControlError, peer_pid

    try:
        health = request(config.agent.run_dir, "health")
    except ControlError as error:
        return Finding("agent", None, str(error))
    pid = peer_pid(config.agent.run_dir)
    if pid is not None and _elsewhere(pid):
        return Finding(
            "agent",
            None,
            f"runs (pid {pid}) in another network namespace: the uplinks above are not its own",
            f"nsenter --net=/proc/{pid}/ns/net omrfast check",
        )
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
    from omrfast.cli import configured, machine, network

    yield from machine.findings()
    yield from network.findings(config)
    yield from configured.findings(config)
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
