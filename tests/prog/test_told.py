# SPDX-License-Identifier: GPL-2.0-or-later
"""What whoever replays is told of a packet (struct omr_replay)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from omrfast.shim._shim import lib

from .machine import Machine, Step, into, out
from .packets import Layout, timestamps
from .test_tcp import HANDSHAKE

V4 = Layout(4)


def sources(machine: Machine, steps: list[Step]) -> list[tuple[int, int]]:
    machine.reset(V4)
    found = []
    for step in steps:
        machine.send(step, V4)
        result = machine.replay()
        if result.sample_source:
            found.append((result.sample_source, result.sample_us))
    return found


def test_replay_names_each_sample(machine: Machine) -> None:
    steps = [
        out("S", 1000, options=timestamps(100, 0)),
        into("SA", 5000, 1001, options=timestamps(1, 100), after=20),
        out("PA", 1001, 5001, 10, options=timestamps(104, 1)),
        into("A", 5001, 1011, options=timestamps(2, 104), after=32),
        out("A", 1011, 5001, options=timestamps(140, 2)),
        into("A", 5001, 1011, 500, options=timestamps(3, 140), after=4),
    ]
    assert sources(machine, steps) == [
        (lib.OMR_SAMPLE_HANDSHAKE, 20_000),
        (lib.OMR_SAMPLE_DATA, 32_000),
        (lib.OMR_SAMPLE_ECHO, 4_000),
    ]


def test_replay_tells_of_entries(machine: Machine) -> None:
    machine.reset(V4)
    seen = []
    for step in (*HANDSHAKE, out("S", 900_000), out("A", 900_001, 7)):
        machine.send(step, V4)
        result = machine.replay()
        seen.append((result.began, result.replaced))
        if result.replaced:
            assert result.before.tx.snd_nxt == 1001
            assert result.before.rx.rtt_samples == 1
    assert seen == [(1, 0), (0, 0), (0, 0), (1, 1), (0, 0)]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: into("SFA", 1), lib.OMR_UNPARSED_MALFORMED),
        (lambda: into("A", 1, options=[(8, bytes(3))]), lib.OMR_UNPARSED_OPTIONS),
        (lambda: into("A", 1), -1),
    ],
    ids=["malformed", "options", "none"],
)
def test_replay_tells_why(machine: Machine, make: Callable[[], Step], reason: int) -> None:
    machine.reset(V4)
    machine.send(make(), V4)
    assert machine.replay().unparsed == reason + 1
