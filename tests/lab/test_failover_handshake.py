# SPDX-License-Identifier: GPL-2.0-or-later
"""New connections while an uplink is dead, whichever uplink a connection began on, and IPv6."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from omrfast.lab import diag
from omrfast.lab.addresses import uplink_address
from omrfast.lab.topology import TopologySpec
from omrfast.lab.traffic import Stream, StreamSpec
from tests.lab.conftest import eventually
from tests.lab.failover import Site, fresh, goes_on, site


@pytest.fixture(scope="module")
def here() -> Iterator[Site]:
    """Both families."""
    with site(TopologySpec(ipv6=True)) as built:
        yield built


@pytest.fixture(autouse=True)
def _from_as_built(here: Site) -> Iterator[None]:
    yield from fresh(here)


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("ipv6", [False, True])
def test_the_initial_subflow_is_as_good_as_any(here: Site, first: int, ipv6: bool) -> None:
    """Uplink 1 dies; the connection began there, or on uplink 2."""
    source = uplink_address(first, 6 if ipv6 else 4)
    spec = StreamSpec("upload", "bulk-up", source=source, ipv6=ipv6)
    with Stream(here.lab, spec) as stream:
        here.until_used(stream)
        goes_on(stream, "data over both", 500_000)
        (initial,) = (
            s
            for s in diag.subflow_info(here.lab.ns("router"))
            if s.remote_port == stream.port and not s.joined
        )
        assert initial.local == source
        here.lab.links["wan1"].change(blackhole=True)
        try:
            here.until_given_up("wan1", heir="wan2")
            both_families = {uplink_address(2), uplink_address(2, 6)}
            eventually(lambda: set(here.router.endpoints()) == both_families, "endpoints gone")
            goes_on(stream, "data over the other uplink")
        finally:
            here.lab.links["wan1"].change(blackhole=False)
        here.until_as_built()
        here.until_used(stream)
        assert not stream.record().errors, "it is still the same connection"


@pytest.mark.parametrize("ipv6", [False, True])
def test_handshakes_are_retried_over_the_other_path_as_mptcp(here: Site, ipv6: bool) -> None:
    spec = StreamSpec("new", "connect", interval=0.1, ipv6=ipv6)
    drawn = here.mib("Blackhole")
    with Stream(here.lab, spec) as stream:
        eventually(lambda: stream.delivered() >= 5, "connections")
        here.lab.links["wan1"].change(blackhole=True)
        died = time.monotonic()
        try:
            here.until_given_up("wan1", heir="wan2")
            goes_on(stream, "connections over the other uplink", 20)
        finally:
            here.lab.links["wan1"].change(blackhole=False)
        healed = time.monotonic()
        here.until_as_built()
        goes_on(stream, "connections as before", 5)
        attempts = stream.record().attempts
    dead = [a for a in attempts if died - 0.1 <= a.began < healed - 1.0]
    assert dead
    assert all(a.done for a in dead), "none is stuck"
    assert any(a.errors for a in dead), "the handshakes that were open were ended"
    assert all(a.mptcp for a in attempts if a.done)
    assert here.mib("Blackhole") == drawn, "nobody concludes that MPTCP does not work"
