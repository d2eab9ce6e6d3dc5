# SPDX-License-Identifier: GPL-2.0-or-later
"""SIGKILL while everything that can be changed is changed: it goes on, or `restore` undoes it."""

from __future__ import annotations

from omrfast.lab.topology import TopologySpec, UplinkSpec
from omrfast.lab.traffic import Stream, StreamSpec
from tests.lab.conftest import eventually
from tests.lab.failover import GIVEN_UP, goes_on, omrfast, site

TUNED = {"tuning": {"stale_loss_cnt": 2, "send_buffer": "300KB"}}
THREE = TopologySpec(
    uplinks=(UplinkSpec(rtt=0.04), UplinkSpec(rtt=0.08), UplinkSpec(rtt=0.06)),
    ipv6=True,
    subflow_limit=2,
)


def test_killed_in_the_middle_of_everything_it_leaves_nothing_that_restore_does_not_undo() -> None:
    with site(THREE, TUNED) as here, Stream(here.lab, StreamSpec("small", "paced-up")) as stream:
        here.until_used(stream)
        eventually(lambda: here.router.settings() == ["300000", "2", "3"], "tuned")
        omrfast(here, "path", "wan3", "off")
        eventually(lambda: "10.3.0.2" not in here.router.endpoints(), "off")
        here.lab.links["wan1"].change(blackhole=True)
        here.until_given_up("wan1", heir="wan2")
        here.agent.kill()
        here.agent.start()
        here.until_path("wan1", *GIVEN_UP)
        assert here.path("wan3")["override"]["role"] == "off", "his word outlives the process"
        eventually(lambda: set(here.router.endpoints()) == {"10.2.0.2", "fd00:2::2"}, "as before")
        goes_on(stream, "data over the one that is left")
        here.agent.kill()
        omrfast(here, "restore")
        assert here.router.found() == here.as_built
        assert here.router.settings() == here.settings_as_built
