# SPDX-License-Identifier: GPL-2.0-or-later
"""The vocabulary of the core: roles, states, and what is measured.

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


class Objective(StrEnum):
    """What the operator wants of the bond: it decides what a lossy path is worth."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"


class PathState(StrEnum):
    """States of a path; the table of legal transitions is in transitions.py."""

    UNKNOWN = "unknown"
    UP = "up"
    SUSPECT = "suspect"
    DEGRADED = "degraded"
    FAILING = "failing"
    """Packets pass, but the services that are asked over it do not work, and elsewhere they do."""
    UNREACHABLE = "unreachable"
    """Something near answers on it, but no server that answers on other paths."""
    DOWN = "down"
    """Nothing comes back on it, from anywhere."""
    PROBATION = "probation"


class ServerState(StrEnum):
    """States of a server, over all paths."""

    UNKNOWN = "unknown"
    UP = "up"
    FAILING = "failing"
    """The host answers; its service does not, on any path."""
    DOWN = "down"
    """It answers on no path, although paths live."""


class ProbeKind(StrEnum):
    """How a target is asked."""

    ICMP = "icmp"
    TCP = "tcp"
    HTTP = "http"
    HTTPS = "https"
    DNS = "dns"


class Origin(StrEnum):
    """Why a target is asked, and so what its answer says."""

    SERVER = "server"
    """An address of a [[server]], by ICMP, or by TCP at its port."""
    WITNESS = "witness"
    """A [[probe]] of kind icmp: somebody beyond the path who is no server."""
    SERVICE = "service"
    """Any other [[probe]]: an answer also shows that the path lives."""
    PEER = "peer"
    """The remote end of a subflow that lives; asked where no server is configured."""
    GATEWAY = "gateway"
    """The path's own next hop: its answer says nothing about what lies behind it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Somebody to ask on a path."""

    key: str
    """Unique on a path: "icmp 203.0.113.10", "tcp 203.0.113.10:443", "https https://…"."""
    kind: ProbeKind
    address: str
    """What the prober takes: an IP address, address:port, a URL, or a resolver's address."""
    origin: Origin
    name: str
    """Of the [[server]] or [[probe]], else the address: for people."""
    weight: float = 1.0
    interval: float | None = None
    """Seconds between regular probes; None: as the path's role says."""
    timeout: float = 2.0
    cost: int = 72
    """Bytes of IP packets that one question and its answer take, for the budget."""
    expect_status: int | None = None
    """These three are those of the ProbeConfig."""
    expect_text: str | None = None
    query: str = "."


USABLE = frozenset({PathState.UP, PathState.SUSPECT, PathState.DEGRADED})


# --- measured ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Glimpse:
    """Of a path's counters, what may not wait; as in PathCounters, but for"""

    last_rx: float | None
    last_tx: float | None
    asked: float | None
    rx_packets: int
    rx_segments: int
    tx_segments: int
    rtt_samples: int
    faults: int
    """which grows with whatever is sent again, refilled, or refused by ICMP."""


NOTHING = Glimpse(None, None, None, 0, 0, 0, 0, 0)

Look = tuple[float, float, int, int, int, int]
"""What the journal keeps of one: when, and last_rx (0: none), rx_packets, rx_segments,
tx_segments, rtt_samples."""


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
    looks: tuple[Look, ...] = ()
    """Since the read before, in the order of time."""

    @property
    def glimpse(self) -> Glimpse:
        return Glimpse(
            self.last_rx,
            self.last_tx,
            self.asked,
            self.rx_packets,
            self.rx_segments,
            self.tx_segments,
            self.rtt_samples,
            self.retransmitted_segments
            + self.syn_retransmissions
            + self.refilled_segments
            + self.icmp_errors,
        )


@dataclass(frozen=True, slots=True)
class RttTail:
    """The slowest of a path's RTT samples of the last seconds."""

    samples: int
    p99: float
    """Seconds, to 1/16."""


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
class PathLink:
    """A path as the data path needs it."""

    index: int
    """Path index, below OMR_MAX_PATHS."""
    ifindex: int
    ifname: str
    arphrd: int
