# SPDX-License-Identifier: GPL-2.0-or-later
"""How long silence has to last to be proof, on a path with a queue of our own and without one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from omrfast.core import limits
from omrfast.core import model as measure
from omrfast.core.model import PathModel
from omrfast.core.types import PathCounters

IDLE_RTT, BUSY_RTT = 0.040, 0.065
TICK = 0.01
SEGMENTS = 17
"""A tick, of 1,450 bytes: 20 Mbit/s."""


def after(seconds: float, *, rx: int, tx: int, other: int, stops: float = 0.05) -> PathModel:
    """A path that was idle, then busy, then heard nothing for ``stops`` seconds.

    rx, tx: TCP segments a tick; other: bytes a tick that leave and are no TCP.
    """
    model, now, counters = PathModel(), 0.0, PathCounters(last_rx=0.0)
    for step in range(round((1.0 + seconds) / TICK)):
        now += TICK
        idle = now < 1.0
        segments = (0, 0) if idle else (rx, tx)
        counters = replace(
            counters,
            rx_packets=counters.rx_packets + max(sum(segments), 1),
            rx_segments=counters.rx_segments + segments[0],
            tx_segments=counters.tx_segments + segments[1],
            rx_bytes=counters.rx_bytes + 1450 * segments[0] + 60,
            tx_bytes=counters.tx_bytes + 1450 * segments[1] + 72 * segments[0] + other,
            rtt_samples=counters.rtt_samples + (step % 5 == 0),
            rtt_sum=counters.rtt_sum + (step % 5 == 0) * (IDLE_RTT if idle else BUSY_RTT),
            last_rx=now,
        )
        model = measure.observe(model, counters, now)
    return measure.observe(model, counters, now + stops)


def proof(model: PathModel) -> float:
    return limits.proof_limit(model, answers=True, patience=0.0)


@pytest.mark.parametrize(("rx", "tx"), [(SEGMENTS, 0), (0, SEGMENTS)])
def test_behind_our_own_queue_a_pause_is_proved_in_the_least_round_trip(rx: int, tx: int) -> None:
    model = after(3.0, rx=rx, tx=tx, other=0)
    assert (model.srtt or 0) > 0.06
    assert IDLE_RTT < proof(model) < 1.5 * IDLE_RTT


def test_a_queue_that_nobody_need_answer_may_still_be_full() -> None:
    flooded = after(3.0, rx=SEGMENTS, tx=0, other=SEGMENTS * 1450)
    assert proof(flooded) > (flooded.srtt or 0)


def test_while_something_arrives_the_queue_is_not_empty() -> None:
    model = after(3.0, rx=0, tx=SEGMENTS, other=0, stops=0.005)
    assert proof(model) > (model.srtt or 0)


def test_an_answer_that_came_late_before_is_waited_for() -> None:
    model = after(3.0, rx=SEGMENTS, tx=0, other=0)
    assert limits.proof_limit(model, answers=True, patience=0.3) == 0.3
