# SPDX-License-Identifier: GPL-2.0-or-later
"""MPTCP connections of a capture, with keys and tokens as RFC 8684 makes them."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

from .both import replay_segments
from .handmade import Segment, into, out

OUR_KEY, PEER_KEY = 0x0102030405060708, 0x1112131415161718
Options = list[tuple[Any, Any]]


def digest(key: int, version: int = 1) -> bytes:
    return (hashlib.sha256 if version else hashlib.sha1)(struct.pack(">Q", key)).digest()


def token(key: int, version: int = 1) -> int:
    return int.from_bytes(digest(key, version)[:4], "big")


def idsn(key: int) -> int:
    return int.from_bytes(digest(key)[-8:], "big")


def capable(*keys: int, version: int = 1) -> Options:
    return [(30, struct.pack(">BB", version, 0x81) + b"".join(struct.pack(">Q", k) for k in keys))]


def join_syn(value: int, address_id: int, backup: bool = False) -> Options:
    return [(30, struct.pack(">BBII", 0x10 | backup, address_id, value, 77))]


def join_synack(address_id: int, backup: bool = False) -> Options:
    return [(30, struct.pack(">BBQI", 0x10 | backup, address_id, 1, 2))]


def join_ack() -> Options:
    return [(30, bytes([0x10, 0]) + bytes(20))]


def dss(data_ack: int, data_seq: int | None = None, length: int = 0) -> Options:
    """64-bit numbers; the mapping only if there is a sequence number."""
    if data_seq is None:
        return [(30, struct.pack(">BBQ", 0x20, 0x03, data_ack % 2**64))]
    numbers = struct.pack(">QQIH", data_ack % 2**64, data_seq % 2**64, 1, length)
    return [(30, struct.pack(">BB", 0x20, 0x0F) + numbers)]


def other(subtype: int, content: bytes) -> Options:
    return [(30, bytes([subtype << 4]) + content)]


def initial(peer_key: int = PEER_KEY, version: int = 1, **more: Any) -> list[Segment]:
    """We are the client of a connection's first subflow."""
    own = capable(version=version) if version else capable(OUR_KEY, version=0)
    peer = capable(peer_key, version=version)
    both = capable(OUR_KEY, peer_key, version=version)
    return [
        out("S", 1000, options=own, **more),
        into("SA", 5000, 1001, options=peer, **more),
        out("A", 1001, 5001, options=both, **more),
        out("PA", 1001, 5001, 100, options=dss(idsn(peer_key) + 1, 0x55, 100), **more),
        into("A", 5001, 1101, options=dss(0), **more),
    ]


def joined(value: int, **more: Any) -> list[Segment]:
    return [
        out("S", 7000, options=join_syn(value, 3, backup=True), **more),
        into("SA", 8000, 7001, options=join_synack(9), **more),
        out("A", 7001, 8001, options=join_ack(), **more),
        into("A", 8001, 7001, options=dss(0), **more),
    ]


def midlife(peer_key: int, **more: Any) -> list[Segment]:
    """Data arrives; our data ACKs tell the connection."""
    return [
        out("A", 30, 40, options=dss(idsn(peer_key) + 5000), **more),
        into("A", 40, 30, 500, options=dss(0, idsn(peer_key) + 5000, 500), **more),
    ]


def test_two_subflows(tmp_path: Path) -> None:
    second = {"local": "10.1.1.1", "local_port": 41000}
    found = replay_segments(tmp_path, [*initial(), *joined(token(PEER_KEY), **second)])
    assert found["connections"] == [
        {"token": token(PEER_KEY), "version": 1, "fallback": False, "subflows": [0, 1]}
    ]
    first, other_ = (flow["mptcp"] for flow in found["flows"])
    assert first == {
        "token": token(PEER_KEY), "local_id": 0, "remote_id": 0, "backup": False,
        "backup_announced": False, "backup_received": False, "joined": False, "version": 1,
        "seen": {"sent": [], "received": []}, "connection": 0,
    }  # fmt: skip
    assert other_ == {
        **first, "local_id": 3, "remote_id": 9, "backup": True, "backup_announced": True,
        "joined": True,
    }  # fmt: skip


