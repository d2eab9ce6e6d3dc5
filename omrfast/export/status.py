# SPDX-License-Identifier: GPL-2.0-or-later
"""The JSON that omrfast shows: one function per thing, shared by the socket and the CLI.

The keys and nesting of ``status_json`` are a fixed interface; unknown values are ``None``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from omrfast.core.types import USABLE, Role
from omrfast.core.views import ActionView, EventView, FlowView, PathView, Snapshot

Json = dict[str, Any]


def path_json(path: PathView) -> Json:
    """One element of ``status_json()["paths"]``; its keys are the members of PathView."""
    return asdict(path)


def action_json(action: ActionView) -> Json:
    """One element of ``status_json()["actions"]``; ``at`` is Unix time in seconds."""
    return asdict(action)


def status_json(snapshot: Snapshot) -> Json:
    """What ``omrfast status --json`` prints."""
    return {
        "version": snapshot.version,
        "uptime_s": snapshot.uptime_s,
        "loader": snapshot.loader,
        "paths": [path_json(path) for path in snapshot.paths],
        "actions": [action_json(action) for action in snapshot.actions],
        "servers": [asdict(server) for server in snapshot.servers],
        "trouble": None if snapshot.trouble is None else asdict(snapshot.trouble),
        "dry_run": snapshot.dry_run,
        "unrecorded": snapshot.unrecorded,
    }


def usable(status: Json) -> bool:
    """Whether a status has at least one path that may carry traffic now."""
    return any(path["state"] in USABLE and _is_used(path) for path in status["paths"])


def _is_used(path: Json) -> bool:
    """One that is switched off by word is while no other is left."""
    kept = path["override"] is not None and path["endpoint"] in ("active", "backup")
    return _role(path) != Role.OFF or kept


def _role(path: Json) -> str:
    """The one that counts: the operator's word comes before the configuration."""
    word = path["override"]
    return str(path["role"] if word is None else word["role"])


def health_json(snapshot: Snapshot) -> Json:
    """What ``omrfast check`` asks a running agent: is anything lost or nearly full."""
    return {
        "flows": snapshot.flows,
        "flow_capacity": snapshot.flow_capacity,
        "flows_refused": {name: counters.flows_refused for name, counters in snapshot.counters},
        "events_suppressed": {
            name: counters.events_suppressed for name, counters in snapshot.counters
        },
        "tick_seconds": snapshot.tick_seconds,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 3)


def flow_json(flow: FlowView) -> Json:
    """One element of ``omrfast flows --json``: milliseconds, seconds and bytes as named."""
    shown = asdict(flow)
    shown["rtt_ms"] = {
        "smoothed": _ms(shown.pop("rtt_smoothed")),
        "variation": _ms(shown.pop("rtt_variation")),
        "jitter": _ms(shown.pop("rtt_jitter")),
        "min": _ms(shown.pop("rtt_min")),
        "samples": shown.pop("rtt_samples"),
    }
    shown["idle_s"] = round(shown.pop("idle"), 3)
    return shown


def event_json(event: EventView) -> Json:
    """One line of ``omrfast events --json``; ``at`` is Unix time in seconds."""
    shown = asdict(event)
    shown["details"] = dict(event.details)
    return shown
