# SPDX-License-Identifier: GPL-2.0-or-later
"""What can break in a lab besides its links. Each fault is data; it begins and it ends.

``n`` is the number of the uplink or server that it befalls. Filters act on packets of both
families; nothing but the named part of the lab is touched.
"""

from __future__ import annotations

import socket
import subprocess
from dataclasses import dataclass
from typing import Protocol

from omrfast.lab import netns
from omrfast.lab.addresses import server_address, server_gateway, uplink_address, uplink_gateway
from omrfast.lab.devices import LabError
from omrfast.lab.services import Services
from omrfast.lab.topology import Lab


class Fault(Protocol):
    """Something that begins and ends; `begin` twice or `end` before it is an error."""

    def begin(self, lab: Lab, n: int) -> None: ...

    def end(self, lab: Lab, n: int) -> None: ...


def output(namespace: str, *command: str, text: str = "") -> str:
    """What a command in a namespace says; LabError with its complaint."""
    done = netns.call(
        namespace,
        subprocess.run,
        list(command),
        input=text,
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"{' '.join(command)} in {namespace}: {done.stderr.strip()}")
    return str(done.stdout)


@dataclass(frozen=True, slots=True)
class Filter:
    """Rules of nftables in one part of the lab."""

    name: str
    """Of the table, unique among the faults of one part."""
    part: str
    """carrier or vps."""
    rules: str
    """Chains, as in the body of ``table inet``."""

    def begin(self, lab: Lab, n: int) -> None:
        table = f"table inet {self.name} {{\n{self.rules}\n}}\n"
        output(lab.ns(f"{self.part}{n}"), "nft", "-f", "-", text=table)

    def end(self, lab: Lab, n: int) -> None:
        output(lab.ns(f"{self.part}{n}"), "nft", "delete", "table", "inet", self.name)


@dataclass(frozen=True, slots=True)
class Portal:
    """The carrier redirects web requests to its own page: sign in, or pay."""

    url: str = "http://portal.example/login"
    port: int = 8080

    def begin(self, lab: Lab, n: int) -> None:
        addresses = ["0.0.0.0", *(["::"] if lab.spec.ipv6 else [])]
        carrier = lab.ns(f"carrier{n}")
        page = Services(carrier, addresses, http=self.port, dns=None, portal=self.url)
        lab.guests[f"portal{n}"] = page
        self._filter().begin(lab, n)

    def end(self, lab: Lab, n: int) -> None:
        self._filter().end(lab, n)
        lab.guests.pop(f"portal{n}").close()

    def _filter(self) -> Filter:
        hook = "type nat hook prerouting priority -100;"
        redirect = f'iifname "line0" tcp dport 80 redirect to :{self.port};'
        return Filter("portal", "carrier", f"chain pre {{ {hook} {redirect} }}")


@dataclass(frozen=True, slots=True)
class ServerOff:
    """A server's line is down: the router before it says that the network is unreachable."""

    def begin(self, lab: Lab, n: int) -> None:
        output(lab.ns("inet"), "ip", "link", "set", f"vps{n}", "down")

    def end(self, lab: Lab, n: int) -> None:
        output(lab.ns("inet"), "ip", "link", "set", f"vps{n}", "up")
        lab.connect_server(n)


HELD_RATE, FREE_RATE = "8bit", "100gbit"
HELD_BURST, FREE_BURST = "1600b", "1mb"
HELD_BYTES = "8mb"
FILL = 1472
"""Payload of the datagram that takes what the token bucket lets through at first."""
DISCARD = 9


