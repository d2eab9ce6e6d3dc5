# SPDX-License-Identifier: GPL-2.0-or-later
"""What a flow entry holds, what a packet did to it, and sums that both directions need."""

from __future__ import annotations

from dataclasses import dataclass, fields

from .numbers import WORD, apart, ceil_div
from .wire import Tcp

STAMP_NS = 128
LONGEST_US = 2**28
FULL_BYTE = 255


@dataclass(frozen=True)
class Now:
    """Both clocks at one packet."""

    jiffies: int
    ns: int
    hz: int

    @property
    def stamp(self) -> int:
        return (self.ns // STAMP_NS) % WORD | 1


@dataclass(frozen=True)
class Sample:
    """One round trip, and what it was compared with."""

    us: int
    source: str
    """handshake, data, sack or echo."""
    deviation: int
    """|R - SRTT before|; 0 for the first."""
    step: int
    """|R - R before|; 0 for the first."""


@dataclass
class Sent:
    """What a packet that left meant."""

    retransmitted: int = 0
    syn_again: bool = False
    keep_alive: bool = False


@dataclass
class Arrived:
    """What a packet that arrived meant."""

    peer: bool = False
    quickest: int = 0
    """Minimum RTT of the flow before this packet."""
    sample: Sample | None = None
    ready: bool = False
    spurious: int = 0
    refilled: int = 0
    refilled_on_path: int = 0
    reordered: int = 0


@dataclass
class Member:
    """The members of struct omr_flow, tx first."""

    tx_bytes: int = 0
    sample_stamp: int = 0
    tsecho_stamp: int = 0
    sample_ack: int = 0
    tsecho_val: int = 0
    tsval_max: int = 0
    snd_nxt: int = 0
    tx_segments: int = 0
    retransmitted_segments: int = 0
    spurious_segments: int = 0
    unacked_since_j: int = 0
    sample_no: int = 0
    tsecho_no: int = 0
    tx_flags: int = 0
    path: int = 0
    local_id: int = 0
    remote_id: int = 0
    segment_64b: int = 0
    rx_bytes: int = 0
    srtt_us8: int = 0
    rttvar_us4: int = 0
    jitter_us16: int = 0
    last_rtt_us: int = 0
    min_rtt_us: int = 0
    rtt_samples: int = 0
    snd_una: int = 0
    rcv_nxt: int = 0
    rx_segments: int = 0
    refilled_segments: int = 0
    reordered_segments: int = 0
    last_rx_j: int = 0
    sample_done: int = 0
    tsecho_done: int = 0
    rx_flags: int = 0
    hole_j: int = 0
    since_sample: int = 0
    echo_gap_j: int = 0


MEMBERS = tuple(member.name for member in fields(Member))


def segments_below(tcp: Tcp, edge: int) -> int:
    """Wire segments of a packet from below edge that begin below it."""
    overlap = apart(edge, tcp.seq)
    if overlap >= tcp.space or not tcp.gso_size:
        return tcp.gso_segs
    return min(ceil_div(overlap, tcp.gso_size), tcp.gso_segs)


def with_bit(flags: int, bit: int, on: bool) -> int:
    return flags | bit if on else flags & ~bit


def microseconds(stamp: int, now: Now) -> int:
    """Since a stamp, to the nearest microsecond, at least 1, at most LONGEST_US."""
    units = apart(now.stamp, stamp)
    return min(max((units * STAMP_NS + 500) // 1000, 1), LONGEST_US)
