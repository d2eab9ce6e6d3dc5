# SPDX-License-Identifier: GPL-2.0-or-later
"""Flows of which a part was not seen, and data in SYNs."""

from __future__ import annotations

from omrfast.shim._shim import lib

from .machine import Machine, expect, flow_of, into, out
from .packets import Layout

V4 = Layout(4)


def test_what_arrives_first_in_mid_life_is_no_flow_but_what_leaves_is(machine: Machine) -> None:
    steps = [
        into("PA", 5001, 1001, 100, counted=False),
        out("A", 1001, 5101),
        out("PA", 1001, 5101, 100, after=4),
        into("A", 5101, 1101, after=30),
    ]
    found = flow_of(machine, steps)
    expect(found, rtt_samples=1, last_rtt_us=30_000, rx_segments=0, rcv_nxt=5101)
    assert not found["tx_flags"] & lib.OMR_TX_SYN


def test_the_first_data_in_mid_life_arms_nothing(machine: Machine) -> None:
    """It may be a repeat."""
    steps = [out("PA", 1001, 5001, 100), into("A", 5001, 1101, after=30)]
    expect(flow_of(machine, steps), rtt_samples=0, sample_no=0, snd_una=1101)


def test_an_old_acknowledgement_in_mid_life(machine: Machine) -> None:
    """Before the first packet that we saw: good, and later ones are no repeats of it."""
    steps = [
        out("PA", 1001, 5001, 100),
        into("A", 5001, 501, after=4),
        into("A", 5001, 1101, after=30),
    ]
    expect(flow_of(machine, steps), snd_una=1101, rtt_samples=0)


TFO = [out("S", 1000, payload=200)]


def test_data_in_a_syn_that_is_taken(machine: Machine) -> None:
    steps = [*TFO, into("SA", 5000, 1201, after=20), out("PA", 1201, 5001, 100)]
    expect(flow_of(machine, steps), rtt_samples=1, retransmitted_segments=0, snd_una=1201,
           tx_segments=2)  # fmt: skip


def test_data_in_a_syn_that_is_refused(machine: Machine) -> None:
    """The handshake gives its sample all the same; the data is sent again."""
    steps = [*TFO, into("SA", 5000, 1001, after=20), out("PA", 1001, 5001, 200)]
    found = flow_of(machine, steps)
    expect(found, rtt_samples=1, last_rtt_us=20_000, retransmitted_segments=1, snd_una=1001)


def test_data_in_a_syn_that_is_repeated_without(machine: Machine) -> None:
    steps = [*TFO, out("S", 1000, after=1000), into("SA", 5000, 1001, after=20)]
    outcome = machine.run(steps, V4)
    assert outcome.flow is not None
    expect(outcome.flow, rtt_samples=0, retransmitted_segments=0)
    assert outcome.counters["syn_retransmissions"] == 1


def test_data_in_a_syn_ack(machine: Machine) -> None:
    steps = [
        out("S", 1000),
        into("SA", 5000, 1001, 300, after=20),
        out("A", 1001, 5301),
        into("SA", 5000, 1001, 300, after=1000),
    ]
    found = flow_of(machine, steps)
    expect(found, rtt_samples=1, rcv_nxt=5301, rx_segments=2, refilled_segments=1)


def test_a_server_repeats_its_syn_ack(machine: Machine) -> None:
    steps = [
        into("S", 5000, counted=False),
        out("SA", 1000, 5001, after=1),
        out("SA", 1000, 5001, after=1000),
        into("A", 5001, 1001, after=30),
        out("PA", 1001, 5001, 100),
        into("A", 5001, 1101, after=30),
    ]
    outcome = machine.run(steps, V4)
    assert outcome.flow is not None
    expect(outcome.flow, rtt_samples=1, last_rtt_us=30_000, retransmitted_segments=0)
    assert outcome.counters["syn_retransmissions"] == 1
