# SPDX-License-Identifier: GPL-2.0-or-later
"""Which flow entries, made by packets, the scan collects on the programs' own clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from omrfast.dataplane.reader import HALF_OPEN_AGE

from . import packets
from .conftest import FLOWS
from .machine import Machine, Step, into, out
from .packets import LAYOUTS, Layout
from .test_tcp import HANDSHAKE

LIMIT = HALF_OPEN_AGE * 1000
JUST = 20
"""Milliseconds: some jiffies at any rate."""

SYN = [out("S", 1000)]
SYN_ACK = [into("S", 5000), out("SA", 1000, 5001)]

CASES: list[tuple[str, list[Step], float, int]] = [
    # what is sent, milliseconds until the scan, entries that remain
    ("client, not yet", SYN, LIMIT - JUST, 1),
    ("client, never answered", SYN, LIMIT + JUST, 0),
    ("client that tries again", [*SYN, out("S", 1000, after=10_000)], LIMIT - 10_000 + JUST, 0),
    ("client, answered", [*SYN, into("SA", 5000, 1001, after=20)], LIMIT + JUST, 1),
    ("client, in use", HANDSHAKE, 10 * LIMIT, 1),
    ("client, answered late", [*SYN, into("SA", 5000, 1001, after=14_000)], LIMIT + JUST, 1),
    ("server, not yet", SYN_ACK, LIMIT - JUST, 1),
    ("server, never answered", SYN_ACK, LIMIT + JUST, 0),
    (
        "server, the client's SYN again and again",
        [*SYN_ACK, into("S", 5000, after=10_000), out("SA", 1000, 5001)],
        LIMIT - 10_000 + JUST,
        0,
    ),
    ("server, in use", [*SYN_ACK, into("A", 5001, 1001, after=20)], 10 * LIMIT, 1),
    (
        "server, an acknowledgement of something else",
        [*SYN_ACK, into("A", 5001, 77, after=14_000)],
        LIMIT - 14_000 + JUST,
        0,
    ),
    ("met in mid-life", [out("A", 1001, 5001)], 10 * LIMIT, 1),
]


@pytest.mark.parametrize("layout", [Layout(4), Layout(6)], ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_half_open_flows_are_collected(
    machine: Machine, case: tuple[str, list[Step], float, int], layout: Layout
) -> None:
    _, steps, ms, entries = case
    machine.run(steps, layout)
    machine.wait(ms)
    found = machine.plane.scan()
    assert (found.entries, found.collected) == (entries, 1 - entries)
    assert (machine.flow(layout) is None) == (entries == 0)


def test_a_syn_flood_leaves_room_again(machine: Machine) -> None:
    """SYN-ACKs to strangers fill the table; none of them answers, one client does."""
    layout = LAYOUTS[0]

    def synack(port: int) -> Step:
        def build(layout: Layout) -> bytes:
            tcp = packets.transport(True, "SA", 1000, 5001, 500, [])
            tcp.dport = port
            return packets.frame(layout, True, packets.network(layout, True) / tcp)

        return replace(out("SA", 1000, 5001), build=build)

    machine.run([*SYN_ACK, into("A", 5001, 1001, after=20)], layout)
    for port in range(10_000, 10_000 + 2 * FLOWS):
        machine.send(synack(port), layout)
    refused = machine.counters()["flows_refused"]
    assert refused > 0
    machine.wait(LIMIT + JUST)
    found = machine.plane.scan()
    assert (found.entries, found.collected) == (1, 2 * FLOWS - refused)
    machine.send(synack(9_999), layout)
    assert machine.counters()["flows_refused"] == refused
    assert machine.plane.scan().entries == 2
