# SPDX-License-Identifier: GPL-2.0-or-later
"""Walking the flow tables, inside the kernel or by batches of look-ups (bpf/fold.h)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omrfast.shim import api
from omrfast.shim._shim import ffi, lib

MAX_SERVERS: int = lib.OMR_SCAN_SERVERS
MAX_ROWS: int = lib.OMR_SCAN_ROWS
"""Rows that a walk inside the kernel can list."""
FLOWS4: int = lib.OMR_SCAN_FLOWS4
FLOWS6: int = lib.OMR_SCAN_FLOWS6
"""Tables to walk there: order.in_kernel."""

_raw_new = ffi.new_allocator(should_clear_after_alloc=False)


@dataclass(frozen=True, slots=True)
class ScanResult:
    sums: Any
    """struct omr_scan_result *"""
    rows: Any
    """struct omr_flow_row[], those with the most bytes first."""
    row_count: int


def order(
    now_j: int,
    *,
    rows: int = 0,
    servers: Sequence[str] = (),
    collect: bool = False,
    closed_age_j: int = 0,
    half_open_age_j: int = 0,
    idle_age_j: int = 0,
) -> Any:
    """A struct omr_scan_order.

    rows: how many flows to list at most. servers: remote addresses, all different, to sum up by;
    ValueError if there are more than MAX_SERVERS. collect: delete entries that are closed and
    silent for more than closed_age_j jiffies, whose handshake began more than half_open_age_j ago
    and was not completed, or that are silent for more than idle_age_j whatever their state.
    """
    if len(servers) > MAX_SERVERS:
        raise ValueError(f"{len(servers)} servers: at most {MAX_SERVERS} are counted")
    made = ffi.new("struct omr_scan_order *")
    made.now_j, made.rows, made.collect = now_j, rows, int(collect)
    made.closed_age_j, made.idle_age_j = closed_age_j, idle_age_j
    made.half_open_age_j = half_open_age_j
    list_ = ffi.new("struct omr_scan_server[]", max(len(servers), 1))
    for server, text in zip(list_, servers, strict=False):
        address = ipaddress.ip_address(text)
        server.family = address.version
        ffi.memmove(server.address_be, address.packed, len(address.packed))
    lib.omr_scan_set_servers(made, list_, len(servers))
    return made


@dataclass(frozen=True, slots=True)
class Place:
    """File descriptors; program (omr_scan) and state may be -1 for walks by batches alone."""

    flows4: int
    flows6: int
    program: int = -1
    state: int = -1


def walk(place: Place, order: Any) -> ScanResult:
    """Walk both tables; those that order.in_kernel names there, and one such walk at a time, for
    MAX_ROWS rows at most. By batches, what is due is looked at again before it is deleted."""
    where = ffi.new("struct omr_scan_place *")
    where.flows4_fd, where.flows6_fd = place.flows4, place.flows6
    where.program_fd, where.state_fd = place.program, place.state
    rows = _raw_new("struct omr_flow_row[]", max(order.rows, 1))
    sums = ffi.new("struct omr_scan_result *")
    count = lib.omr_scan_flows(where, order, sums, rows)
    return ScanResult(sums, rows, api.check(count, "walking the flow tables"))
