# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom to ask on a path: what there is to ask; choosing.py says who is asked now. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable
from urllib.parse import urlsplit

from omrfast.core.config import Config, ProbeConfig
from omrfast.core.types import Origin, ProbeKind, Target


def available(
    config: Config, address: str, peers: Iterable[str], gateways: Iterable[str]
) -> tuple[Target, ...]:
    """Every target of a path whose own address this is, of the same family, without doubles.

    A URL with a name is a target of every path: the name is resolved to the path's family.
    """
    six = ":" in address
    found: dict[str, Target] = {}

    def add(target: Target) -> None:
        found.setdefault(target.key, target)

    for server in config.servers:
        for server_address in server.addresses:
            if (":" in server_address) != six:
                continue
            add(_icmp(server_address, Origin.SERVER, server.name))
            if server.port is not None:
                add(_tcp(server_address, server.port, server.name))
    if not found:
        for peer in peers:
            if (":" in peer) == six:
                add(_icmp(peer, Origin.PEER, peer))
    for probe in config.probes:
        if _family(probe) not in (None, six):
            continue
        if probe.kind is ProbeKind.ICMP:
            add(_icmp(probe.target, Origin.WITNESS, probe.name, probe.interval, probe.timeout))
        else:
            add(_service(probe, six, found))
    for gateway in gateways:
        if (":" in gateway) == six:
            add(_icmp(gateway, Origin.GATEWAY, gateway))
    return tuple(found.values())


def _family(probe: ProbeConfig) -> bool | None:
    """Whether it can be asked over IPv6 only; None: over both."""
    if probe.kind in (ProbeKind.HTTP, ProbeKind.HTTPS):
        host = urlsplit(probe.target).hostname or ""
        if ":" in host:
            return True
        return False if host.replace(".", "").isdigit() else None
    return probe.target.count(":") > 1


def _service(probe: ProbeConfig, six: bool, found: Container[str]) -> Target:
    key = f"{probe.kind} {probe.target}"
    if probe.kind is ProbeKind.DNS:
        key = f"{key} {probe.query}"
    return Target(
        key if key not in found else f"{key} ({probe.name})",
        probe.kind,
        probe.target,
        Origin.SERVICE,
        probe.name,
        probe.weight,
        probe.interval,
        probe.timeout,
        cost(probe.kind, six),
        probe.expect_status,
        probe.expect_text,
        probe.query,
    )


COST = {
    ProbeKind.ICMP: (72, 112),
    ProbeKind.TCP: (328, 448),
    ProbeKind.DNS: (310, 350),
    ProbeKind.HTTP: (1_000, 1_200),
    ProbeKind.HTTPS: (5_500, 5_900),
}
"""Bytes of IP packets, both ways, that one probe takes over IPv4 and IPv6.

Counted on 2026-11-20 on a device (tests/act/test_probe_cost.py counts again): icmp 72 and 112; tcp
with its farewell 328 and 448; dns, the root's 13 name servers, 301 and 341; http with its name
asked for and an empty answer 739 and 939; https the same with two RSA-2048 certificates 4,694 and
5,014. The last two depend on the server: Probing replaces them by what it has seen.
"""


def cost(kind: ProbeKind, six: bool) -> int:
    """Of COST."""
    return COST[kind][six]


def _icmp(
    address: str, origin: Origin, name: str, interval: float | None = None, timeout: float = 2.0
) -> Target:
    bytes_ = cost(ProbeKind.ICMP, ":" in address)
    key = f"icmp {address}"
    return Target(key, ProbeKind.ICMP, address, origin, name, 1.0, interval, timeout, bytes_)


def _tcp(address: str, port: int, name: str) -> Target:
    """The port of a [[server]]."""
    six = ":" in address
    place = f"[{address}]:{port}" if six else f"{address}:{port}"
    bytes_ = cost(ProbeKind.TCP, six)
    key = f"tcp {place}"
    return Target(key, ProbeKind.TCP, place, Origin.SERVER, name, 1.0, 30.0, 2.0, bytes_)
