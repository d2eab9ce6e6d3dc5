# SPDX-License-Identifier: GPL-2.0-or-later
"""Samples beyond a hole: which SACK blocks complete one, which repeats forbid it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from omrfast.shim._shim import lib

from . import packets
from .machine import Machine, Nonzero, Step, expect, flow_of, into, out
from .packets import Layout, Options
from .test_tcp import HANDSHAKE

V4, V6 = Layout(4), Layout(6)
LAYOUTS = [V4, Layout(6, vlans=1)]
RTT_MS = 40
SAMPLE = lib.OMR_SAMPLE_SACK, 1000 * RTT_MS


def sack(*edges: int) -> Options:
    """Blocks from pairs of edges, relative to the connection's first byte of data."""
    return [("SAck", tuple((1001 + edge) % 2**32 for edge in edges))]


def answer(ack: int, *edges: int, after: float = 0, flags: str = "A") -> Step:
    return into(flags, 5001, 1001 + ack, options=sack(*edges) if edges else [], after=after)


def data(at: int, size: int = 100, **more: object) -> Step:
    return out("A", 1001 + at, 5001, size, **more)


# [100, 200) is lost; the sample is [300, 400), with more behind it.
HOLE = [
    *HANDSHAKE,
    *(data(at) for at in (0, 100, 200)),
    answer(100, 200, 300, after=20),
    data(300),
    data(400),
]


@dataclass(frozen=True)
class Case:
    about: str
    steps: list[Step]
    """After HOLE."""
    samples: list[tuple[int, int]]
    """(source, us) of those taken after HOLE."""
    flow: Nonzero


OPEN: Nonzero = {"sample_no": 3, "sample_done": 2}
DONE: Nonzero = {"sample_no": 3, "sample_done": 3}

TAKEN = [
    Case("the block that tells of it", [answer(100, 200, 400, after=40)], [SAMPLE], DONE),
    Case("its last byte is enough", [answer(100, 399, 400, after=40)], [SAMPLE], DONE),
    Case("and what came after it", [answer(100, 200, 500, after=40)], [SAMPLE], DONE),
    Case("a later block", [answer(100, 450, 500, 200, 400, after=40)], [SAMPLE], DONE),
    Case(
        "the last one of four",
        [answer(100, 490, 500, 470, 480, 450, 460, 350, 400, after=40)],
        [SAMPLE],
        DONE,
    ),
    Case("behind a duplicate", [answer(100, 200, 300, 200, 400, after=40)], [SAMPLE], DONE),
    Case("behind an old duplicate", [answer(100, 0, 100, 200, 400, after=40)], [SAMPLE], DONE),
    Case(
        "in a packet with payload",
        [into("PA", 5001, 1101, 50, options=sack(200, 400), after=40)],
        [SAMPLE],
        DONE,
    ),
    Case(
        "the hole is repeated: SACK still tells",
        [data(100, after=16), answer(100, 200, 400, after=24)],
        [SAMPLE],
        {**DONE, "retransmitted_segments": 1},
    ),
    Case(
        "repeated up to the last byte",
        [data(100, 299, after=16), answer(100, 399, 400, after=24)],
        [SAMPLE],
        {**DONE, "retransmitted_segments": 1},
    ),
    Case(
        "repeated beyond it",
        [data(400, after=16), answer(100, 200, 400, after=24)],
        [SAMPLE],
        {**DONE, "retransmitted_segments": 1},
    ),
    Case(
        "the next one is armed at once, beyond the same hole",
        [
            answer(100, 200, 400, after=40),
            data(500),
            data(100),
            answer(100, 200, 600, after=40),
        ],
        [SAMPLE, SAMPLE],
        {"sample_no": 4, "sample_done": 4, "retransmitted_segments": 1},
    ),
]

NOT_TAKEN = [
    Case("all but its last byte", [answer(100, 200, 399, after=40)], [], OPEN),
    Case("what came after it", [answer(100, 400, 500, after=40)], [], OPEN),
    Case("around it", [answer(100, 400, 500, 200, 399, after=40)], [], OPEN),
    Case("reaches beyond what was sent", [answer(100, 200, 501, after=40)], [], OPEN),
    Case("the wrong way round", [answer(100, 400, 200, after=40)], [], OPEN),
    Case("nothing", [answer(100, 400, 400, after=40)], [], OPEN),
    Case("from before the acknowledgement", [answer(100, 50, 400, after=40)], [], OPEN),
    Case("at the acknowledgement", [answer(100, 100, 400, after=40)], [], OPEN),
    Case("half of all numbers", [answer(100, 200, 200 + 2**31, after=40)], [], OPEN),
    Case("from the other half", [answer(100, 200 - 2**31, 400, after=40)], [], OPEN),
    Case("in an old acknowledgement", [answer(99, 200, 400, after=40)], [], OPEN),
    Case("of too much", [answer(501, 200, 400, after=40)], [], OPEN),
    Case(
        "by a RST, which closes",
        [answer(100, 200, 400, after=40, flags="RA")],
        [],
        OPEN,
    ),
    Case(
        "out of the window of sequence numbers",
        [into("A", 5002 + 2**30, 1101, options=sack(200, 400), after=40)],
        [],
        OPEN,
    ),
    Case(
        "a SACK of a length that is not allowed",
        [into("A", 5001, 1101, options=[(5, bytes(9))], after=40)],
        [],
        OPEN,
    ),
    Case(
        "repeated itself: closed, no sample",
        [data(300, after=16), answer(100, 200, 400, after=24)],
        [],
        {**DONE, "sample_stamp": 0},
    ),
    Case(
        "repeated as part of more",
        [data(100, 300, after=16), answer(100, 200, 400, after=24)],
        [],
        {**DONE, "sample_stamp": 0},
    ),
    Case(
        "only its last byte repeated",
        [data(399, 50, after=16), answer(100, 200, 400, after=24)],
        [],
        {**DONE, "sample_stamp": 0},
    ),
    Case(
        "the hole is repeated and nobody tells of SACK",
        [data(100, after=16), answer(500, after=24)],
        [],
        {**DONE, "left_to_sack": 1},
    ),
    Case(
        "the hole is repeated, and a duplicate of the sample is told of when all is acknowledged",
        [data(100, after=16), answer(500, 300, 400, after=24)],
        [],
        {**DONE, "left_to_sack": 1, "spurious_segments": 1},
    ),
    Case(
        "the hole is repeated, then the sample",
        [data(100, after=8), data(300, after=8), answer(100, 200, 400, after=24)],
        [],
        {**DONE, "sample_stamp": 0},
    ),
    Case(
        "the sample is repeated, then the hole",
        [data(300, after=8), data(100, after=8), answer(100, 200, 400, after=24)],
        [],
        {**DONE, "sample_stamp": 0},
    ),
]


