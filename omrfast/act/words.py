# SPDX-License-Identifier: GPL-2.0-or-later
"""Operations in words."""

from __future__ import annotations

from omrfast.core.operations import (
    AbortHandshakes,
    AddEndpoint,
    CopyRoute,
    DeleteEndpoint,
    Endpoint,
    ForgetBlackhole,
    Operation,
    Route,
    SetBackup,
    SetMetric,
    SetSetting,
    SetWindow,
    WithdrawRoute,
)


def kind_of(operation: Operation) -> str:
    """The word for an operation in status, events and metrics (ACTION_KINDS)."""
    match operation:
        case SetBackup(backup=True):
            return "backup"
        case SetBackup():
            return "nobackup"
        case DeleteEndpoint():
            return "delete"
        case AddEndpoint():
            return "add"
        case SetMetric():
            return "metric"
        case CopyRoute():
            return "copy"
        case WithdrawRoute():
            return "withdraw"
        case AbortHandshakes():
            return "abort"
        case SetSetting() | SetWindow():
            return "setting"
        case ForgetBlackhole():
            return "forget"


def describe(operation: Operation) -> str:
    """One phrase for the log."""
    match operation:
        case SetBackup(endpoint, backup):
            return f"endpoint {endpoint.address} {'is' if backup else 'no longer'} backup"
        case DeleteEndpoint(Endpoint(id=0, flags=flags) as endpoint) if not flags:
            return f"initial subflows from {endpoint.address} closed"
        case DeleteEndpoint(endpoint):
            return f"endpoint {endpoint.address} removed"
        case AddEndpoint(endpoint):
            return f"endpoint {endpoint.address} added{' as backup' if endpoint.backup else ''}"
        case SetMetric(route, metric):
            return f"{_route(route)} metric {route.metric} -> {metric}"
        case CopyRoute(route, metric, destination):
            there = f"{destination} " if destination else ""
            return f"{_route(route)} metric {route.metric} copied to {there}metric {metric}"
        case WithdrawRoute(route):
            return f"copy of {_route(route)} at metric {route.metric} removed"
        case AbortHandshakes(address):
            return f"handshakes from {address} aborted"
        case SetSetting(name, value):
            return f"{name} set to {value}"
        case SetWindow(route, segments):
            return f"initial window of {_route(route)} set to {segments or 'that of the kernel'}"
        case ForgetBlackhole():
            return "MPTCP is used again: the kernel had concluded that it is blocked"


def _route(route: Route) -> str:
    family = " (IPv6)" if route.family == 6 and route.destination == "default" else ""
    table = "" if route.main else f" of table {route.table}"
    return f"route {route.destination}{family}{table}"
