# SPDX-License-Identifier: GPL-2.0-or-later
"""Flow tables filled by hand, and what a walk over them must find, reckoned in Python."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from omrfast.shim._shim import lib

from omrfast.core.types import FlowSum
from omrfast.dataplane.reader import DataPlane
from omrfast.shim import api

NOW_J = 2**32 + 40_000
"""The low 32 bits have just wrapped, so that ages reach across."""
NOW_NS = 5_000_000_000_000


@dataclass(frozen=True)
class Entry:
    """One flow; ages in jiffies before NOW_J, None: never."""

    local: str
    remote: str
    ports: tuple[int, int]
    path: int = 0
    tx_flags: int = 0
    rx_flags: int = 0
    tx_bytes: int = 0
    rx_bytes: int = 0
    retransmitted: int = 0
    spurious: int = 0
    srtt_us8: int = 0
    arrived: int | None = None
    begun: int = 0
    key: bytes = field(init=False)

    def __post_init__(self) -> None:
        ends = [ipaddress.ip_address(text).packed for text in (self.local, self.remote)]
        object.__setattr__(self, "key", b"".join(ends) + struct.pack("!HH", *self.ports))

    @property
    def version(self) -> int:
        return ipaddress.ip_address(self.remote).version

    def value(self) -> bytes:
        flow = api.struct("omr_flow")
        flow.tx.path, flow.tx.flags, flow.rx.flags = self.path + 1, self.tx_flags, self.rx_flags
        flow.tx.tx_bytes, flow.rx.rx_bytes = self.tx_bytes, self.rx_bytes
        flow.tx.retransmitted_segments = self.retransmitted
        flow.tx.spurious_segments = self.spurious
        flow.rx.srtt_us8 = self.srtt_us8
        flow.tx.unacked_since_j = (NOW_J - self.begun) % 2**32
        if self.arrived is not None:
            flow.rx.last_rx_j = (NOW_J - self.arrived) % 2**32
        return api.raw(flow)

    # --- what bpf/fold.h says of it, once more ------------------------------------------------

    @property
    def closed(self) -> bool:
        ended_out, ended_in = self.tx_flags & lib.OMR_TX_FIN, self.rx_flags & lib.OMR_RX_FIN
        broken = self.tx_flags & (lib.OMR_TX_RST | lib.OMR_TX_FASTCLOSE) or self.rx_flags & (
            lib.OMR_RX_RST | lib.OMR_RX_FASTCLOSE
        )
        return bool(broken or (ended_out and ended_in))

    @property
    def half_open(self) -> bool:
        return bool(self.tx_flags & lib.OMR_TX_SYN and not self.rx_flags & lib.OMR_RX_ACK)

    @property
    def mptcp(self) -> bool:
        return bool(self.tx_flags & lib.OMR_TX_MPTCP and self.rx_flags & lib.OMR_RX_MPTCP)

    def due(self, closed_after: int, half_open_after: int, idle_after: int) -> bool:
        idle = max(self.begun if self.arrived is None else self.arrived, 0)
        return (
            idle > idle_after
            or (self.half_open and idle > half_open_after)
            or (self.closed and idle > closed_after)
        )


def sum_of(entries: Iterable[Entry], hz: int) -> FlowSum:
    """What a walk says of these flows, those that it has not dropped."""
    entries = list(entries)
    living = [entry for entry in entries if not entry.closed]
    sampled = [entry.srtt_us8 for entry in living if entry.srtt_us8]
    arrivals = [entry.arrived for entry in entries if entry.arrived is not None]
    return FlowSum(
        open=len(living),
        subflows=sum(entry.mptcp for entry in living),
        handshakes=sum(entry.half_open for entry in living),
        tx_bytes=sum(entry.tx_bytes for entry in living),
        rx_bytes=sum(entry.rx_bytes for entry in living),
        retransmitted_segments=sum(entry.retransmitted for entry in living),
        spurious_segments=sum(entry.spurious for entry in living),
        rtt_mean=sum(sampled) / len(sampled) / 8e6 if sampled else None,
        rtt_min=min(sampled) / 8e6 if sampled else None,
        arrived=NOW_NS / 1e9 - min(arrivals) / hz if arrivals else None,
    )


def empty(plane: DataPlane) -> None:
    """No flows, and a clock that stands at NOW_J and NOW_NS."""
    for name in ("omr_flows4", "omr_flows6"):
        for key in list(plane.maps[name].keys()):
            plane.maps[name].delete(key)
    now = api.struct("omr_replay", now={"now_j": NOW_J, "now_ns": NOW_NS})
    plane.maps["omr_replay_packet"].update(0, api.raw(now))


def put(plane: DataPlane, entries: Iterable[Entry]) -> None:
    for version in (4, 6):
        those = [entry for entry in entries if entry.version == version]
        if those:
            plane.maps[f"omr_flows{version}"].update_many(
                b"".join(entry.key for entry in those), b"".join(entry.value() for entry in those)
            )


def random_entries(random: Random, count: int, remotes: list[str]) -> list[Entry]:
    """All different by their ports and local address; few sizes, so that there are ties."""
    flags = [1 << bit for bit in range(16)]
    found = {}
    while len(found) < count:
        remote = random.choice(remotes)
        four = ipaddress.ip_address(remote).version == 4
        number = random.randrange(1, 2**16)
        local = f"10.0.{number >> 8}.{number & 255}" if four else f"2001:db8::{number:x}"
        entry = Entry(
            local,
            remote,
            (random.randrange(2**16), random.choice((80, 443))),
            path=random.randrange(4) if random.random() < 0.9 else random.randrange(32),
            tx_flags=sum(random.sample(flags, random.randrange(5))),
            rx_flags=sum(random.sample(flags, random.randrange(5))),
            tx_bytes=random.choice((0, 60, 1500, random.getrandbits(40))),
            rx_bytes=random.choice((0, 60, random.getrandbits(40))),
            retransmitted=random.choice((0, random.getrandbits(32))),
            spurious=random.choice((0, random.getrandbits(32))),
            srtt_us8=random.choice((0, random.getrandbits(28))),
            arrived=random.choice((None, random.randrange(-3, 200_000))),
            begun=random.randrange(200_000),
        )
        if entry.arrived == NOW_J % 2**32:  # stored as 0, which means never
            continue
        found[entry.key] = entry
    return list(found.values())
