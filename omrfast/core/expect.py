# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel should hold after an operation, before it is looked at again. Pure."""

from __future__ import annotations

from omrfast.core.operations import (
    AbortHandshakes,
    AddEndpoint,
    CopyRoute,
    DeleteEndpoint,
    Endpoint,
    ForgetBlackhole,
    Observed,
    Operation,
    Route,
    SetBackup,
    SetMetric,
    SetSetting,
    SetWindow,
    WithdrawRoute,
    copied,
)
from omrfast.core.replacing import replace


def expected(observed: Observed, op: Operation) -> Observed:
    """``observed``, but for what ``op`` changes; an id that the kernel chooses is 0."""
    match op:
        case SetBackup(endpoint, backup):
            flags = endpoint.flags | {"backup"} if backup else endpoint.flags - {"backup"}
            return _with_endpoint(observed, endpoint, replace(endpoint, flags=flags))
        case DeleteEndpoint(endpoint):
            return _with_endpoint(observed, endpoint, None)
        case AddEndpoint(endpoint):
            return _with_endpoint(observed, endpoint, endpoint)
        case SetMetric(route, metric):
            return _with_route(observed, route, replace(route, metric=metric))
        case CopyRoute(route):
            ends = dict(observed.ends)
            ends.pop(copied(op), None)
            if route in ends:
                ends[copied(op)] = ends[route]
            return replace(_with_route(observed, copied(op), copied(op)), ends=tuple(ends.items()))
        case WithdrawRoute(route):
            return _with_route(observed, route, None)
        case SetSetting(name, value):
            return replace(
                observed, settings=tuple({**dict(observed.settings), name: value}.items())
            )
        case SetWindow(route, segments):
            return replace(
                observed, windows=tuple({**dict(observed.windows), route: segments}.items())
            )
        case AbortHandshakes() | ForgetBlackhole():
            return observed


def _with_endpoint(observed: Observed, old: Endpoint, new: Endpoint | None) -> Observed:
    kept = (
        held
        for held in observed.endpoints
        if (held.address, held.port) != (old.address, old.port)
    )  # fmt: skip
    return replace(observed, endpoints=(*kept, *((new,) if new else ())))


def _with_route(observed: Observed, old: Route, new: Route | None) -> Observed:
    kept = (route for route in observed.routes if route != old)
    return replace(observed, routes=(*kept, *((new,) if new else ())))
