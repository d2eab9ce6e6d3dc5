# SPDX-License-Identifier: GPL-2.0-or-later
"""What the agent tells: log lines, events, counts, and the Snapshot of the moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace

from omrfast import __version__
from omrfast.core.plan import Binding
from omrfast.core.state import CoreState, Decision
from omrfast.core.types import PathState
from omrfast.core.views import ActionView, EventView, Snapshot
from omrfast.dataplane.flows import PathEvent
from omrfast.export.events import EventLog
from omrfast.export.snapshot import Figures, History, build

log = logging.getLogger(__name__)


_FLOW_WORDS = {
    "flow_open": "opening",
    "flow_ready": "open",
    "flow_close": "closing",
    "priority": "priority",
}


def describe_flow(event: PathEvent) -> str:
    """One line about a subflow: what happened, who with whom, of which connection."""
    what = _FLOW_WORDS.get(event.kind, event.kind)
    if event.kind == "priority":
        by = "we ask" if event.egress else "the peer asks"
        what = f"{by} for {'backup' if event.backup else 'no backup'}"
    elif event.kind == "mptcp":
        what = f"{', '.join(event.options)} {'sent' if event.egress else 'received'}"
    ends = (
        f"{_endpoint(event.local, event.local_port)} - {_endpoint(event.remote, event.remote_port)}"
    )
    token = "" if event.token is None else f", token {event.token:08x}"
    return f"{what}: {ends}{token}"


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Board:
    """Used on the loop's thread; ``published`` may be read from any."""

    def __init__(self, *, dry_run: bool) -> None:
        self._dry_run = dry_run
        self._history = History()
        self.events = EventLog()
        self.published = Snapshot(__version__, 0.0, "")

    def decided(self, decision: Decision) -> None:
        """A path entered another state. Suspicions that come to nothing are kept out of the log."""
        self._history.decided(decision)
        passing = PathState.SUSPECT in (decision.before, decision.state)
        level = logging.DEBUG if passing and decision.state is not PathState.DOWN else logging.INFO
        text = f"{decision.before} -> {decision.state}: {decision.reason}"
        log.log(level, "path %s: %s", decision.path, text)
        self.events.append(EventView(time.time(), "decision", decision.path, text))

    def acted(self, action: ActionView, what: str) -> None:
        """An operation was applied, or left out because this is a dry run."""
        reason = action.reason
        if self._dry_run:
            what = f"would be: {what}"
            action = replace(action, reason=f"dry run: {reason}")
            log.info("path %s: %s (%s)", action.path, what, reason)
        else:
            log.info("path %s: %s in %.1f ms (%s)", action.path, what, action.took_ms, reason)
        self._history.acted(action)
        details = (("reason", reason), ("took_ms", action.took_ms))
        self.events.append(EventView(action.at, "action", action.path, what, details))

    def flow(self, path: str, event: PathEvent) -> None:
        """The data path told of a TCP flow."""
        self.events.append(EventView(time.time(), "subflow", path, describe_flow(event)))

    def agent(self, text: str) -> None:
        """Something about the agent itself."""
        log.info("%s", text)
        self.events.append(EventView(time.time(), "agent", None, text))

    def publish(
        self,
        state: CoreState,
        bindings: Mapping[str, Binding],
        figures: Figures,
        *,
        loader: str,
        tick_seconds: float,
    ) -> Snapshot:
        """Make the Snapshot of now."""
        self.published = build(
            state,
            bindings,
            figures,
            self._history,
            loader=loader,
            now=time.monotonic(),
            tick_seconds=tick_seconds,
        )
        return self.published
