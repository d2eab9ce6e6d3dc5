# SPDX-License-Identifier: GPL-2.0-or-later
"""Which end of a packet is this machine: as told, as the capture says, or guessed.

Ends are bytes: an address, or an address with a port where both addresses are the same.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from omrfast.shim._shim import lib

EGRESS: int = lib.OMR_EGRESS
INGRESS: int = lib.OMR_INGRESS

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PRIVATE: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"),
        *("127.0.0.0/8", "fc00::/7", "fe80::/10", "::1/128"),
    )
)
"""RFC 1918, 6598, 3927, 1122, 4193, 4291. Not the ones for documentation: those stand for public
addresses."""

_MAC = re.compile(r"(?i)[0-9a-f]{2}([:-][0-9a-f]{2}){5}")
_SYN, _ACK = 2, 16
GIVEN_MAC = "given MAC address"


class Seen(NamedTuple):
    """What tells the sides of a packet."""

    family: int
    """4 or 6; 0: the addresses could not be read."""
    source: bytes
    """16 bytes, IPv4 in the first four."""
    destination: bytes
    source_port: int
    destination_port: int
    tcp_flags: int
    macs: tuple[bytes, bytes] | None
    """Source and destination of an Ethernet frame; None: not both are known."""


@dataclass(frozen=True, slots=True)
class Given:
    """What --local said."""

    networks: tuple[Network, ...] = ()
    macs: frozenset[bytes] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.networks or self.macs)


def parse_local(texts: Iterable[str]) -> Given:
    """The values of --local; ``auto`` adds nothing. Raises ValueError."""
    networks: list[Network] = []
    macs: set[bytes] = set()
    for text in texts:
        if text == "auto":
            continue
        if _MAC.fullmatch(text):
            macs.add(bytes.fromhex(text.replace(":", "").replace("-", "")))
            continue
        try:
            networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise ValueError(
                f"{text!r} is no address, network or MAC address: write 192.0.2.7, 10.0.0.0/8, "
                "2001:db8::/32, 02:00:00:00:00:01 or auto"
            ) from None
    return Given(tuple(networks), frozenset(macs))


def address_of(family: int, raw: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """From 16 bytes, IPv4 in the first four."""
    return ipaddress.IPv4Address(raw[:4]) if family == 4 else ipaddress.IPv6Address(raw)


class Sides:
    """Tells the direction of packets.

    ``told`` counts what decided, for the user: ``given``, GIVEN_MAC, or the reasons of a guess by
    address pair. ``local`` holds the addresses that were given or taken for local.
    """

    def __init__(self, given: Given) -> None:
        self.given = given
        self.told: Counter[str] = Counter()
        self.local: Counter[str] = Counter()
        self._guess = _Guess()

    def survey(self, packets: Iterable[Seen]) -> None:
        """Learn from the beginning of a capture, before any direction is asked for."""
        for packet in packets:
            if packet.family:
                self._guess.learn(packet)
        self._guess.conclude()

    def direction(self, packet: Seen) -> int | str:
        """EGRESS, INGRESS, or why neither: ``both_local``, ``none_local``, ``without_mac`` (only
        MAC addresses were given).

        A packet whose addresses cannot be read is a stranger's that arrives.
        """
        if self.given.macs and packet.macs:
            direction = self._by_mac(packet.macs)
            if not isinstance(direction, str):
                self.told[GIVEN_MAC] += 1
            return direction
        if self.given.macs and not self.given.networks:
            return "without_mac"
        if not packet.family:
            return INGRESS
        if self.given:
            local = (
                self._is_given(packet, packet.source),
                self._is_given(packet, packet.destination),
            )
            if local[0] == local[1]:
                return "both_local" if local[0] else "none_local"
            self._note("given", packet, local[0])
            return EGRESS if local[0] else INGRESS
        leaves, reason = self._guess.decide(packet)
        if leaves is None:
            return reason
        self._note(reason, packet, leaves)
        return EGRESS if leaves else INGRESS

    def _note(self, reason: str, packet: Seen, leaves: bool) -> None:
        self.told[reason] += 1
        address = packet.source if leaves else packet.destination
        self.local[str(address_of(packet.family, address))] += 1

    def _is_given(self, packet: Seen, raw: bytes) -> bool:
        address = address_of(packet.family, raw)
        return any(address in network for network in self.given.networks)

    def _by_mac(self, macs: tuple[bytes, bytes]) -> int | str:
        source, destination = macs
        if source in self.given.macs:
            return "both_local" if destination in self.given.macs else EGRESS
        group = destination[0] & 1
        return INGRESS if group or destination in self.given.macs else "none_local"


@dataclass(slots=True)
class _Pair:
    packets: int = 0
    opened: Counter[bytes] = field(default_factory=Counter)
    macs: dict[bytes, bytes] = field(default_factory=dict)
    """By end."""
    ports: dict[bytes, int] = field(default_factory=dict)
    """By end: the lowest seen."""
    first: bytes = b""
    """Who sent the first packet."""


class _Guess:
    """Each pair of ends is judged by itself; then the ends are weighed against each other over all
    pairs, so that one machine is not local here and remote there."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[bytes, bytes], _Pair] = {}
        self._frames: Counter[bytes] = Counter()
        self._weight: Counter[bytes] = Counter()

    def learn(self, packet: Seen) -> None:
        source, destination = _ends(packet)
        pair = self._pairs.setdefault(_key(source, destination), _Pair(first=source))
        pair.packets += 1
        if packet.tcp_flags & (_SYN | _ACK) == _SYN:
            pair.opened[source] += 1
        elif packet.tcp_flags & (_SYN | _ACK) == _SYN | _ACK:
            pair.opened[destination] += 1
        for end, port in ((source, packet.source_port), (destination, packet.destination_port)):
            if port:
                pair.ports[end] = min(port, pair.ports.get(end, port))
        if packet.macs:
            pair.macs[source], pair.macs[destination] = packet.macs
            self._frames.update(packet.macs)

    def conclude(self) -> None:
        for (one, other), pair in self._pairs.items():
            local, _ = self._judge(one, other, pair)
            remote = other if local == one else one
            self._weight[local] += pair.packets
            self._weight[remote] -= pair.packets

    def decide(self, packet: Seen) -> tuple[bool | None, str]:
        """(whether it leaves, why); (None, both_local): both ends are the same."""
        source, destination = _ends(packet)
        if source == destination:
            return None, "both_local"
        key = _key(source, destination)
        if key not in self._pairs:
            self.learn(packet)
        local, reason = self._judge(*key, self._pairs[key])
        weights = self._weight[source], self._weight[destination]
        if weights[0] != weights[1]:
            heavier = source if weights[0] > weights[1] else destination
            if heavier != local:
                local, reason = heavier, "local in other conversations"
        return local == source, reason

    def _judge(self, one: bytes, other: bytes, pair: _Pair) -> tuple[bytes, str]:
        private = _is_private(one), _is_private(other)
        if private[0] != private[1]:
            return (one if private[0] else other), "private address"
        opened = pair.opened[one], pair.opened[other]
        if opened[0] != opened[1]:
            return (one if opened[0] > opened[1] else other), "opened connections"
        frames = [self._frames[pair.macs.get(end, b"")] for end in (one, other)]
        if frames[0] != frames[1]:
            return (one if frames[0] > frames[1] else other), "busiest MAC address"
        ports = pair.ports.get(one, 0), pair.ports.get(other, 0)
        if ports[0] != ports[1]:
            return (one if ports[0] > ports[1] else other), "higher port"
        return pair.first, "sent first"


def _ends(packet: Seen) -> tuple[bytes, bytes]:
    source = bytes((packet.family,)) + packet.source
    destination = bytes((packet.family,)) + packet.destination
    if source != destination:
        return source, destination
    return (
        source + packet.source_port.to_bytes(2, "big"),
        destination + packet.destination_port.to_bytes(2, "big"),
    )


def _key(one: bytes, other: bytes) -> tuple[bytes, bytes]:
    return (one, other) if one <= other else (other, one)


def _is_private(end: bytes) -> bool:
    address = address_of(end[0], end[1:17])
    return any(address in network for network in _PRIVATE)
