# SPDX-License-Identifier: GPL-2.0-or-later
"""Where captures are made: a lab, its two ends, and what records there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omrfast.act.sockets import Subflow
from omrfast.lab.addresses import server_address, uplink_address
from omrfast.lab.topology import Lab
from tests.replay.exchange import Ends
from tests.replay.recorder import Point, recording

SERVER = "203.0.113.0/24"


@dataclass(frozen=True)
class Capture:
    """One file, and which of its addresses are this machine's."""

    file: Path
    local: str
    """As ``omrfast replay --local`` takes it."""
    client: bool
    precision: str = "micro"
    subflows: tuple[Subflow, ...] = ()
    """What the kernel of the local end said of its MPTCP subflows shortly before the end."""


class Studio:
    """A lab that makes captures into a directory; ``made`` holds them by name."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.made: dict[str, Capture] = {}
        self.directory = directory

    def ends(self, version: int = 4) -> Ends:
        """Router, by uplink 1, and server."""
        return Ends(
            self.lab.ns("router"),
            uplink_address(1, version),
            self.lab.ns("vps1"),
            server_address(1, version),
        )

    def file(self, name: str) -> Path:
        return self.directory / f"{name}.pcap"

    @contextmanager
    def both_sides(self, name: str, version: int = 4, **how: Any) -> Iterator[None]:
        """Capture at both ends of uplink 1 as NAME-client and NAME-server; ``how``: see Point."""
        client, server = f"{name}-client", f"{name}-server"
        precision = how.get("precision", "micro")
        local = ("10.0.0.0/8", SERVER) if version == 4 else ("fd00::/16", "2001:db8::/32")
        with recording(
            Point(self.file(client), self.lab.ns("router"), "wan1", **how),
            Point(self.file(server), self.lab.ns("carrier1"), "line0", **how),
        ):
            yield
        self.made[client] = Capture(self.file(client), local[0], True, precision)
        self.made[server] = Capture(self.file(server), local[1], False, precision)

    @contextmanager
    def link(self, **changes: Any) -> Iterator[None]:
        """Uplink 1 is otherwise for a while."""
        link = self.lab.links["wan1"]
        before = link.settings("up")
        link.change(**changes)
        try:
            yield
        finally:
            link.change(**{name: getattr(before, name) for name in changes})


def run(command: str) -> None:
    subprocess.run(command.split(), check=True)
