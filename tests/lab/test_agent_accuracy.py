# SPDX-License-Identifier: GPL-2.0-or-later
"""What the data path measured against what the kernel's own TCP knows at the same moment."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from typing import Any

import pytest

from omrfast.act.sockets import Subflow
from omrfast.export import client
from omrfast.lab.agentproc import Agent
from omrfast.lab.diag import subflow_info
from omrfast.lab.topology import Lab, TopologySpec, UplinkSpec
from omrfast.lab.traffic import Stream, StreamSpec
from tests.lab.conftest import eventually

SAMPLES = 60
NO_ACTION = {"quality": {"max_rtt": "10s", "max_loss": "100%", "max_jitter": "10s"}}


def by_port(lab: Lab, part: str) -> dict[int, Subflow]:
    """Established sockets with traffic, by the client's port (carriers' NAT keeps it)."""
    found = subflow_info(lab.ns(part))
    port = (lambda s: s.local_port) if part == "router" else (lambda s: s.remote_port)
    return {port(s): s for s in found if s.state == "established" and s.data_segs_out > 50}


def flows(agent: Agent) -> dict[int, dict[str, Any]]:
    return {f["local_port"]: f for f in client.request(agent.run_dir, "flows", top=100)}


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("rtt", [0.010, 0.040, 0.200])
def test_smoothed_rtt_is_the_kernel_s(rtt: float, direction: str) -> None:
    sender = "router" if direction == "up" else "vps1"
    with Lab(TopologySpec(uplinks=(UplinkSpec(rtt=rtt), UplinkSpec(rtt=rtt)))) as lab:
        agent = Agent(lab, NO_ACTION)
        agent.start()
        try:
            with Stream(lab, StreamSpec("bulk", f"bulk-{direction}")):
                eventually(lambda: len(by_port(lab, sender)) == 2, "two subflows with traffic")
                time.sleep(10 * rtt)  # both estimators start from the handshake
                pairs = defaultdict(list)
                for _ in range(SAMPLES):
                    time.sleep(0.1)
                    before = by_port(lab, sender)
                    ours = flows(agent)
                    after = by_port(lab, sender)
                    for port in before.keys() & ours.keys() & after.keys():
                        smoothed = ours[port]["rtt_ms"]["smoothed"]
                        kernel = [(info[port].rtt or 0) * 1e3 for info in (before, after)]
                        # The kernel's moves while we read: at the same moment it was between.
                        nearest = min(max(smoothed, min(kernel)), max(kernel))
                        pairs[port].append((smoothed, nearest))
        finally:
            agent.stop()
    assert len(pairs) == 2, "both subflows were measured"
    for port, compared in pairs.items():
        assert len(compared) > SAMPLES / 2
        errors = [abs(ours - kernel) for ours, kernel in compared]
        relative = [abs(ours - kernel) / kernel for ours, kernel in compared]
        error, share = statistics.median(errors), statistics.median(relative)
        print(f"{rtt * 1e3:.0f} ms {direction} port {port}: {error:.2f} ms, {share:.1%}")
        assert error <= 1.0 or share <= 0.05, compared


@pytest.mark.parametrize(("loss", "tolerance"), [(0.0, 0.0), (0.03, 0.02)])
def test_segments_sent_again_are_the_kernel_s(loss: float, tolerance: float) -> None:
    uplinks = (UplinkSpec(rtt=0.02, loss=loss), UplinkSpec(rtt=0.04, loss=loss))
    with Lab(TopologySpec(uplinks=uplinks)) as lab:
        agent = Agent(lab, NO_ACTION)
        agent.start()
        try:
            with Stream(lab, StreamSpec("bulk", "bulk-up")) as stream:
                eventually(lambda: stream.delivered() > 8_000_000, "enough traffic", 60)
                compared = eventually(lambda: _at_one_moment(lab, agent), "a still moment", 60)
        finally:
            agent.stop()
    assert len(compared) == 2
    for ours, kernel in compared:
        print(f"loss {loss:.0%}: sent again {ours}, kernel {kernel}")
        assert abs(ours - kernel) <= tolerance * kernel
    if loss:
        assert sum(kernel for _, kernel in compared) > 100


def _at_one_moment(lab: Lab, agent: Agent) -> list[tuple[int, int]] | None:
    """(ours, the kernel's) per subflow, read between two equal readings of the kernel's."""
    before = by_port(lab, "router")
    ours = flows(agent)
    after = by_port(lab, "router")
    if len(before) != 2 or before.keys() != after.keys():
        return None
    if any(before[p].total_retrans != after[p].total_retrans for p in before):
        return None
    return [(ours[p]["retransmitted_segments"], before[p].total_retrans) for p in before]