@dataclass(frozen=True, slots=True)
class ServerHeld:
    """A server stands still, as a virtual machine does that is moved: whatever comes and goes
    meanwhile waits, up to HELD_BYTES each way, and passes when it goes on."""

    def begin(self, lab: Lab, n: int) -> None:
        self._shape(lab, n, HELD_RATE, HELD_BURST)
        self._send(lab, n, FILL)

    def end(self, lab: Lab, n: int) -> None:
        self._shape(lab, n, FREE_RATE, FREE_BURST)
        self._send(lab, n, 1)  # a packet makes the queue look at its new rate

    @staticmethod
    def _ends(lab: Lab, n: int) -> tuple[tuple[str, str, str], ...]:
        """(namespace, device, address of the other end), both sides."""
        return (
            (lab.ns("inet"), f"vps{n}", server_address(n)),
            (lab.ns(f"vps{n}"), "eth0", server_gateway(n)),
        )

    def _shape(self, lab: Lab, n: int, rate: str, burst: str) -> None:
        for namespace, device, _ in self._ends(lab, n):
            words = ("rate", rate, "burst", burst, "limit", HELD_BYTES)
            output(namespace, "tc", "qdisc", "replace", "dev", device, "root", "tbf", *words)

    def _send(self, lab: Lab, n: int, size: int) -> None:
        def send(to: str) -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(bytes(size), (to, DISCARD))

        for namespace, _, other in self._ends(lab, n):
            netns.call(namespace, send, other)


@dataclass(frozen=True, slots=True)
class Unplugged:
    """The router loses an address, a default route, or the whole interface; then it is as built."""

    what: str
    """address, route or interface."""

    def begin(self, lab: Lab, n: int) -> None:
        router, device = lab.ns("router"), f"wan{n}"
        if self.what == "interface":
            output(router, "ip", "link", "set", device, "down")
            return
        for version, mask in ((4, 24), (6, 64)) if lab.spec.ipv6 else ((4, 24),):
            family = f"-{version}"
            if self.what == "address":
                own = f"{uplink_address(n, version)}/{mask}"
                output(router, "ip", family, "addr", "del", own, "dev", device)
            else:
                via = ("via", uplink_gateway(n, version), "dev", device)
                output(router, "ip", family, "route", "del", "default", *via)

    def end(self, lab: Lab, n: int) -> None:
        output(lab.ns("router"), "ip", "link", "set", f"wan{n}", "up")
        lab.connect_uplink(n)


def _forward(rule: str) -> str:
    return f"chain forward {{ type filter hook forward priority -300; {rule} }}"


def no_port(port: int) -> Filter:
    """The carrier drops TCP to and from one port; everything else passes."""
    ports = f"tcp dport {port} drop; tcp sport {port} drop;"
    return Filter(f"no_port_{port}", "carrier", _forward(ports))


def no_host(address: str) -> Filter:
    """The carrier drops everything to and from one address."""
    family = "ip6" if ":" in address else "ip"
    both = f"{family} daddr {address} drop; {family} saddr {address} drop;"
    return Filter("no_host", "carrier", _forward(both))


_NEIGHBOURS = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept;"
"""As in IPv4, where address resolution passes no such hook."""
SERVER_DEAD = Filter(
    "dead",
    "vps",
    f"chain in {{ type filter hook prerouting priority -400; {_NEIGHBOURS} drop; }}\n"
    f"chain out {{ type filter hook output priority -400; {_NEIGHBOURS} drop; }}",
)
"""The server says nothing any more, and nobody says so in its place."""
SERVER_OFF = ServerOff()
SERVER_HELD = ServerHeld()
SERVICE_DEAD = Filter(
    "no_service",
    "vps",
    "chain in { type filter hook input priority -300; meta l4proto tcp drop; }",
)
"""The server answers ICMP and drops TCP."""
SERVICE_REFUSED = Filter(
    "refused",
    "vps",
    "chain in { type filter hook input priority -300;"
    " meta l4proto tcp ct state new reject with tcp reset; }",
)
"""The server resets new connections; those that are open go on."""
CARRIER_CUT = Filter("cut", "carrier", _forward("drop;"))
"""Nothing passes the gateway, which answers for itself."""
CARRIER_UNREACHABLE = Filter(
    "unreachable",
    "carrier",
    _forward('iifname "line0" reject with icmpx type host-unreachable; drop;'),
)
"""Nothing passes the gateway, and it says so by ICMP."""
NO_TCP = Filter("no_tcp", "carrier", _forward("meta l4proto tcp drop;"))
"""The carrier drops TCP and passes the rest, as at the end of a quota."""
PORTAL = Portal()
NO_ADDRESS, NO_ROUTE, NO_INTERFACE = (
    Unplugged("address"),
    Unplugged("route"),
    Unplugged("interface"),
)
