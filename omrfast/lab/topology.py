# SPDX-License-Identifier: GPL-2.0-or-later
"""A router with several uplinks to one or two servers, out of network namespaces.

    lan --- router ===wan1..3=== wire === carrier1..3 --- inet --- vps1..2

Each uplink crosses the wire namespace, where the link emulator works, and a carrier that does NAT
for IPv4. Addresses, n being the number of the uplink from 1 and v that of the server:

    wan<n> 10.<n>.0.2/24 and fd00:<n>::2/64, gateway .1 and ::1; vps<v> see `server_address`;
    LAN client 192.168.100.2, router 192.168.100.1.

The router's main table has a default route per uplink with metric 100, 200, 300, and a table per
uplink (100 + n) that a rule picks by source address, as OpenMPTCProuter sets it up.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from types import TracebackType

from omrfast.lab import devices as dev
from omrfast.lab import netns, ownership, process
from omrfast.lab.addresses import (
    DEFAULT,
    LAN_CLIENT,
    SERVER_ADDRESSES,
    TABLE_BASE,
    server_address,
    server_gateway,
    uplink_address,
    uplink_gateway,
)
from omrfast.lab.devices import Device
from omrfast.lab.links import Link, LinkPair, LinkSettings, open_backend


@dataclass(frozen=True, slots=True)
class UplinkSpec:
    """One uplink and how it treats packets at first."""

    rtt: float = 0.04
    """Seconds that the link adds to a round trip, half each way."""
    rate: float = 20e6
    """Bit/s each way; 0 is unlimited."""
    queue: float = 0.1
    """Seconds of queue at that rate, each way."""
    loss: float = 0.0
    jitter: float = 0.0
    role: str = "active"
    """active, backup (endpoint with the backup flag) or off (no endpoint)."""
    metric: int | None = None
    """Of the default route; None: 100 times the number of the uplink."""

    def settings(self) -> LinkSettings:
        return LinkSettings(
            delay=self.rtt / 2,
            jitter=self.jitter,
            loss=self.loss,
            rate=self.rate,
            queue=self.queue,
        )


@dataclass(frozen=True, slots=True)
class TopologySpec:
    """What to build; everything else follows from it."""

    uplinks: tuple[UplinkSpec, ...] = (UplinkSpec(rtt=0.04), UplinkSpec(rtt=0.08))
    servers: int = 1
    ipv6: bool = False
    lan: bool = False
    endpoints: bool = True
    """MPTCP subflow endpoints on the router, one per uplink that is not off."""
    subflow_limit: int = dev.SUBFLOW_LIMIT
    add_addr_accepted: int = dev.SUBFLOW_LIMIT
    tcp_wmem_max: int | None = 512 * 1024
    """Bytes of send buffer at router and servers; bounds the stall of a bulk transfer when a path
    dies. None: the kernel's own (4 MB)."""
    sysctls: tuple[tuple[str, str], ...] = ()
    """Further (path below /proc/sys, value) for router and servers."""
    backend: str = "auto"
    """auto, wire or netem."""
    seed: int = 1
    """Of the emulator's random numbers."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.uplinks) <= 8:
            raise ValueError(f"1 to 8 uplinks, not {len(self.uplinks)}")
        if not 1 <= self.servers <= len(SERVER_ADDRESSES):
            raise ValueError(f"1 to {len(SERVER_ADDRESSES)} servers, not {self.servers}")
        for uplink in self.uplinks:
            if uplink.role not in ("active", "backup", "off"):
                raise ValueError(f"role {uplink.role!r}: write active, backup or off")


class Lab:
    """A running topology; a context manager that leaves nothing behind.

    ``links["wan1"]`` and so on change while the lab runs. LabError or OSError if it cannot be
    built; what was built by then is removed.
    """

    def __init__(self, spec: TopologySpec, token: str | None = None) -> None:
        self.spec = spec
        self.token = token or secrets.token_hex(3)
        self.links: dict[str, Link] = {}
        self.guests: dict[str, process.Closed] = {}
        """Processes that a fault has brought into the lab; they end with it."""
        self._closed = True
        parts = ["router", "wire", "inet"]
        parts += [f"carrier{n}" for n, _ in self._uplinks()]
        parts += [f"vps{v}" for v in self._servers()]
        parts += ["lan"] if spec.lan else []
        self.parts = tuple(parts)
        self.namespaces = tuple(self.ns(part) for part in parts)
        self.directory = ownership.root() / self.token

    def ns(self, part: str) -> str:
        """Name of the namespace of a part: router, vps1, carrier1, inet, wire, lan."""
        return f"omr-{self.token}-{part}"

    def _uplinks(self) -> list[tuple[int, UplinkSpec]]:
        return list(enumerate(self.spec.uplinks, 1))

    def _servers(self) -> range:
        return range(1, self.spec.servers + 1)

    def __enter__(self) -> Lab:
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def up(self) -> None:
        process.check_machine()
        ownership.collect_stale()
        ownership.claim(self.token, self.namespaces)
        self._closed = False
        process.open_labs.add(self)
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove everything; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        process.open_labs.discard(self)
        for guest in self.guests.values():
            guest.close()
        self.guests.clear()
        backend = getattr(self, "backend", None)
        if backend is not None:
            backend.close()
        ownership.release(self.token, self.namespaces)

    # --- building, outermost first ---

    def _build(self) -> None:
        for name in self.namespaces:
            netns.create(name)
            netns.call(name, dev.set_up, "lo")
            self._basic_sysctls(name)
        for v in self._servers():
            self._server(v)
        for n, _ in self._uplinks():
            self._carrier(n)
            self._uplink(n)
        if self.spec.lan:
            self._lan()
        self._mptcp()
        self._start_links()

    def _basic_sysctls(self, name: str) -> None:
        forwards = int(not name.endswith(("-wire", "-lan")))
        values = {"net/ipv4/ip_forward": forwards, "net/ipv6/conf/all/forwarding": forwards}
        six_off = int(not self.spec.ipv6 or name.endswith("-wire"))
        for scope in ("all", "default"):
            values[f"net/ipv4/conf/{scope}/rp_filter"] = 0
            values[f"net/ipv6/conf/{scope}/disable_ipv6"] = six_off
            # Link-local addresses are usable at once, or the first seconds of traffic are lost.
            values[f"net/ipv6/conf/{scope}/accept_dad"] = 0
        netns.sysctl(name, values)

    def _server(self, v: int) -> None:
        inet, vps = self.ns("inet"), self.ns(f"vps{v}")
        dev.veth(Device(inet, f"vps{v}"), Device(vps, "eth0"))
        self.connect_server(v)

    def connect_server(self, v: int) -> None:
        """Addresses and routes of a server and of the router before it, as built."""
        inet, vps = self.ns("inet"), self.ns(f"vps{v}")
        for version, mask in self._families(29):
            gateway = server_gateway(v, version)
            dev.address(inet, f"vps{v}", f"{gateway}/{mask}")
            dev.address(vps, "eth0", f"{server_address(v, version)}/{mask}")
            dev.route(vps, DEFAULT[version], gateway)

    def server_addresses(self, v: int) -> list[str]:
        """All addresses of a server."""
        return [server_address(v, version) for version, _ in self._families(29)]

    def _families(self, four: int) -> list[tuple[int, int]]:
        """(IP version, length of its prefixes) of those that the lab speaks."""
        return [(4, four), (6, 64)] if self.spec.ipv6 else [(4, four)]

    def _carrier(self, n: int) -> None:
        inet, carrier = self.ns("inet"), self.ns(f"carrier{n}")
        dev.veth(Device(inet, f"carrier{n}"), Device(carrier, "net0"))
        dev.address(inet, f"carrier{n}", f"198.18.{n}.1/30")
        dev.address(carrier, "net0", f"198.18.{n}.2/30")
        dev.route(carrier, "0.0.0.0/0", f"198.18.{n}.1")
        dev.masquerade(carrier, "net0")
        if self.spec.ipv6:
            dev.address(inet, f"carrier{n}", f"fd00:ffff:{n}::1/64")
            dev.address(carrier, "net0", f"fd00:ffff:{n}::2/64")
            dev.route(carrier, "::/0", f"fd00:ffff:{n}::1")
            dev.route(inet, f"fd00:{n}::/64", f"fd00:ffff:{n}::2")

    def _uplink(self, n: int) -> None:
        router, carrier, wire = self.ns("router"), self.ns(f"carrier{n}"), self.ns("wire")
        near, far = f"wan{n}", "line0"
        dev.veth(Device(wire, f"r{n}"), Device(router, near))
        dev.veth(Device(wire, f"c{n}"), Device(carrier, far))
        dev.no_offloads(router, near)
        dev.no_offloads(carrier, far)
        for version, mask in self._families(24):
            own, gateway = uplink_address(n, version), uplink_gateway(n, version)
            dev.address(carrier, far, f"{gateway}/{mask}")
            dev.neighbour(carrier, far, own, dev.mac_of(router, near))
            dev.source_rule(router, own, TABLE_BASE + n)
        self.connect_uplink(n)

    def connect_uplink(self, n: int) -> None:
        """The router's addresses, gateway and default routes of an uplink, as built."""
        router, near = self.ns("router"), f"wan{n}"
        carrier_mac = dev.mac_of(self.ns(f"carrier{n}"), "line0")
        metric = self.spec.uplinks[n - 1].metric or 100 * n
        for version, mask in self._families(24):
            gateway = uplink_gateway(n, version)
            dev.address(router, near, f"{uplink_address(n, version)}/{mask}")
            dev.neighbour(router, near, gateway, carrier_mac)
            dev.route(router, DEFAULT[version], gateway, near, priority=metric)
            dev.route(router, DEFAULT[version], gateway, near, table=TABLE_BASE + n)

    def _lan(self) -> None:
        router, lan = self.ns("router"), self.ns("lan")
        dev.veth(Device(router, "lan0"), Device(lan, "eth0"))
        dev.address(router, "lan0", "192.168.100.1/24")
        dev.address(lan, "eth0", f"{LAN_CLIENT}/24")
        dev.route(lan, "0.0.0.0/0", "192.168.100.1")
        dev.masquerade(router, *(f"wan{n}" for n, _ in self._uplinks()))

    def _mptcp(self) -> None:
        spec = self.spec
        values = dict(spec.sysctls)
        if spec.tcp_wmem_max is not None:
            values["net/ipv4/tcp_wmem"] = f"4096 16384 {spec.tcp_wmem_max}"
        for part in ("router", *(f"vps{v}" for v in self._servers())):
            netns.sysctl(self.ns(part), values)
            dev.mptcp_limits(self.ns(part), spec.subflow_limit, spec.add_addr_accepted)
        for n, uplink in self._uplinks() if spec.endpoints else []:
            if uplink.role == "off":
                continue
            flags = ("subflow", "backup") if uplink.role == "backup" else ("subflow",)
            dev.mptcp_endpoint(self.ns("router"), n, uplink_address(n), f"wan{n}", flags)
            if spec.ipv6:
                six = uplink_address(n, 6)
                dev.mptcp_endpoint(self.ns("router"), 10 + n, six, f"wan{n}", flags)

    def _start_links(self) -> None:
        pairs = tuple(LinkPair(f"wan{n}", f"r{n}", f"c{n}") for n, _ in self._uplinks())
        spec = self.spec
        self.backend = open_backend(self.ns("wire"), pairs, self.directory, spec.seed, spec.backend)
        for pair, uplink in zip(pairs, spec.uplinks, strict=True):
            self.links[pair.name] = Link(self.backend, pair.name, uplink.settings())
