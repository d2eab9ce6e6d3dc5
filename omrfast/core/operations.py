# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel has, and the operations that bring it from there to what is wished."""

from __future__ import annotations

from dataclasses import dataclass

from omrfast.core.replacing import replace


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

    @property
    def joins(self) -> bool:
        """Connections make subflows from it."""
        return bool(self.flags & {"subflow", "fullmesh", "laminar"})


MAIN_TABLE = 254
PROTOCOL_RA = 9
"""RTPROT_RA: learnt from a router's advertisements, by the kernel or by a daemon."""
PROTOCOL_COPY = 111
"""Of the copies that we put in front of such routes; not in iproute2's rt_protos."""


@dataclass(frozen=True, slots=True)
class Route:
    """A unicast route through one interface."""

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
    table: int = MAIN_TABLE

    @property
    def main(self) -> bool:
        """Of the main table."""
        return self.table == MAIN_TABLE

    @property
    def advertised(self) -> bool:
        """It can't be moved: the next advertisement would bring it back where it was."""
        return self.family == 6 and self.protocol == PROTOCOL_RA

    @property
    def copy(self) -> bool:
        """We made it, beside the route that it copies."""
        return self.protocol == PROTOCOL_COPY


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
    shared: tuple[Route, ...] = ()
    """Routes with several next hops: of no single device, and not moved."""
    settings: tuple[tuple[str, str], ...] = ()
    """Name and value of the settings in core/settings.py that this kernel has."""
    windows: tuple[tuple[Route, int], ...] = ()
    """Initial windows of the routes, which are given with metric 0; 0: the kernel's own."""
    ends: tuple[tuple[Route, int], ...] = ()
    """Seconds left of the routes that end by themselves, negative if over: the kernel lists those
    for some time and uses them no more."""
    made: frozenset[str] = frozenset()
    """Addresses of endpoints that we made and that are left out of ``endpoints``."""


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
class CopyRoute:
    """Add a copy of a route in front of others that can't be moved: ``copy`` true, this metric. It
    ends when the route does; one that is there already ends then, too."""

    route: Route
    metric: int
    destination: str = ""
    """Of the copy; empty: that of the route."""


@dataclass(frozen=True, slots=True)
class WithdrawRoute:
    """Remove a copy that we made."""

    route: Route


@dataclass(frozen=True, slots=True)
class AbortHandshakes:
    """SOCK_DESTROY of sockets in SYN_SENT that are bound to the address of a dead path."""

    address: str


@dataclass(frozen=True, slots=True)
class SetSetting:
    """Give one of the kernel's settings (core/settings.py) a value."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class SetWindow:
    """Give a route, whatever its metric, an initial window (initcwnd); connections that are
    opened from then on begin with it."""

    route: Route
    """With metric 0."""
    segments: int
    """0: the kernel's own."""


@dataclass(frozen=True, slots=True)
class ForgetBlackhole:
    """Take back the kernel's conclusion that MPTCP is blocked; changes no setting."""


RouteOperation = SetMetric | CopyRoute | WithdrawRoute
EndpointOperation = SetBackup | DeleteEndpoint | AddEndpoint
Tuning = SetSetting | SetWindow
Operation = EndpointOperation | RouteOperation | Tuning | AbortHandshakes | ForgetBlackhole


def copied(op: CopyRoute) -> Route:
    """The route that CopyRoute makes."""
    destination = op.destination or op.route.destination
    return replace(op.route, destination=destination, metric=op.metric, protocol=PROTOCOL_COPY)
