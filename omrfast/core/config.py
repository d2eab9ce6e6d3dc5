# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration: its shape and its defaults. core/document.py makes one of a TOML document."""

from __future__ import annotations

from dataclasses import dataclass, field

from omrfast.core.types import Role


class ConfigError(Exception):
    """The configuration can't be used; the text says file, key and what to write."""


@dataclass(frozen=True, slots=True)
class Quality:
    """When a path is bad. Seconds and ratios."""

    max_rtt: float = 0.250
    max_loss: float = 0.05
    max_jitter: float = 0.100
    hold: float = 0.7
    """A path must be bad for this long before it is demoted."""
    recover_after: float = 5.0
    """A path must be good for this long before it comes back, at each step."""


@dataclass(frozen=True, slots=True)
class PathConfig:
    name: str
    interface: str
    address: str | None = None
    role: Role = Role.ACTIVE
    metric: int | None = None
    """Metric that the path's routes get while the path is up; None: as found."""
    quality: Quality = field(default_factory=Quality)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    name: str
    addresses: tuple[str, ...]
    port: int | None = None


@dataclass(frozen=True, slots=True)
class AgentConfig:
    loader: str = "auto"
    ingress: str = "auto"
    run_dir: str = "/run/omrfast"
    state_dir: str = "/var/lib/omrfast"
    flows: int = 65_536
    """Capacity of each flow table (IPv4, IPv6); 208 and 232 bytes of kernel memory a flow."""


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    listen: str = "127.0.0.1:9477"
    """``address:port``; empty: no metrics."""


@dataclass(frozen=True, slots=True)
class Config:
    agent: AgentConfig = field(default_factory=AgentConfig)
    paths: tuple[PathConfig, ...] = ()
    servers: tuple[ServerConfig, ...] = ()
    quality: Quality = field(default_factory=Quality)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    source: str = "built-in defaults"


MAX_SERVER_ADDRESSES = 32
"""OMR_SCAN_SERVERS of bpf/scan_types.h."""
