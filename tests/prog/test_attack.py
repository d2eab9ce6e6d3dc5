# SPDX-License-Identifier: GPL-2.0-or-later
"""Whoever sends packets to us from outside moves nothing but what any packet moves.

No entry appears, none changes, no sample is taken, no loss is counted, no event is sent, unless a
live 4-tuple is hit with an acknowledgement in window. What such a guess can do is tested as well.
"""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omrfast.shim._shim import lib
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.packet import Raw

from . import packets
from .machine import Machine, Nonzero, Step, into, out
from .packets import Layout, Options
from .strangers import (
    ATTACKS,
    JOIN,
    MASK,
    OURS,
    STAMPED,
    THEIRS,
    V4,
    V6,
    VICTIMS,
    WINDOW,
    Attack,
    Victim,
    accepted,
    framed,
    perfect,
    rcv,
)

HARMLESS = {"rx_packets", "rx_bytes", "rx_segments", "icmp_errors"} | {
    *("truncated", "malformed", "fragment", "extensions", "vlans", "options")
}
"""Path counters that any packet moves."""


def prepare(machine: Machine, victim: Victim, layout: Layout) -> None:
    machine.reset(layout)
    for step in victim.steps:
        if machine.xdp and not step.egress:
            step = replace(step, gso=(0, 0))
        machine.send(step, layout)
    machine.plane.events()
    machine.wait(12)


def moved(before: Nonzero, after: Nonzero) -> set[str]:
    names = before.keys() | after.keys()
    return {name for name in names if before.get(name, 0) != after.get(name, 0)}


def expect_nothing(machine: Machine, step: Step, layout: Layout) -> None:
    """Of entries, samples, loss and events; the path has seen a packet."""
    entries, counters = machine.entries(), machine.counters()
    histogram = machine.histogram_total()
    machine.send(step, layout)
    assert machine.entries() == entries
    assert moved(counters, machine.counters()) <= HARMLESS
    assert machine.counters()["rx_packets"] == counters.get("rx_packets", 0) + 1
    assert machine.histogram_total() == histogram
    assert machine.plane.events() == []


@pytest.mark.parametrize("victim", VICTIMS, ids=lambda victim: victim.about)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.about)
def test_a_stranger_moves_nothing(machine: Machine, attack: Attack, victim: Victim) -> None:
    for layout in attack.layouts:
        prepare(machine, victim, layout)
        notes = machine.knocks()
        expect_nothing(machine, attack.make(victim), layout)
        changed = sum(a != b for a, b in zip(notes, machine.knocks(), strict=True))
        assert changed == attack.knocks


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.about)
def test_no_flow_no_state(machine: Machine, attack: Attack) -> None:
    nobody = replace(VICTIMS[2], steps=[])
    for layout in attack.layouts:
        prepare(machine, nobody, layout)
        expect_nothing(machine, attack.make(nobody), layout)
        assert machine.entries() == {}


@pytest.mark.parametrize("layout", [V4, V6], ids=str)
def test_the_peer_itself_moves_it(machine: Machine, layout: Layout) -> None:
    """The tests above would see it: what they send, with the right numbers, does change things."""
    victim = VICTIMS[3]
    prepare(machine, victim, layout)
    entries = machine.entries()
    machine.send(framed(layout, packets.network(layout, False) / perfect(victim)), layout)
    assert machine.entries() != entries
    assert machine.counters()["rtt_samples"] == 2
    assert [event.kind for event in machine.plane.events()] == ["priority"]


# --- made by hypothesis -----------------------------------------------------------------------

QUICK = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WORDS = st.integers(0, MASK)
NEAR = st.sampled_from([1, 2, 1000, 3000, WINDOW, WINDOW - 1, WINDOW + 1, 2**31])
FLAGS = st.sets(st.sampled_from("FSRPAU")).map(lambda found: "".join(sorted(found)))
LENGTHS = st.sampled_from([0, 1, 100, 1400])


