# SPDX-License-Identifier: GPL-2.0-or-later
"""Results as tables for people."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.table import Table

from omrfast.lab.result import EventResult, Result

FILE_WIDTH = 120


def wide_console() -> Console:
    """Standard output; a file gets lines of at least FILE_WIDTH."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, FILE_WIDTH))


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.0f} ms"


def _beside(with_agent: float, without: float | None) -> str:
    return _ms(with_agent) if without is None else f"{_ms(with_agent)}  ({_ms(without)})"


def _events(result: Result, other: Result | None) -> Table:
    """One row per change; figures of ``other`` (the run without the agent) in brackets."""
    title = "Longest stall after each change"
    if other is not None:
        title += ", with the agent (without it)"
    shown = Table(title=title, title_justify="left", header_style="bold")
    shown.add_column("at")
    shown.add_column("change")
    for stream in result.streams:
        shown.add_column(stream.name, justify="right")
    messages = [s.name for s in result.streams if s.messages]
    for name in messages:
        shown.add_column(f"{name} p99", justify="right")
    if result.agent:
        shown.add_column("demoted after", justify="right")
        shown.add_column("first action after", justify="right")
    for number, event in enumerate(result.events):
        twin = other.events[number] if other else None
        shown.add_row(*_event_row(result, event, twin, messages))
    return shown


def _event_row(
    result: Result, event: EventResult, twin: EventResult | None, messages: list[str]
) -> list[str]:
    row = [f"{event.at:.0f} s", f"{event.where} {event.label}"]
    row += [
        _beside(event.stalls[s.name], twin.stalls[s.name] if twin else None) for s in result.streams
    ]
    for name in messages:
        own, others = event.latency_p99[name], twin.latency_p99[name] if twin else None
        row.append("-" if own is None else _beside(own, others))
    if result.agent:
        row += [_ms(event.demoted), _ms(event.first_action)]
    return row


def outcome(result: Result, other: Result | None = None) -> RenderableType:
    """Everything about a run: figures, and what the agent decided and did."""
    figures = _events(result, other) if result.events else _streams(result)
    parts: list[RenderableType] = [figures]
    if result.agent:
        parts.append(_decisions(result) if result.decisions else "The agent decided nothing.")
        parts.append(_actions(result) if result.actions else "The agent did nothing.")
    return Group(*parts)


def _streams(result: Result) -> Table:
    shown = Table(title="What was delivered", title_justify="left", header_style="bold")
    for header in ("stream", "MB", "messages", "slowest", "errors"):
        shown.add_column(header, justify="right" if header != "stream" else "left")
    for stream in result.streams:
        slowest = max((at for at in stream.latency if at is not None), default=None)
        counts = (f"{stream.bytes / 1e6:.1f}", str(stream.messages), _ms(slowest))
        shown.add_row(stream.name, *counts, str(len(stream.errors)))
    return shown


def _decisions(result: Result) -> Table:
    shown = Table(title="What the agent decided", title_justify="left", header_style="bold")
    for header in ("at", "about", "decision"):
        shown.add_column(header)
    for decision in result.decisions:
        shown.add_row(f"{decision.at:.2f} s", decision.subject, decision.text)
    return shown


def _actions(result: Result) -> Table:
    shown = Table(title="What the agent did", title_justify="left", header_style="bold")
    for header in ("at", "path", "action", "took", "reason"):
        shown.add_column(header)
    for action in result.actions:
        shown.add_row(
            f"{action.at:.2f} s",
            action.path,
            action.kind,
            f"{action.took_ms:.1f} ms",
            action.reason,
        )
    return shown
