# SPDX-License-Identifier: GPL-2.0-or-later
"""Who has which address in a lab (topology.py)."""

from __future__ import annotations

SERVER_ADDRESSES = ("203.0.113.10", "203.0.113.20")
LAN_CLIENT = "192.168.100.2"
TABLE_BASE = 100
DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}
"""IP version to the destination of its default routes."""


def uplink_address(n: int, version: int = 4) -> str:
    """The router's address on uplink ``n`` (from 1)."""
    return f"10.{n}.0.2" if version == 4 else f"fd00:{n}::2"


def uplink_gateway(n: int, version: int = 4) -> str:
    return f"10.{n}.0.1" if version == 4 else f"fd00:{n}::1"


def server_address(v: int, version: int = 4) -> str:
    """The public address of server ``v`` (from 1)."""
    return SERVER_ADDRESSES[v - 1] if version == 4 else f"2001:db8:{v}::10"


def server_gateway(v: int, version: int = 4) -> str:
    """The router before server ``v``."""
    return f"203.0.113.{8 * v + 1}" if version == 4 else f"2001:db8:{v}::1"
