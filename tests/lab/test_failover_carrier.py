# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes wrong on one uplink only: behind its gateway, in one direction, with its services."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from omrfast.lab import faults
from omrfast.lab.addresses import server_address
from omrfast.lab.faults import Fault
from omrfast.lab.services import HTTP_PORT
from omrfast.lab.topology import TopologySpec
from omrfast.lab.traffic import Stream, StreamSpec
from tests.lab.conftest import eventually
from tests.lab.failover import GIVEN_UP, OFTEN, Site, fresh, goes_on, site

UP = StreamSpec("up", "paced-up")
DOWN = StreamSpec("down", "paced-down")
WEB = {
    "probe": {
        "web": {
            "kind": "http",
            "target": f"http://{server_address(1)}:{HTTP_PORT}/",
            "interval": "500ms",
            "timeout": "1s",
            "expect_text": "this is the lab",
        }
    }
}


@pytest.fixture(scope="module")
def here() -> Iterator[Site]:
    """Two servers with web service, which is asked twice a second over each uplink."""
    with site(TopologySpec(servers=2), OFTEN, WEB, services=True) as built:
        yield built


@pytest.fixture(autouse=True)
def _from_as_built(here: Site) -> Iterator[None]:
    yield from fresh(here)


@pytest.mark.parametrize("fault", [faults.CARRIER_CUT, faults.CARRIER_UNREACHABLE])
def test_a_carrier_cut_behind_its_gateway_is_a_dead_path(here: Site, fault: Fault) -> None:
    with Stream(here.lab, UP) as stream:
        here.until_used(stream)
        with here.broken(fault):
            here.until_given_up("wan1", heir="wan2")
            goes_on(stream, "data over the other uplink")
        here.until_as_built()
        here.until_used(stream)
    assert GIVEN_UP.isdisjoint(here.decided("wan2"))
    assert here.decided("vps1") == []


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_hole_in_one_direction_is_a_dead_path(here: Site, direction: str) -> None:
    with Stream(here.lab, UP) as up, Stream(here.lab, DOWN) as down:
        here.until_used(up, down)
        here.lab.links["wan1"].change(direction, blackhole=True)
        try:
            here.until_given_up("wan1", heir="wan2")
            for stream in (up, down):
                goes_on(stream, f"{stream.spec.name} goes on")
        finally:
            here.lab.links["wan1"].change(direction, blackhole=False)
        here.until_as_built()
    assert GIVEN_UP.isdisjoint(here.decided("wan2"))
    assert here.decided("vps1") == []


@pytest.mark.parametrize("fault", [faults.NO_TCP, faults.PORTAL])
def test_pings_pass_and_services_do_not(here: Site, fault: Fault) -> None:
    with here.broken(fault):
        found = here.until_path("wan1", "failing")
        eventually(
            lambda: "backup" in here.router.endpoints().get("10.1.0.2", (0, ()))[1],
            "present as backup: what it carries is not cut off",
        )
        eventually(lambda: here.router.default_routes()[0][1] == "wan2", "default route moved")
        if fault is faults.PORTAL:
            assert faults.PORTAL.url in found["reason"]
    here.until_as_built()
    assert GIVEN_UP.isdisjoint(here.decided("wan1") + here.decided("wan2"))


def test_a_server_that_one_uplink_does_not_reach_is_no_death(here: Site) -> None:
    with here.broken(faults.no_host(server_address(1))):
        eventually(lambda: here.server("vps1")["unreachable_on"] == ["wan1"], "seen", 60)
    eventually(lambda: here.server("vps1")["unreachable_on"] == [], "reachable again", 60)
    assert GIVEN_UP.isdisjoint(here.decided("wan1") + here.decided("wan2"))
    assert "down" not in here.decided("vps1")
