# SPDX-License-Identifier: GPL-2.0-or-later
"""Which figures of a path become which metric: tables for metrics.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from omrfast.core.types import PathCounters, PathState, Role
from omrfast.core.views import PathView

# name without prefix and _total, help, value
COUNTERS: tuple[tuple[str, str, Callable[[PathCounters], int]], ...] = (
    (
        "path_retransmitted_segments",
        "TCP segments sent again",
        lambda c: c.retransmitted_segments,
    ),
    (
        "path_spurious_segments",
        "TCP segments sent again needlessly, as the peer's DSACK reveals",
        lambda c: c.spurious_segments,
    ),
    (
        "path_refilled_segments",
        "TCP segments that arrived below the highest sequence seen: holes filled, or repeats",
        lambda c: c.refilled_segments,
    ),
    (
        "path_reordered_segments",
        "TCP segments that arrived late, but too soon to have been sent again",
        lambda c: c.reordered_segments,
    ),
    ("path_icmp_errors", "ICMP errors that arrived", lambda c: c.icmp_errors),
    (
        "path_syn_retransmissions",
        "SYN and SYN-ACK packets sent again",
        lambda c: c.syn_retransmissions,
    ),
    ("flows_opened", "TCP flows whose handshake began", lambda c: c.flows_opened),
    (
        "flows_refused",
        "TCP flows that are not followed because the flow table is full",
        lambda c: c.flows_refused,
    ),
    (
        "events_suppressed",
        "Data path events dropped by the rate limit or a full ring",
        lambda c: c.events_suppressed,
    ),
)

DIRECTIONS: tuple[tuple[str, str, Callable[[PathCounters], tuple[int, int]]], ...] = (
    (
        "path_bytes",
        "Bytes on the wire, link header included",
        lambda c: (c.tx_bytes, c.rx_bytes),
    ),
    ("path_packets", "Packets on the wire", lambda c: (c.tx_packets, c.rx_packets)),
    (
        "path_segments",
        "TCP segments with payload, repeats included",
        lambda c: (c.tx_segments, c.rx_segments),
    ),
)

# name without prefix, help, value or None where unknown
GAUGES: tuple[tuple[str, str, Callable[[PathView], float | None]], ...] = (
    (
        "path_smoothed_rtt_seconds",
        "Smoothed round-trip time, from passing packets",
        lambda p: _seconds(p.rtt_ms.smoothed),
    ),
    (
        "path_min_rtt_seconds",
        "Least round-trip time of the last one to two half minutes",
        lambda p: _seconds(p.rtt_ms.min),
    ),
    (
        "path_rtt_variation_seconds",
        "Mean deviation of the round-trip time",
        lambda p: _seconds(p.rtt_ms.variation),
    ),
    (
        "path_rtt_jitter_seconds",
        "Difference of successive round-trip times, smoothed as in RFC 3550",
        lambda p: _seconds(p.rtt_ms.jitter),
    ),
    ("path_loss_ratio", "Share of segments sent again, 0 to 1", lambda p: p.loss_ratio),
    ("path_subflows", "MPTCP subflows on the path now", lambda p: p.subflows),
    (
        "path_penalty",
        "Demotions of late, each halved every half-life: they make coming back slower",
        lambda p: p.penalty,
    ),
    (
        "path_routes_behind",
        "1 if the path's routes are wished behind those of other paths",
        lambda p: None if p.routes_behind is None else float(p.routes_behind),
    ),
    (
        "path_probes_saving",
        "1 while too little of the probe budget is left for all that is wanted",
        lambda p: float(p.probes_saving),
    ),
    (
        "path_services_failing",
        "Services that do not work on the path, whoever is to blame for it",
        lambda p: len(p.services_failing),
    ),
    (
        "path_probe_budget_bytes",
        "Bytes that probes may take in 30 days; absent: no bound",
        lambda p: p.probe_budget,
    ),
)


# name without prefix, help, every state, the one that a path is in or None
ONE_OF: tuple[tuple[str, str, Sequence[str], Callable[[PathView], str | None]], ...] = (
    (
        "path_state",
        "1 for the state that the path is in",
        tuple(PathState),
        lambda p: p.state,
    ),
    (
        "path_endpoint",
        "1 for what the path's MPTCP endpoint is wished to be",
        ("active", "backup", "absent"),
        lambda p: p.endpoint,
    ),
    (
        "path_override",
        "1 for the role that the operator has put the path into for now",
        tuple(Role),
        lambda p: p.override.role if p.override else None,
    ),
)


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1e3
