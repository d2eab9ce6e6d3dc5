# SPDX-License-Identifier: GPL-2.0-or-later
"""What the agent tells: log lines, events, counts, and the Snapshot of the moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace

from omrfast import __version__
from omrfast.core import evidence
from omrfast.core.cause import Cause, causes
from omrfast.core.outcome import Decision, Wish
from omrfast.core.plan import Binding
from omrfast.core.state import CoreState
from omrfast.core.types import PathState
from omrfast.core.views import ActionView, EventView, Snapshot
from omrfast.dataplane.flows import PathEvent
from omrfast.export.events import EventLog
from omrfast.export.snapshot import Figures, History, build
from omrfast.store.journal import Recorder

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


def _numbers(decision: Decision) -> tuple[tuple[str, str | float | None], ...]:
    """What was measured, against which limit, and how long after the first sign."""
    if decision.evidence is None:
        return ()
    found = evidence.shown(decision.evidence)
    sign = decision.evidence.sign_at
    return (
        ("what", found.what),
        ("measured", found.measured),
        ("limit", found.limit),
        ("unit", found.unit),
        ("sign_ms", None if sign is None else round((decision.at - sign) * 1e3, 3)),
    )


class Board:
    """Used on the loop's thread; ``published`` may be read from any."""

    def __init__(self, *, dry_run: bool) -> None:
        self._dry_run = dry_run
        self._history = History()
        self._fresh: dict[str, Decision] = {}
        self._suspected: dict[str, PathState] = {}
        """What the suspect paths were before."""
        self._trouble: str | None = None
        self._unrecorded: str | None = None
        self.recorder: Recorder | None = None
        """Told of decisions and actions, and of the agent itself, once there is one."""
        self.events = EventLog()
        self.published = Snapshot(__version__, 0.0, "")

    def decided(self, decision: Decision) -> None:
        """A path or a server entered another state, or the operator said a word about a path.

        Suspicions, and their ends that came to nothing, are kept out of the log, and are no cause
        for anything that is done.
        """
        passing = self._passes(decision)
        kind = "decision"
        text = f"{decision.before} -> {decision.state}: {decision.reason}"
        if decision.server:
            kind = "server"
        elif decision.before is decision.state:
            kind, text = "operator", decision.reason
        else:
            self._history.decided(decision)
        if decision.path and not passing:
            self._fresh[decision.path] = decision
        level = logging.DEBUG if passing else logging.INFO
        about = f"server {decision.server}" if decision.server else f"path {decision.path}"
        log.log(level, "%s: %s", about, text)
        event = EventView(
            time.time(),
            kind,
            decision.path or None,
            text,
            _numbers(decision),
            decision.server or None,
        )
        self.events.append(event)
        if self.recorder is not None:
            self.recorder.decided(decision)

    def _passes(self, decision: Decision) -> bool:
        """Whether a path became suspect, or is what it was before it did."""
        if decision.before is decision.state:
            return False
        if decision.state is PathState.SUSPECT:
            self._suspected[decision.path] = PathState(decision.before)
            return True
        before = self._suspected.pop(decision.path, None)
        return decision.before is PathState.SUSPECT and decision.state is before

    def take_causes(self, state: CoreState) -> dict[str, Cause]:
        """What a pass of the reconciler is for, by path: the decisions since the last one."""
        fresh, self._fresh = self._fresh, {}
        return causes(state.paths, fresh)

    def trouble(self, text: str | None) -> None:
        """Local trouble, as of now; None: there is none."""
        if text == self._trouble:
            return
        self._trouble = text
        words = "trouble is over" if text is None else f"trouble: {text}"
        log.warning("%s", words)
        self._tell(words)

    def recorded(self, why_not: str | None) -> None:
        """What is changed is written down, as of now, or why it can't be."""
        if why_not == self._unrecorded:
            return
        self._unrecorded = why_not
        if why_not is None:
            self.agent("what is changed is recorded again")
            return
        words = f"what is changed can't be put back after a crash, it can't be recorded: {why_not}"
        log.error("%s", words)
        self._tell(words)

    def acted(self, action: ActionView, what: str) -> None:
        """An operation was applied, or left out because this is a dry run."""
        reason = action.reason
        whose = f"path {action.path}: " if action.path else ""
        if self._dry_run:
            what = f"would be: {what}"
            action = replace(action, reason=f"dry run: {reason}")
            log.info("%s%s (%s)", whose, what, reason)
        else:
            log.info("%s%s in %.1f ms (%s)", whose, what, action.took_ms, reason)
        self._history.acted(action)
        details = (
            ("took_ms", action.took_ms),
            ("decision_ms", action.decision_ms),
            ("sign_ms", action.sign_ms),
            ("reason", reason),
        )
        self.events.append(EventView(action.at, "action", action.path, what, details))
        if self.recorder is not None:
            self.recorder.acted(action, what)

    def flow(self, path: str, event: PathEvent) -> None:
        """The data path told of a TCP flow."""
        self.events.append(EventView(time.time(), "subflow", path, describe_flow(event)))

    def agent(self, text: str) -> None:
        """Something about the agent itself."""
        log.info("%s", text)
        self._tell(text)

    def _tell(self, text: str) -> None:
        self.events.append(EventView(time.time(), "agent", None, text))
        if self.recorder is not None:
            self.recorder.said(text)

    def publish(
        self,
        state: CoreState,
        wishes: Mapping[str, Wish],
        bindings: Mapping[str, Binding],
        figures: Figures,
        *,
        loader: str,
        tick_seconds: float,
    ) -> Snapshot:
        """Make the Snapshot of now."""
        self.published = build(
            state,
            wishes,
            bindings,
            figures,
            self._history,
            loader=loader,
            dry_run=self._dry_run,
            unrecorded=self._unrecorded,
            now=time.monotonic(),
            tick_seconds=tick_seconds,
        )
        return self.published
