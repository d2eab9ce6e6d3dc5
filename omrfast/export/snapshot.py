# SPDX-License-Identifier: GPL-2.0-or-later
"""From the core's state and the meter's figures to the one Snapshot that everybody is shown."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from omrfast import __version__
from omrfast.core import damping, evidence, services
from omrfast.core.config import probe_budget
from omrfast.core.histogram import octaves, quantile
from omrfast.core.outcome import Decision, Wish
from omrfast.core.plan import Binding
from omrfast.core.state import CoreState, Override, PathRecord, ServerRecord
from omrfast.core.types import FlowSum, PathCounters
from omrfast.core.views import (
    ActionView,
    DelaysView,
    OverrideView,
    PathView,
    RttView,
    ServerView,
    Snapshot,
    TroubleView,
)
from omrfast.export.delays import Delays

ACTIONS_SHOWN = 50

_Delays = dict[tuple[str, str], Delays]
"""By path name and kind of action."""


@dataclass(slots=True)
class History:
    """What was done since the agent started."""

    actions: deque[ActionView] = field(default_factory=lambda: deque(maxlen=ACTIONS_SHOWN))
    action_counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Of paths."""
    decision_delays: _Delays = field(default_factory=lambda: defaultdict(Delays))
    sign_delays: _Delays = field(default_factory=lambda: defaultdict(Delays))

    def decided(self, decision: Decision) -> None:
        """A path entered another state."""
        self.transitions[decision.path, str(decision.state)] += 1

    def acted(self, action: ActionView) -> None:
        """The kernel was changed, or would have been but for a dry run."""
        self.actions.append(action)
        key = action.path, action.kind
        self.action_counts[key] += 1
        if action.decision_ms is not None:
            self.decision_delays[key].add(action.decision_ms / 1e3)
        if action.sign_ms is not None:
            self.sign_delays[key].add(action.sign_ms / 1e3)


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
    wishes: Mapping[str, Wish],
    bindings: Mapping[str, Binding],
    figures: Figures,
    history: History,
    *,
    loader: str,
    now: float,
    tick_seconds: float,
    dry_run: bool = False,
    unrecorded: str | None = None,
) -> Snapshot:
    """``now`` and the state's instants are CLOCK_MONOTONIC."""
    return Snapshot(
        version=__version__,
        uptime_s=round(now - state.started, 3),
        loader=loader,
        paths=tuple(
            _path(record, wishes.get(record.config.name, Wish()), bindings, figures, now)
            for record in state.paths
        ),
        servers=tuple(_server(record, figures.server_flows, now) for record in state.servers),
        actions=tuple(history.actions),
        counters=tuple((r.config.name, r.model.counters or PathCounters()) for r in state.paths),
        rtt_buckets=tuple((name, octaves(counts)) for name, counts in figures.all_rtt.items()),
        transitions=tuple(history.transitions.items()),
        action_counts=tuple(history.action_counts.items()),
        decision_delays=_delays(history.decision_delays),
        sign_delays=_delays(history.sign_delays),
        trouble=_trouble(state, now),
        dry_run=dry_run,
        unrecorded=unrecorded,
        flows=figures.flows,
        flow_capacity=figures.flow_capacity,
        tick_seconds=tick_seconds,
    )


def _path(
    record: PathRecord,
    wish: Wish,
    bindings: Mapping[str, Binding],
    figures: Figures,
    now: float,
) -> PathView:
    name = record.config.name
    binding = bindings.get(name)
    counters = record.model.counters or PathCounters()
    loss = record.model.loss
    return PathView(
        name=name,
        interface=record.config.interface,
        address=binding.address if binding else record.config.address or "",
        role=str(record.config.role),
        state=str(record.state),
        since_s=round(now - record.since, 3),
        reason=record.reason,
        rtt_ms=_rtt(record, counters, figures.recent_rtt.get(name, ())),
        loss_ratio=None if loss is None else round(loss, 5),
        tx_bytes=counters.tx_bytes,
        rx_bytes=counters.rx_bytes,
        tx_segments=counters.tx_segments,
        retransmitted_segments=counters.retransmitted_segments,
        subflows=figures.path_flows.get(name, FlowSum()).subflows,
        objective=str(record.config.objective),
        override=None if record.override is None else _override(record.override, now),
        penalty=round(damping.penalty(record, now), 3),
        endpoint=None if binding is None else _endpoint(wish),
        routes_behind=None if wish.penalty is None else wish.penalty > 0,
        probe_bytes=record.probe_bytes,
        probe_budget=probe_budget(record.config),
        probes_saving=record.purse is not None and record.purse.saving,
        services_failing=tuple(
            f"{entry.target.name}: {entry.error}" for entry in services.failing(record)
        ),
        evidence=None if record.evidence is None else evidence.shown(record.evidence),
    )


def _rtt(record: PathRecord, counters: PathCounters, recent: Sequence[int]) -> RttView:
    return RttView(
        smoothed=_ms(record.model.srtt),
        min=_ms(record.model.rtt_min),
        variation=_ms(record.model.rttvar) if record.model.srtt is not None else None,
        jitter=_ms(record.model.jitter) if counters.rtt_samples else None,
        p50=_ms(quantile(recent, 0.5)),
        p99=_ms(quantile(recent, 0.99)),
    )


def _override(override: Override, now: float) -> OverrideView:
    left = None if override.until is None else round(max(0.0, override.until - now), 3)
    return OverrideView(str(override.role), left)


def _endpoint(wish: Wish) -> str | None:
    if wish.present is False:
        return "absent"
    if wish.backup is None:
        return None
    return "backup" if wish.backup else "active"


def _server(
    record: ServerRecord, flows_by_address: Mapping[str, FlowSum], now: float
) -> ServerView:
    found = [flows_by_address.get(address, FlowSum()) for address in record.addresses]
    arrived = [flows.arrived for flows in found if flows.arrived is not None]
    return ServerView(
        name=record.name,
        state=str(record.state),
        since_s=round(now - record.since, 3),
        reason=record.reason,
        unreachable_on=tuple(sorted(record.unreachable_on)),
        addresses=record.addresses,
        address=record.addresses[0] if record.addresses else "",
        flows=sum(flows.open for flows in found),
        subflows=sum(flows.subflows for flows in found),
        handshakes=sum(flows.handshakes for flows in found),
        rtt_mean_ms=_ms(_mean_rtt(found)),
        rtt_min_ms=_ms(min((f.rtt_min for f in found if f.rtt_min is not None), default=None)),
        silent_s=round(max(0.0, now - max(arrived)), 3) if arrived else None,
        evidence=None if record.evidence is None else evidence.shown(record.evidence),
    )


def _mean_rtt(found: Iterable[FlowSum]) -> float | None:
    """Over the addresses, each by its flows beyond the handshake."""
    known = [(f.rtt_mean, max(1, f.open - f.handshakes)) for f in found if f.rtt_mean is not None]
    flows = sum(count for _, count in known)
    return sum(mean * count for mean, count in known) / flows if known else None


def _trouble(state: CoreState, now: float) -> TroubleView | None:
    if state.trouble is None:
        return None
    return TroubleView(state.trouble, round(now - state.trouble_since, 3))


def _delays(found: _Delays) -> tuple[tuple[tuple[str, str], DelaysView], ...]:
    return tuple((key, delays.view()) for key, delays in found.items())


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 3)
