# SPDX-License-Identifier: GPL-2.0-or-later
"""What a replay leaves."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple


class Sample(NamedTuple):
    """One RTT sample."""

    packet: int
    """Number of the packet that finished it."""
    flow: int
    """Index into Replay.flows."""
    rtt_us: int
    source: str
    """handshake, data, sack or echo."""


@dataclass(slots=True)
class Flow:
    """One connection, or what was seen of it: an entry from its beginning to its replacement."""

    key: bytes
    """struct omr_flow_key4 or omr_flow_key6."""
    first_packet: int
    entry: bytes = b""
    """struct omr_flow as it was at the end."""
    samples_us: array[int] = field(default_factory=lambda: array("I"))


@dataclass(slots=True)
class Replay:
    """What came of a capture."""

    packets: int = 0
    replayed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason to packets that the programs did not get."""
    too_short: int = 0
    """Packets of which so little was kept that the kernel runs nothing on them: truncated."""
    earlier: int = 0
    """Packets whose time lies before that of one before them; taken as simultaneous."""
    first_ns: int | None = None
    """Unix time of the first packet."""
    passed_ns: int = 0
    """From the first packet to the last."""
    links: Counter[str] = field(default_factory=Counter)
    flows: list[Flow] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    """All of them, if they were asked for; a large capture has millions."""
    counters: Counter[str] = field(default_factory=Counter)
    unparsed: list[int] = field(default_factory=list)
    """By enum omr_unparsed."""
    told: Counter[str] = field(default_factory=Counter)
    """What decided the direction, by conversations."""
    local: Counter[str] = field(default_factory=Counter)
    damage: str | None = None
    resolution_ns: float | None = None
