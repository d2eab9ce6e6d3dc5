# SPDX-License-Identifier: GPL-2.0-or-later
"""Prometheus metrics: a collector over the agent's Snapshot, and its HTTP endpoint.

Names follow Prometheus' conventions (base units, ``_total``); the only labels are path,
direction (tx, rx), state and reason (why a packet was not parsed; which kind of action was
taken), besides version and loader of ``omrfast_build_info``. Never a flow or a client address.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Thread
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from omrfast.core.types import PathCounters, PathState
from omrfast.core.views import PathView, Snapshot

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

Source = Callable[[], Snapshot]

_Series = Sequence[tuple[str, PathCounters]]

# name without prefix and _total, help, value
_COUNTERS: tuple[tuple[str, str, Callable[[PathCounters], int]], ...] = (
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

_DIRECTIONS: tuple[tuple[str, str, Callable[[PathCounters], tuple[int, int]]], ...] = (
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
_GAUGES: tuple[tuple[str, str, Callable[[PathView], float | None]], ...] = (
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
)


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1e3


def _directions(series: _Series) -> Iterator[Metric]:
    for name, text, value in _DIRECTIONS:
        family = CounterMetricFamily(f"omrfast_{name}", text, labels=("path", "direction"))
        for path, counters in series:
            tx, rx = value(counters)
            family.add_metric((path, "tx"), tx)
            family.add_metric((path, "rx"), rx)
        yield family


def _counters(series: _Series) -> Iterator[Metric]:
    for name, text, value in _COUNTERS:
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


def _gauges(paths: Iterable[PathView]) -> Iterator[Metric]:
    paths = tuple(paths)
    for name, text, value in _GAUGES:
        family = GaugeMetricFamily(f"omrfast_{name}", text, labels=("path",))
        for path in paths:
            if (known := value(path)) is not None:
                family.add_metric((path.name,), known)
        yield family
    state = GaugeMetricFamily(
        "omrfast_path_state", "1 for the state that the path is in", labels=("path", "state")
    )
    for path in paths:
        for name in PathState:
            state.add_metric((path.name, name.value), float(path.state == name.value))
    yield state


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
        yield from _gauges(snapshot.paths)
        yield _rtt(snapshot)
        yield from _history(snapshot)

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not take a snapshot yet."""
        return iter(())


class MetricsError(Exception):
    """The metrics can't be served; the text names the key and what to write."""


def split_listen(listen: str) -> tuple[str, int]:
    """``"127.0.0.1:9477"`` or ``"[::1]:9477"`` → (address, port); MetricsError if neither."""
    host, colon, port = listen.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        address = ipaddress.ip_address(host)
        number = int(port) if colon else -1
    except ValueError:
        number = -1
    if not 0 <= number < 65536:
        raise MetricsError(
            f'[metrics] listen = "{listen}": write an address and a port, such as '
            '"127.0.0.1:9477" or "[::1]:9477", or "" for no metrics'
        )
    return str(address), number


class MetricsServer:
    """Serves ``source``'s metrics over HTTP, in a thread, from its own registry."""

    def __init__(self, source: Source, registry: CollectorRegistry | None = None) -> None:
        self._registry = registry or CollectorRegistry()
        self._registry.register(SnapshotCollector(source))
        ProcessCollector(namespace="omrfast", registry=self._registry)
        self._server: WSGIServer | None = None
        self._thread: Thread | None = None

    def start(self, listen: str) -> int:
        """Begin to serve on ``[metrics] listen``; the port taken (of use with port 0).

        Raises MetricsError if the address can't be bound: metrics that silently are not there
        would be found missing on the day they are needed.
        """
        address, port = split_listen(listen)
        try:
            self._server, self._thread = start_http_server(port, address, registry=self._registry)
        except OSError as error:
            raise MetricsError(
                f'[metrics] listen = "{listen}": {error.strerror or error}; '
                'write another address or port, or "" for no metrics'
            ) from error
        return self._server.server_port

    def close(self) -> None:
        """Stop serving and free the port."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = self._thread = None
