# SPDX-License-Identifier: GPL-2.0-or-later
"""Round-trip samples: how far one moves the estimate, and which timestamp echoes give one."""

from __future__ import annotations

import pytest

from .machine import Machine, Nonzero, Step, into, out
from .packets import LAYOUTS, Layout, timestamps
from .test_tcp import (
    ASKED,
    COUNTERS,
    EVENTS,
    FLOW,
    LIVE,
    Case,
    after_handshake,
    check,
)


def gain_case(arrivals: int, srtt_us: int, rttvar_us: int, sample_ms: int) -> Case:
    """A sample after the handshake's 20 ms; the last of the arrivals since then completes it."""
    deviation_us = abs(sample_ms - 20) * 1000
    return after_handshake(
        f"{sample_ms} ms after 20 ms, {arrivals} packets since",
        [
            out("PA", 1001, 5001, 100, after=8),
            *[into("A", 5001, 1001)] * (arrivals - 1),
            into("A", 5001, 1101, after=sample_ms),
        ],
        flow={
            "sample_sent_ns": 32.0,
            "sample_no": 2,
            "sample_done": 2,
            "sample_ack": 1101,
            "unacked_since_j": 32.0,
            "snd_nxt": 1101,
            "snd_una": 1101,
            "tx_segments": 1,
            "srtt_us8": srtt_us * 8,
            "rttvar_us4": rttvar_us * 4,
            "min_rtt_us": min(20, sample_ms) * 1000,
            "rtt_samples": 2,
            "last_rx_j": 32.0 + sample_ms,
        },
        counters={
            "rtt_samples": 2,
            "rtt_sum_us": (20 + sample_ms) * 1000,
            "rtt_dev_sum_us": deviation_us,
            "min_rtt_us": min(20, sample_ms) * 1000,
            "tx_segments": 1,
        },
        live={**ASKED, "last_rx": 32.0 + sample_ms},
    )


GAIN = [
    gain_case(1, 22_500, 12_500, 40),
    gain_case(2, 25_000, 12_500, 40),
    gain_case(3, 25_000, 12_500, 40),
    gain_case(4, 30_000, 12_500, 40),
    gain_case(9, 30_000, 12_500, 40),
    gain_case(1, 19_000, 9_500, 12),
    gain_case(4, 16_000, 9_500, 12),
]

# The third ACK (24 ms) arms: its TSval is newer than the SYN's.
TS_HANDSHAKE = [
    out("S", 1000, options=timestamps(2**32 - 5, 0)),
    into("SA", 5000, 1001, options=timestamps(900, 2**32 - 5), after=20),
    out("A", 1001, 5001, options=timestamps(19, 900), after=4),
]
TS_FLOW = {**FLOW, "tsecho_sent_ns": 24.0, "tsecho_val": 19, "tsval_max": 19, "tsecho_no": 1}


def echo_case(
    about: str, steps: list[Step], flow: Nonzero, counters: Nonzero, last_rx: float
) -> Case:
    segments = {"rx_segments": counters["rx_segments"], "last_rx_j": last_rx}
    return Case(
        about,
        TS_HANDSHAKE + steps,
        {**TS_FLOW, **segments, **flow},
        {**COUNTERS, **counters},
        {**LIVE, "last_rx": last_rx},
        EVENTS,
    )


ECHO = [
    echo_case(
        "a dense stream gives a sample, across the wrap of TSval",
        [
            into("A", 5001, 1001, 100, options=timestamps(1, 2**32 - 5), after=16),
            into("A", 5101, 1001, 100, options=timestamps(2, 19), after=4),
        ],
        # 20 ms again: RTTVAR shrinks by a quarter
        {"rcv_nxt": 5201, "tsecho_done": 1, "rtt_samples": 2, "rttvar_us4": 30_000},
        {"rx_segments": 2, "rtt_samples": 2, "rtt_sum_us": 40_000},
        44.0,
    ),
    echo_case(
        "after a pause it gives none",
        [into("A", 5001, 1001, 100, options=timestamps(1, 19), after=20)],
        {"rcv_nxt": 5101, "tsecho_done": 1, "since_sample": 1},
        {"rx_segments": 1},
        44.0,
    ),
    echo_case(
        "without payload, or with TSecr 0, it stays open",
        [
            into("A", 5001, 1001, options=timestamps(1, 19), after=16),
            into("A", 5001, 1001, 100, options=timestamps(1, 0), after=4),
        ],
        {"rcv_nxt": 5101, "since_sample": 2},
        {"rx_segments": 1},
        44.0,
    ),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("case", GAIN + ECHO, ids=lambda case: case.about)
def test_rtt(machine: Machine, case: Case, layout: Layout) -> None:
    check(machine, case, layout)
