# SPDX-License-Identifier: GPL-2.0-or-later
"""Looking where the paths are: a look that fails is made again, and says so once."""

from __future__ import annotations

import asyncio
import errno
from types import SimpleNamespace

import pytest

from omrfast.act.errors import ActionError
from omrfast.core.config import Config, PathConfig
from omrfast.core.operations import Interface, Observed
from omrfast.dataplane.names import DataPlaneError
from omrfast.follow import Follower
from omrfast.places import Places

PATHS = (PathConfig("one", "wan1"),)
WAN1 = Interface(2, "wan1", True, 1, ("10.1.0.2",))


def test_a_look_that_fails_is_made_again(caplog: pytest.LogCaptureFixture) -> None:
    busy = ActionError("reading the routes", errno=errno.ENOBUFS)
    gone = DataPlaneError("removing our filters of device 7")
    failures = [busy, busy, gone]
    places = Places()

    async def observe() -> Observed:
        if failures:
            raise failures.pop(0)
        return Observed(interfaces=(WAN1,))

    async def until_bound() -> None:
        looks = asyncio.Event()
        follower = Follower(
            places,
            SimpleNamespace(bind=lambda measured: {}),  # type: ignore[arg-type]
            SimpleNamespace(bind=lambda *where: None),  # type: ignore[arg-type]
            SimpleNamespace(paths=PATHS, reconfigure=lambda paths: None),  # type: ignore[arg-type]
            config=lambda: Config(paths=PATHS),
            observe=observe,
            looked=lambda: looks.set() if places.bindings else None,
        )
        follower.want()
        work = asyncio.create_task(follower.looks())
        await asyncio.wait_for(looks.wait(), 30)
        work.cancel()

    asyncio.run(until_bound())
    assert places.bindings["one"].ifindex == 2
    said = caplog.messages
    assert len(said) == 2, "each once"
    assert "reading the routes" in said[0]
    assert said[1] == "removing our filters of device 7; looking again every 0.5 s"
