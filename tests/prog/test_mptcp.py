# SPDX-License-Identifier: GPL-2.0-or-later
"""Which flow is a subflow of which connection, as its options tell (RFC 8684)."""

from __future__ import annotations

import sys

import pytest
from omrfast.shim._shim import lib

from . import packets
from .machine import PATH, START_NS, Machine, Step, into, out
from .packets import LAYOUTS, Layout, Options, timestamps
from .test_tcp import (
    BUSY,
    CAUGHT_UP,
    COUNTERS,
    EST_RX,
    EST_TX,
    EVENTS,
    FLOW,
    LIVE,
    OPEN,
    READY,
    Case,
    check,
)

KEY, OTHER_KEY = 0x0102030405060708, 0xA1A2A3A4A5A6A7A8
TOKEN = 0xAABBCCDD


def as_stored(number: int, size: int) -> int:
    """A number in network order, as a member *_be of this machine shows it."""
    return int.from_bytes(number.to_bytes(size, "big"), sys.byteorder)


def handshake(syn: Options, synack: Options, third: Options) -> list[Step]:
    return [
        out("S", 1000, options=[("MSS", 1460), ("SAckOK", b""), *syn]),
        into("SA", 5000, 1001, options=[("MSS", 1460), ("WScale", 7), *synack], after=20),
        out("A", 1001, 5001, options=third, after=4),
    ]


CAPABLE = handshake(
    packets.mp_capable(), packets.mp_capable(KEY), packets.mp_capable(OTHER_KEY, KEY)
)
CAPABLE_FLOW = {
    **FLOW,
    "tx_flags": EST_TX | lib.OMR_TX_MPTCP | lib.OMR_TX_CAPABLE,
    "rx_flags": EST_RX | lib.OMR_RX_MPTCP | lib.OMR_RX_KEY,
    "key_be": as_stored(KEY, 8),
}
JOIN = handshake(packets.mp_join_syn(TOKEN, 3), packets.mp_join_synack(7), packets.mp_join_ack())
JOIN_FLOW = {
    **FLOW,
    "tx_flags": EST_TX | lib.OMR_TX_MPTCP | lib.OMR_TX_JOIN,
    "rx_flags": EST_RX | lib.OMR_RX_MPTCP | lib.OMR_RX_JOIN,
    "token_be": as_stored(TOKEN, 4),
    "local_id": 3,
    "remote_id": 7,
}
AT_32 = {**LIVE, "last_rx": 32.0}

