# SPDX-License-Identifier: GPL-2.0-or-later
"""The document of omrfast.replay, for people."""

from __future__ import annotations

from typing import Any

from omrfast.cli.common import duration, number, size, table

Json = dict[str, Any]

_HEADERS = (
    "#",
    "LOCAL",
    "REMOTE",
    "KIND",
    "STATE",
    "RTT ms",
    "MIN",
    "P50",
    "P99",
    "SAMPLES",
    "SENT",
    "RECEIVED",
    "AGAIN/SEGMENTS",
    "NEEDLESS",
    "REFILLED/SEGMENTS",
)


def _kind(flow: Json) -> str:
    mptcp = flow["mptcp"]
    if flow["fallback"]:
        return "tcp fallback"
    if not mptcp:
        return "tcp"
    kind = "join" if mptcp["joined"] else "mptcp"
    return f"{kind} {mptcp['connection']}" + (" backup" if mptcp["backup"] else "")


def _row(index: int, flow: Json) -> list[str]:
    rtt = flow["rtt_ms"]
    return [
        str(index),
        flow["local"],
        flow["remote"],
        _kind(flow),
        flow["state"] if flow["role"] != "midlife" else f"{flow['state']}, midlife",
        number(rtt["smoothed"], 3),
        number(rtt["min"], 3),
        number(rtt["p50"], 3),
        number(rtt["p99"], 3),
        str(rtt["samples"]),
        size(flow["tx_bytes"]),
        size(flow["rx_bytes"]),
        f"{flow['retransmitted_segments']}/{flow['tx_segments']}",
        str(flow["spurious_retransmissions"]),
        f"{flow['refilled_segments']}/{flow['rx_segments']}",
    ]


def _connection_row(index: int, connection: Json) -> list[str]:
    token = connection["token"]
    return [
        str(index),
        "-" if token is None else f"{token:08x}",
        str(connection["version"]),
        ", ".join(f"#{flow}" for flow in connection["subflows"])
        + (" (fallback)" if connection["fallback"] else ""),
    ]


def _counts(counts: Json) -> str:
    return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts.items())


def _flow_table(flows: list[Json], top: int) -> str:
    most = sorted(range(len(flows)), key=lambda i: -flows[i]["tx_bytes"] - flows[i]["rx_bytes"])
    rows = [_row(i, flows[i]) for i in sorted(most[:top])]
    shown = table(_HEADERS, rows, ">    " + ">" * 10)
    return shown + (f"\n{len(flows) - top} more flows" if len(flows) > top else "")


def text(found: Json, top: int, room: int) -> str:
    """What people see; top: flows shown, room: capacity of a flow table."""
    parts = []
    if found["flows"]:
        parts.append(_flow_table(found["flows"], top))
    else:
        parts.append("no TCP flow: none of the packets that leave is TCP")
    if found["connections"]:
        rows = [_connection_row(i, row) for i, row in enumerate(found["connections"])]
        parts.append(table(("MPTCP", "TOKEN", "VERSION", "SUBFLOWS"), rows, ">"))
    if "samples" in found:
        rows = [
            [str(s["packet"]), f"#{s['flow']}", f"{s['rtt_us'] / 1e3:.3f}", s["source"]]
            for s in found["samples"]
        ]
        parts.append(table(("PACKET", "FLOW", "RTT ms", "SOURCE"), rows, "> >"))
    parts.append("\n".join(_summary(found, room)))
    return "\n\n".join(parts)


def _sides(local: Json, left_out: Json) -> str:
    by, addresses = list(local["by"]), local["addresses"]
    if not by:
        if "none_local" in left_out:
            return "nothing leaves or arrives: --local is no end of any packet"
        if "both_local" in left_out:
            return "nothing leaves or arrives: both ends of every packet are local"
        return "nothing has a local end"
    if not addresses:
        return f"direction by {', '.join(by)}"
    more = local["count"] - len(addresses)
    shown = ", ".join(addresses) + (f" and {more} more" if more else "")
    if "given" in by:
        return f"local, as given: {shown}"
    return f"taken for local: {shown} (by {', '.join(by)}; --local NET says it)"


def _summary(found: Json, room: int) -> list[str]:
    totals, local = found["totals"], found["local"]
    span = "" if found["duration_s"] is None else f" over {duration(found['duration_s'])}"
    lines = [f"{found['packets']} packets{span}, {found['replayed']} replayed"]
    if found["left_out"]:
        lines.append(f"left out: {_counts(found['left_out'])}")
    if found["parse_errors"]:
        lines.append(f"not or not wholly understood: {_counts(found['parse_errors'])}")
    rtt = found["rtt_ms"]
    if rtt["samples"]:
        lines.append(
            f"RTT: {rtt['samples']} samples, least {rtt['min']:.3f} ms, "
            f"median {rtt['p50']:.3f} ms, p99 {rtt['p99']:.3f} ms"
        )
    if totals["tx_segments"]:
        lines.append(
            f"segments sent: {totals['tx_segments']}, again: {totals['retransmitted_segments']}, "
            f"of these for nothing: {totals['spurious_segments']}"
        )
    if totals["syn_retransmissions"]:
        lines.append(f"SYN and SYN-ACK sent again: {totals['syn_retransmissions']}")
    if totals["flows_refused"]:
        lines.append(
            f"{totals['flows_refused']} packets found no room for their flow: "
            f"--flows {min(room * 4, 1 << 24)}"
        )
    if found["packets_back_in_time"]:
        lines.append(f"{found['packets_back_in_time']} packets go back in time")
    lines.append(_sides(local, found["left_out"]))
    run_ = found["run"]
    lines.append(
        f"{run_['seconds']:.2f} s by the {run_['dataplane']} data plane"
        + (f", {run_['packets_per_second']:,} packets/s" if run_["packets_per_second"] else "")
    )
    return lines
