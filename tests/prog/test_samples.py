# SPDX-License-Identifier: GPL-2.0-or-later
"""Which round trips are samples, across wraps and repeats, and what they make of the estimates."""

from __future__ import annotations

import pytest

from .machine import Machine, expect, flow_of, into, out
from .packets import Layout, timestamps
from .test_tcp import HANDSHAKE

V4 = Layout(4)


@pytest.mark.parametrize("start", [0, 2**31 - 60, 2**32 - 60, 2**32 - 1])
def test_round_trips_across_the_wrap(machine: Machine, start: int) -> None:
    """Of sequence numbers of both sides, at each place of a transfer."""
    steps = [out("S", start), into("SA", start, start + 1, after=20)]
    sent = start + 1
    for _ in range(4):
        steps += [out("PA", sent, sent, 30), into("PA", sent, sent + 30, 30, after=40)]
        sent += 30
    found = flow_of(machine, steps)
    expect(found, rtt_samples=5, snd_nxt=sent % 2**32, snd_una=sent % 2**32, rcv_nxt=sent % 2**32)
    expect(found, retransmitted_segments=0, refilled_segments=0, reordered_segments=0)


def test_a_hole_across_the_wrap(machine: Machine) -> None:
    start = 2**32 - 500
    steps = [
        out("S", 1000),
        into("SA", start - 1, 1001, after=200),
        into("A", start + 1000, 1001, 1000),
        into("A", start, 1001, 1000, after=20),
    ]
    expect(flow_of(machine, steps), reordered_segments=1, refilled_segments=0, rcv_nxt=1500)


def test_timestamps_off_leaves_acknowledgements(machine: Machine) -> None:
    steps = [*HANDSHAKE, out("PA", 1001, 5001, 9), into("A", 5001, 1010, after=30)]
    expect(flow_of(machine, steps), rtt_samples=2, tsecho_no=0, tsval_max=0)


def test_zero_tsecr_leaves_acknowledgements(machine: Machine) -> None:
    """Some middleboxes clear it: no sample of 20 ms by an echo, one of 30 ms by the number."""
    steps = [
        out("S", 1000, options=timestamps(1, 0)),
        into("SA", 5000, 1001, options=timestamps(1, 0), after=20),
        out("PA", 1001, 5001, 9, options=timestamps(5, 1)),
        into("PA", 5001, 1010, 9, options=timestamps(2, 0), after=30),
    ]
    expect(flow_of(machine, steps), rtt_samples=2, last_rtt_us=30_000)


def test_an_echo_of_what_was_never_sent(machine: Machine) -> None:
    steps = [
        out("S", 1000, options=timestamps(100, 0)),
        into("SA", 5000, 1001, options=timestamps(1, 100), after=20),
        out("A", 1001, 5001, options=timestamps(104, 1)),
        into("A", 5001, 1001, 100, options=timestamps(2, 105), after=4),
        into("A", 5101, 1001, 100, options=timestamps(2, 104), after=4),
    ]
    found = flow_of(machine, steps)
    expect(found, rtt_samples=2, last_rtt_us=8_000, tsecho_done=1)


def test_both_samples_by_one_packet(machine: Machine) -> None:
    """That by acknowledgement counts, the echo is closed."""
    steps = [
        out("S", 1000, options=timestamps(100, 0)),
        into("SA", 5000, 1001, options=timestamps(1, 100), after=20),
        out("A", 1001, 5001, options=timestamps(104, 1)),
        out("PA", 1001, 5001, 10, options=timestamps(105, 1), after=4),
        into("A", 5001, 1011, 100, options=timestamps(2, 105), after=4),
    ]
    found = flow_of(machine, steps)
    expect(found, rtt_samples=2, last_rtt_us=4_000, tsecho_done=1, tsecho_no=1, sample_done=2)


def test_the_second_packet_of_a_burst_does_not_arm_again(machine: Machine) -> None:
    steps = [
        *HANDSHAKE,
        out("A", 1001, 5001, 100),
        out("A", 1101, 5001, 100, after=8),
        into("A", 5001, 1201, after=30),
    ]
    expect(flow_of(machine, steps), rtt_samples=2, last_rtt_us=38_000)


def test_karn_takes_what_begins_below_the_sample(machine: Machine) -> None:
    """A repeat beyond the sample leaves it, one below cancels it; so does a partial one."""
    burst = [out("A", 1001 + 100 * n, 5001, 100) for n in range(3)]
    answer = into("A", 5001, 1301, after=30)
    beyond = [*HANDSHAKE, *burst, out("A", 1101, 5001, 100), answer]
    expect(flow_of(machine, beyond), rtt_samples=2, retransmitted_segments=1)
    below = [*HANDSHAKE, *burst, out("A", 1001, 5001, 100), answer]
    expect(flow_of(machine, below), rtt_samples=1, retransmitted_segments=1, sample_stamp=0)
    partial = [*HANDSHAKE, *burst, out("A", 1051, 5001, 400), answer]
    found = flow_of(machine, partial)
    expect(found, rtt_samples=1, retransmitted_segments=1, snd_nxt=1451)


def test_after_karn_nothing_is_armed_until_the_number_is_acknowledged(machine: Machine) -> None:
    steps = [
        *HANDSHAKE,
        out("A", 1001, 5001, 100),
        out("A", 1001, 5001, 100, after=200),
        out("A", 1101, 5001, 100),
        into("A", 5001, 1101, after=30),
        out("A", 1201, 5001, 100),
        into("A", 5001, 1301, after=50),
    ]
    expect(flow_of(machine, steps), rtt_samples=2, last_rtt_us=50_000)


def test_a_sample_is_at_least_a_microsecond(machine: Machine) -> None:
    steps = [out("S", 1000), into("SA", 5000, 1001)]
    expect(flow_of(machine, steps), rtt_samples=1, last_rtt_us=1, srtt_us8=8, rttvar_us4=2)


@pytest.mark.parametrize(("ns", "us"), [(1408, 1), (1536, 2), (20_000_640, 20_001)])
def test_a_sample_is_rounded(machine: Machine, ns: int, us: int) -> None:
    expect(flow_of(machine, [out("S", 1000), into("SA", 5000, 1001, after=ns / 1e6)]),
           last_rtt_us=us)  # fmt: skip


def test_jitter_is_rfc_3550(machine: Machine) -> None:
    """J += (|D| - J) / 16 over samples of 20, 40, 10 and 10 ms."""
    steps = [*HANDSHAKE]
    sent = 1001
    for rtt in (40, 10, 10):
        steps += [out("PA", sent, 5001, 10), into("A", 5001, sent + 10, after=rtt)]
        sent += 10
    jitter = 0
    for step in (20_000, 30_000, 0):
        jitter += step - jitter // 16
    outcome = machine.run(steps, V4)
    assert outcome.flow is not None
    expect(outcome.flow, jitter_us16=jitter, last_rtt_us=10_000)
    assert outcome.counters["rtt_step_sum_us"] == 50_000
