# SPDX-License-Identifier: GPL-2.0-or-later
"""A run as it happens: a live screen on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from omrfast.lab.runner import Live
from omrfast.lab.scenario import Change

STATE_STYLES = {
    "up": "green",
    "suspect": "yellow",
    "degraded": "dark_orange",
    "failing": "dark_orange",
    "unreachable": "bold red",
    "down": "bold red",
    "probation": "cyan",
    "unknown": "dim",
}
SHOWN_ACTIONS = 6
LINE_INTERVAL = 2.0


class View(Protocol):
    """Shows samples of one run; a context manager."""

    def __enter__(self) -> View: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, live: Live) -> None: ...


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _megabits(rate: float) -> str:
    return f"{rate / 1e6:.1f} Mbit/s" if rate >= 1e5 else f"{rate / 1e3:.1f} kbit/s"


def condition(happened: tuple[Change, ...], where: str) -> str:
    """What the lab has done to an uplink or a server."""
    done = [change for change in happened if change.where == where]
    return done[-1].label if done and done[-1].bad else "healthy"


def _states(live: Live) -> dict[str, dict[str, Any]]:
    """What the agent shows of each path and server, by name."""
    status = live.status or {"paths": (), "servers": ()}
    return {subject["name"]: subject for subject in (*status["paths"], *status["servers"])}


class ScreenView:
    """For a terminal."""

    def __init__(self, console: Console, title: str) -> None:
        self._title = title
        self._rich = RichLive(console=console, refresh_per_second=10, transient=True)

    def __enter__(self) -> View:
        self._rich.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rich.__exit__(kind, error, trace)

    def show(self, live: Live) -> None:
        self._rich.update(self._screen(live))

    def _screen(self, live: Live) -> Panel:
        parts: list[RenderableType] = [self._clock(live), self._paths(live), self._streams(live)]
        if live.agent:
            parts.append(self._actions(live))
        return Panel(Group(*parts), title=self._title, border_style="blue")

    @staticmethod
    def _clock(live: Live) -> RenderableType:
        total = live.scenario.duration + live.scenario.settle
        done = max(live.at + live.scenario.settle, 0.0)
        grid = Table.grid(padding=(0, 1))
        grid.add_row(f"{live.at:6.1f} s", ProgressBar(total=total, completed=done, width=50))
        return grid

    @staticmethod
    def _paths(live: Live) -> RenderableType:
        shown = Table(expand=True, box=None, header_style="bold")
        for header in ("", "in the lab", "agent says", "RTT", "loss"):
            shown.add_column(header)
        shown.add_column("reason", no_wrap=True, overflow="ellipsis", ratio=1)
        topology = live.scenario.topology
        names = [f"wan{n}" for n in range(1, len(topology.uplinks) + 1)]
        names += [f"vps{v}" for v in range(1, topology.servers + 1)]
        said = _states(live)
        for name in names:
            lab = condition(live.happened, name)
            subject = said.get(name)
            state = subject["state"] if subject else "no agent"
            rtt = subject.get("rtt_ms") if subject else None
            shown.add_row(
                name,
                Text(lab, style="green" if lab == "healthy" else "bold red"),
                Text(state, style=STATE_STYLES.get(state, "dim")),
                _milliseconds(rtt["smoothed"]) if rtt else "",
                _percent(subject["loss_ratio"]) if subject and rtt else "",
                subject["reason"] if subject else "",
            )
        return shown

    @staticmethod
    def _streams(live: Live) -> RenderableType:
        shown = Table.grid(padding=(0, 2))
        for name, rate in live.rates.items():
            stalled = Text("nothing arrives", style="bold red")
            shown.add_row(name, _megabits(rate) if rate else stalled)
        return Panel(shown, title="delivered", title_align="left", border_style="dim")

    @staticmethod
    def _actions(live: Live) -> RenderableType:
        shown = Table.grid(padding=(0, 2), expand=True)
        for _ in range(3):
            shown.add_column(no_wrap=True)
        shown.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        actions = live.status["actions"] if live.status else []
        newest = sorted(actions, key=lambda action: action["at"])[-SHOWN_ACTIONS:]
        for action in newest:
            at = time.strftime("%H:%M:%S", time.localtime(action["at"]))
            shown.add_row(at, action["path"], action["kind"], action["reason"])
        for _ in range(SHOWN_ACTIONS - len(newest)):
            shown.add_row("", "", "")
        return Panel(shown, title="last actions", title_align="left", border_style="dim")


class LineView:
    """For a file or a pipe: a line for everything that happens, and one every two seconds."""

    def __init__(self, console: Console, title: str) -> None:
        self._print = console.out
        self._title = title
        self._seen_changes = 0
        self._seen_actions: set[tuple[float, str, str]] = set()
        self._states: dict[str, str] = {}
        self._next = float("-inf")

    def __enter__(self) -> View:
        self._print(self._title)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def show(self, live: Live) -> None:
        def say(text: str) -> None:
            self._print(f"{live.at:7.1f} s  {text}")

        for change in live.happened[self._seen_changes :]:
            say(f"lab: {change.where} {change.label}")
        self._seen_changes = len(live.happened)
        for name, subject in _states(live).items():
            if self._states.get(name) != subject["state"]:
                self._states[name] = subject["state"]
                say(f"agent: {name} is {subject['state']}: {subject['reason']}")
        for action in live.status["actions"] if live.status else []:
            key = action["at"], action["path"], action["kind"]
            if key not in self._seen_actions:
                self._seen_actions.add(key)
                say(f"agent: {action['path']} {action['kind']}: {action['reason']}")
        if live.at >= self._next:
            self._next = live.at + LINE_INTERVAL
            rates = ", ".join(f"{name} {_megabits(r)}" for name, r in live.rates.items())
            say(f"delivered: {rates}")


def open_view(title: str, console: Console | None = None) -> View:
    """The view that suits where the output goes (standard error, unless told)."""
    console = console or Console(stderr=True)
    return ScreenView(console, title) if console.is_terminal else LineView(console, title)


def progress(text: str) -> None:
    """One line about something that takes a while."""
    print(text, file=sys.stderr, flush=True)
