# SPDX-License-Identifier: GPL-2.0-or-later
"""From the core's state and the meter's figures to the one Snapshot that everybody is shown."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from omrfast import __version__
from omrfast.core.histogram import octaves, quantile
from omrfast.core.plan import Binding
from omrfast.core.state import CoreState, Decision, PathRecord
from omrfast.core.types import FlowSum, PathCounters
from omrfast.core.views import ActionView, PathView, RttView, ServerView, Snapshot

ACTIONS_SHOWN = 50


@dataclass(slots=True)
class History:
    """What was done since the agent started."""

    actions: deque[ActionView] = field(default_factory=lambda: deque(maxlen=ACTIONS_SHOWN))
    action_counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)

    def decided(self, decision: Decision) -> None:
        self.transitions[decision.path, str(decision.state)] += 1

    def acted(self, action: ActionView) -> None:
        self.actions.append(action)
        self.action_counts[action.path, action.kind] += 1


@dataclass(frozen=True, slots=True)
class Figures:
    """What the slow tick found, by path name."""

    path_flows: Mapping[str, FlowSum] = field(default_factory=dict)
    recent_rtt: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Histogram of about the last minute."""
    all_rtt: Mapping[str, Sequence[int]] = field(default_factory=dict)
    server_flows: Mapping[str, FlowSum] = field(default_factory=dict)
    """By IP address, of each server that is configured."""
    flows: int = 0
    flow_capacity: int = 0


def build(
    state: CoreState,
    bindings: Mapping[str, Binding],
    figures: Figures,
    history: History,
    *,
    loader: str,
    now: float,
    tick_seconds: float,
) -> Snapshot:
    """``now`` and the state's instants are CLOCK_MONOTONIC."""
    return Snapshot(
        version=__version__,
        uptime_s=round(now - state.started, 3),
        loader=loader,
        paths=tuple(_path(record, bindings, figures, now) for record in state.paths),
        servers=tuple(_server(*item, now) for item in figures.server_flows.items()),
        actions=tuple(history.actions),
        counters=tuple((r.config.name, r.model.counters or PathCounters()) for r in state.paths),
        rtt_buckets=tuple((name, octaves(counts)) for name, counts in figures.all_rtt.items()),
        transitions=tuple(history.transitions.items()),
        action_counts=tuple(history.action_counts.items()),
        flows=figures.flows,
        flow_capacity=figures.flow_capacity,
        tick_seconds=tick_seconds,
    )


def _path(
    record: PathRecord, bindings: Mapping[str, Binding], figures: Figures, now: float
) -> PathView:
    name = record.config.name
    binding = bindings.get(name)
    counters = record.model.counters or PathCounters()
    recent = figures.recent_rtt.get(name, ())
    loss = record.model.loss
    return PathView(
        name=name,
        interface=record.config.interface,
        address=binding.address if binding else record.config.address or "",
        role=str(record.config.role),
        state=str(record.state),
        since_s=round(now - record.since, 3),
        reason=record.reason,
        rtt_ms=RttView(
            smoothed=_ms(record.model.srtt),
            min=_ms(record.model.rtt_min),
            variation=_ms(record.model.rttvar) if record.model.srtt is not None else None,
            jitter=_ms(record.model.jitter) if counters.rtt_samples else None,
            p50=_ms(quantile(recent, 0.5)),
            p99=_ms(quantile(recent, 0.99)),
        ),
        loss_ratio=None if loss is None else round(loss, 5),
        tx_bytes=counters.tx_bytes,
        rx_bytes=counters.rx_bytes,
        tx_segments=counters.tx_segments,
        retransmitted_segments=counters.retransmitted_segments,
        subflows=figures.path_flows.get(name, FlowSum()).subflows,
    )


def _server(address: str, flows: FlowSum, now: float) -> ServerView:
    return ServerView(
        address=address,
        flows=flows.open,
        subflows=flows.subflows,
        handshakes=flows.handshakes,
        rtt_mean_ms=_ms(flows.rtt_mean),
        rtt_min_ms=_ms(flows.rtt_min),
        silent_s=None if flows.arrived is None else round(max(0.0, now - flows.arrived), 3),
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 3)
