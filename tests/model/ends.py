# SPDX-License-Identifier: GPL-2.0-or-later
"""One end of a conversation, and what holds for both."""

from __future__ import annotations

from dataclasses import dataclass, field

from .numbers import WORD, apart, before
from .segments import Keys, Segment
from .wire import ACK, FIN, SYN


@dataclass(frozen=True)
class Setting:
    """What holds for a whole conversation."""

    role: str = "client"
    """client, server, simultaneous, or middle: met in mid-life."""
    iss: tuple[int, int] = (1000, 5000)
    """Initial sequence numbers, local and remote."""
    stamps: str = "on"
    """on, off, zero (TSecr is 0), frozen (TSval stands still)."""
    stamp_base: tuple[int, int] = (100, 900)
    mptcp: str = "none"
    """none, v1, v0, join."""
    keys: Keys = field(default_factory=Keys)
    ids: tuple[int, int] = (1, 2)
    backup: tuple[bool, bool] = (False, False)
    mss: int = 1000
    flow: int = 0
    syn_data: int = 0


@dataclass
class End:
    local: bool
    iss: int
    snd_nxt: int = 0
    snd_una: int = 0
    rcv_nxt: int = 0
    stamp: int = 0
    echo: int = 0
    window: int = 500
    sent: list[Segment] = field(default_factory=list)
    early: list[tuple[int, int]] = field(default_factory=list)
    """Ranges that arrived beyond rcv_nxt."""
    twice: tuple[int, int] | None = None
    """A range that arrived twice and is not yet reported."""

    def __post_init__(self) -> None:
        self.snd_nxt = self.snd_una = self.iss

    def take(self, segment: Segment) -> None:
        if segment.flags & ACK and before(self.snd_una, segment.ack):
            self.snd_una = segment.ack
        end = (segment.seq + space_of(segment)) % WORD
        if segment.flags & SYN:
            self.rcv_nxt = end
        elif segment.seq != end and not before(self.rcv_nxt, end):
            self.twice = (segment.seq, end)
        elif before(self.rcv_nxt, segment.seq):
            self.early.append((segment.seq, end))
        elif before(self.rcv_nxt, end):
            self.rcv_nxt = end
            for low, high in sorted(self.early, key=lambda pair: apart(pair[0], end)):
                if not before(self.rcv_nxt, low) and before(self.rcv_nxt, high):
                    self.rcv_nxt = high
            self.early = [pair for pair in self.early if before(self.rcv_nxt, pair[0])]

    def blocks(self) -> list[tuple[int, int]]:
        found = ([self.twice] if self.twice else []) + self.early[-2:]
        self.twice = None
        return found


def space_of(segment: Segment) -> int:
    return segment.payload + bool(segment.flags & SYN) + bool(segment.flags & FIN)
