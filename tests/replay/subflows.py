# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures of one MPTCP connection of two subflows, the second one by uplink 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from omrfast.act.sockets import Subflow
from omrfast.lab.diag import subflow_info
from tests.replay.exchange import BULK, IPPROTO_MPTCP, QUESTIONS, Pair, connection
from tests.replay.recorder import Point, recording
from tests.replay.studio import SERVER, Capture, Studio, run
from tests.replay.waiting import eventually


class Subflows:
    """Adds to what a studio has made."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._lab = studio.lab
        self._told: dict[str, tuple[Subflow, ...]] = {}

    def becomes_backup(self) -> None:
        """Two subflows; the second one becomes backup while they live."""
        with self._recorded("mptcp"), self._two_subflows() as pair:
            pair.upload(BULK)
            pair.download(BULK)
            self._endpoint("backup")
            self._until_backup(True)
            pair.ask(QUESTIONS)
            self._note("mptcp")
            pair.finish()

    def begins_as_backup(self) -> None:
        """Two subflows, the second one joined as backup; it becomes active while they live."""
        self._endpoint("backup")
        with self._recorded("mptcp-backup"), self._two_subflows() as pair:
            pair.ask(QUESTIONS)
            self._until_backup(True)
            self._endpoint("nobackup")
            self._until_backup(False)
            pair.upload(BULK)
            self._note("mptcp-backup")
            pair.finish()

    @contextmanager
    def _recorded(self, name: str) -> Iterator[None]:
        """NAME-client on "any" device of the router, NAME-server merged of both lines."""
        client, server = f"{name}-client", f"{name}-server"
        lines = [self._studio.file(f"{name}-line{n}") for n in (1, 2)]
        with recording(
            Point(self._studio.file(client), self._lab.ns("router"), "any"),
            *(Point(f, self._lab.ns(f"carrier{n}"), "line0") for n, f in enumerate(lines, 1)),
        ):
            yield
            eventually(lambda: not self._sockets("router"), "end of the router's subflows")
            eventually(lambda: not self._sockets("vps1"), "end of the server's subflows")
        run(f"mergecap -F pcapng -w {self._studio.file(server)} {lines[0]} {lines[1]}")
        for side, local in ((client, "10.0.0.0/8"), (server, SERVER)):
            told = self._told.get(side, ())
            self._studio.made[side] = Capture(
                self._studio.file(side), local, side == client, subflows=told
            )

    @contextmanager
    def _two_subflows(self) -> Iterator[Pair]:
        with connection(self._studio.ends(), IPPROTO_MPTCP) as pair:
            pair.ask(1)
            eventually(lambda: len(self._subflows("vps1")) == 2, "second subflow")
            yield pair

    def _subflows(self, part: str) -> list[Subflow]:
        """Those of established connections, once the kernel knows both directions of a join."""
        return [s for s in self._sockets(part) if "fully_established" in s.flags]

    def _sockets(self, part: str) -> list[Subflow]:
        return subflow_info(self._lab.ns(part))

    def _until_backup(self, wanted: bool) -> None:
        def told() -> bool:
            return any("bkup_rem" in s.flags for s in self._subflows("vps1")) == wanted

        eventually(told, f"backup {wanted} at the server")

    def _endpoint(self, flag: str) -> None:
        run(f"ip -n {self._lab.ns('router')} mptcp endpoint change id 2 {flag}")

    def _note(self, name: str) -> None:
        self._told[f"{name}-client"] = tuple(self._subflows("router"))
        self._told[f"{name}-server"] = tuple(self._subflows("vps1"))