def test_two_connections_that_share_nothing(tmp_path: Path) -> None:
    second_key = PEER_KEY + 1
    found = replay_segments(
        tmp_path,
        [
            *initial(),
            *initial(second_key, local_port=40001),
            *joined(token(second_key), local="10.1.1.1", local_port=40002),
            *joined(token(PEER_KEY), local="10.1.1.1", local_port=40003),
            *joined(12345, local="10.1.1.1", local_port=40004),
        ],
    )
    assert [row["subflows"] for row in found["connections"]] == [[0, 3], [1, 2], [4]]
    assert [row["token"] for row in found["connections"]] == [
        token(PEER_KEY), token(second_key), 12345
    ]  # fmt: skip


def test_accepted_joins(tmp_path: Path) -> None:
    """We are the server: the token is ours, from the third ACK's second key."""
    accepted = [
        into("S", 5000, options=capable()),
        out("SA", 1000, 5001, options=capable(PEER_KEY)),
        into("A", 5001, 1001, options=capable(OUR_KEY, PEER_KEY)),
        into("S", 600, options=join_syn(token(PEER_KEY), 4, backup=True), local_port=40009),
        out("SA", 700, 601, options=join_synack(0), local_port=40009),
        into("A", 601, 701, options=join_ack(), local_port=40009),
    ]
    found = replay_segments(tmp_path, accepted)
    assert [row["subflows"] for row in found["connections"]] == [[0, 1]]
    assert found["connections"][0]["token"] == token(PEER_KEY)
    second = found["flows"][1]["mptcp"]
    assert (second["remote_id"], second["backup_received"], second["joined"]) == (4, True, True)
    assert [flow["role"] for flow in found["flows"]] == ["server", "server"]


def test_subflows_met_in_mid_life(tmp_path: Path) -> None:
    """Two of one connection by their data ACKs, a third of another one."""
    found = replay_segments(
        tmp_path,
        [
            *midlife(PEER_KEY, local_port=40001),
            *midlife(PEER_KEY, local_port=40002, local="10.1.1.1"),
            *midlife(PEER_KEY + 7, local_port=40003),
        ],
    )
    assert [row["subflows"] for row in found["connections"]] == [[0, 1], [2]]
    assert [row["token"] for row in found["connections"]] == [None, None]


def test_mid_life_beside_a_known_key(tmp_path: Path) -> None:
    """The key says where data sequence numbers begin: the subflow gets its token."""
    found = replay_segments(tmp_path, [*midlife(PEER_KEY, local_port=40001), *initial()])
    assert [row["subflows"] for row in found["connections"]] == [[0, 1]]
    assert [flow["mptcp"]["token"] for flow in found["flows"]] == [token(PEER_KEY)] * 2


def test_version_0(tmp_path: Path) -> None:
    found = replay_segments(tmp_path, initial(version=0))
    assert found["connections"] == [
        {"token": token(PEER_KEY, 0), "version": 0, "fallback": False, "subflows": [0]}
    ]


def test_fallback(tmp_path: Path) -> None:
    plain = [out("S", 1, options=capable()), into("SA", 9, 2), out("A", 2, 10)]
    broken = [
        *initial(local_port=40001),
        out("A", 1101, 5001, 1, options=dss(0, 9), local_port=40001),
    ]
    found = replay_segments(tmp_path, [*plain, *broken])
    assert [flow["fallback"] for flow in found["flows"]] == [True, True]
    assert [flow["mptcp"] is None for flow in found["flows"]] == [True, False]
    assert found["connections"][0]["fallback"] is True


def test_what_was_seen(tmp_path: Path) -> None:
    segments = [
        *initial(),
        out("A", 1101, 5001, options=other(3, bytes([2, 10, 0, 0, 1]) + bytes(8))),
        into("A", 5001, 1101, options=other(4, bytes([6]))),
        into("A", 5001, 1101, options=[(30, b"\x51")]),
        out("A", 1101, 5001, options=other(7, bytes(9))),
        into("A", 5001, 1101, options=other(6, bytes(9))),
    ]
    found = replay_segments(tmp_path, segments)
    mptcp = found["flows"][0]["mptcp"]
    assert mptcp["seen"] == {"sent": ["add_addr", "fastclose"], "received": ["remove_addr", "fail"]}
    assert (mptcp["backup_received"], mptcp["backup_announced"], mptcp["backup"]) == (
        True, False, True
    )  # fmt: skip
    assert found["flows"][0]["fallback"] is True
