# SPDX-License-Identifier: GPL-2.0-or-later
"""Which flow entries, made by packets, the scan collects on the programs' own clock."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scapy.packet import Raw

from omrfast.dataplane.reader import HALF_OPEN_AGE

from . import packets
from .conftest import FLOWS
from .machine import PATH, Machine, Step, into, out
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


def with_port(step: Step, port: int) -> Step:
    """The packet as one of a flow of its own, by its remote port."""

    def build(layout: Layout) -> bytes:
        tcp = packets.transport(step.egress, step.flags, step.seq, step.ack, step.window, [])
        setattr(tcp, "dport" if step.egress else "sport", port)
        inner = packets.network(layout, step.egress) / tcp / Raw(bytes(step.payload))
        return packets.frame(layout, step.egress, inner)

    return replace(step, build=build)


@pytest.mark.parametrize("layout", [Layout(4), Layout(6)], ids=str)
def test_a_full_table_costs_the_path_nothing(machine: Machine, layout: Layout) -> None:
    """The path counts every packet of every flow; those without an entry are counted as such."""
    steps = [
        with_port(step, port)
        for port in range(10_000, 10_000 + 3 * FLOWS)
        for step in (
            out("S", 1000),
            into("SA", 5000, 1001, after=20),
            out("A", 1001, 5001),
            out("PA", 1001, 5001, payload=300),
            into("PA", 5001, 1301, payload=900, after=20),
        )
    ]
    machine.reset(layout)
    for step in steps:
        machine.send(step, layout)
    flows, refused = FLOWS, 2 * FLOWS
    counters = machine.counters()
    assert (counters["flows_opened"], counters["flows_refused"]) == (flows, 3 * refused)
    for side, egress in (("tx", True), ("rx", False)):
        those = [step for step in steps if step.egress == egress]
        assert counters[f"{side}_packets"] == len(those)
        assert counters[f"{side}_bytes"] == sum(len(step.bytes_in(layout)) for step in those)
        assert counters[f"{side}_segments"] == 3 * FLOWS
    assert "retransmitted_segments" not in counters
    found = machine.plane.scan()
    assert (found.entries, found.paths[PATH].open, found.collected) == (flows, flows, 0)


def test_a_syn_flood_leaves_room_again(machine: Machine) -> None:
    """SYN-ACKs to strangers fill the table; none of them answers, one client does."""
    layout = LAYOUTS[0]

    machine.run([*SYN_ACK, into("A", 5001, 1001, after=20)], layout)
    for port in range(10_000, 10_000 + 2 * FLOWS):
        machine.send(with_port(out("SA", 1000, 5001), port), layout)
    refused = machine.counters()["flows_refused"]
    assert refused > 0
    machine.wait(LIMIT + JUST)
    found = machine.plane.scan()
    assert (found.entries, found.collected) == (1, 2 * FLOWS - refused)
    machine.send(with_port(out("SA", 1000, 5001), 9_999), layout)
    assert machine.counters()["flows_refused"] == refused
    assert machine.plane.scan().entries == 2
