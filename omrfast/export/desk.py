# SPDX-License-Identifier: GPL-2.0-or-later
"""What operators ask of the running core by the control socket: why, and do as I say.

explain {"name": path or server}                                 → explanation_json()
override {"path": P, "role": "active"|"backup"|"off"|null, "seconds": S|null} → override_json
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from omrfast.core.events import Event, OverrideChanged
from omrfast.core.explain import Explanation, NothingKnown, explain
from omrfast.core.state import CoreState, Override, PathRecord
from omrfast.core.types import PathState, Role
from omrfast.export.control import Handler, Params
from omrfast.store.overrides import OverrideError, Overrides

log = logging.getLogger(__name__)

Json = dict[str, Any]
MAX_SECONDS = 366 * 86400.0
_DEAD = frozenset({PathState.DOWN, PathState.UNREACHABLE})


def explanation_json(found: Explanation) -> Json:
    """What ``omrfast explain --json`` prints."""
    return {
        "kind": found.kind,
        "name": found.name,
        "state": found.state,
        "since_s": found.since_s,
        "reason": found.reason,
        "lines": [{"topic": topic, "text": text} for topic, text in found.lines],
        "numbers": dict(found.numbers),
    }


def refusal(state: CoreState, name: str, role: Role | None) -> str | None:
    """Why a path can't have this role (None: the configured one); None: it can.

    Raises KeyError for an unknown path.
    """
    record = state.path(name)
    role = record.config.role if role is None else role
    if role is not Role.OFF or record.role is Role.OFF:
        return None
    others = [other for other in state.paths if other.config.name != name]
    used = [other for other in others if other.role is not Role.OFF]
    works = [other for other in used if other.sober not in _DEAD]
    if works or (used and record.sober in _DEAD):
        return None
    rest = ", ".join(_why_not(other) for other in others) or "there is no other"
    return f"{name} off would leave no path: {rest}; switch another one on first"


def _why_not(record: PathRecord) -> str:
    name = record.config.name
    if record.role is not Role.OFF:
        return f"{name} is {record.sober}"
    by = "by the operator" if record.override is not None else "by its role"
    return f"{name} is off {by}"


class Desk:
    """The control commands over the core's live state; used on the loop's thread."""

    def __init__(
        self,
        overrides: Overrides,
        *,
        state: Callable[[], Awaitable[CoreState]],
        take: Callable[[Event], None],
        clock: Callable[[], float],
    ) -> None:
        """``state`` waits until there is one; ``take`` gives the core an event."""
        self._overrides = overrides
        self._state = state
        self._take = take
        self._clock = clock

    def handlers(self) -> Mapping[str, Handler]:
        return {"explain": self._explain, "override": self._override}

    def take_up(self, state: CoreState) -> None:
        """Give the core the words that were given before a restart, or before a reload took the
        path away for a while."""
        known = {record.config.name: record.override for record in state.paths}
        for name, override in self._overrides.living(self._clock(), time.time()).items():
            if name not in known:
                log.warning("an override for %s is left alone: there is no such path", name)
            elif known[name] is None:
                log.info("path %s: %s by the operator, as before", name, override.role)
                self._take(OverrideChanged(name, override))

    async def _explain(self, params: Params) -> Json:
        name = params.get("name")
        if not isinstance(name, str):
            raise ValueError("name must be that of a path or a server")
        state = await self._state()
        try:
            return explanation_json(explain(state, name, self._clock()))
        except NothingKnown as error:
            raise ValueError(str(error)) from None

    async def _override(self, params: Params) -> Json:
        state = await self._state()
        name, role, seconds = _word(params)
        try:
            refused = refusal(state, name, role)
        except KeyError:
            known = ", ".join(record.config.name for record in state.paths)
            raise ValueError(f"no path is named {name!r}; known: {known}") from None
        if refused is not None:
            raise ValueError(refused)
        now = self._clock()
        until = None if seconds is None else now + seconds
        override = None if role is None else Override(role, until)
        self._take(OverrideChanged(name, override))
        problem = None
        try:
            self._overrides.keep(name, override, now, time.time())
        except OverrideError as error:
            problem = str(error)
            log.error("%s", problem)
        return {"path": name, "role": role, "seconds": seconds, "problem": problem}


def _word(params: Params) -> tuple[str, Role | None, float | None]:
    name, role, seconds = params.get("path"), params.get("role"), params.get("seconds")
    if not isinstance(name, str):
        raise ValueError("path must be the name of a path")
    if role is not None and role not in [*Role]:
        raise ValueError(f"role must be null or one of {', '.join(Role)}")
    if seconds is None:
        return name, None if role is None else Role(role), None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise ValueError("seconds must be a number")
    if role is None:
        raise ValueError("seconds are for a role; null lasts until told otherwise")
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError("seconds must be above 0 and at most a year")
    return name, Role(role), float(seconds)
