# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom to ask on a path: what there is to ask, and who is asked now. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from omrfast.core.config import Config
from omrfast.core.state import NEVER, PathRecord, TargetRecord
from omrfast.core.types import Origin, ProbeKind, Target

MOST_TARGETS = 2
"""Asked at once on a path: each costs a packet a probe."""


def available(
    config: Config, address: str, peers: Iterable[str], gateways: Iterable[str]
) -> tuple[Target, ...]:
    """Every target of a path whose own address this is, of the same family, without doubles."""
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
                place = f"[{server_address}]" if six else server_address
                add(_tcp(f"{place}:{server.port}", Origin.SERVER, server.name))
    if not found:
        for peer in peers:
            if (":" in peer) == six:
                add(_icmp(peer, Origin.PEER, peer))
    for probe in config.probes:
        by_address = probe.kind in (ProbeKind.ICMP, ProbeKind.DNS, ProbeKind.TCP)
        if by_address and (probe.target.count(":") > 1) != six:
            continue
        if probe.kind is ProbeKind.ICMP:
            add(_icmp(probe.target, Origin.WITNESS, probe.name, probe.interval))
        else:
            add(
                Target(
                    f"{probe.kind} {probe.target}",
                    probe.kind,
                    probe.target,
                    Origin.SERVICE,
                    probe.name,
                    probe.weight,
                    probe.interval,
                    probe.timeout,
                    COST[probe.kind],
                )
            )
    for gateway in gateways:
        if (":" in gateway) == six:
            add(_icmp(gateway, Origin.GATEWAY, gateway))
    return tuple(found.values())


COST = {
    ProbeKind.ICMP: 72,
    ProbeKind.TCP: 320,
    ProbeKind.DNS: 400,
    ProbeKind.HTTP: 2_000,
    ProbeKind.HTTPS: 8_000,
}
"""Bytes of IP packets, both ways, that one probe takes; estimates until it has been counted."""


def _icmp(address: str, origin: Origin, name: str, interval: float | None = None) -> Target:
    cost = COST[ProbeKind.ICMP]
    key = f"icmp {address}"
    return Target(key, ProbeKind.ICMP, address, origin, name, 1.0, interval, 2.0, cost)


def _tcp(place: str, origin: Origin, name: str) -> Target:
    return Target(
        f"tcp {place}", ProbeKind.TCP, place, origin, name, 1.0, 30.0, 2.0, COST[ProbeKind.TCP]
    )


def choose(record: PathRecord) -> tuple[str, ...]:
    """Keys of whom to ask now, at most MOST_TARGETS; whoever answered here first.

    A gateway answers for its own link only, so it is asked only until something beyond it has
    answered.
    """
    pings = [entry for entry in record.targets if entry.target.kind is ProbeKind.ICMP]
    beyond = [entry for entry in pings if entry.target.origin is not Origin.GATEWAY]
    beyond.sort(key=lambda entry: not _answers(entry))
    if any(_answers(entry) for entry in beyond):
        return tuple(entry.target.key for entry in beyond[:MOST_TARGETS])
    near = [entry for entry in pings if entry.target.origin is Origin.GATEWAY][:1]
    chosen = (*beyond[: MOST_TARGETS - len(near)], *near)
    return tuple(entry.target.key for entry in chosen)


def _answers(entry: TargetRecord) -> bool:
    return entry.answered_at > NEVER
