# SPDX-License-Identifier: GPL-2.0-or-later
"""Flow rows and ring records, as the shim gives them, into the core's vocabulary."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from omrfast.core.views import FlowView
from omrfast.dataplane.connections import Identity, group, identity_of_key
from omrfast.shim._shim import ffi, lib
from omrfast.shim.scan import ScanResult

STATES = ("handshake", "established", "closing", "closed")
"""By enum omr_flow_state."""

EVENT_KINDS: dict[int, str] = {
    lib.OMR_EVENT_FLOW_OPEN: "flow_open",
    lib.OMR_EVENT_FLOW_READY: "flow_ready",
    lib.OMR_EVENT_FLOW_CLOSE: "flow_close",
    lib.OMR_EVENT_PRIORITY: "priority",
    lib.OMR_EVENT_BUSY: "busy",
    lib.OMR_EVENT_MPTCP: "mptcp",
}

MPTCP_OPTIONS: dict[int, str] = {
    lib.OMR_MP_ADD_ADDR: "ADD_ADDR",
    lib.OMR_MP_REMOVE_ADDR: "REMOVE_ADDR",
    lib.OMR_MP_FASTCLOSE: "MP_FASTCLOSE",
    lib.OMR_MP_FAIL: "MP_FAIL",
    lib.OMR_MP_INFINITE: "infinite mapping",
}
"""Those that an event of kind mptcp tells of, by their bit; names as in RFC 8684."""


@dataclass(frozen=True, slots=True)
class PathEvent:
    """One record of the event ring (struct omr_event)."""

    at: float
    """CLOCK_MONOTONIC seconds."""
    kind: str
    """flow_open, flow_ready, flow_close, priority, busy or mptcp."""
    path: int
    """Path index."""
    egress: bool
    backup: bool
    tcp_flags: int
    local_id: int
    remote_id: int
    token: int | None
    """The peer's token of the connection, where it is known."""
    local: str
    """Empty for busy."""
    local_port: int
    remote: str
    remote_port: int
    options: tuple[str, ...] = ()
    """Of kind mptcp: which of MPTCP_OPTIONS the packet carries."""


def token_of(key: bytes) -> int:
    """The token of whoever has this key: first 4 bytes of its SHA-256 (RFC 8684 section 3.2)."""
    return int.from_bytes(hashlib.sha256(key).digest()[:4], "big")


def _key_bytes(owner: Any, member: str) -> bytes:
    return bytes(ffi.buffer(ffi.addressof(owner, member), 8))


def _address(family: int, data: Any) -> str:
    if family == 4:
        return socket.inet_ntop(socket.AF_INET, bytes(ffi.buffer(data, 4)))
    return socket.inet_ntop(socket.AF_INET6, bytes(ffi.buffer(data, 16)))


def identity_of(entry: Any) -> Identity:
    """What a struct omr_flow knows of its MPTCP connection."""
    tx, rx = entry.tx, entry.rx
    if rx.flags & lib.OMR_RX_KEY:
        return identity_of_key(
            _key_bytes(tx.connection, "key_be"),
            ours=bool(tx.flags & lib.OMR_TX_SERVER),
            version=0 if tx.flags & lib.OMR_TX_V0 else 1,
        )
    join = tx.connection.join
    return Identity(
        token=socket.ntohl(join.token_be) or None,
        word=join.data_word or None,
        word_sent=bool(tx.flags & lib.OMR_TX_DATA_SEQ),
    )


def _role(tx_flags: int) -> str:
    if not tx_flags & lib.OMR_TX_SYN:
        return "midlife"
    return "server" if tx_flags & lib.OMR_TX_SERVER else "client"


def _fell_back(tx_flags: int, rx_flags: int) -> bool:
    """bpf/MEASUREMENT.md section 6; a handshake that nobody answered is none yet."""
    ended = (tx_flags & (lib.OMR_TX_INFINITE | lib.OMR_TX_FAIL)) | (
        rx_flags & (lib.OMR_RX_INFINITE | lib.OMR_RX_FAIL)
    )
    refused = (
        tx_flags & lib.OMR_TX_CAPABLE
        and rx_flags & lib.OMR_RX_ACK
        and not rx_flags & lib.OMR_RX_MPTCP
    )
    return bool(ended or refused)


