# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands of the control socket, over what the agent has.

status             → status_json()
health             → health_json()
flows {"top": N}   → [flow_json()], most bytes first
events             → [event_json()], oldest first
explain, override  → see desk.py
follow             → stream of event_json(): the kept ones, then those to come
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from omrfast.core.views import FlowView, Snapshot
from omrfast.export.control import Handler, Params
from omrfast.export.events import EventLog
from omrfast.export.status import Json, event_json, flow_json, health_json, status_json

MAX_TOP = 10_000
DEFAULT_TOP = 50


def _top(params: Params) -> int:
    top = params.get("top", DEFAULT_TOP)
    if not isinstance(top, int) or isinstance(top, bool) or not 0 < top <= MAX_TOP:
        raise ValueError(f"top must be a number from 1 to {MAX_TOP}")
    return top


def control_handlers(
    snapshot: Callable[[], Awaitable[Snapshot]],
    flows: Callable[[int], Awaitable[Sequence[FlowView]]],
    events: EventLog,
) -> dict[str, Handler]:
    """Handlers for ControlServer; ``flows(n)`` scans and gives the n flows with most bytes.

    An agent that is still starting answers when it has started.
    """

    async def status(params: Params) -> Json:
        return status_json(await snapshot())

    async def health(params: Params) -> Json:
        return health_json(await snapshot())

    async def top_flows(params: Params) -> list[Json]:
        return [flow_json(flow) for flow in await flows(_top(params))]

    async def recent(params: Params) -> list[Json]:
        return [event_json(event) for event in events.recent()]

    async def follow(params: Params) -> AsyncGenerator[Any, None]:
        async with contextlib.aclosing(events.follow()) as followed:
            async for event in followed:
                yield event_json(event)

    return {
        "status": status,
        "health": health,
        "flows": top_flows,
        "events": recent,
        "follow": follow,
    }
