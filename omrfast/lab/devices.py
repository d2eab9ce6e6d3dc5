# SPDX-License-Identifier: GPL-2.0-or-later
"""Small steps of building a topology; each runs where its namespace argument says."""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import os
import socket
import struct
import subprocess
from dataclasses import dataclass
from typing import Any

from pyroute2 import MPTCP, IPRoute

from omrfast.lab import netns

SIOCETHTOOL = 0x8946
# linux/ethtool.h: set commands with one value
ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO = 0x17, 0x1F, 0x24, 0x2C
# linux/mptcp.h: MPTCP_PM_ADDR_FLAG_*
ENDPOINT_FLAGS = {"signal": 1, "subflow": 2, "backup": 4, "fullmesh": 8}
SUBFLOW_LIMIT = 8
NUD_PERMANENT = 0x80
IFA_F_NODAD = 0x02


class LabError(RuntimeError):
    """The lab cannot be built or used; the text says what is missing and what to do."""


@dataclass(frozen=True, slots=True)
class Device:
    """One end of a veth pair."""

    namespace: str
    name: str


def mac_of(namespace: str, device: str) -> str:
    def body() -> str:
        with IPRoute() as ip:
            return str(ip.get_links(ifname=device)[0].get_attr("IFLA_ADDRESS"))

    return netns.call(namespace, body)


def veth(a: Device, b: Device) -> None:
    """A pair of devices, each born in its namespace, both up."""

    def make() -> None:
        fd = os.open(netns.path(b.namespace), os.O_RDONLY)
        try:
            with IPRoute() as ip:
                ip.link("add", ifname=a.name, kind="veth", peer=_peer(b.name, fd))
        finally:
            os.close(fd)

    netns.call(a.namespace, make)
    for end in (a, b):
        netns.call(end.namespace, set_up, end.name)


def _peer(name: str, fd: int) -> dict[str, Any]:
    return {"ifname": name, "net_ns_fd": fd}


def set_up(device: str) -> None:
    with IPRoute() as ip:
        ip.link("set", index=ip.link_lookup(ifname=device)[0], state="up")


def address(namespace: str, device: str, *prefixes: str) -> None:
    """Add addresses in CIDR form unless there; IPv6 without duplicate address detection."""

    def body() -> None:
        with IPRoute() as ip:
            index = ip.link_lookup(ifname=device)[0]
            for text in prefixes:
                at = ipaddress.ip_interface(text)
                extra = {"flags": IFA_F_NODAD} if at.version == 6 else {}
                length = at.network.prefixlen
                ip.addr("replace", index=index, address=str(at.ip), prefixlen=length, **extra)

    netns.call(namespace, body)


def route(
    namespace: str, destination: str, gateway: str, device: str | None = None, **how: Any
) -> None:
    """Add a route unless it is there; ``how``: priority (the metric), table."""

    def body() -> None:
        with IPRoute() as ip:
            if device is not None:
                how["oif"] = ip.link_lookup(ifname=device)[0]
            if ipaddress.ip_address(gateway).version == 6:
                how["family"] = socket.AF_INET6
            ip.route("replace", dst=destination, gateway=gateway, **how)

    netns.call(namespace, body)


def source_rule(namespace: str, source: str, table: int) -> None:
    """``ip rule add from SOURCE lookup TABLE``."""

    def body() -> None:
        at = ipaddress.ip_address(source)
        family = socket.AF_INET6 if at.version == 6 else socket.AF_INET
        with IPRoute() as ip:
            ip.rule(
                "add",
                family=family,
                src=source,
                src_len=at.max_prefixlen,
                table=table,
                priority=1000 + table,
            )

    netns.call(namespace, body)


def neighbour(namespace: str, device: str, at: str, mac: str) -> None:
    """A neighbour that is never asked for: modems answer for themselves even on a dead line."""

    def body() -> None:
        with IPRoute() as ip:
            index = ip.link_lookup(ifname=device)[0]
            ip.neigh("replace", dst=at, lladdr=mac, ifindex=index, state=NUD_PERMANENT)

    netns.call(namespace, body)


def no_offloads(namespace: str, device: str) -> None:
    """Let the kernel cut super-packets and fill in checksums before the device gets them."""

    def body() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for command in (ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO, ETHTOOL_STXCSUM):
                value = ctypes.create_string_buffer(struct.pack("II", command, 0))
                request = struct.pack("16sP", device.encode(), ctypes.addressof(value))
                fcntl.ioctl(sock, SIOCETHTOOL, request.ljust(40, b"\0"))

    netns.call(namespace, body)


def masquerade(namespace: str, *devices: str) -> None:
    """Source NAT for IPv4 that leaves by ``devices`` (nftables)."""
    names = ", ".join(f'"{device}"' for device in devices)
    rules = (
        "table ip lab { chain post { type nat hook postrouting priority 100;"
        f" oifname {{ {names} }} masquerade; }}; }}\n"
    )
    try:
        done = netns.call(
            namespace,
            subprocess.run,
            ["nft", "-f", "-"],
            input=rules,
            text=True,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError("nft is missing: apt-get install nftables") from error
    if done.returncode:
        raise LabError(f"nft refused NAT in {namespace}: {done.stderr.strip()}")


def mptcp_limits(namespace: str, subflows: int, add_addr_accepted: int) -> None:
    def body() -> None:
        with MPTCP() as pm:
            pm.limits("set", subflows=subflows, rcv_add_addrs=add_addr_accepted)

    netns.call(namespace, body)


def mptcp_endpoint(
    namespace: str, id: int, at: str, device: str, flags: tuple[str, ...] = ("subflow",)
) -> None:
    def body() -> None:
        with IPRoute() as ip:
            index = ip.link_lookup(ifname=device)[0]
        key = "addr6" if ipaddress.ip_address(at).version == 6 else "addr4"
        bits = sum(ENDPOINT_FLAGS[flag] for flag in flags)
        packed = struct.pack("=i", index)
        with MPTCP() as pm:
            pm.endpoint("add", id=id, flags=bits, if_idx=packed, **{key: at})

    netns.call(namespace, body)
