# SPDX-License-Identifier: GPL-2.0-or-later
"""Arithmetic modulo 2^32 (RFC 1982) and the constants of bpf/MEASUREMENT.md."""

from __future__ import annotations

from enum import IntFlag

from omrfast.shim import api

WORD = 2**32
WINDOW = 2**30
"""How far sequence and acknowledgement numbers of one connection may be apart."""
AHEAD = 2**26
"""How far the peer's sequence numbers may be beyond rcv_nxt."""


def apart(a: int, b: int) -> int:
    """a - b as a signed number of 32 bits."""
    return (a - b + WORD // 2) % WORD - WORD // 2


def before(a: int, b: int) -> bool:
    return apart(a, b) < 0


def within(low: int, number: int, high: int) -> bool:
    """low <= number <= high."""
    return (number - low) % WORD <= (high - low) % WORD


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _flags(name: str, prefix: str) -> type[IntFlag]:
    relements = api.ffi.typeof(f"enum {name}").relements
    return IntFlag(name, {key.removeprefix(prefix): number for key, number in relements.items()})


Tx = _flags("omr_flow_tx_flag", "OMR_TX_")
Rx = _flags("omr_flow_rx_flag", "OMR_RX_")
Echo = _flags("omr_echo", "OMR_ECHO_")
Seen = _flags("omr_mptcp_seen", "OMR_MP_")
EVENTS = {
    name.removeprefix("OMR_EVENT_"): number
    for name, number in api.ffi.typeof("enum omr_event_kind").relements.items()
}
REASONS = ("truncated", "malformed", "fragment", "extensions", "vlans", "options")
