# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios are data: a topology, streams through it, and what happens to its links when.

A test, the demo and a benchmark that name the same scenario say the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omrfast.lab.links import BOTH
from omrfast.lab.topology import TopologySpec, UplinkSpec
from omrfast.lab.traffic import StreamSpec


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happens to an uplink."""

    at: float
    """Seconds after the streams have settled."""
    uplink: str
    label: str
    """For people: "black hole"."""
    settings: Mapping[str, Any]
    """Members of LinkSettings that change."""
    direction: str = BOTH
    bad: bool = True
    """Whether it does harm (stalls are told for every change, but demotion only for these)."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that a run needs."""

    name: str
    summary: str
    streams: tuple[StreamSpec, ...]
    changes: tuple[Change, ...]
    duration: float
    """Seconds, from when the streams have settled."""
    topology: TopologySpec = field(default_factory=TopologySpec)
    settle: float = 3.0
    """Seconds between the start of the streams and time 0."""
    window: float = 6.0
    """Seconds after a change in which its stall is looked for, at most up to the next change."""
    agent: bool = True
    agent_config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def slow(at: float, uplink: str, rtt: float, extra: float) -> Change:
    """The round trip of an uplink of ``rtt`` becomes longer by ``extra`` seconds."""
    return Change(at, uplink, f"+{extra * 1e3:.0f} ms", {"delay": (rtt + extra) / 2})


def fast(at: float, uplink: str, rtt: float) -> Change:
    return Change(at, uplink, "heals", {"delay": rtt / 2}, bad=False)


def dead(at: float, uplink: str) -> Change:
    """Everything vanishes silently, in both directions."""
    return Change(at, uplink, "black hole", {"blackhole": True})


def alive(at: float, uplink: str) -> Change:
    return Change(at, uplink, "heals", {"blackhole": False}, bad=False)


def lossy(at: float, uplink: str, loss: float) -> Change:
    return Change(at, uplink, f"{loss:.0%} loss", {"loss": loss})


_FIRST_RTT = 0.04
_REQUESTS = StreamSpec("requests", "request", interval=0.05)


def _blackhole(kind: str) -> Scenario:
    stream = StreamSpec(kind, {"small-up": "paced-up", "small-down": "paced-down"}.get(kind, kind))
    return Scenario(
        name=f"blackhole-{kind}",
        summary=f"uplink 1 goes silent under a {kind} stream",
        streams=(stream,),
        changes=(dead(2.0, "wan1"),),
        duration=6.0,
        window=4.0,
    )


def _flaps(count: int, period: float) -> tuple[Change, ...]:
    changes: list[Change] = []
    for i in range(count):
        at = 2.0 + i * period
        changes += [dead(at, "wan1"), alive(at + period / 2, "wan1")]
    return tuple(changes)


DEMO = Scenario(
    name="demo",
    summary="uplink 1 turns slow, heals, goes silent, heals, under a download and requests",
    streams=(StreamSpec("download", "bulk-down"), _REQUESTS),
    changes=(
        slow(4.0, "wan1", _FIRST_RTT, 0.3),
        fast(10.0, "wan1", _FIRST_RTT),
        dead(23.0, "wan1"),
        alive(29.0, "wan1"),
    ),
    duration=41.0,
    agent_config={"quality": {"recover_after": "3s"}},
)

_ALL = (
    DEMO,
    *(_blackhole(kind) for kind in ("bulk-up", "bulk-down", "small-up", "small-down")),
    Scenario(
        name="slow",
        summary="uplink 1 gets 300 ms slower and heals",
        streams=(StreamSpec("upload", "bulk-up"), _REQUESTS),
        changes=(slow(3.0, "wan1", _FIRST_RTT, 0.3), fast(11.0, "wan1", _FIRST_RTT)),
        duration=24.0,
    ),
    Scenario(
        name="lossy",
        summary="uplink 1 loses one packet in ten, then none",
        streams=(StreamSpec("upload", "bulk-up"), _REQUESTS),
        changes=(
            lossy(3.0, "wan1", 0.1),
            Change(13.0, "wan1", "heals", {"loss": 0.0}, bad=False),
        ),
        duration=26.0,
    ),
    Scenario(
        name="flap",
        summary="uplink 1 goes silent and heals every four seconds",
        streams=(StreamSpec("small-up", "paced-up"), _REQUESTS),
        changes=_flaps(5, 4.0),
        duration=32.0,
    ),
    Scenario(
        name="connect",
        summary="new connections, ten a second, while the default uplink is silent",
        streams=(StreamSpec("new", "connect", interval=0.1), _REQUESTS),
        changes=(dead(3.0, "wan1"), alive(13.0, "wan1")),
        duration=20.0,
    ),
    Scenario(
        name="backup",
        summary="the active uplink of an active and a backup one goes silent",
        streams=(StreamSpec("small-down", "paced-down"),),
        changes=(dead(2.0, "wan1"), alive(10.0, "wan1")),
        duration=20.0,
        topology=TopologySpec(
            uplinks=(UplinkSpec(rtt=_FIRST_RTT), UplinkSpec(rtt=0.08, role="backup"))
        ),
    ),
    Scenario(
        name="three",
        summary="two of three uplinks go silent one after the other",
        streams=(StreamSpec("download", "bulk-down"), _REQUESTS),
        changes=(dead(3.0, "wan1"), dead(8.0, "wan2"), alive(13.0, "wan1"), alive(15.0, "wan2")),
        duration=26.0,
        topology=TopologySpec(
            uplinks=(UplinkSpec(rtt=_FIRST_RTT), UplinkSpec(rtt=0.08), UplinkSpec(rtt=0.12))
        ),
    ),
)

SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