CASES = [
    Case("client begins a connection", CAPABLE, CAPABLE_FLOW, COUNTERS, LIVE, EVENTS),
    Case(
        "server: the second key of the third ACK is ours",
        [
            out("SA", 1000, 5001, options=packets.mp_capable(KEY)),
            into("A", 5001, 1001, options=packets.mp_capable(OTHER_KEY, KEY), after=20),
        ],
        {
            **FLOW,
            "tx_flags": EST_TX | lib.OMR_TX_SERVER | lib.OMR_TX_MPTCP | lib.OMR_TX_CAPABLE,
            "rx_flags": lib.OMR_RX_SEQ | lib.OMR_RX_ACK | lib.OMR_RX_MPTCP | lib.OMR_RX_KEY,
            "key_be": as_stored(KEY, 8),
        },
        COUNTERS,
        {"asked": 0.0, "last_tx": 0.0, "last_rx": 20.0},
        EVENTS,
    ),
    Case("client joins", JOIN, JOIN_FLOW, COUNTERS, LIVE, EVENTS),
    Case(
        "client joins as backup, and so does the server",
        handshake(
            packets.mp_join_syn(TOKEN, 3, backup=True),
            packets.mp_join_synack(7, backup=True),
            packets.mp_join_ack(),
        ),
        {
            **JOIN_FLOW,
            "tx_flags": JOIN_FLOW["tx_flags"] | lib.OMR_TX_BACKUP,
            "rx_flags": JOIN_FLOW["rx_flags"] | lib.OMR_RX_BACKUP,
        },
        COUNTERS,
        LIVE,
        ((*OPEN, True), BUSY, (*READY, True)),
    ),
    Case(
        "we become backup",
        [*JOIN, out("A", 1001, 5001, options=packets.mp_prio(True), after=8)],
        {**JOIN_FLOW, "tx_flags": JOIN_FLOW["tx_flags"] | lib.OMR_TX_BACKUP},
        COUNTERS,
        {**LIVE, "last_tx": 32.0},
        (*EVENTS, ("priority", True, True)),
    ),
    Case(
        "the peer becomes backup and takes it back",
        [
            *JOIN,
            into("A", 5001, 1001, options=packets.mp_prio(True), after=8),
            into("A", 5001, 1001, options=packets.mp_prio(False)),
        ],
        {**JOIN_FLOW, "last_rx_j": 32.0, "since_sample": 2},
        COUNTERS,
        AT_32,
        (*EVENTS, ("priority", False, True), ("priority", False)),
    ),
    Case(
        "priority in a packet that is not the peer's",
        [*JOIN, into("A", 5001, 9999, options=packets.mp_prio(True), after=8, counted=False)],
        JOIN_FLOW,
        COUNTERS,
        AT_32,
        EVENTS,
    ),
    Case(
        "recognised in mid-life by DSS, in both directions",
        [
            out("A", 1001, 5001, 10, options=timestamps(7, 9) + packets.dss_map()),
            into("A", 5001, 1011, options=timestamps(9, 7) + packets.dss_ack(), after=20),
        ],
        {
            "snd_nxt": 1011,
            "snd_una": 1011,
            "rcv_nxt": 5001,
            "unacked_since_j": 0.0,
            "last_rx_j": 20.0,
            "since_sample": 1,
            "tsval_max": 7,
            "tx_segments": 1,
            "path": FLOW["path"],
            "tx_flags": CAUGHT_UP | lib.OMR_TX_MPTCP,
            "rx_flags": lib.OMR_RX_SEQ | lib.OMR_RX_ACK | lib.OMR_RX_MPTCP,
        },
        {"flows_opened": 1, "tx_segments": 1},
        {"asked": 0.0, "last_tx": 0.0, "last_rx": 20.0},
        (BUSY,),
    ),
    Case(
        "the peer closes the connection at once",
        [*CAPABLE, into("A", 5001, 1001, options=packets.fastclose(), after=8)],
        {
            **CAPABLE_FLOW,
            "rx_flags": CAPABLE_FLOW["rx_flags"] | lib.OMR_RX_FASTCLOSE,
            "last_rx_j": 32.0,
            "since_sample": 1,
        },
        COUNTERS,
        AT_32,
        (*EVENTS, ("mptcp", False)),
    ),
    Case(
        "several options in one packet",
        [
            *CAPABLE,
            into(
                "A",
                5001,
                1001,
                options=packets.dss_ack() + packets.mp_prio(True) + packets.remove_addr(4, 5),
                after=8,
            ),
        ],
        {
            **CAPABLE_FLOW,
            "rx_flags": CAPABLE_FLOW["rx_flags"] | lib.OMR_RX_BACKUP | lib.OMR_RX_REMOVE_ADDR,
            "last_rx_j": 32.0,
            "since_sample": 1,
        },
        COUNTERS,
        AT_32,
        (*EVENTS, ("priority", False, True), ("mptcp", False, True)),
    ),
]

FITTING = {
    "DSS, narrow ACK": packets.dss_ack(wide=False),
    "DSS, map with checksum": packets.dss_map(checksum=True),
    "DSS, FIN only": packets.mptcp(bytes([0x20, 0x10])),
    "ADD_ADDR": packets.add_addr(),
    "REMOVE_ADDR": packets.remove_addr(1),
    "MP_FAIL": packets.mptcp(bytes([0x60, 0]) + bytes(8)),
    "RST": packets.mptcp(bytes([0x80, 0])),
    "not known yet": packets.mptcp(bytes([0x90, 1, 2, 3])),
}

