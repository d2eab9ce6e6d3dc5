# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel has, and the operations that bring it from there to what is wished."""

from __future__ import annotations

from dataclasses import dataclass


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
