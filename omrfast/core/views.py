# SPDX-License-Identifier: GPL-2.0-or-later
"""What is shown: plain values in the units that people read; the member names are the interface."""

from __future__ import annotations

from dataclasses import dataclass

from omrfast.core.types import PathCounters


@dataclass(frozen=True, slots=True)
class FlowView:
    """One flow, for people and for learning which servers a path talks to."""

    path: str
    family: int
    local: str
    local_port: int
    remote: str
    remote_port: int
    role: str
    """client or server; midlife: its beginning was not seen."""
    mptcp: bool
    fallback: bool
    """Offered MPTCP and became plain TCP."""
    joined: bool
    backup: bool
    token: int | None
    """Of the end that accepted the connection."""
    connection: int | None
    """The same number for the subflows of one MPTCP connection, within one list."""
    local_id: int | None
    remote_id: int | None
    state: str
    """handshake, established, closing or closed."""
    tx_bytes: int
    rx_bytes: int
    tx_segments: int
    rx_segments: int
    retransmitted_segments: int
    spurious_segments: int
    refilled_segments: int
    reordered_segments: int
    rtt_smoothed: float | None
    rtt_variation: float | None
    """RTTVAR of RFC 6298."""
    rtt_jitter: float | None
    """RFC 3550, between successive samples."""
    rtt_min: float | None
    rtt_samples: int
    idle: float
    """Seconds since the last packet that arrived (or, if none did, that left)."""


@dataclass(frozen=True, slots=True)
class RttView:
    """Milliseconds, as shown; None where unknown."""

    smoothed: float | None = None
    min: float | None = None
    variation: float | None = None
    """RTTVAR of RFC 6298."""
    jitter: float | None = None
    """RFC 3550, from passing packets."""
    p50: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class OverrideView:
    """The operator's word for a path."""

    role: str
    left_s: float | None
    """Seconds that it is still good for; None: until told otherwise."""


@dataclass(frozen=True, slots=True)
class EvidenceView:
    """The numbers behind a state or a decision."""

    what: str
    measured: float | None
    limit: float | None
    unit: str | None
    """ms, % or x (a factor); None without a number."""


@dataclass(frozen=True, slots=True)
class PathView:
    """One path of `omrfast status --json`; the member names are the interface."""

    name: str
    interface: str
    address: str
    role: str
    state: str
    since_s: float
    reason: str
    rtt_ms: RttView
    loss_ratio: float | None
    tx_bytes: int
    rx_bytes: int
    tx_segments: int
    retransmitted_segments: int
    subflows: int
    objective: str
    override: OverrideView | None
    penalty: float
    """Demotions of late; each halves every ``half_life``."""
    endpoint: str | None
    """What is wished: active, backup or absent; None: it is left as it is."""
    routes_behind: bool | None
    """Wished: behind those of the other paths; None: they are left as they are."""
    probe_bytes: int
    """Taken by probes and their answers since the agent started."""
    probe_budget: int | None
    """Bytes that they may take in 30 days; None: no bound."""
    probes_saving: bool
    """Too little of the budget is left for all that is wanted: probes are fewer."""
    services_failing: tuple[str, ...]
    """Those that do not work on it, and how; the path may be up nevertheless, for on no other path
    do they work, or there is none to compare with."""
    evidence: EvidenceView | None
    """Of the present state."""


@dataclass(frozen=True, slots=True)
class ActionView:
    """One thing that the agent did to the kernel."""

    at: float
    """Unix time."""
    path: str
    """Empty: of none, a setting of the kernel."""
    kind: str
    """See ACTION_KINDS."""
    reason: str
    took_ms: float
    """The kernel's call; a removal took effect well before its call came back."""
    decision_ms: float | None = None
    """From the decision until the kernel was called; None: no decision brought it."""
    sign_ms: float | None = None
    """From the first sign of what the decision was about until the kernel was called."""


ACTION_KINDS = (
    "backup",
    "nobackup",
    "delete",
    "add",
    "metric",
    "copy",
    "withdraw",
    "repeat",
    "setting",
    "forget",
    "abort",
)


@dataclass(frozen=True, slots=True)
class EventView:
    """One line of `omrfast events`: what was decided, said, done or noticed."""

    at: float
    """Unix time."""
    kind: str
    """decision and operator (of a path), server, action, subflow, agent."""
    path: str | None
    message: str
    details: tuple[tuple[str, str | float | int | None], ...] = ()
    server: str | None = None


@dataclass(frozen=True, slots=True)
class ServerView:
    """A configured server, over the flows of all paths to all its addresses that are not closed."""

    name: str
    state: str
    since_s: float
    reason: str
    unreachable_on: tuple[str, ...]
    """Paths that live and on which it does not answer, while it does on another."""
    addresses: tuple[str, ...]
    address: str
    """The first of them."""
    flows: int
    subflows: int
    handshakes: int
    """Those of them that nobody has answered yet."""
    rtt_mean_ms: float | None
    """Of their smoothed RTTs."""
    rtt_min_ms: float | None
    silent_s: float | None
    """Since anything last arrived from it; None: nothing yet."""
    evidence: EvidenceView | None
    """Of the present state."""


@dataclass(frozen=True, slots=True)
class TroubleView:
    """Local trouble: every path that was alive went at once."""

    reason: str
    since_s: float


@dataclass(frozen=True, slots=True)
class DelaysView:
    """How long something took, each time: a cumulative histogram."""

    buckets: tuple[tuple[float, int], ...] = ()
    """(upper bound in seconds, times up to it); the last bound is infinite."""
    sum_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the agent shows, made once per publication and never changed."""

    version: str
    uptime_s: float
    loader: str
    paths: tuple[PathView, ...] = ()
    servers: tuple[ServerView, ...] = ()
    actions: tuple[ActionView, ...] = ()
    counters: tuple[tuple[str, PathCounters], ...] = ()
    """Per path name, for Prometheus."""
    rtt_buckets: tuple[tuple[str, tuple[tuple[float, int], ...]], ...] = ()
    """Per path name: (upper bound in seconds, cumulative count) of the RTT histogram."""
    transitions: tuple[tuple[tuple[str, str], int], ...] = ()
    """((path, state entered), times since start)."""
    action_counts: tuple[tuple[tuple[str, str], int], ...] = ()
    """((path, kind), times since start)."""
    decision_delays: tuple[tuple[tuple[str, str], DelaysView], ...] = ()
    """((path, kind), since start): from a decision until the kernel was called for each action."""
    sign_delays: tuple[tuple[tuple[str, str], DelaysView], ...] = ()
    """The same from the first sign of what the decision was about; of what comes back, since when
    it has been good."""
    trouble: TroubleView | None = None
    dry_run: bool = False
    """Nothing is done to the kernel: what is wished stays a wish."""
    unrecorded: str | None = None
    """Why what is changed can't be recorded, so that a crash would leave it; None: it is."""
    flows: int = 0
    flow_capacity: int = 0
    tick_seconds: float = 0.0
    """Duration of the last fast tick."""
