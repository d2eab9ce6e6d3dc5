# SPDX-License-Identifier: GPL-2.0-or-later
"""The vocabulary of the core: what is measured, what is, what is wished, what is shown.

Units: seconds (float), bytes, ratios between 0 and 1; instants are CLOCK_MONOTONIC seconds
unless a name says ``wall`` (Unix time). Everything here is immutable.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """The operator's wish for a path; the state machine acts within it."""

    ACTIVE = "active"
    BACKUP = "backup"
    OFF = "off"


class PathState(StrEnum):
    """States of a path; the table of legal transitions is in transitions.py."""

    UNKNOWN = "unknown"
    UP = "up"
    SUSPECT = "suspect"
    DEGRADED = "degraded"
    DOWN = "down"
    PROBATION = "probation"


USABLE = frozenset({PathState.UP, PathState.SUSPECT, PathState.DEGRADED})


# --- measured ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PathCounters:
    """One path's counters, summed over CPUs; they only grow (see struct omr_path_counters)."""

    tx_bytes: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    rx_packets: int = 0
    tx_segments: int = 0
    rx_segments: int = 0
    retransmitted_segments: int = 0
    spurious_segments: int = 0
    refilled_segments: int = 0
    reordered_segments: int = 0
    icmp_errors: int = 0
    syn_retransmissions: int = 0
    flows_opened: int = 0
    flows_refused: int = 0
    events_suppressed: int = 0
    rtt_samples: int = 0
    rtt_sum: float = 0.0
    """Seconds, over all samples."""
    rtt_dev_sum: float = 0.0
    """Seconds, sum of |sample - smoothed RTT of its flow|."""
    rtt_step_sum: float = 0.0
    """Seconds, sum of |sample - sample before it of its flow|: RFC 3550's D."""
    rtt_min: float | None = None
    """Seconds, least sample of the last one to two windows of about half a minute."""
    last_rx: float | None = None
    """When an IP packet last arrived; exact to one jiffy."""
    last_tx: float | None = None
    asked: float | None = None
    """When the first packet left that calls for an answer and came after ``last_rx``."""
    unparsed: tuple[tuple[str, int], ...] = ()
    """(reason, packets), reasons as in enum omr_unparsed, lower case."""


@dataclass(frozen=True, slots=True)
class FlowSum:
    """The flows of one path or to one server, as of one walk; sums over those not closed."""

    open: int = 0
    subflows: int = 0
    """Those of them that speak MPTCP."""
    handshakes: int = 0
    """Those of them whose SYN or SYN-ACK nobody has answered."""
    tx_bytes: int = 0
    rx_bytes: int = 0
    retransmitted_segments: int = 0
    spurious_segments: int = 0
    rtt_mean: float | None = None
    """Seconds: mean of the flows' smoothed RTTs; None: no sample yet."""
    rtt_min: float | None = None
    """The least of them."""
    arrived: float | None = None
    """When anything of any of its flows last arrived, closed ones included; None: never."""


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


# --- observed in the kernel -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An MPTCP endpoint as the kernel's path manager holds it."""

    id: int
    address: str
    ifindex: int = 0
    port: int = 0
    flags: frozenset[str] = frozenset()
    """Of signal, subflow, backup, fullmesh, implicit, laminar."""

    @property
    def backup(self) -> bool:
        return "backup" in self.flags


@dataclass(frozen=True, slots=True)
class Route:
    """A unicast route of the main table through one interface."""

    family: int
    """4 or 6."""
    destination: str
    """``default`` or a prefix in CIDR form."""
    ifindex: int
    gateway: str | None
    metric: int
    source: str | None = None
    protocol: int = 0
    scope: int = 0
    onlink: bool = False


@dataclass(frozen=True, slots=True)
class Interface:
    """A network device and whether it can carry packets."""

    index: int
    name: str
    up: bool
    """Administratively up, with carrier."""
    arphrd: int
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """What the kernel has at one moment, for the reconciler."""

    endpoints: tuple[Endpoint, ...] = ()
    routes: tuple[Route, ...] = ()
    interfaces: tuple[Interface, ...] = ()


# --- operations that bring the kernel from observed to desired -----------------------------------


@dataclass(frozen=True, slots=True)
class SetBackup:
    """Change the backup flag of an endpoint: SET_FLAGS, which sends MP_PRIO on its subflows."""

    endpoint: Endpoint
    backup: bool


@dataclass(frozen=True, slots=True)
class DeleteEndpoint:
    """Remove an endpoint: its subflows are closed, REMOVE_ADDR is sent, data is re-injected."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class AddEndpoint:
    """Add an endpoint (with its id): living connections get their subflow back."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class SetMetric:
    """Give a route another metric: the new one is added before the old one goes."""

    route: Route
    metric: int


@dataclass(frozen=True, slots=True)
class AbortHandshakes:
    """SOCK_DESTROY of sockets in SYN_SENT that are bound to the address of a dead path."""

    address: str


Operation = SetBackup | DeleteEndpoint | AddEndpoint | SetMetric | AbortHandshakes


# --- shown -----------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class ActionView:
    """One thing that the agent did to the kernel."""

    at: float
    """Unix time."""
    path: str
    kind: str
    """backup, nobackup, delete, add, metric, abort; see ACTION_KINDS."""
    reason: str
    took_ms: float


ACTION_KINDS = ("backup", "nobackup", "delete", "add", "metric", "abort")


@dataclass(frozen=True, slots=True)
class EventView:
    """One line of `omrfast events`: a decision, an action, or something that was noticed."""

    at: float
    """Unix time."""
    kind: str
    """decision, action, subflow, agent."""
    path: str | None
    message: str
    details: tuple[tuple[str, str | float | int | None], ...] = ()


@dataclass(frozen=True, slots=True)
class ServerView:
    """One address of a configured server, over the flows of all paths that are not closed."""

    address: str
    flows: int
    subflows: int
    handshakes: int
    """Those of them that nobody has answered yet."""
    rtt_mean_ms: float | None
    """Of their smoothed RTTs."""
    rtt_min_ms: float | None
    silent_s: float | None
    """Since anything last arrived from it; None: nothing yet."""


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
    flows: int = 0
    flow_capacity: int = 0
    tick_seconds: float = 0.0
    """Duration of the last fast tick."""


@dataclass(frozen=True, slots=True)
class PathLink:
    """A path as the data path needs it."""

    index: int
    """Path index, below OMR_MAX_PATHS."""
    ifindex: int
    ifname: str
    arphrd: int
