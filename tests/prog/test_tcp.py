# SPDX-License-Identifier: GPL-2.0-or-later
"""What TCP packets do to their flow, their path, and the event ring."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from omrfast.shim._shim import lib

from omrfast.dataplane.reader import DataPlane

from . import packets
from .machine import PATH, Machine, Nonzero, Outcome, Step, into, out, with_volume
from .packets import LAYOUTS, Layout

OPEN, BUSY, READY = ("flow_open", True), ("busy", True), ("flow_ready", False)
CAUGHT_UP = lib.OMR_TX_CAUGHT_UP
EST_TX = lib.OMR_TX_SYN | CAUGHT_UP
EST_RX = lib.OMR_RX_SYN | lib.OMR_RX_SEQ | lib.OMR_RX_ACK

# A client's handshake of 20 ms; the third ACK leaves at 24 ms. Local numbers begin at 1000, the
# peer's at 5000.
HANDSHAKE = [out("S", 1000), into("SA", 5000, 1001, after=20), out("A", 1001, 5001, after=4)]
FLOW: Nonzero = {
    "sample_stamp": 0.0,
    "sample_ack": 1001,
    "sample_no": 1,
    "snd_nxt": 1001,
    "unacked_since_j": 0.0,
    "tx_flags": EST_TX,
    "path": PATH + 1,
    "srtt_us8": 160_000,
    "rttvar_us4": 40_000,
    "last_rtt_us": 20_000,
    "min_rtt_us": 20_000,
    "rtt_samples": 1,
    "snd_una": 1001,
    "rcv_nxt": 5001,
    "last_rx_j": 20.0,
    "sample_done": 1,
    "rx_flags": EST_RX,
}
COUNTERS: Nonzero = {
    "flows_opened": 1,
    "rtt_samples": 1,
    "rtt_sum_us": 20_000,
    "min_rtt_us": 20_000,
}
LIVE = {"asked": 0.0, "last_tx": 24.0, "last_rx": 20.0}
EVENTS: tuple[tuple[Any, ...], ...] = (OPEN, BUSY, READY)


def without(base: Nonzero, *names: str) -> Nonzero:
    return {name: value for name, value in base.items() if name not in names}


@dataclass(frozen=True)
class Case:
    about: str
    steps: list[Step]
    flow: Nonzero | None
    counters: Nonzero = field(default_factory=dict)
    live: dict[str, float] = field(default_factory=dict)
    events: tuple[tuple[Any, ...], ...] = ()


def after_handshake(
    about: str,
    steps: list[Step],
    *,
    flow: Nonzero | None = None,
    gone: tuple[str, ...] = (),
    counters: Nonzero | None = None,
    live: dict[str, float] | None = None,
    events: tuple[tuple[Any, ...], ...] = (),
) -> Case:
    """A case that begins with the handshake and says only what changes after it."""
    return Case(
        about,
        HANDSHAKE + steps,
        {**without(FLOW, *gone), **(flow or {})},
        {**COUNTERS, **(counters or {})},
        {**LIVE, **(live or {})},
        EVENTS + events,
    )


ARMED = {"sample_stamp": 32.0, "sample_no": 2, "unacked_since_j": 32.0}
SECOND_SAMPLE = {  # 40 ms, after one of 20 ms
    "srtt_us8": 180_000,
    "rttvar_us4": 50_000,
    "last_rtt_us": 40_000,
    "jitter_us16": 20_000,
    "rtt_samples": 2,
    "sample_done": 2,
    "last_rx_j": 72.0,
}
SECOND_COUNTED = {
    "rtt_samples": 2,
    "rtt_sum_us": 60_000,
    "rtt_dev_sum_us": 20_000,
    "rtt_step_sum_us": 20_000,
}
ASKED = {"asked": 32.0, "last_tx": 32.0}

HOLE: Nonzero = {
    "rcv_nxt": 7001,
    "rx_segments": 2,
    "rx_flags": EST_RX | lib.OMR_RX_HOLE,
    "hole_j": 32.0,
}

LIFE = [
    Case("client's handshake", HANDSHAKE, FLOW, COUNTERS, LIVE, EVENTS),
    Case(
        "server's handshake",
        [out("SA", 1000, 5001), into("A", 5001, 1001, after=20)],
        {
            **FLOW,
            "tx_flags": EST_TX | lib.OMR_TX_SERVER,
            "rx_flags": lib.OMR_RX_SEQ | lib.OMR_RX_ACK,
        },
        COUNTERS,
        {"asked": 0.0, "last_tx": 0.0, "last_rx": 20.0},
        EVENTS,
    ),
    Case(
        "SYN sent again: no sample (Karn), no loss",
        [out("S", 1000), out("S", 1000, after=1000), into("SA", 5000, 1001, after=20)],
        {
            **without(
                FLOW,
                "sample_stamp",
                "srtt_us8",
                "rttvar_us4",
                "last_rtt_us",
                "min_rtt_us",
                "rtt_samples",
            ),
            "last_rx_j": 1020.0,
            "since_sample": 1,
            "tx_flags": lib.OMR_TX_SYN,
        },
        {"flows_opened": 1, "syn_retransmissions": 1},
        {"asked": 0.0, "last_tx": 1000.0, "last_rx": 1020.0},
        (OPEN, BUSY, BUSY, READY),
    ),
    Case(
        "SYN-ACK sent again",
        [out("SA", 1000, 5001), out("SA", 1000, 5001, after=400)],
        {
            "sample_ack": 1001,
            "sample_no": 1,
            "snd_nxt": 1001,
            "unacked_since_j": 0.0,
            "tx_flags": EST_TX | lib.OMR_TX_SERVER,
            "path": PATH + 1,
            "snd_una": 1000,
            "rcv_nxt": 5001,
            "last_rx_j": 0.0,
            "rx_flags": lib.OMR_RX_SEQ,
        },
        {"flows_opened": 1, "syn_retransmissions": 1},
        {"asked": 0.0, "last_tx": 400.0},
        (OPEN, BUSY),
    ),
    Case(
        "first seen in mid-life",
        [out("A", 1001, 5001)],
        {
            "snd_nxt": 1001,
            "tx_flags": CAUGHT_UP,
            "path": PATH + 1,
            "snd_una": 1001,
            "rcv_nxt": 5001,
            "last_rx_j": 0.0,
            "rx_flags": lib.OMR_RX_SEQ,
        },
        {"flows_opened": 1},
        {"last_tx": 0.0},
    ),
    Case("a RST begins no flow", [out("R", 1001)], None, {}, {"last_tx": 0.0}),
    Case(
        "what arrives begins no flow",
        [into("S", 5000), into("A", 5001, 1001, 100)],
        None,
        {"rx_segments": 1},
        {"last_rx": 0.0},
    ),
    Case(
        "the same ports again: a new connection",
        [*[replace(s, counted=False) for s in HANDSHAKE], out("S", 900_000)],
        {
            "sample_stamp": 24.0,
            "sample_ack": 900_001,
            "sample_no": 1,
            "snd_nxt": 900_001,
            "unacked_since_j": 24.0,
            "tx_flags": lib.OMR_TX_SYN,
            "path": PATH + 1,
            "snd_una": 900_000,
            "last_rx_j": 24.0,
            "rx_flags": 0,
        },
        {**COUNTERS, "flows_opened": 2},
        {**LIVE, "asked": 24.0},
        (*EVENTS, OPEN),
    ),
    after_handshake(
        "FIN, sent again like a segment, and the peer's",
        [
            out("FA", 1001, 5001, after=8),
            out("FA", 1001, 5001, after=200),
            into("FA", 5001, 1002, after=40),
        ],
        flow={
            "sample_ack": 1002,
            "sample_no": 2,
            "sample_done": 2,
            "snd_nxt": 1002,
            "snd_una": 1002,
            "rcv_nxt": 5002,
            "unacked_since_j": 32.0,
            "retransmitted_segments": 1,
            "tx_flags": EST_TX | lib.OMR_TX_FIN,
            "rx_flags": EST_RX | lib.OMR_RX_FIN,
            "last_rx_j": 272.0,
            "since_sample": 1,
        },
        gone=("sample_stamp",),
        counters={"retransmitted_segments": 1},
        live={"asked": 32.0, "last_tx": 232.0, "last_rx": 272.0},
        events=(("flow_close", True),),
    ),
    after_handshake(
        "RST that is next in sequence",
        [into("R", 5001, after=8)],
        flow={"rx_flags": EST_RX | lib.OMR_RX_RST, "last_rx_j": 28.0 + 4, "since_sample": 1},
        live={"last_rx": 32.0},
        events=(("flow_close", False),),
    ),
    after_handshake(
        "RST that is not (RFC 5961)",
        [into("R", 5002, after=8, counted=False), into("RA", 4999, 1001, counted=False)],
        live={"last_rx": 32.0},
    ),
    Case(
        "connection refused",
        [out("S", 1000), into("RA", 0, 1001, after=20)],
        {
            **without(FLOW, "rcv_nxt"),
            "tx_flags": lib.OMR_TX_SYN,
            "rx_flags": lib.OMR_RX_ACK | lib.OMR_RX_RST,
        },
        COUNTERS,
        {"asked": 0.0, "last_tx": 0.0, "last_rx": 20.0},
        (OPEN, BUSY, ("flow_close", False)),
    ),
]

LOSS = [
    after_handshake(
        "data and its acknowledgement",
        [out("PA", 1001, 5001, 100, after=8), into("A", 5001, 1101, after=40)],
        flow={
            **ARMED,
            **SECOND_SAMPLE,
            "sample_ack": 1101,
            "snd_nxt": 1101,
            "snd_una": 1101,
            "tx_segments": 1,
        },
        counters={**SECOND_COUNTED, "tx_segments": 1},
        live={**ASKED, "last_rx": 72.0},
    ),
    after_handshake(
        "super-packet: the sample ends with its first segment",
        [
            out("A", 1001, 5001, 3000, gso=(3, 1000), after=8),
            into("A", 5001, 2001, after=40),
        ],
        flow={
            **ARMED,
            **SECOND_SAMPLE,
            "sample_ack": 2001,
            "snd_nxt": 4001,
            "snd_una": 2001,
            "tx_segments": 3,
        },
        counters={**SECOND_COUNTED, "tx_segments": 3},
        live={**ASKED, "last_rx": 72.0},
    ),
    after_handshake(
        "super-packet sent again: three segments lost, no sample (Karn)",
        [
            out("A", 1001, 5001, 3000, gso=(3, 1000), after=8),
            out("A", 1001, 5001, 3000, gso=(3, 1000), after=200),
            into("A", 5001, 4001, after=40),
        ],
        flow={
            "sample_ack": 2001,
            "sample_no": 2,
            "sample_done": 2,
            "unacked_since_j": 32.0,
            "snd_nxt": 4001,
            "snd_una": 4001,
            "tx_segments": 6,
            "retransmitted_segments": 3,
            "last_rx_j": 272.0,
            "since_sample": 1,
        },
        gone=("sample_stamp",),
        counters={"tx_segments": 6, "retransmitted_segments": 3},
        live={"asked": 32.0, "last_tx": 232.0, "last_rx": 272.0},
    ),
    after_handshake(
        "half of a super-packet sent again",
        [
            out("A", 1001, 5001, 3000, gso=(3, 1000), after=8),
            out("A", 2501, 5001, 3000, gso=(3, 1000)),
        ],
        flow={
            **ARMED,
            "sample_ack": 2001,
            "snd_nxt": 5501,
            "tx_segments": 6,
            "retransmitted_segments": 2,
        },
        counters={"tx_segments": 6, "retransmitted_segments": 2},
        live=ASKED,
    ),
    after_handshake(
        "keep-alive of Linux: asks, is no loss",
        [out("A", 1000, 5001, after=2000)],
        live={"asked": 2024.0, "last_tx": 2024.0},
        events=(BUSY,),
    ),
    after_handshake(
        "keep-alive with a byte",
        [out("A", 1000, 5001, 1, after=8)],
        flow={"tx_segments": 1},
        counters={"tx_segments": 1},
        live=ASKED,
    ),
    after_handshake(
        "window probes with a byte",
        [
            into("A", 5001, 1001, window=0, after=4),
            out("A", 1001, 5001, 1, after=4),
            out("A", 1001, 5001, 1, after=400),
        ],
        flow={
            "sample_no": 2,
            "sample_ack": 1002,
            "snd_nxt": 1002,
            "unacked_since_j": 32.0,
            "tx_segments": 2,
            "last_rx_j": 28.0,
            "since_sample": 1,
            "rx_flags": EST_RX | lib.OMR_RX_ZERO_WINDOW,
        },
        gone=("sample_stamp",),
        counters={"tx_segments": 2},
        live={"asked": 32.0, "last_tx": 432.0, "last_rx": 28.0},
    ),
    after_handshake(
        "duplicate SACK: the repeat was needless, and only one was made",
        [
            out("A", 1001, 5001, 1000, after=8),
            out("A", 1001, 5001, 1000, after=200),
            into("A", 5001, 2001, options=[("SAck", (1001, 2001))], after=40),
            into("A", 5001, 2001, options=[("SAck", (1001, 2001))]),
        ],
        flow={
            "sample_ack": 2001,
            "sample_no": 2,
            "sample_done": 2,
            "unacked_since_j": 32.0,
            "snd_nxt": 2001,
            "snd_una": 2001,
            "tx_segments": 2,
            "retransmitted_segments": 1,
            "spurious_segments": 1,
            "last_rx_j": 272.0,
            "since_sample": 2,
        },
        gone=("sample_stamp",),
        counters={"tx_segments": 2, "retransmitted_segments": 1, "spurious_segments": 1},
        live={"asked": 32.0, "last_tx": 232.0, "last_rx": 272.0},
    ),
    after_handshake(
        "SACK of something above the acknowledgement is no duplicate",
        [
            out("A", 1001, 5001, 1000, after=8),
            out("A", 2001, 5001, 1000),
            out("A", 1001, 5001, 1000),
            into("A", 5001, 1001, options=[("SAck", (2001, 3001))], after=40),
        ],
        flow={
            "sample_ack": 2001,
            "sample_no": 2,
            "unacked_since_j": 32.0,
            "snd_nxt": 3001,
            "tx_segments": 3,
            "retransmitted_segments": 1,
            "last_rx_j": 72.0,
            "since_sample": 1,
        },
        gone=("sample_stamp",),
        counters={"tx_segments": 3, "retransmitted_segments": 1},
        live={**ASKED, "last_rx": 72.0},
    ),
    after_handshake(
        "a hole that is filled at once: overtaken",
        [into("A", 6001, 1001, 1000, after=8), into("A", 5001, 1001, 1000)],
        flow={**HOLE, "reordered_segments": 1, "last_rx_j": 32.0, "since_sample": 2},
        counters={"rx_segments": 2, "reordered_segments": 1},
        live={"last_rx": 32.0},
    ),
    after_handshake(
        "a hole that is filled as soon as a repeat could be here",
        [into("A", 6001, 1001, 1000, after=8), into("A", 5001, 1001, 1000, after=12)],
        flow={**HOLE, "refilled_segments": 1, "last_rx_j": 44.0, "since_sample": 2},
        counters={"rx_segments": 2, "refilled_segments": 1},
        live={"last_rx": 44.0},
    ),
    after_handshake(
        "a hole that is filled just before that",
        [into("A", 6001, 1001, 1000, after=8), into("A", 5001, 1001, 1000, after=8)],
        flow={**HOLE, "reordered_segments": 1, "last_rx_j": 40.0, "since_sample": 2},
        counters={"rx_segments": 2, "reordered_segments": 1},
        live={"last_rx": 40.0},
    ),
    after_handshake(
        "sent again for nothing: no hole was seen",
        [into("A", 5001, 1001, 1000, after=8), into("A", 5001, 1001, 1000)],
        flow={
            "rcv_nxt": 6001,
            "rx_segments": 2,
            "refilled_segments": 1,
            "last_rx_j": 32.0,
            "since_sample": 2,
        },
        counters={"rx_segments": 2, "refilled_segments": 1},
        live={"last_rx": 32.0},
    ),
    after_handshake(
        "an open hole keeps its time as long as our acknowledgements wait for it",
        [
            into("A", 6001, 1001, 1000, after=8),
            out("A", 1001, 5001),
            into("A", 8001, 1001, 1000, after=12),
            into("A", 5001, 1001, 1000),
        ],
        flow={
            **HOLE,
            "rcv_nxt": 9001,
            "rx_segments": 3,
            "refilled_segments": 1,
            "last_rx_j": 44.0,
            "since_sample": 3,
            "tx_flags": lib.OMR_TX_SYN,
        },
        counters={"rx_segments": 3, "refilled_segments": 1},
        live={"last_tx": 32.0, "last_rx": 44.0},
    ),
    after_handshake(
        "once they have caught up, the next hole is a new one",
        [
            into("A", 6001, 1001, 1000, after=8),
            out("A", 1001, 5001),
            into("A", 5001, 1001, 1000, after=100),
            out("A", 1001, 7001),
            into("A", 8001, 1001, 1000, after=8),
            into("A", 7001, 1001, 1000),
        ],
        flow={
            "rcv_nxt": 9001,
            "rx_segments": 4,
            "rx_flags": EST_RX | lib.OMR_RX_HOLE,
            "hole_j": 140.0,
            "refilled_segments": 1,
            "reordered_segments": 1,
            "last_rx_j": 140.0,
            "since_sample": 4,
        },
        counters={"rx_segments": 4, "refilled_segments": 1, "reordered_segments": 1},
        live={"last_tx": 132.0, "last_rx": 140.0},
    ),
    Case(
        "without a sample nothing tells that it was overtaken",
        [
            out("A", 1001, 5001),
            into("A", 6001, 1001, 1000, after=8),
            into("A", 5001, 1001, 1000),
        ],
        {
            "snd_nxt": 1001,
            "snd_una": 1001,
            "path": PATH + 1,
            "tx_flags": CAUGHT_UP,
            "rx_flags": lib.OMR_RX_SEQ | lib.OMR_RX_ACK | lib.OMR_RX_HOLE,
            "hole_j": 8.0,
            "rcv_nxt": 7001,
            "rx_segments": 2,
            "refilled_segments": 1,
            "last_rx_j": 8.0,
            "since_sample": 2,
        },
        {"flows_opened": 1, "rx_segments": 2, "refilled_segments": 1},
        {"last_tx": 0.0, "last_rx": 8.0},
    ),
    after_handshake(
        "what still comes after we closed is not the path's loss",
        [
            out("FA", 1001, 5001, after=8),
            into("A", 6001, 1002, 1000, after=40),
            into("A", 5001, 1002, 1000, after=40),
        ],
        flow={
            **ARMED,
            **SECOND_SAMPLE,
            **HOLE,
            "hole_j": 72.0,
            "sample_ack": 1002,
            "snd_nxt": 1002,
            "snd_una": 1002,
            "refilled_segments": 1,
            "tx_flags": EST_TX | lib.OMR_TX_FIN,
            "last_rx_j": 112.0,
            "since_sample": 1,
        },
        counters={**SECOND_COUNTED, "rx_segments": 2},
        live={**ASKED, "last_rx": 112.0},
        events=(("flow_close", True),),
    ),
    after_handshake(
        "the peer's keep-alive with a byte is no repeat",
        [into("A", 5000, 1001, 1, after=8)],
        flow={"rx_segments": 1, "last_rx_j": 32.0, "since_sample": 1},
        counters={"rx_segments": 1},
        live={"last_rx": 32.0},
    ),
]

FORGED = [
    Case(
        "in a handshake: acknowledges what was before it",
        [out("SA", 1000, 5001), into("A", 5001, 999, 10, after=20, counted=False)],
        {
            "sample_ack": 1001,
            "sample_no": 1,
            "sample_stamp": 0.0,
            "snd_nxt": 1001,
            "unacked_since_j": 0.0,
            "tx_flags": EST_TX | lib.OMR_TX_SERVER,
            "path": PATH + 1,
            "snd_una": 1000,
            "rcv_nxt": 5001,
            "last_rx_j": 0.0,
            "rx_flags": lib.OMR_RX_SEQ,
        },
        {"flows_opened": 1, "rx_segments": 1},
        {"asked": 0.0, "last_tx": 0.0, "last_rx": 20.0},
        (OPEN, BUSY),
    ),
    after_handshake(
        "acknowledges what was never sent",
        [into("A", 5001, 1002, 10, after=8, counted=False)],
        counters={"rx_segments": 1},
        live={"last_rx": 32.0},
    ),
    after_handshake(
        "acknowledges what is older than any window",
        [into("FA", 5001, 1001 - 2**30 - 1, 10, after=8, counted=False)],
        counters={"rx_segments": 1},
        live={"last_rx": 32.0},
    ),
    after_handshake(
        "sequence number below any window",
        [into("A", 5001 - 2**30 - 1, 1001, 10, after=8, counted=False)],
        counters={"rx_segments": 1},
        live={"last_rx": 32.0},
    ),
    after_handshake(
        "sequence number beyond any window",
        [into("A", 5001 + 2**26 + 1, 1001, 10, after=8, counted=False)],
        counters={"rx_segments": 1},
        live={"last_rx": 32.0},
    ),
    after_handshake(
        "no ACK flag",
        [into("F", 5001, 0, after=8, counted=False)],
        live={"last_rx": 32.0},
    ),
    after_handshake(
        "an overtaken acknowledgement: its data counts, snd_una stays",
        [
            out("PA", 1001, 5001, 100, after=8),
            into("A", 5001, 1101, after=40),
            into("A", 5001, 1001, 50),
        ],
        flow={
            **ARMED,
            **SECOND_SAMPLE,
            "sample_ack": 1101,
            "snd_nxt": 1101,
            "snd_una": 1101,
            "tx_segments": 1,
            "rx_segments": 1,
            "rcv_nxt": 5051,
            "since_sample": 1,
        },
        counters={**SECOND_COUNTED, "tx_segments": 1, "rx_segments": 1},
        live={**ASKED, "last_rx": 72.0},
    ),
]

CASES = LIFE + LOSS + FORGED


def check(machine: Machine, case: Case, layout: Layout) -> None:
    expected = Outcome(case.flow, case.counters, case.live, case.events)
    found = machine.run(case.steps, layout)
    assert found == with_volume(expected, case.steps, layout)
    assert machine.histogram_total() == found.counters.get("rtt_samples", 0)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.about)
def test_tcp(machine: Machine, case: Case, layout: Layout) -> None:
    check(machine, case, layout)


def test_sequence_numbers_wrap(machine: Machine) -> None:
    start = 2**32 - 51
    steps = [
        out("S", start),
        into("SA", 5000, start + 1, after=20),
        out("A", start + 1, 5001, 100, after=12),
        into("A", 5001, start + 101, after=40),
        out("A", start + 1, 5001, 100),
    ]
    found = machine.run(steps, packets.LAYOUTS[0])
    assert found.flow is not None
    assert found.flow["snd_nxt"] == found.flow["snd_una"] == 50
    assert found.flow["rtt_samples"] == 2
    assert found.counters["rtt_sum_us"] == 60_000
    assert found.counters["retransmitted_segments"] == 1


def test_super_packets_that_arrive(plane: DataPlane) -> None:
    """GRO has put segments together before TC sees them; XDP is before GRO."""
    steps = [
        *HANDSHAKE,
        into("A", 5001, 1001, 3000, gso=(3, 1000), after=8),
        into("A", 6001, 1001, 3000, gso=(3, 1000)),
    ]
    flow = {
        **FLOW,
        "rcv_nxt": 9001,
        "rx_segments": 6,
        "refilled_segments": 2,
        "last_rx_j": 32.0,
        "since_sample": 2,
    }
    counters = {**COUNTERS, "rx_segments": 6, "refilled_segments": 2}
    expected = Outcome(flow, counters, {**LIVE, "last_rx": 32.0}, EVENTS)
    layout = packets.LAYOUTS[0]
    found = Machine(plane, xdp=False).run(steps, layout)
    assert found == with_volume(expected, steps, layout)