def flow_view(row: Any, names: Mapping[int, str], seconds_per_jiffy: float) -> FlowView:
    """A struct omr_flow_row as FlowView, by itself; names maps path index to name."""
    tx, rx = row.flow.tx, row.flow.rx
    index = tx.path - 1
    mptcp = bool(tx.flags & lib.OMR_TX_MPTCP and rx.flags & lib.OMR_RX_MPTCP)
    joined = bool(tx.flags & lib.OMR_TX_JOIN or rx.flags & lib.OMR_RX_JOIN)
    sampled = rx.srtt_us8 > 0
    return FlowView(
        path=names.get(index, str(index)),
        family=row.family,
        local=_address(row.family, row.local_be),
        local_port=socket.ntohs(row.local_port_be),
        remote=_address(row.family, row.remote_be),
        remote_port=socket.ntohs(row.remote_port_be),
        role=_role(tx.flags),
        mptcp=mptcp,
        fallback=_fell_back(tx.flags, rx.flags),
        joined=joined,
        backup=bool(tx.flags & lib.OMR_TX_BACKUP or rx.flags & lib.OMR_RX_BACKUP),
        token=identity_of(row.flow).token,
        connection=None,
        local_id=tx.local_id if mptcp else None,
        remote_id=tx.remote_id if mptcp else None,
        state=STATES[row.state],
        tx_bytes=tx.tx_bytes,
        rx_bytes=rx.rx_bytes,
        tx_segments=tx.tx_segments,
        rx_segments=rx.rx_segments,
        retransmitted_segments=tx.retransmitted_segments,
        spurious_segments=tx.spurious_segments,
        refilled_segments=rx.refilled_segments,
        reordered_segments=rx.reordered_segments,
        rtt_smoothed=rx.srtt_us8 / 8e6 if sampled else None,
        rtt_variation=rx.rttvar_us4 / 4e6 if sampled else None,
        rtt_jitter=rx.jitter_us16 / 16e6 if sampled else None,
        rtt_min=rx.min_rtt_us / 1e6 if rx.min_rtt_us else None,
        rtt_samples=rx.rtt_samples,
        idle=row.idle_j * seconds_per_jiffy,
    )


def flow_views(
    found: ScanResult, names: Mapping[int, str], seconds_per_jiffy: float
) -> list[FlowView]:
    """The rows of a scan, with the connections that they make up."""
    views = [flow_view(found.rows[i], names, seconds_per_jiffy) for i in range(found.row_count)]
    subflows = [i for i, view in enumerate(views) if view.mptcp]
    numbers = group([identity_of(found.rows[i].flow) for i in subflows])
    tokens = {n: views[i].token for i, n in zip(subflows, numbers, strict=True) if views[i].token}
    for i, number in zip(subflows, numbers, strict=True):
        views[i] = replace(views[i], connection=number, token=tokens.get(number))
    return views


def event_of(record: Any) -> PathEvent:
    """One struct omr_event."""
    token = None
    if record.token_be:
        token = socket.ntohl(record.token_be)
    elif record.key_be:
        token = token_of(_key_bytes(record, "key_be"))
    known = record.family in (4, 6)
    return PathEvent(
        at=record.at_ns / 1e9,
        kind=EVENT_KINDS.get(record.kind, f"unknown {record.kind}"),
        path=record.path - 1,
        egress=record.direction == lib.OMR_EGRESS,
        backup=bool(record.backup),
        tcp_flags=record.tcp_flags,
        local_id=record.local_id,
        remote_id=record.remote_id,
        token=token,
        local=_address(record.family, record.local_be) if known else "",
        local_port=socket.ntohs(record.local_port_be),
        remote=_address(record.family, record.remote_be) if known else "",
        remote_port=socket.ntohs(record.remote_port_be),
        options=tuple(name for bit, name in MPTCP_OPTIONS.items() if record.mptcp & bit),
    )
