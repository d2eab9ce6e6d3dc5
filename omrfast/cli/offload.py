# SPDX-License-Identifier: GPL-2.0-or-later
"""Offloads of a network device, by the ethtool ioctl (include/uapi/linux/ethtool.h)."""

from __future__ import annotations

import array
import fcntl
import socket
import struct

SIOCETHTOOL = 0x8946
_COMMANDS = {"tso": 0x1E, "gso": 0x23, "gro": 0x2B}
_GET_FLAGS = 0x25
_FLAG_LRO = 1 << 15
_IFREQ = struct.Struct("16sP16x")


def _value(sock: socket.socket, ifname: str, command: int) -> int:
    """Member ``data`` of struct ethtool_value."""
    value = array.array("I", [command, 0])
    fcntl.ioctl(sock, SIOCETHTOOL, _IFREQ.pack(ifname.encode(), value.buffer_info()[0]))
    return value[1]


def read(ifname: str) -> dict[str, bool]:
    """Whether tso, gso, gro and lro are on; raises OSError if the device tells nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        state = {name: bool(_value(sock, ifname, code)) for name, code in _COMMANDS.items()}
        state["lro"] = bool(_value(sock, ifname, _GET_FLAGS) & _FLAG_LRO)
    return state