def samples(machine: Machine, steps: list[Step], layout: Layout) -> list[tuple[int, int]]:
    machine.reset(layout)
    found = []
    for step in steps:
        machine.send(step, layout)
        result = machine.replay()
        if result.sample_source:
            found.append((result.sample_source, result.sample_us))
    return found


BEFORE = [(lib.OMR_SAMPLE_HANDSHAKE, 20_000), (lib.OMR_SAMPLE_DATA, 20_000)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("case", TAKEN + NOT_TAKEN, ids=lambda case: case.about)
def test_sack(machine: Machine, case: Case, layout: Layout) -> None:
    assert samples(machine, HOLE + case.steps, layout) == BEFORE + case.samples
    found = machine.flow(layout)
    assert found is not None
    taken = len(BEFORE + case.samples)
    expect(found, rtt_samples=taken, **case.flow)
    assert machine.counters()["rtt_samples"] == machine.histogram_total() == taken


def test_without_a_repeat_the_number_completes_it(machine: Machine) -> None:
    """What was overtaken came by itself."""
    expected = [*BEFORE, (lib.OMR_SAMPLE_DATA, 40_000)]
    assert samples(machine, [*HOLE, answer(500, after=40)], V4) == expected


@pytest.mark.parametrize("start", [2**32 - 1150, 2**32 - 1350, 2**32 - 1400, 2**31 - 1300])
def test_across_the_wrap(machine: Machine, start: int) -> None:
    """Of sequence numbers: between acknowledgement and block, within the sample, at its end."""

    def moved(step: Step) -> Step:
        shift = start if step.egress else 0
        options = [
            (name, tuple((edge + start) % 2**32 for edge in value) if name == "SAck" else value)
            for name, value in step.options
        ]
        ack = step.ack + (0 if step.egress or "A" not in step.flags else start)
        return replace(step, seq=step.seq + shift, ack=ack, options=options)

    steps = [*HOLE, data(100, after=16), answer(100, 200, 400, after=24)]
    assert samples(machine, [moved(step) for step in steps], V6) == [*BEFORE, SAMPLE]


def test_a_super_packet_by_its_first_segment(machine: Machine) -> None:
    """Of [300, 3300) the first segment ends at 1300; a repeat of the rest does not touch it."""
    burst = [*HOLE[:-2], data(300, 3000, gso=(3, 1000))]
    assert samples(machine, [*burst, answer(100, 200, 1299, after=40)], V4) == BEFORE
    told = answer(100, 200, 1300, after=24)
    rest = data(1300, 2000, gso=(2, 1000), after=16)
    assert samples(machine, [*burst, rest, told], V4) == [*BEFORE, SAMPLE]
    whole = data(100, 3000, gso=(3, 1000), after=16)
    assert samples(machine, [*burst, whole, told], V4) == BEFORE


def test_a_fin_beyond_a_hole(machine: Machine) -> None:
    steps = [*HOLE[:-2], out("FA", 1301, 5001), answer(100, 200, 301, after=40)]
    assert samples(machine, steps, V4) == [*BEFORE, SAMPLE]


def test_beside_timestamps_and_a_dss(machine: Machine) -> None:
    """Where kernels put it: after both, with room for one block."""
    more = packets.timestamps(1, 1) + packets.dss_ack() + [("NOP", None)] * 2
    told = into("A", 5001, 1101, options=[*more, *sack(200, 400)], after=40)
    assert samples(machine, [*HOLE, told], V6) == [*BEFORE, SAMPLE]


def test_of_two_sack_options_the_last_counts(machine: Machine) -> None:
    pair = [sack(200, 400), sack(450, 500)]
    for options, expected in ((pair[0] + pair[1], []), (pair[1] + pair[0], [SAMPLE])):
        told = into("A", 5001, 1101, options=options, after=40)
        assert samples(machine, [*HOLE, told], V4) == BEFORE + expected


def test_in_mid_life(machine: Machine) -> None:
    """The first acknowledgement that comes has a hole; snd_una was not known."""
    steps = [data(0), data(100), data(200), answer(0, 100, 200, after=40)]
    assert samples(machine, steps, V4) == [SAMPLE]
    expect(flow_of(machine, steps), rtt_samples=1, min_rtt_us=40_000, sample_no=1, sample_done=1)


def test_many_acknowledgements_of_one_hole_weigh_as_any(machine: Machine) -> None:
    """SRTT moves by half of the difference: four or more packets since the sample before."""
    told = [answer(100, 200, 300)] * 5
    steps = [*HOLE, *told, answer(100, 200, 400, after=40)]
    expect(flow_of(machine, steps), srtt_us8=8 * 30_000, rtt_samples=3)
