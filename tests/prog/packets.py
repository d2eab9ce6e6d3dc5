# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets by name, built once in scapy, in every framing that the programs read."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

LOCAL = {4: "192.0.2.10", 6: "2001:db8:1::10"}
REMOTE = {4: "198.51.100.20", 6: "2001:db8:2::20"}
LOCAL_PORT, REMOTE_PORT = 40000, 443
LOCAL_MAC, REMOTE_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"

Options = list[tuple[Any, Any]]


@dataclass(frozen=True)
class Layout:
    """How a packet is framed."""

    version: int
    vlans: int = 0
    bare: bool = False

    def __str__(self) -> str:
        return f"ipv{self.version}" + ("-bare" if self.bare else f"-vlan{self.vlans}")

    @property
    def headers(self) -> int:
        """Bytes before TCP."""
        return (0 if self.bare else 14 + 4 * self.vlans) + (20 if self.version == 4 else 40)


LAYOUTS = [
    *(Layout(version, vlans) for version in (4, 6) for vlans in (0, 1, 2)),
    Layout(4, bare=True),
    Layout(6, bare=True),
]


def network(layout: Layout, egress: bool, **fields: Any) -> Packet:
    ends = LOCAL[layout.version], REMOTE[layout.version]
    source, destination = ends if egress else ends[::-1]
    if layout.version == 4:
        return IP(**{"src": source, "dst": destination, **fields})
    return IPv6(**{"src": source, "dst": destination, **fields})


def frame(layout: Layout, egress: bool, inner: Packet) -> bytes:
    """Link header and tags around an IP packet (Ethernet's padding left out)."""
    if layout.bare:
        return bytes(inner)
    macs = (LOCAL_MAC, REMOTE_MAC) if egress else (REMOTE_MAC, LOCAL_MAC)
    outer: Packet = Ether(src=macs[0], dst=macs[1])
    for tag in range(layout.vlans):
        outer = outer / Dot1Q(vlan=10 + tag)
    return bytes(outer / inner)


def transport(egress: bool, flags: str, seq: int, ack: int, window: int, options: Options) -> TCP:
    ports = (LOCAL_PORT, REMOTE_PORT) if egress else (REMOTE_PORT, LOCAL_PORT)
    return TCP(
        sport=ports[0],
        dport=ports[1],
        flags=flags,
        seq=seq % 2**32,
        ack=ack % 2**32,
        window=window,
        options=options,
    )


def timestamps(value: int, echo: int) -> Options:
    """As kernels send them: two NOPs in front."""
    return [("NOP", None), ("NOP", None), ("Timestamp", (value % 2**32, echo % 2**32))]


# --- Multipath TCP (RFC 8684 section 3): option contents behind kind and length ----------------


def mptcp(content: bytes) -> Options:
    return [(30, content)]


def mp_capable(*keys: int) -> Options:
    return mptcp(bytes([0x01, 0x81]) + b"".join(struct.pack("!Q", key) for key in keys))


def mp_join_syn(token: int, address_id: int, backup: bool = False) -> Options:
    return mptcp(struct.pack("!BBII", 0x10 | backup, address_id, token, 0x01020304))


def mp_join_synack(address_id: int, backup: bool = False) -> Options:
    return mptcp(struct.pack("!BBQI", 0x10 | backup, address_id, 0x1122334455667788, 0x05060708))


def mp_join_ack() -> Options:
    return mptcp(bytes([0x10, 0]) + bytes(20))


def dss(
    ack: int | None = None,
    seq: int | None = None,
    *,
    wide: bool = True,
    wide_seq: bool = True,
    length: int = 100,
    checksum: bool = False,
    fin: bool = False,
) -> Options:
    """Section 3.3: data ACK and mapping, of 8 or 4 bytes each; the NOPs that kernels add behind."""
    flags = 0x10 if fin else 0
    content = b""
    if ack is not None:
        flags |= 3 if wide else 1
        content += struct.pack("!Q", ack)[0 if wide else 4 :]
    if seq is not None:
        flags |= 12 if wide_seq else 4
        content += struct.pack("!Q", seq)[0 if wide_seq else 4 :] + struct.pack("!IH", 1, length)
        content += bytes(2) if checksum else b""
    padding: Options = [("NOP", None)] * (-len(content) % 4)
    return mptcp(bytes([0x20, flags]) + content) + padding


def dss_ack(wide: bool = True) -> Options:
    return dss(0, wide=wide)


def dss_map(checksum: bool = False) -> Options:
    return dss(0, 0, checksum=checksum)


def mp_prio(backup: bool) -> Options:
    return mptcp(bytes([0x50 | backup]))


def add_addr() -> Options:
    return mptcp(bytes([0x30, 5]) + bytes(12))


def remove_addr(*ids: int) -> Options:
    return mptcp(bytes([0x40, *ids]))


def fastclose() -> Options:
    return mptcp(bytes([0x70, 0]) + bytes(8))


# --- other than TCP ---------------------------------------------------------------------------


def echo_request(layout: Layout) -> Packet:
    return ICMP(type=8) / Raw(bytes(8)) if layout.version == 4 else ICMPv6EchoRequest(data=bytes(8))


def echo_reply(layout: Layout) -> Packet:
    return ICMP(type=0) / Raw(bytes(8)) if layout.version == 4 else ICMPv6EchoReply(data=bytes(8))


def datagram(egress: bool) -> Packet:
    ports = (LOCAL_PORT, REMOTE_PORT) if egress else (REMOTE_PORT, LOCAL_PORT)
    return UDP(sport=ports[0], dport=ports[1]) / Raw(bytes(32))
