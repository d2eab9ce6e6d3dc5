# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration: its shape and its defaults. core/document.py makes one of a TOML document."""

from __future__ import annotations

from dataclasses import dataclass, field

from omrfast.core.types import Objective, ProbeKind, Role


class ConfigError(Exception):
    """The configuration can't be used; the text says file, key and what to write."""


@dataclass(frozen=True, slots=True)
class Quality:
    """When a path is bad. Seconds and ratios."""

    max_rtt: float = 0.250
    """Limit of the recent mean."""
    max_p99: float = 1.0
    max_rise: float = 4.0
    """Recent RTT over the path's own baseline; counts only where another path is better."""
    max_loss: float = 0.05
    max_jitter: float = 0.100
    hold: float = 0.7
    """A path must be bad for this long before it is demoted."""
    recover_after: float = 5.0
    """A path must be good for this long before it comes back, at each step."""
    half_life: float = 120.0
    """Of the penalty for flapping (RFC 2439)."""


@dataclass(frozen=True, slots=True)
class PathConfig:
    name: str
    interface: str
    address: str | None = None
    role: Role = Role.ACTIVE
    metric: int | None = None
    """Metric that the path's routes get while the path is up; None: as found."""
    quality: Quality = field(default_factory=Quality)
    objective: Objective = Objective.LATENCY
    probe_interval: float | None = None
    """Seconds between probes of an idle path; None: by its role."""
    probe_budget: int | None = None
    """Bytes a month that probes may take; 0: no bound; None: by role, see probe_budget()."""


BACKUP_PROBE_BUDGET = 5_000_000


def probe_budget(path: PathConfig) -> int | None:
    """Bytes in 30 days; None: no bound."""
    if path.probe_budget is None:
        return BACKUP_PROBE_BUDGET if path.role is Role.BACKUP else None
    return path.probe_budget or None


@dataclass(frozen=True, slots=True)
class ServerConfig:
    name: str
    addresses: tuple[str, ...]
    port: int | None = None
    """Asked by TCP connect on every path: does the service work, and not only the host."""


@dataclass(frozen=True, slots=True)
class ProbeConfig:
    """Somebody to ask on every path besides the servers."""

    name: str
    kind: ProbeKind
    target: str
    """icmp: an address; tcp: address:port; http, https: a URL; dns: a resolver's address."""
    interval: float = 30.0
    timeout: float = 2.0
    weight: float = 1.0
    expect_status: int | None = None
    """HTTP: None accepts 200 to 299."""
    expect_text: str | None = None
    """HTTP: must occur in the first 16 KiB of the body: a captive portal has other words."""
    query: str = "."
    """DNS: the name asked for (its NS records if ".", else A or AAAA)."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    loader: str = "auto"
    ingress: str = "auto"
    run_dir: str = "/run/omrfast"
    state_dir: str = "/var/lib/omrfast"
    flows: int = 65_536
    """Capacity of each flow table (IPv4, IPv6); 208 and 232 bytes of kernel memory a flow."""
    objective: Objective = Objective.LATENCY
    """Of paths that name none."""
    quorum: float = 0.5
    """Share of the weights of a path's services that must work for the path to work."""


@dataclass(frozen=True, slots=True)
class TuningConfig:
    """Settings of the kernel that shorten stalls at a price; applied only where asked for."""

    stale_loss_cnt: int | None = None
    """net.mptcp.stale_loss_cnt."""
    rto_min: float | None = None
    """Seconds: net.ipv4.tcp_rto_min_us (Linux 6.11), of connections opened from then on."""
    send_buffer: int | None = None
    """Bytes: the most of net.ipv4.tcp_wmem."""
    unsent_limit: int | None = None
    """Bytes: net.ipv4.tcp_notsent_lowat. What waits unsent on one subflow is in the way of what is
    sent again for another one that has died."""
    initial_window: int | None = None
    """Segments, of the routes of all paths (initcwnd): a subflow that has carried nothing yet takes
    over what another one had in flight without slow start's round trips."""


@dataclass(frozen=True, slots=True)
class JournalConfig:
    size: int = 8_000_000
    """Bytes on disk at most, all files together; 0: no journal."""


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    listen: str = "127.0.0.1:9477"
    """``address:port``; empty: no metrics."""


@dataclass(frozen=True, slots=True)
class Config:
    agent: AgentConfig = field(default_factory=AgentConfig)
    paths: tuple[PathConfig, ...] = ()
    servers: tuple[ServerConfig, ...] = ()
    probes: tuple[ProbeConfig, ...] = ()
    quality: Quality = field(default_factory=Quality)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    tuning: TuningConfig = field(default_factory=TuningConfig)
    journal: JournalConfig = field(default_factory=JournalConfig)
    source: str = "built-in defaults"


MAX_SERVER_ADDRESSES = 32
"""OMR_SCAN_SERVERS of bpf/scan_types.h."""