def with_options(step: Step, layout: Layout, options: bytes) -> bytes:
    """A TCP packet with options as given, whatever they are."""
    options = options[: len(options) // 4 * 4]
    frame = bytearray(replace(step, options=[("NOP", None)] * len(options)).bytes_in(layout))
    at = layout.headers + 20
    frame[at : at + len(options)] = options
    return bytes(frame)


OPTION_BYTES = st.one_of(
    st.binary(max_size=40),
    st.lists(
        st.one_of(
            st.just(b"\x01"),
            st.binary(min_size=8, max_size=8).map(lambda data: b"\x08\x0a" + data),
            st.binary(min_size=8, max_size=8).map(lambda data: b"\x05\x0a" + data),
            st.binary(min_size=1, max_size=18).map(lambda data: bytes([30, 2 + len(data)]) + data),
        ),
        max_size=6,
    ).map(lambda found: b"".join(found)[:40]),
)


@pytest.mark.parametrize("layout", [V4, V6], ids=str)
@pytest.mark.parametrize("victim", VICTIMS, ids=lambda victim: victim.about)
def test_numbers_out_of_window(machine: Machine, victim: Victim, layout: Layout) -> None:
    prepare(machine, victim, layout)

    @QUICK
    @given(FLAGS, st.one_of(WORDS, NEAR), st.one_of(WORDS, NEAR), LENGTHS, OPTION_BYTES)
    def attack(flags: str, seq: int, ack: int, payload: int, options: bytes) -> None:
        seq, ack = rcv(victim) + seq, victim.nxt + ack
        if accepted(victim, flags, seq, ack):
            return
        content = with_options(into(flags, seq, ack, payload), layout, options)
        expect_nothing(machine, Step(False, build=lambda _: content), layout)

    attack()


@pytest.mark.parametrize("layout", [V4, V6], ids=str)
def test_noise(machine: Machine, layout: Layout) -> None:
    """Random bytes, alone and behind the beginning of a packet of the flow; ports are not hit."""
    victim = VICTIMS[3]
    prepare(machine, victim, layout)
    start = packets.frame(layout, False, packets.network(layout, False) / perfect(victim))
    shortest = layout.headers + (0 if machine.xdp else 20)

    @QUICK
    @given(st.integers(0, layout.headers), st.binary(min_size=60, max_size=200))
    def attack(kept: int, noise: bytes) -> None:
        content = (start[:kept] + noise).ljust(shortest, b"\0")
        expect_nothing(machine, Step(False, build=lambda _: content), layout)

    attack()


SAMPLE = ("srtt_us8", "rttvar_us4", "min_rtt_us", "rtt_samples", "last_rtt_us", "jitter_us16")
SENT = ("snd_nxt", "tx_bytes", "tx_segments", "retransmitted_segments", "sample_no", "tsecho_no")


@pytest.mark.parametrize("victim", VICTIMS[2:5], ids=lambda victim: victim.about)
def test_a_guess_in_window_takes_no_sample(machine: Machine, victim: Victim) -> None:
    """It hits the 4-tuple, the sequence number and an acknowledgement of nothing new.

    It cannot know the timestamp to echo. Loss can be faked inwards by what it sends itself, and
    denied outwards only as far as there was some.
    """
    prepare(machine, victim, V4)

    @QUICK
    @given(
        st.integers(0, WINDOW - 3000).filter(lambda n: n == 0 or n > 1),
        st.integers(0, 60_000),
        LENGTHS,
        OPTION_BYTES,
        st.integers(1000, MASK),
    )
    def attack(old: int, seq: int, payload: int, options: bytes, echo: int) -> None:
        prepare(machine, victim, V4)
        before, counters = machine.flow(V4), machine.counters()
        assert before is not None
        stamped = struct.pack("!BBBBII", 1, 1, 8, 10, 5, echo) + options[:28]
        guess = into("A", rcv(victim) + seq, victim.una - old, payload)
        content = with_options(guess, V4, stamped)
        machine.send(Step(False, build=lambda _: content), V4)
        after = machine.flow(V4)
        assert after is not None
        assert len(machine.entries()) == 1
        changed = moved(before, after)
        if not has_echo(options):
            assert not changed & {*SAMPLE, *SENT}
            assert "rtt_samples" not in moved(counters, machine.counters())
        assert not changed & set(SENT)
        assert after["snd_una"] == before["snd_una"]
        assert after.get("spurious_segments", 0) <= after.get("retransmitted_segments", 0)
        repeated = after.get("refilled_segments", 0) - before.get("refilled_segments", 0)
        assert repeated <= (payload > 0)

    def has_echo(options: bytes) -> bool:
        """A second timestamp option, that may echo right by chance."""
        return b"\x08\x0a" in options

    attack()


EDGES = st.one_of(st.sampled_from([0, 1, 500, 999, 1000, 1001, 2999, 3000, 3001, -1]), WORDS)


@pytest.mark.parametrize("victim", VICTIMS[3:5], ids=lambda victim: victim.about)
def test_a_sack_takes_a_sample_only_of_what_is_in_flight(machine: Machine, victim: Victim) -> None:
    """And never of what was sent again: all of the second victim's was."""

    @QUICK
    @given(st.lists(st.tuples(EDGES, EDGES), min_size=1, max_size=4))
    def attack(blocks: list[tuple[int, int]]) -> None:
        prepare(machine, victim, V4)
        before, taken = machine.flow(V4), machine.counters()["rtt_samples"]
        assert before is not None
        edges = tuple((victim.una + edge) & MASK for block in blocks for edge in block)
        machine.send(into("A", rcv(victim), victim.una, options=[("SAck", edges)]), V4)
        after = machine.flow(V4)
        assert after is not None
        good = any(0 < low < 1000 <= high <= 3000 for low, high in blocks)
        taken += good and victim is VICTIMS[3]
        assert machine.counters()["rtt_samples"] == machine.histogram_total() == taken
        assert after["rtt_samples"] == taken
        assert (after["sample_done"] == after["sample_no"]) == good
        assert not moved(before, after) & {*SENT, "snd_una"}

    attack()


def test_a_guess_cannot_deny_more_loss_than_there_was(machine: Machine) -> None:
    victim = VICTIMS[4]
    prepare(machine, victim, V4)
    blocks: Options = [("SAck", (OURS - 900_000, OURS))]
    for _ in range(5):
        machine.send(into("A", rcv(victim), victim.una, options=blocks), V4)
    found = machine.flow(V4)
    assert found is not None
    assert found["spurious_segments"] == found["retransmitted_segments"] == 3
    assert machine.counters()["spurious_segments"] == 3


@pytest.mark.parametrize("jump", [2**26, 2**26 - 50], ids=["corrected", "too small to tell"])
def test_a_guess_that_moves_rcv_nxt(machine: Machine, jump: int) -> None:
    """Our next acknowledgement knows better, or the peer catches up: a window of it is lost."""
    victim = VICTIMS[3]
    prepare(machine, victim, V4)
    machine.send(into("A", THEIRS + jump, victim.una, 50), V4)
    machine.send(out("A", victim.nxt, THEIRS), V4)
    machine.send(into("A", THEIRS, victim.una, 100, after=400), V4)
    found = machine.flow(V4)
    assert found is not None
    corrected = jump == 2**26
    assert found["rcv_nxt"] == ((THEIRS + 100) if corrected else THEIRS + 2**26) % 2**32
    assert found.get("refilled_segments", 0) == (not corrected)


def test_what_came_by_unseen(machine: Machine) -> None:
    """We acknowledge more than was seen to arrive: the entry follows, and no hole is open."""
    victim = VICTIMS[2]
    prepare(machine, victim, V4)
    machine.send(out("A", OURS, THEIRS + 2**31 - 9), V4)
    machine.send(into("A", THEIRS + 2**31 - 9, OURS, 100), V4)
    found = machine.flow(V4)
    assert found is not None
    assert found["rcv_nxt"] == (THEIRS + 2**31 + 91) % 2**32
    assert not found["rx_flags"] & lib.OMR_RX_HOLE


def test_old_acknowledgements_carry_no_window_and_no_sack(machine: Machine) -> None:
    victim = VICTIMS[4]
    prepare(machine, victim, V4)
    before = machine.flow(V4)
    assert before is not None
    blocks: Options = [("SAck", (OURS - 3000, OURS - 2000))]
    machine.send(into("A", rcv(victim), victim.una - 1, window=0, options=blocks), V4)
    after = machine.flow(V4)
    assert after is not None
    assert moved(before, after) == {"rx_bytes", "since_sample", "last_rx_j", "echo_gap_j"}


def test_strangers_overwrite_at_most_notes(machine: Machine) -> None:
    """More MP_JOIN SYNs than there are slots: the flow tables stay empty."""
    machine.reset(V4)
    for number in range(300):
        step = into("S", number, options=JOIN)
        content = bytearray(step.bytes_in(V4))
        content[V4.headers : V4.headers + 2] = struct.pack("!H", 1024 + number)
        machine.send(Step(False, build=lambda _, content=bytes(content): content), V4)
    assert machine.entries() == {}
    assert machine.counters().keys() == {"rx_packets", "rx_bytes"}


def test_a_note_serves_only_its_own_answer(machine: Machine) -> None:
    """The SYN-ACK to another port does not read it, nor does one that joins nothing."""
    machine.reset(V6)
    machine.send(into("S", THEIRS - 1, options=JOIN), V6)
    other = bytearray(out("SA", 5, THEIRS, options=packets.mp_join_synack(4)).bytes_in(V6))
    other[V6.headers] ^= 1
    machine.send(Step(True, build=lambda _: bytes(other)), V6)
    found = machine.flow(V6)
    assert found is not None
    assert "token_be" not in found
    assert "remote_id" not in found
    machine.plane.maps["omr_flows6"].delete(next(iter(machine.entries())))
    machine.send(out("SA", 5, THEIRS), V6)
    found = machine.flow(V6)
    assert found is not None
    assert "token_be" not in found


def test_extension_headers_hide_no_stranger(machine: Machine) -> None:
    victim = VICTIMS[3]
    prepare(machine, victim, V6)
    segment = packets.transport(False, "PA", rcv(victim), victim.nxt + 1, 0, STAMPED)
    inner = IPv6(src=packets.REMOTE[6], dst=packets.LOCAL[6]) / IPv6ExtHdrDestOpt() / segment
    expect_nothing(machine, framed(V6, inner / Raw(bytes(9))), V6)
