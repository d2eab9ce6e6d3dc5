# SPDX-License-Identifier: GPL-2.0-or-later
"""Prometheus metrics: a collector over the agent's Snapshot.

Names follow Prometheus' conventions (base units, ``_total``); the only labels are path,
direction (tx, rx), state and reason (why a packet was not parsed; which kind of action was
taken), besides version and loader of ``omrfast_build_info``. Never a flow or a client address;
servers are counted by state and, where a path does not reach them, by path.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from omrfast.core.types import PathCounters, ServerState
from omrfast.core.views import DelaysView, PathView, Snapshot
from omrfast.export.series import COUNTERS, DIRECTIONS, GAUGES, ONE_OF

Source = Callable[[], Snapshot]

_Series = Sequence[tuple[str, PathCounters]]


def _directions(series: _Series) -> Iterator[Metric]:
    for name, text, value in DIRECTIONS:
        family = CounterMetricFamily(f"omrfast_{name}", text, labels=("path", "direction"))
        for path, counters in series:
            tx, rx = value(counters)
            family.add_metric((path, "tx"), tx)
            family.add_metric((path, "rx"), rx)
        yield family


def _counters(series: _Series) -> Iterator[Metric]:
    for name, text, value in COUNTERS:
        family = CounterMetricFamily(f"omrfast_{name}", text, labels=("path",))
        for path, counters in series:
            family.add_metric((path,), value(counters))
        yield family
    unparsed = CounterMetricFamily(
        "omrfast_unparsed_packets",
        "Packets or TCP options that were not used, by reason",
        labels=("path", "reason"),
    )
    for path, counters in series:
        for reason, packets in counters.unparsed:
            unparsed.add_metric((path, reason), packets)
    yield unparsed


def _paths(paths: Iterable[PathView]) -> Iterator[Metric]:
    paths = tuple(paths)
    for name, text, value in GAUGES:
        family = GaugeMetricFamily(f"omrfast_{name}", text, labels=("path",))
        for path in paths:
            if (known := value(path)) is not None:
                family.add_metric((path.name,), known)
        yield family
    cost = CounterMetricFamily(
        "omrfast_path_probe_bytes", "Bytes of probes and their answers", labels=("path",)
    )
    for path in paths:
        cost.add_metric((path.name,), path.probe_bytes)
    yield cost
    for name, text, states, one in ONE_OF:
        family = GaugeMetricFamily(f"omrfast_{name}", text, labels=("path", "state"))
        for path in paths:
            for state in states:
                family.add_metric((path.name, state), float(one(path) == state))
        yield family


def _cumulative(buckets: Sequence[tuple[float, int]]) -> list[tuple[str, float]]:
    """(upper bound in seconds, samples up to it) as Prometheus writes it, +Inf at the end."""
    written = [(repr(bound), float(count)) for bound, count in buckets if bound != math.inf]
    return [*written, ("+Inf", float(buckets[-1][1]) if buckets else 0.0)]


def _rtt(snapshot: Snapshot) -> Metric:
    family = HistogramMetricFamily(
        "omrfast_path_rtt_seconds", "Round-trip times, from passing packets", labels=("path",)
    )
    sums = {path: counters.rtt_sum for path, counters in snapshot.counters}
    for path, buckets in snapshot.rtt_buckets:
        family.add_metric((path,), _cumulative(buckets), sum_value=sums.get(path, 0.0))
    return family


def _history(snapshot: Snapshot) -> Iterator[Metric]:
    entered = CounterMetricFamily(
        "omrfast_path_transitions", "Times a path entered a state", labels=("path", "state")
    )
    for (path, state), count in snapshot.transitions:
        entered.add_metric((path, state), count)
    yield entered
    actions = CounterMetricFamily(
        "omrfast_actions",
        "Changes made to endpoints, routes and sockets; reason is the kind of action",
        labels=("path", "reason"),
    )
    for (path, kind), count in snapshot.action_counts:
        actions.add_metric((path, kind), count)
    yield actions


def _reaction(snapshot: Snapshot) -> Iterator[Metric]:
    for name, text, found in (
        (
            "action_decision_delay_seconds",
            "From a decision until the kernel was called; reason is the kind of action",
            snapshot.decision_delays,
        ),
        (
            "action_sign_delay_seconds",
            "From the first sign of what it was about until the kernel was called",
            snapshot.sign_delays,
        ),
    ):
        yield _histogram(name, text, found)


def _histogram(name: str, text: str, found: Iterable[tuple[tuple[str, str], DelaysView]]) -> Metric:
    family = HistogramMetricFamily(f"omrfast_{name}", text, labels=("path", "reason"))
    for key, delays in found:
        family.add_metric(key, _cumulative(delays.buckets), sum_value=delays.sum_s)
    return family


def _servers(snapshot: Snapshot) -> Iterator[Metric]:
    states = GaugeMetricFamily("omrfast_servers", "Servers in a state", labels=("state",))
    for state in ServerState:
        count = sum(server.state == state for server in snapshot.servers)
        states.add_metric((state.value,), count)
    yield states
    unreachable = GaugeMetricFamily(
        "omrfast_path_unreachable_servers",
        "Servers that do not answer on this path, though they do on another",
        labels=("path",),
    )
    for path in snapshot.paths:
        count = sum(path.name in server.unreachable_on for server in snapshot.servers)
        unreachable.add_metric((path.name,), count)
    yield unreachable
    yield GaugeMetricFamily(
        "omrfast_local_trouble",
        "1 while every path is silent at once",
        float(snapshot.trouble is not None),
    )


def _agent(snapshot: Snapshot) -> Iterator[Metric]:
    build = InfoMetricFamily("omrfast_build", "Version of omrfast and loader of its programs")
    build.add_metric((), {"version": snapshot.version, "loader": snapshot.loader})
    yield build
    yield GaugeMetricFamily("omrfast_flows", "TCP flows in the flow table", snapshot.flows)
    yield GaugeMetricFamily(
        "omrfast_flow_capacity", "TCP flows that the flow table can hold", snapshot.flow_capacity
    )
    yield GaugeMetricFamily("omrfast_uptime_seconds", "Age of the agent", snapshot.uptime_s)
    yield GaugeMetricFamily(
        "omrfast_tick_seconds", "Duration of the last fast tick", snapshot.tick_seconds
    )


class SnapshotCollector(Collector):
    """All metrics of one Snapshot, taken from ``source`` at each scrape."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        snapshot = self._source()
        yield from _agent(snapshot)
        yield from _directions(snapshot.counters)
        yield from _counters(snapshot.counters)
        yield from _paths(snapshot.paths)
        yield _rtt(snapshot)
        yield from _history(snapshot)
        yield from _reaction(snapshot)
        yield from _servers(snapshot)

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not take a snapshot yet."""
        return iter(())