WRONG = {
    "no subtype": [(30, b"")],
    "DSS too short": packets.mptcp(bytes([0x20])),
    "DSS whose flags promise more": packets.mptcp(bytes([0x20, 0x0F]) + bytes(8)),
    "DSS with a tail": packets.mptcp(bytes([0x20, 0x01]) + bytes(9)),
    "MP_PRIO": packets.mptcp(bytes([0x51, 0, 0])),
    "MP_CAPABLE of a SYN on data": packets.mp_capable(),
    "MP_CAPABLE of a SYN-ACK on data": packets.mp_capable(KEY),
    "MP_JOIN of a SYN on data": packets.mp_join_syn(TOKEN, 9, backup=True),
    "MP_JOIN of a SYN-ACK on data": packets.mp_join_synack(9, backup=True),
    "ADD_ADDR": packets.mptcp(bytes([0x30, 5]) + bytes(3)),
    "REMOVE_ADDR": packets.remove_addr(),
    "FASTCLOSE": packets.mptcp(bytes([0x70, 0]) + bytes(9)),
    "MP_FAIL": packets.mptcp(bytes([0x60, 0])),
    "RST": packets.mptcp(bytes([0x80])),
    "timestamp": [("NOP", None), (8, bytes(7))],
    "SACK": [(5, bytes(9))],
}


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.about)
def test_mptcp(machine: Machine, case: Case, layout: Layout) -> None:
    check(machine, case, layout)


@pytest.mark.parametrize("name", FITTING)
def test_an_option_of_the_right_length_marks_the_flow(machine: Machine, name: str) -> None:
    steps = [out("A", 1001, 5001), into("A", 5001, 1001, 10, options=FITTING[name])]
    found = machine.run(steps, LAYOUTS[0])
    assert found.flow is not None
    assert found.flow["rx_flags"] & lib.OMR_RX_MPTCP
    assert found.counters.get("options", 0) == 0


@pytest.mark.parametrize("egress", [False, True], ids=["in", "out"])
@pytest.mark.parametrize("name", WRONG)
def test_an_option_of_a_wrong_length_is_left_out(machine: Machine, name: str, egress: bool) -> None:
    """It is counted; the rest of the packet, a following DSS included, is not disturbed."""
    following = packets.dss_ack(wide=False) if "timestamp" not in name else []
    last = out if egress else into
    numbers = (1001, 5001) if egress else (5001, 1001)
    plain = [*CAPABLE, last("A", *numbers, 10, options=following)]
    with_it = [*CAPABLE, last("A", *numbers, 10, options=WRONG[name] + following)]
    expected, found = machine.run(plain, LAYOUTS[0]), machine.run(with_it, LAYOUTS[0])
    assert found.flow is not None
    assert expected.flow is not None
    for bulk in ("tx_bytes", "rx_bytes"):
        for members in (expected.flow, expected.counters, found.flow, found.counters):
            members.pop(bulk)
    assert found.flow == expected.flow
    assert found.counters == {**expected.counters, "options": 1}
    assert found.events == expected.events


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_an_event_names_its_flow(machine: Machine, layout: Layout) -> None:
    machine.reset(layout)
    for step in JOIN:
        machine.send(step, layout)
    ready = machine.plane.events()[-1]
    assert (ready.kind, ready.egress, ready.path) == ("flow_ready", False, PATH)
    assert (ready.local, ready.local_port) == (packets.LOCAL[layout.version], packets.LOCAL_PORT)
    assert (ready.remote, ready.remote_port) == (
        packets.REMOTE[layout.version],
        packets.REMOTE_PORT,
    )
    assert (ready.token, ready.local_id, ready.remote_id) == (TOKEN, 3, 7)
    assert ready.tcp_flags == 0x12
    assert ready.at == pytest.approx((START_NS + 20_000_000) / 1e9)
