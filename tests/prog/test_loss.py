# SPDX-License-Identifier: GPL-2.0-or-later
"""What is sent again, what is not, and what the peer says of it (RFC 2883)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from omrfast.shim._shim import lib

from .machine import Machine, expect, flow_of, into, out
from .packets import Layout, Options
from .test_tcp import HANDSHAKE

V4 = Layout(4)


SENT = out("A", 1001, 5001, 1000)


@pytest.mark.parametrize(
    ("payload", "answers"), [(0, 0), (1, 0), (1, 1)], ids=["bare", "a byte", "a byte, twice"]
)
def test_keep_alives(machine: Machine, payload: int, answers: int) -> None:
    acked = [*HANDSHAKE, SENT, into("A", 5001, 2001, after=20)]
    probe = out("A", 2000, 5001, payload, after=7000)
    outcome = machine.run([*acked, *[probe] * (answers + 1)], V4)
    assert outcome.flow is not None
    expect(outcome.flow, retransmitted_segments=0, snd_nxt=2001)
    assert outcome.live["asked"] > 7000


def test_a_byte_that_is_not_acknowledged_is_no_keep_alive(machine: Machine) -> None:
    steps = [*HANDSHAKE, out("A", 1001, 5001, 1), out("A", 1001, 5001, 1, after=300)]
    expect(flow_of(machine, steps), retransmitted_segments=1)


def test_two_bytes_are_no_keep_alive(machine: Machine) -> None:
    steps = [*HANDSHAKE, SENT, into("A", 5001, 2001, after=20), out("A", 1999, 5001, 2)]
    expect(flow_of(machine, steps), retransmitted_segments=1)


def test_probes_end_when_the_window_opens(machine: Machine) -> None:
    closed = [*HANDSHAKE, SENT, into("A", 5001, 2001, window=0, after=20)]
    probes = [out("A", 2001, 5001, 1, after=300)] * 3
    opened = [into("A", 5001, 2002, window=9, after=20), out("A", 2002, 5001, 1)]
    again = out("A", 2002, 5001, 1, after=300)
    expect(flow_of(machine, [*closed, *probes]), retransmitted_segments=0)
    expect(flow_of(machine, [*closed, *probes, *opened, again]), retransmitted_segments=1)


def test_probes_of_linux_have_no_byte(machine: Machine) -> None:
    steps = [
        *HANDSHAKE,
        SENT,
        into("A", 5001, 2001, window=0, after=20),
        *[out("A", 2000, 5001, after=300)] * 3,
    ]
    expect(flow_of(machine, steps), retransmitted_segments=0, snd_nxt=2001)


def test_simultaneous_close(machine: Machine) -> None:
    """Both FINs cross; ours is repeated until the peer's stack has sorted it out."""
    ours = out("FA", 1001, 5001)
    crossing = [*HANDSHAKE, ours, into("FA", 5001, 1001, after=10)]
    steps = [*crossing, replace(ours, ack=5002, after=200)]
    expect(flow_of(machine, steps), retransmitted_segments=0)
    with_data = [*crossing, out("FA", 900, 5002, 101, after=200)]
    expect(flow_of(machine, with_data), retransmitted_segments=1)


def test_a_fin_before_the_peers_is_loss(machine: Machine) -> None:
    ours = out("FA", 1001, 5001)
    steps = [*HANDSHAKE, ours, replace(ours, after=300)]
    expect(flow_of(machine, steps), retransmitted_segments=1)


def test_a_reset_repeats_nothing(machine: Machine) -> None:
    steps = [*HANDSHAKE, SENT, out("RA", 1001, 5001)]
    expect(flow_of(machine, steps), retransmitted_segments=0, snd_nxt=2001)


def test_part_of_a_packet_again(machine: Machine) -> None:
    """A repeat that is longer than what was lost: one segment, and the rest is new."""
    steps = [*HANDSHAKE, SENT, out("A", 1501, 5001, 1400)]
    expect(flow_of(machine, steps), retransmitted_segments=1, snd_nxt=2901, tx_segments=2)


@pytest.mark.parametrize(
    ("seq", "segments"), [(1001, 4), (1501, 3), (1502, 3), (2001, 2), (2999, 1), (3001, 0)]
)
def test_part_of_a_super_packet_again(machine: Machine, seq: int, segments: int) -> None:
    """Four segments of 500 were sent; four leave from `seq` on."""
    steps = [
        *HANDSHAKE,
        out("A", 1001, 5001, 2000, gso=(4, 500)),
        out("A", seq, 5001, 2000, gso=(4, 500)),
    ]
    expect(flow_of(machine, steps), retransmitted_segments=segments, tx_segments=8)


