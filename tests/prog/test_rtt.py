# SPDX-License-Identifier: GPL-2.0-or-later
"""Round-trip samples: how far one moves the estimate, and which timestamp echoes give one."""

from __future__ import annotations

import pytest
from omrfast.shim._shim import lib

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
            "sample_stamp": 32.0,
            "sample_no": 2,
            "sample_done": 2,
            "sample_ack": 1101,
            "unacked_since_j": 32.0,
            "snd_nxt": 1101,
            "snd_una": 1101,
            "tx_segments": 1,
            "srtt_us8": srtt_us * 8,
            "rttvar_us4": rttvar_us * 4,
            "last_rtt_us": sample_ms * 1000,
            "jitter_us16": deviation_us,
            "min_rtt_us": min(20, sample_ms) * 1000,
            "rtt_samples": 2,
            "last_rx_j": 32.0 + sample_ms,
        },
        counters={
            "rtt_samples": 2,
            "rtt_sum_us": (20 + sample_ms) * 1000,
            "rtt_dev_sum_us": deviation_us,
            "rtt_step_sum_us": deviation_us,
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
TS_FLOW = {**FLOW, "tsecho_stamp": 24.0, "tsecho_val": 19, "tsval_max": 19, "tsecho_no": 1}


def stream(count: int, every: float, echo: int, *, start: int = 5001, last: int = 0) -> list[Step]:
    """Data of 100 bytes each, `every` milliseconds; all echo the same, except perhaps the last."""
    echoes = [echo] * (count - 1) + [last or echo]
    return [
        into("A", start + 100 * i, 1001, 100, options=timestamps(1, echoes[i]), after=every)
        for i in range(count)
    ]


def bare(echo: int, after: float = 0) -> Step:
    return into("A", 5001, 1001, options=timestamps(1, echo), after=after)


def ack(value: int, after: float = 0, seen: int = 5101) -> Step:
    return out("A", 1001, seen, options=timestamps(value, 1), after=after)


def echo_case(about: str, steps: list[Step], flow: Nonzero, samples: Nonzero | None = None) -> Case:
    """What a case says is what becomes of the echo; the rest is what data does anyway."""
    carried = [step for step in steps if step.payload]
    last_rx = 24.0 + sum(step.after for step in steps)
    arrived = {
        "rx_segments": len(carried),
        "rcv_nxt": max(step.seq + step.payload for step in carried),
        "last_rx_j": last_rx,
    }
    sent = [24.0 + sum(s.after for s in steps[: i + 1]) for i, s in enumerate(steps) if s.egress]
    return Case(
        about,
        TS_HANDSHAKE + steps,
        {**TS_FLOW, **arrived, **flow},
        {**COUNTERS, "rx_segments": len(carried), **(samples or {})},
        {**LIVE, "last_tx": sent[-1] if sent else 24.0, "last_rx": last_rx},
        EVENTS,
    )


OLD, NEW, NEXT = 2**32 - 5, 19, 20
CLOSED = {"tsecho_done": 1}
REFUSED = {"tsecho_done": 1 | lib.OMR_ECHO_LATE}
# 40 ms, after one of 20 ms, with more than three packets between them
SAMPLE_40: Nonzero = {
    "rtt_samples": 2,
    "srtt_us8": 240_000,
    "rttvar_us4": 50_000,
    "last_rtt_us": 40_000,
    "jitter_us16": 20_000,
}
COUNTED_40: Nonzero = {
    "rtt_samples": 2,
    "rtt_sum_us": 60_000,
    "rtt_dev_sum_us": 20_000,
    "rtt_step_sum_us": 20_000,
}

ECHO = [
    echo_case(
        "a dense stream gives a sample, across the wrap of TSval",
        [bare(OLD), *stream(10, 4, OLD, last=NEW)],
        {**CLOSED, **SAMPLE_40},
        COUNTED_40,
    ),
    echo_case(
        "a slow link with a queue: packets far apart for the old RTT, not for the new one",
        [bare(OLD), *stream(15, 12, OLD, last=NEW)],
        # 180 ms
        {
            **CLOSED,
            "rtt_samples": 2,
            "srtt_us8": 800_000,
            "rttvar_us4": 190_000,
            "last_rtt_us": 180_000,
            "jitter_us16": 160_000,
        },
        {
            "rtt_samples": 2,
            "rtt_sum_us": 200_000,
            "rtt_dev_sum_us": 160_000,
            "rtt_step_sum_us": 160_000,
        },
    ),
    echo_case(
        "pauses before a packet that does not echo it yet are no pauses of the sender's",
        [bare(OLD), bare(OLD, after=32), *stream(2, 4, OLD, last=NEW)],
        {**CLOSED, **SAMPLE_40},
        COUNTED_40,
    ),
    echo_case(
        "the same, but the one armed was lost: a newer one is echoed",
        [bare(OLD), ack(NEXT, seen=5001), bare(OLD, after=32), *stream(2, 4, OLD, last=NEXT)],
        {**REFUSED, "tsval_max": NEXT, "since_sample": 4},
    ),
    echo_case(
        "a newer one is echoed, and all was dense",
        [bare(OLD), ack(NEXT, seen=5001), *stream(10, 4, OLD, last=NEXT)],
        {**CLOSED, **SAMPLE_40, "tsval_max": NEXT},
        COUNTED_40,
    ),
    echo_case("after a pause it gives none", stream(1, 20, NEW), {**REFUSED, "since_sample": 1}),
    echo_case(
        "all acknowledgements after it were lost, then a pause: its echo is exact, but late",
        [
            bare(OLD),
            ack(NEXT, after=4, seen=5001),
            ack(NEXT + 1, after=4, seen=5001),
            *stream(3, 0, OLD),
            *stream(2, 300, NEW, start=5301),
        ],
        {**REFUSED, "tsval_max": NEXT + 1, "since_sample": 4},
    ),
    echo_case(
        "a pause, a packet without payload that echoes, data at once",
        [bare(NEW, after=400), *stream(1, 0, NEW)],
        {**CLOSED, "since_sample": 2},
    ),
    echo_case(
        "pauses longer than are counted",
        [bare(OLD), *stream(10, 2000, OLD, last=NEW)],
        {**REFUSED, "since_sample": 4},
    ),
    echo_case(
        "one burst a round trip: the first echo is late, the one after the next is armed",
        [
            *stream(1, 40, NEW),
            ack(NEXT),
            *stream(1, 4, NEW, start=5101),
            ack(NEXT + 1, seen=5201),
            *stream(1, 36, NEXT, start=5201),
            *stream(1, 4, NEXT + 1, start=5301),
        ],
        {
            **SAMPLE_40,
            "tsecho_stamp": 68.0,
            "tsecho_val": NEXT + 1,
            "tsval_max": NEXT + 1,
            "tsecho_no": 2,
            "tsecho_done": 2,
        },
        COUNTED_40,
    ),
    echo_case(
        "the same by a sender that answers all acknowledgements of a burst at once: all are late",
        [
            *stream(1, 40, NEW),
            ack(NEXT),
            *stream(1, 4, NEW, start=5101),
            ack(NEXT + 1, seen=5201),
            *stream(2, 40, NEXT + 1, start=5201),
        ],
        {
            "tsecho_stamp": 68.0,
            "tsecho_val": NEXT + 1,
            "tsval_max": NEXT + 1,
            "tsecho_no": 2,
            "tsecho_done": 2 | lib.OMR_ECHO_LATE,
            "since_sample": 4,
        },
    ),
    echo_case(
        "echoed without payload, then a dense stream: its first echo is gone",
        [bare(OLD), bare(NEW, after=4), *stream(10, 4, NEW)],
        {**CLOSED, "since_sample": 4},
    ),
    echo_case(
        "after a pause, the next echo of a dense stream",
        [
            *stream(1, 20, NEW),
            ack(NEXT),
            ack(NEXT + 1),
            *stream(10, 4, NEW, start=5101, last=NEXT + 1),
        ],
        {
            **SAMPLE_40,
            "tsecho_stamp": 44.0,
            "tsecho_val": NEXT + 1,
            "tsval_max": NEXT + 1,
            "tsecho_no": 2,
            "tsecho_done": 2,
        },
        COUNTED_40,
    ),
    echo_case(
        "after a pause, one is passed over",
        [*stream(1, 20, NEW), ack(NEXT)],
        {
            **REFUSED,
            "tsval_max": NEXT,
            "tsecho_no": 1 | lib.OMR_ECHO_PASSED,
            "since_sample": 1,
        },
    ),
    echo_case(
        "TSecr 0 leaves it open, and the pause is remembered",
        stream(1, 20, 0),
        {"since_sample": 1, "echo_gap_j": 24.0},
    ),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("case", GAIN + ECHO, ids=lambda case: case.about)
def test_rtt(machine: Machine, case: Case, layout: Layout) -> None:
    check(machine, case, layout)
