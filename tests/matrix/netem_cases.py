# SPDX-License-Identifier: GPL-2.0-or-later
"""Links by the kernel's netem, which the matrix's kernels have; named so that only it is run."""

from __future__ import annotations

from omrfast.lab.links import DOWN, UP
from omrfast.lab.topology import Lab, TopologySpec, UplinkSpec
from tests.lab.lab_helpers import datagrams

DELAY = 1.0
"""One way, seconds: longer than a change takes under emulation."""


def test_a_black_hole_takes_what_is_under_way_and_lets_nothing_through() -> None:
    spec = TopologySpec(uplinks=(UplinkSpec(rtt=2 * DELAY, rate=0),), backend="netem")
    with Lab(spec) as lab, datagrams(lab) as through:
        link = lab.links["wan1"]
        through.send(range(10))
        arrivals = through.receive(10, quiet=10 * DELAY)
        assert [one.number for one in arrivals] == list(range(10))
        assert min(one.arrived - one.sent for one in arrivals) >= DELAY
        before = link.stats(UP)
        assert before.forwarded >= 10
        through.send(range(10, 20))
        link.change(blackhole=True)
        through.send(range(20, 30))
        assert through.receive(20, quiet=3 * DELAY) == []
        silent = link.stats(UP)
        assert silent.forwarded == before.forwarded
        assert silent.blackholed >= 10
        link.change(blackhole=False)
        through.send(range(30, 40))
        arrivals = through.receive(10, quiet=10 * DELAY)
        assert [one.number for one in arrivals] == list(range(30, 40))
        healed = link.stats(UP)
        assert healed.forwarded >= before.forwarded + 10
        assert healed.blackholed == silent.blackholed


def test_one_direction_can_be_silent() -> None:
    spec = TopologySpec(uplinks=(UplinkSpec(rtt=0.02, rate=0),), backend="netem")
    with Lab(spec) as lab, datagrams(lab) as through:
        lab.links["wan1"].change(DOWN, blackhole=True)
        through.send(range(10))
        assert len(through.receive(10, quiet=10.0)) == 10
