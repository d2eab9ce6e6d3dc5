# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast restore`: put endpoints and routes back as the agent found them, after a crash."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from omrfast.cli.common import FAILED, FINE, CommandError, Subparsers, load_configuration

if TYPE_CHECKING:
    from omrfast.store.restore import Restored


def register(subparsers: Subparsers, parents: Sequence[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "restore", parents=parents, help="undo what an agent that is gone changed"
    )
    parser.set_defaults(handler=handle)


async def _restore(state_dir: str) -> Restored:
    from omrfast.act.apply import Actuator
    from omrfast.store.ledger import Ledger
    from omrfast.store.restore import restore

    actuator = Actuator()
    try:
        return await restore(Ledger(state_dir, make_room=False), actuator)
    finally:
        actuator.close()


def handle(args: argparse.Namespace) -> int:
    from omrfast.export.control import peer_pid

    agent = load_configuration(args).agent
    pid = peer_pid(agent.run_dir)
    if pid is not None:
        raise CommandError(
            f"the agent of {agent.run_dir} runs (pid {pid}); stop it, and it restores by itself "
            f"(kill {pid})"
        )
    restored = asyncio.run(_restore(agent.state_dir))
    for text in restored.done:
        print(f"restored: {text}")
    for text in restored.left:
        print(f"left as it is: {text}")
    for text in restored.failed:
        print(f"omrfast: not restored: {text}", file=sys.stderr)
    if not (restored.done or restored.left or restored.failed):
        print("nothing to restore")
    return FAILED if restored.failed else FINE
