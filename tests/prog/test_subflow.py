# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of a connection in mid-life and on the accepting side; the marks of a subflow."""

from __future__ import annotations

import struct

import pytest
from omrfast.shim._shim import lib

from . import packets
from .machine import Machine, Nonzero, Step, into, out
from .packets import LAYOUTS, Layout, Options, timestamps
from .test_mptcp import CAPABLE, JOIN, KEY, OTHER_KEY, TOKEN, as_stored, handshake

UPPER = 0xCAFE0001


def word(number: int) -> int:
    return number << 32 | 7


def members(machine: Machine, steps: list[Step]) -> Nonzero:
    found = machine.run(steps, LAYOUTS[0]).flow
    assert found is not None
    return found


WORDS = {
    # name: (options of packets that leave, data_word, whether of sequence numbers)
    "data ACK": ([packets.dss(word(UPPER))], UPPER, False),
    "sequence number": ([packets.dss(None, word(UPPER))], UPPER, True),
    "both: the data ACK": ([packets.dss(word(UPPER), word(5))], UPPER, False),
    "narrow data ACK, sequence number": ([packets.dss(9, word(UPPER), wide=False)], UPPER, True),
    "narrow both": ([packets.dss(9, 9, wide=False, wide_seq=False)], 0, False),
    "narrow data ACK": ([packets.dss(9, wide=False)], 0, False),
    "a data ACK after a sequence number": (
        [packets.dss(None, word(5)), packets.dss(word(UPPER))], UPPER, False),
    "a sequence number after a data ACK": (
        [packets.dss(word(UPPER)), packets.dss(None, word(5))], UPPER, False),
    "the newest data ACK": ([packets.dss(word(5)), packets.dss(word(UPPER))], UPPER, False),
    "the newest sequence number": (
        [packets.dss(None, word(5)), packets.dss(None, word(UPPER))], UPPER, True),
    "nothing, then a sequence number": (
        [packets.dss(word(0)), packets.dss(None, word(UPPER))], UPPER, True),
    "a data ACK of nothing beside one": ([packets.dss(word(0), word(UPPER))], UPPER, True),
    "with a checksum": ([packets.dss(word(UPPER), word(5), checksum=True)], UPPER, False),
    "behind other options": (
        [[*packets.mp_prio(False), ("NOP", None), *packets.dss(word(UPPER))]], UPPER, False),
    "DATA_FIN": ([packets.dss(word(UPPER), word(5), fin=True, length=1)], UPPER, False),
}  # fmt: skip


@pytest.mark.parametrize("stamped", [False, True], ids=["bare", "stamped"])
@pytest.mark.parametrize("name", WORDS)
def test_data_words_of_a_flow_met_in_mid_life(machine: Machine, name: str, stamped: bool) -> None:
    options, expected, of_data = WORDS[name]
    front = timestamps(1, 1) if stamped else []
    steps = [
        out("A", 1001 + 10 * n, 5001, 10, options=front + one) for n, one in enumerate(options)
    ]
    found = members(machine, steps)
    assert found.get("data_word", 0) == expected
    assert bool(found["tx_flags"] & lib.OMR_TX_DATA_SEQ) == of_data
    assert not found["tx_flags"] & lib.OMR_TX_INFINITE


def test_a_join_keeps_its_token_beside_the_word(machine: Machine) -> None:
    found = members(machine, [*JOIN, out("A", 1001, 5001, 9, options=packets.dss(word(UPPER)))])
    assert (found["token_be"], found["data_word"]) == (as_stored(TOKEN, 4), UPPER)


def test_a_known_key_leaves_no_room_for_a_word(machine: Machine) -> None:
    found = members(machine, [*CAPABLE, out("A", 1001, 5001, 9, options=packets.dss(word(UPPER)))])
    assert found["key_be"] == as_stored(KEY, 8)


def test_a_join_takes_no_key(machine: Machine) -> None:
    steps = [*JOIN, into("A", 5001, 1001, options=packets.mp_capable(1, 2))]
    found = members(machine, steps)
    assert not found["rx_flags"] & lib.OMR_RX_KEY
    assert found["token_be"] == as_stored(TOKEN, 4)


def test_the_first_key_stays(machine: Machine) -> None:
    steps = [*CAPABLE, into("A", 5001, 1001, options=packets.mp_capable(1, 2))]
    assert members(machine, steps)["key_be"] == as_stored(KEY, 8)


DATA_HEAD = {
    "ACK": struct.pack("!BBQQ", 0x01, 0x81, OTHER_KEY, KEY),
    "with data": struct.pack("!BBQQH", 0x01, 0x81, OTHER_KEY, KEY, 100),
    "with data and checksum": struct.pack("!BBQQHH", 0x01, 0x81, OTHER_KEY, KEY, 100, 0xBEEF),
}


@pytest.mark.parametrize("name", DATA_HEAD)
def test_our_key_comes_back_in_whatever_comes_first(machine: Machine, name: str) -> None:
    steps = [
        out("SA", 1000, 5001, options=packets.mp_capable(KEY)),
        into("A", 5001, 1001, options=packets.mptcp(DATA_HEAD[name]), after=20),
    ]
    assert members(machine, steps)["key_be"] == as_stored(KEY, 8)


def old_capable(*keys: int) -> Options:
    """RFC 6824: version 0, and the SYN has a key."""
    return packets.mptcp(bytes([0x00, 0x81]) + b"".join(struct.pack("!Q", key) for key in keys))


def test_version_0(machine: Machine) -> None:
    found = members(machine, handshake(old_capable(1), old_capable(KEY), old_capable(1, KEY)))
    assert found["tx_flags"] & (lib.OMR_TX_V0 | lib.OMR_TX_CAPABLE | lib.OMR_TX_MPTCP)
    assert found["key_be"] == as_stored(KEY, 8)
    assert not members(machine, CAPABLE)["tx_flags"] & lib.OMR_TX_V0


