# SPDX-License-Identifier: GPL-2.0-or-later
"""A Snapshot with every member filled in, for tests of what shows it."""

from __future__ import annotations

import math

from omrfast.core.types import PathCounters
from omrfast.core.views import (
    ActionView,
    DelaysView,
    EventView,
    EvidenceView,
    FlowView,
    OverrideView,
    PathView,
    RttView,
    ServerView,
    Snapshot,
    TroubleView,
)


def path(
    name: str = "fibre",
    state: str = "up",
    role: str = "active",
    override: OverrideView | None = None,
) -> PathView:
    return PathView(
        name=name,
        interface="wan0",
        address="192.0.2.10",
        role=role,
        state=state,
        since_s=12.5,
        reason="answers",
        rtt_ms=RttView(smoothed=41.2, min=40.0, variation=1.5, jitter=1.1, p50=41.0, p99=55.0),
        loss_ratio=0.01,
        tx_bytes=1000,
        rx_bytes=2000,
        tx_segments=10,
        retransmitted_segments=1,
        subflows=3,
        objective="latency",
        override=override,
        penalty=1.25,
        endpoint="active",
        routes_behind=False,
        probe_bytes=72_000,
        probe_budget=None,
        probes_saving=False,
        services_failing=("web: status 302, redirected; a captive portal?",),
        evidence=EvidenceView("good", 5012.0, 5000.0, "ms"),
    )


def unmeasured(name: str = "lte") -> PathView:
    return PathView(
        name=name,
        interface="wwan0",
        address="",
        role="backup",
        state="unknown",
        since_s=0.5,
        reason="no packet yet",
        rtt_ms=RttView(),
        loss_ratio=None,
        tx_bytes=0,
        rx_bytes=0,
        tx_segments=0,
        retransmitted_segments=0,
        subflows=0,
        objective="throughput",
        override=None,
        penalty=0.0,
        endpoint=None,
        routes_behind=None,
        probe_bytes=0,
        probe_budget=5_000_000,
        probes_saving=True,
        services_failing=(),
        evidence=None,
    )


SERVER = ServerView(
    name="vps",
    state="up",
    since_s=60.0,
    reason="answers",
    unreachable_on=("lte",),
    addresses=("203.0.113.1", "2001:db8::1"),
    address="203.0.113.1",
    flows=4,
    subflows=3,
    handshakes=1,
    rtt_mean_ms=41.2,
    rtt_min_ms=40.0,
    silent_s=0.25,
    evidence=EvidenceView("answers", 41.5, None, "ms"),
)


REMOVAL = ("fibre", "delete")
DECISION_DELAYS = DelaysView(((0.01, 3), (0.1, 3), (math.inf, 4)), 0.52)
SIGN_DELAYS = DelaysView(((0.01, 0), (0.1, 2), (math.inf, 4)), 1.7)


def snapshot(*paths: PathView) -> Snapshot:
    counters = PathCounters(
        tx_bytes=1000,
        rx_bytes=2000,
        tx_packets=11,
        rx_packets=21,
        tx_segments=10,
        rx_segments=20,
        retransmitted_segments=1,
        flows_refused=4,
        rtt_samples=7,
        rtt_sum=0.287,
        unparsed=(("truncated", 2), ("vlans", 0)),
    )
    return Snapshot(
        version="0.1.0",
        uptime_s=99.5,
        loader="prebuilt",
        paths=paths or (path(), unmeasured()),
        servers=(SERVER,),
        actions=(ActionView(1.7e9, "fibre", "backup", "rtt 341 ms > 250 ms", 0.3, 1.5, 801.5),),
        counters=(("fibre", counters), ("lte", PathCounters())),
        rtt_buckets=(("fibre", ((0.032768, 1), (0.065536, 6), (33.554432, 7))), ("lte", ())),
        transitions=((("fibre", "up"), 2), (("fibre", "degraded"), 1)),
        action_counts=((("fibre", "backup"), 1),),
        decision_delays=((REMOVAL, DECISION_DELAYS),),
        sign_delays=((REMOVAL, SIGN_DELAYS),),
        trouble=TroubleView("all paths silent at once", 4.5),
        flows=12,
        flow_capacity=65536,
        tick_seconds=0.0004,
    )


FLOW = FlowView(
    path="fibre",
    family=4,
    local="192.0.2.10",
    local_port=40000,
    remote="203.0.113.1",
    remote_port=443,
    role="client",
    mptcp=True,
    fallback=False,
    joined=True,
    backup=False,
    token=0xDEADBEEF,
    connection=0,
    local_id=2,
    remote_id=0,
    state="established",
    tx_bytes=5000,
    rx_bytes=100,
    tx_segments=5,
    rx_segments=1,
    retransmitted_segments=0,
    spurious_segments=0,
    refilled_segments=3,
    reordered_segments=2,
    rtt_smoothed=0.0412,
    rtt_variation=0.0015,
    rtt_jitter=0.0011,
    rtt_min=0.04,
    rtt_samples=9,
    idle=1.25,
)

EVENT = EventView(1.7e9, "decision", "fibre", "fibre: up → degraded", (("rtt_ms", 341.0),))
