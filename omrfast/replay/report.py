# SPDX-License-Identifier: GPL-2.0-or-later
"""A replay's outcome as the document that the package's text describes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from omrfast.core.views import FlowView
from omrfast.dataplane.connections import group
from omrfast.dataplane.flows import flow_view, identity_of
from omrfast.replay.outcome import Flow, Replay
from omrfast.shim import api
from omrfast.shim._shim import ffi, lib

Json = dict[str, Any]

REASONS = ("truncated", "malformed", "fragment", "extensions", "vlans", "options")
"""By enum omr_unparsed."""
_SEEN = (
    ("add_addr", lib.OMR_TX_ADD_ADDR, lib.OMR_RX_ADD_ADDR),
    ("remove_addr", lib.OMR_TX_REMOVE_ADDR, lib.OMR_RX_REMOVE_ADDR),
    ("fastclose", lib.OMR_TX_FASTCLOSE, lib.OMR_RX_FASTCLOSE),
    ("fail", lib.OMR_TX_FAIL, lib.OMR_RX_FAIL),
    ("infinite_mapping", lib.OMR_TX_INFINITE, lib.OMR_RX_INFINITE),
)
_ADDRESSES_SHOWN = 8


def document(replay: Replay) -> Json:
    """All but ``file``, ``format``, ``run`` and ``samples``."""
    rows = _rows(replay.flows)
    flows = [
        _flow(flow, rows[i].flow, flow_view(rows[i], {}, 0)) for i, flow in enumerate(replay.flows)
    ]
    errors = dict(zip(REASONS, replay.unparsed, strict=False))
    errors["truncated"] += replay.too_short
    return {
        "link_types": sorted(replay.links),
        "damage": replay.damage,
        "packets": replay.packets,
        "replayed": replay.replayed,
        "left_out": dict(sorted(replay.left_out.items())),
        "parse_errors": {reason: count for reason, count in errors.items() if count},
        **_times(replay),
        "local": {
            "addresses": [name for name, _ in replay.local.most_common(_ADDRESSES_SHOWN)],
            "count": len(replay.local),
            "by": dict(replay.told.most_common()),
        },
        "rtt_ms": _spread(us for flow in replay.flows for us in flow.samples_us),
        "flows": flows,
        "connections": _connections(flows, rows),
        "totals": dict(replay.counters),
    }


def samples(replay: Replay) -> list[Json]:
    """Every RTT sample in the order of packets."""
    return [sample._asdict() for sample in replay.samples]


def _times(replay: Replay) -> Json:
    first, step = replay.first_ns, replay.resolution_ns
    return {
        "start": None if first is None else first / 1e9,
        "duration_s": None if first is None else replay.passed_ns / 1e9,
        "clock_resolution_us": None if step is None else step / 1e3,
        "packets_back_in_time": replay.earlier,
    }


# --- flows ------------------------------------------------------------------------------------


def _rows(flows: Sequence[Flow]) -> Any:
    """struct omr_flow_row[]."""
    rows = ffi.new("struct omr_flow_row[]", max(len(flows), 1))
    for i, flow in enumerate(flows):
        entry = ffi.from_buffer("struct omr_flow *", flow.entry)
        error = lib.omr_replay_row(ffi.addressof(rows, i), flow.key, len(flow.key), entry)
        api.check(error, "reading a flow")
    return rows


def _socket(view: FlowView, end: str) -> str:
    address, port = getattr(view, end), getattr(view, f"{end}_port")
    return f"[{address}]:{port}" if view.family == 6 else f"{address}:{port}"


def _flow(flow: Flow, entry: Any, view: FlowView) -> Json:
    return {
        "local": _socket(view, "local"),
        "remote": _socket(view, "remote"),
        "local_address": view.local,
        "local_port": view.local_port,
        "remote_address": view.remote,
        "remote_port": view.remote_port,
        "family": view.family,
        "proto": "tcp",
        "first_packet": flow.first_packet,
        "role": view.role,
        "state": view.state,
        "fallback": view.fallback,
        "mptcp": _mptcp(entry, view) if view.mptcp else None,
        "tx_segments": view.tx_segments,
        "rx_segments": view.rx_segments,
        "tx_bytes": view.tx_bytes,
        "rx_bytes": view.rx_bytes,
        "retransmitted_segments": view.retransmitted_segments,
        "spurious_retransmissions": view.spurious_segments,
        "refilled_segments": view.refilled_segments,
        "reordered_segments": view.reordered_segments,
        "rtt_ms": _rtt(flow, view),
    }


def _rtt(flow: Flow, view: FlowView) -> Json:
    return {
        **_spread(flow.samples_us),
        "smoothed": _ms(view.rtt_smoothed),
        "variation": _ms(view.rtt_variation),
        "jitter": _ms(view.rtt_jitter),
    }


def _spread(samples_us: Iterable[int]) -> Json:
    """Number, least and quantiles (nearest rank) in milliseconds; None where there is none."""
    ordered = sorted(samples_us)

    def rank(share: float) -> float | None:
        return ordered[max(math.ceil(share * len(ordered)), 1) - 1] / 1e3 if ordered else None

    return {"samples": len(ordered), "min": rank(0), "p50": rank(0.5), "p99": rank(0.99)}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 3)


# --- MPTCP ------------------------------------------------------------------------------------


def _mptcp(entry: Any, view: FlowView) -> Json:
    tx, rx = entry.tx.flags, entry.rx.flags
    return {
        "token": view.token,
        "local_id": view.local_id,
        "remote_id": view.remote_id,
        "backup": view.backup,
        "backup_announced": bool(tx & lib.OMR_TX_BACKUP),
        "backup_received": bool(rx & lib.OMR_RX_BACKUP),
        "joined": view.joined,
        "version": 0 if tx & lib.OMR_TX_V0 else 1,
        "seen": {
            "sent": [name for name, sent, _ in _SEEN if tx & sent],
            "received": [name for name, _, received in _SEEN if rx & received],
        },
    }


def _connections(flows: Sequence[Json], rows: Any) -> list[Json]:
    """The connections; each subflow's ``mptcp`` gets the index of its own."""
    subflows = [i for i, flow in enumerate(flows) if flow["mptcp"]]
    identities = [identity_of(rows[i].flow) for i in subflows]
    numbers = group(identities)
    found: list[Json] = [
        {"token": None, "version": 1, "fallback": False, "subflows": []}
        for _ in range(max(numbers, default=-1) + 1)
    ]
    for i, identity, number in zip(subflows, identities, numbers, strict=True):
        connection, mptcp = found[number], flows[i]["mptcp"]
        mptcp["connection"] = number
        connection["subflows"].append(i)
        connection["fallback"] |= flows[i]["fallback"]
        connection["version"] = min(connection["version"], mptcp["version"])
        if identity.token is not None:
            connection["token"] = identity.token
    for connection in found:
        for i in connection["subflows"]:
            flows[i]["mptcp"]["token"] = connection["token"]
    return found