@pytest.mark.parametrize(
    "options",
    [old_capable(), packets.mp_capable(1), packets.mp_capable(1, 2)],
    ids=["version 0 without a key", "version 1 with one", "with two"],
)
def test_a_syn_of_the_wrong_version(machine: Machine, options: Options) -> None:
    found = machine.run([out("S", 1000, options=options)], LAYOUTS[0])
    assert found.flow is not None
    assert not found.flow["tx_flags"] & (lib.OMR_TX_CAPABLE | lib.OMR_TX_MPTCP | lib.OMR_TX_V0)
    assert found.counters["options"] == 1


MARKS = {
    # name: (options, flag outbound, flag inbound)
    "ADD_ADDR": (packets.add_addr(), lib.OMR_TX_ADD_ADDR, lib.OMR_RX_ADD_ADDR),
    "REMOVE_ADDR": (packets.remove_addr(1), lib.OMR_TX_REMOVE_ADDR, lib.OMR_RX_REMOVE_ADDR),
    "FASTCLOSE": (packets.fastclose(), lib.OMR_TX_FASTCLOSE, lib.OMR_RX_FASTCLOSE),
    "MP_FAIL": (packets.mptcp(bytes([0x60, 0]) + bytes(8)), lib.OMR_TX_FAIL, lib.OMR_RX_FAIL),
    "infinite": (packets.dss(1, 1, length=0), lib.OMR_TX_INFINITE, lib.OMR_RX_INFINITE),
    "infinite, narrow, checksum": (
        packets.dss(1, 1, length=0, wide=False, wide_seq=False, checksum=True),
        lib.OMR_TX_INFINITE, lib.OMR_RX_INFINITE),
    "infinite, behind MP_PRIO": (
        packets.mp_prio(False) + packets.dss(None, 1, length=0),
        lib.OMR_TX_INFINITE, lib.OMR_RX_INFINITE),
}  # fmt: skip
ALL_TX = lib.OMR_TX_ADD_ADDR | lib.OMR_TX_REMOVE_ADDR | lib.OMR_TX_FASTCLOSE | lib.OMR_TX_FAIL
ALL_RX = lib.OMR_RX_ADD_ADDR | lib.OMR_RX_REMOVE_ADDR | lib.OMR_RX_FASTCLOSE | lib.OMR_RX_FAIL


@pytest.mark.parametrize("egress", [False, True], ids=["in", "out"])
@pytest.mark.parametrize("name", MARKS)
def test_marks_and_their_event(machine: Machine, name: str, egress: bool) -> None:
    options, tx, rx = MARKS[name]
    step = out("A", 1001, 5001, options=options) if egress else into(
        "A", 5001, 1001, options=options
    )  # fmt: skip
    machine.reset(LAYOUTS[0])
    for one in (*CAPABLE, step):
        machine.send(one, LAYOUTS[0])
    found = machine.flow(LAYOUTS[0])
    assert found is not None
    assert found["tx_flags"] & (ALL_TX | lib.OMR_TX_INFINITE) == (tx if egress else 0)
    assert found["rx_flags"] & (ALL_RX | lib.OMR_RX_INFINITE) == (0 if egress else rx)
    last = machine.plane.events()[-1]
    assert (last.kind, last.egress) == ("mptcp", egress)


def test_the_last_of_two_priorities_counts(machine: Machine) -> None:
    for first, second in ((True, False), (False, True)):
        options = packets.mp_prio(first) + packets.mp_prio(second)
        found = members(machine, [*JOIN, into("A", 5001, 1001, options=options)])
        assert bool(found["rx_flags"] & lib.OMR_RX_BACKUP) == second


def test_more_options_than_anybody_sends(machine: Machine) -> None:
    """Thirteen of three bytes: all are read."""
    options = packets.mp_prio(True) + packets.mptcp(b"\x90") * 12
    found = members(machine, [*JOIN, into("A", 5001, 1001, options=options)])
    assert found["rx_flags"] & lib.OMR_RX_BACKUP


def test_an_option_of_a_right_length_before_one_of_a_wrong(machine: Machine) -> None:
    """Timestamps twice, where kernels put them and behind: the same."""
    right, wrong = timestamps(77, 1), [(8, bytes(3))]
    for options in (right + wrong, [("NOP", None), *right, *wrong], wrong + right):
        found = machine.run([out("A", 1001, 5001, options=options)], LAYOUTS[0])
        assert found.flow is not None
        assert found.flow["tsval_max"] == 77
        assert found.counters["options"] == 1


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("backup", [False, True])
def test_a_join_that_we_accept(machine: Machine, layout: Layout, backup: bool) -> None:
    """Token, address id and backup bit are in the SYN that arrives, which makes no entry."""
    steps = [
        into("S", 5000, options=packets.mp_join_syn(TOKEN, 7, backup)),
        out("SA", 1000, 5001, options=packets.mp_join_synack(3), after=1),
        into("A", 5001, 1001, options=packets.mp_join_ack(), after=20),
    ]
    machine.reset(layout)
    machine.send(steps[0], layout)
    assert machine.flow(layout) is None
    for step in steps[1:]:
        machine.send(step, layout)
    found = machine.flow(layout)
    assert found is not None
    assert (found["token_be"], found["remote_id"]) == (as_stored(TOKEN, 4), 7)
    assert found["local_id"] == 3
    assert bool(found["rx_flags"] & lib.OMR_RX_BACKUP) == backup
    assert found["rx_flags"] & lib.OMR_RX_JOIN
    opened = machine.plane.events()[0]
    assert (opened.kind, opened.token, opened.remote_id) == ("flow_open", TOKEN, 7)
