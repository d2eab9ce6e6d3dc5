# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes wrong at a server, and everywhere at once: no uplink is to blame."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from omrfast.lab import faults
from omrfast.lab.faults import Fault
from omrfast.lab.services import HTTP_PORT
from omrfast.lab.topology import TopologySpec
from omrfast.lab.traffic import Stream, StreamSpec
from tests.lab.conftest import eventually
from tests.lab.failover import GIVEN_UP, OFTEN, Site, fresh, goes_on, omrfast, site

UP = StreamSpec("up", "paced-up")
OTHER = StreamSpec("other", "paced-up", server=2)
MANY = tuple(StreamSpec(f"up{n}", "paced-up") for n in range(6))
PORT = {"server": {"vps1": {"port": HTTP_PORT}}}


@pytest.fixture(scope="module")
def here() -> Iterator[Site]:
    """Two servers, both in use by every test."""
    with site(TopologySpec(servers=2), OFTEN, PORT, services=True) as built:
        yield built


@pytest.fixture(autouse=True)
def _from_as_built(here: Site) -> Iterator[None]:
    yield from fresh(here)


def assert_blameless(here: Site) -> None:
    """No path was given up since the mark, and the router is as built."""
    for name in here.names:
        assert GIVEN_UP.isdisjoint(here.decided(name)), here.reasons(name)
    here.until_as_built()


@pytest.mark.parametrize("fault", [faults.SERVER_DEAD, faults.SERVER_OFF])
def test_a_dead_server_costs_no_path(here: Site, fault: Fault) -> None:
    with Stream(here.lab, UP) as stream, Stream(here.lab, OTHER) as other:
        eventually(lambda: stream.delivered() and other.delivered(), "traffic")
        with here.broken(fault):
            here.until_server("vps1", "down")
            assert here.server("vps2")["state"] == "up"
            goes_on(other, "the other server is served")
        here.until_server("vps1", "up")
        goes_on(stream, "it is served again")
    assert_blameless(here)
    assert here.decided("vps1") == ["down", "up"]
    assert here.decided("vps2") == []
    assert "vps1" in omrfast(here, "events")


def test_a_server_that_stands_still_for_a_moment_costs_no_path(here: Site) -> None:
    with Stream(here.lab, UP) as stream:
        eventually(lambda: stream.delivered(), "traffic")
        for _ in range(3):
            with here.broken(faults.SERVER_HELD):
                time.sleep(0.7)  # the length of the pause
            goes_on(stream, "it goes on", 5000)
        here.until_server("vps1", "up")
    assert_blameless(here)


def test_a_service_that_works_nowhere_is_not_the_paths_fault(here: Site) -> None:
    """Nor do many connections that all send again make it so, at any time."""
    with ExitStack() as stack:
        streams = [stack.enter_context(Stream(here.lab, spec)) for spec in MANY]
        for stream in streams:
            goes_on(stream, "traffic")
        with here.broken(faults.SERVICE_DEAD):
            here.until_server("vps1", "failing", timeout=90)
        here.until_server("vps1", "up", timeout=90)
        delivered = [stream.delivered() for stream in streams]
        eventually(lambda: delivered != [stream.delivered() for stream in streams], "traffic again")
    assert_blameless(here)
    for name in here.names:
        assert "degraded" not in here.decided(name), here.reasons(name)


def test_everything_silent_at_once_is_local_trouble_and_the_last_path_stays(here: Site) -> None:
    with Stream(here.lab, UP) as stream:
        here.until_used(stream)
        for link in here.lab.links.values():
            link.change(blackhole=True)
        try:
            eventually(lambda: here.status()["trouble"], "local trouble")
            eventually(lambda: len(here.router.endpoints()) == 1, "one endpoint is kept")
            assert here.server("vps1")["state"] != "down", "nobody knows of the server"
        finally:
            for link in here.lab.links.values():
                link.change(blackhole=False)
        here.until_as_built()
        eventually(lambda: here.status()["trouble"] is None, "trouble is over")
        goes_on(stream, "data again")
