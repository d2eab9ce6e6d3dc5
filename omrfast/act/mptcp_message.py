# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages of the generic netlink family ``mptcp_pm``, and finding the family.

Documentation/netlink/specs/mptcp_pm.yaml. The map is our own: pyroute2's has no flag change and
takes the interface index as hexadecimal text.
"""

from __future__ import annotations

import errno
import ipaddress
import struct
import sys
from collections.abc import Iterable
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2.netlink import genlmsg, nla

from omrfast.act.netlink import Netlink, NetlinkError, attributes, encode_attributes
from omrfast.core.operations import Endpoint

NETLINK_GENERIC = 16

ADD_ADDR = 1
DEL_ADDR = 2
GET_ADDR = 3
SET_LIMITS = 5
GET_LIMITS = 6
SET_FLAGS = 7

_GENL_ID_CTRL = 16
_CTRL_CMD_GETFAMILY = 3
_CTRL_ATTR_FAMILY_ID = 1
_CTRL_ATTR_FAMILY_NAME = 2
_NLMSG_HEADER = struct.Struct("=IHHII")
_GENL_HEADER = struct.Struct("=BBxx")
"""struct genlmsghdr: command, version."""

_NLA_F_NESTED = 0x8000
ADDR = "MPTCP_PM_ADDR_ATTR_"

FLAGS = {
    "signal": 1,
    "subflow": 2,
    "backup": 4,
    "fullmesh": 8,
    "implicit": 16,
    "laminar": 32,
}
"""MPTCP_PM_ADDR_FLAG_*; laminar from Linux 6.18."""


class PmMessage(genlmsg):  # type: ignore[misc]
    """A message of the family, either direction."""

    nla_map = (
        ("MPTCP_PM_ATTR_UNSPEC", "none"),
        ("MPTCP_PM_ATTR_ADDR", "address"),
        ("MPTCP_PM_ATTR_RCV_ADD_ADDRS", "uint32"),
        ("MPTCP_PM_ATTR_SUBFLOWS", "uint32"),
    )

    class address(nla):  # type: ignore[misc]
        """Port and interface index are in host order."""

        nla_map = (
            ("MPTCP_PM_ADDR_ATTR_UNSPEC", "none"),
            ("MPTCP_PM_ADDR_ATTR_FAMILY", "uint16"),
            ("MPTCP_PM_ADDR_ATTR_ID", "uint8"),
            ("MPTCP_PM_ADDR_ATTR_ADDR4", "ip4addr"),
            ("MPTCP_PM_ADDR_ATTR_ADDR6", "ip6addr"),
            ("MPTCP_PM_ADDR_ATTR_PORT", "uint16"),
            ("MPTCP_PM_ADDR_ATTR_FLAGS", "uint32"),
            ("MPTCP_PM_ADDR_ATTR_IF_IDX", "uint32"),
        )


def flag_names(bits: int) -> frozenset[str]:
    """The names of the flags that are set; unknown bits are left out."""
    return frozenset(name for name, bit in FLAGS.items() if bits & bit)


def flag_bits(names: Iterable[str]) -> int:
    """The inverse of flag_names(); a name that does not exist raises KeyError."""
    return sum(FLAGS[name] for name in names)


def to_endpoint(data: Any) -> Endpoint:
    """From MPTCP_PM_ATTR_ADDR."""
    return Endpoint(
        id=data.get_attr(ADDR + "ID") or 0,
        address=data.get_attr(ADDR + "ADDR4") or data.get_attr(ADDR + "ADDR6"),
        ifindex=data.get_attr(ADDR + "IF_IDX") or 0,
        port=data.get_attr(ADDR + "PORT") or 0,
        flags=flag_names(data.get_attr(ADDR + "FLAGS") or 0),
    )


def place(endpoint: Endpoint) -> list[tuple[str, Any]]:
    """The attributes of its address."""
    if ipaddress.ip_address(endpoint.address).version == 4:
        return [(ADDR + "FAMILY", AF_INET), (ADDR + "ADDR4", endpoint.address)]
    return [(ADDR + "FAMILY", AF_INET6), (ADDR + "ADDR6", endpoint.address)]


def family_id(netlink: Netlink) -> int:
    """The number that this kernel gave the family. Raises NetlinkError: ENOENT if it has none."""
    name = encode_attributes([(_CTRL_ATTR_FAMILY_NAME, b"mptcp_pm\0")])
    body = _GENL_HEADER.pack(_CTRL_CMD_GETFAMILY, 1) + name
    for answer in netlink.request(_GENL_ID_CTRL, 0, body):
        for kind, payload in attributes(answer[_GENL_HEADER.size :]):
            if kind == _CTRL_ATTR_FAMILY_ID:
                return int.from_bytes(payload, sys.byteorder)
    raise NetlinkError(errno.ENOENT)


def encode(command: int, attrs: list[tuple[str, Any]]) -> bytes:
    """A message of the family, without struct nlmsghdr."""
    message = PmMessage()
    message["cmd"] = command
    message["version"] = 1
    message["attrs"] = [
        (name, {"attrs": value}, _NLA_F_NESTED) if isinstance(value, list) else (name, value)
        for name, value in attrs
    ]
    message.encode()
    return bytes(message.data[_NLMSG_HEADER.size :])


def decode(body: memoryview) -> PmMessage:
    """The inverse of encode()."""
    message = PmMessage(_NLMSG_HEADER.pack(_NLMSG_HEADER.size + len(body), 0, 0, 0, 0) + body)
    message.decode()
    return message