def sack(*edges: int) -> Options:
    return [("SAck", edges)]


TWICE = [
    *HANDSHAKE,
    *[out("A", 1001 + 1000 * n, 5001, 1000) for n in range(6)],
    *[out("A", 1001 + 1000 * n, 5001, 1000, after=10) for n in range(6)],
]


@pytest.mark.parametrize(
    ("ack", "edges", "spurious"),
    [
        (2001, (1001, 2001), 1),
        (7001, (1001, 4001), 3),
        (4001, (1001, 1501), 1),
        (4001, (1001, 1501, 5001, 6001), 1),
        (2001, (4001, 5001, 3001, 6001), 1),
        (2001, (4001, 5001, 4001, 6001), 1),
        (2001, (4001, 5001, 3001, 5001, 6001, 7001), 1),
        (2001, (4001, 5001), 0),
        (2001, (4001, 5001, 6001, 7001), 0),
        (2001, (4001, 5001, 4501, 6001), 0),
        (2001, (1501, 2501), 0),
        (2001, (2001, 2001), 0),
        (2001, (2001, 1001), 0),
        (7001, (6001 - 2**31, 7001), 0),
        (7001, (1001 - 900, 7001), 6),
    ],
    ids=[
        "a segment below the acknowledgement",
        "three of them",
        "half of one: RFC 2883 section 4.1",
        "with a block of SACK behind: example 2",
        "inside a block: section 4.2",
        "inside, from its start",
        "inside, to its end, a third one behind",
        "above, alone: SACK",
        "above, outside of the second",
        "above, half outside",
        "across the acknowledgement",
        "empty",
        "the wrong way round",
        "half of all numbers",
        "more than was repeated",
    ],
)
def test_duplicate_sack(machine: Machine, ack: int, edges: tuple[int, ...], spurious: int) -> None:
    edges = tuple(edge % 2**32 for edge in edges)
    found = flow_of(machine, [*TWICE, into("A", 5001, ack, options=sack(*edges), after=20)])
    expect(found, retransmitted_segments=6, spurious_segments=spurious)


def test_duplicate_sack_counts_in_segments_of_the_flow(machine: Machine) -> None:
    """536 bytes make 9 units of 64; two such segments are 1,072 wide."""
    small = [out("A", 1001, 5001, 1072, gso=(2, 536))] * 2
    answer = into("A", 5001, 2073, options=sack(1001, 2073), after=20)
    found = flow_of(machine, [*HANDSHAKE, *small, answer])
    expect(found, retransmitted_segments=2, spurious_segments=2, segment_64b=9)


def test_duplicate_sack_across_the_wrap(machine: Machine) -> None:
    start = 2**32 - 501
    twice = [out("A", start + 1, 5001, 1000)] * 2
    steps = [
        out("S", start),
        into("SA", 5000, start + 1, after=20),
        *twice,
        into("A", 5001, start + 1001, options=sack(start + 1, (start + 1001) % 2**32), after=20),
    ]
    expect(flow_of(machine, steps), retransmitted_segments=1, spurious_segments=1)


def test_a_fin_that_was_needless(machine: Machine) -> None:
    """Nothing but a FIN was sent: the smallest segment there is."""
    ours = out("FA", 1001, 5001)
    steps = [*HANDSHAKE, ours, ours, into("A", 5001, 1002, options=sack(1001, 1002), after=20)]
    expect(flow_of(machine, steps), retransmitted_segments=1, spurious_segments=1, segment_64b=0)


def test_part_of_what_arrived_comes_again(machine: Machine) -> None:
    steps = [*HANDSHAKE, into("A", 5001, 1001, 1000, after=100), into("A", 5501, 1001, 1000)]
    expect(flow_of(machine, steps), refilled_segments=1, rcv_nxt=6501, rx_segments=2)


def test_a_bare_packet_opens_no_hole(machine: Machine) -> None:
    """An acknowledgement that overtook data says nothing of it."""
    steps = [*HANDSHAKE, into("A", 6001, 1001, after=8)]
    found = flow_of(machine, steps)
    assert not found["rx_flags"] & lib.OMR_RX_HOLE
