# SPDX-License-Identifier: GPL-2.0-or-later
"""MPTCP in a replay: which subflows belong together, against tshark and the kernel's sockets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omrfast.act.sockets import Subflow
from tests.replay.captures import PLAIN
from tests.replay.comparison import Comparison, cut
from tests.replay.studio import Capture
from tests.replay.tshark import ACK, SYN, Connection, Frame

Compared = Callable[[str], Comparison]
SIDES = ("client", "server")
NAMES = [f"{name}-{side}" for name in ("mptcp", "mptcp-backup") for side in SIDES]
MP_JOIN, MP_PRIO = "1", "5"
"""Subtypes of RFC 8684 section 8."""

pytestmark = pytest.mark.timeout(240)  # the first test waits for all captures
every_capture = pytest.mark.parametrize("name", NAMES)


def carries(frame: Frame, subtype: str) -> bool:
    return subtype in frame.text("tcp.options.mptcp.subtype").split(",")


def ends(connection: Connection) -> tuple[int, int]:
    return connection.local[1], connection.remote[1]


def sockets(capture: Capture) -> dict[tuple[int, int], Subflow]:
    """The kernel's subflows by their ports: addresses are others behind the carriers' NAT."""
    return {(s.local_port, s.remote_port): s for s in capture.subflows}


def server_token(capture: Capture) -> int:
    """The token of the accepting end, of the kernel of either end."""
    if not capture.client:
        (token,) = {subflow.token_local for subflow in capture.subflows}
    else:
        (token,) = {s.token_remote for s in capture.subflows if s.joined}
    return int(token)


def one_connection(answer: dict[str, Any]) -> dict[str, Any]:
    """The only connection, of both subflows."""
    (connection,) = answer["connections"]
    assert connection["subflows"] == [0, 1]
    assert [flow["mptcp"]["connection"] for flow in answer["flows"]] == [0, 0]
    found: dict[str, Any] = connection
    return found


@every_capture
def test_subflows_are_found_together(compared: Compared, name: str) -> None:
    comparison = compared(name)
    connection = one_connection(comparison.native)
    token = server_token(comparison.capture)
    assert connection == {"token": token, "version": 1, "fallback": False, "subflows": [0, 1]}
    assert {flow["mptcp"]["token"] for flow in comparison.native["flows"]} == {token}
    # tshark: one MPTCP stream, and the token that the second SYN asks for.
    # (The first SYN, whose key nobody has answered, is of no stream yet.)
    assert {f.text("mptcp.stream") for f in comparison.frames[1:]} == {"0"}
    asked = [f for f in comparison.frames if carries(f, MP_JOIN) and not f.flags & ACK]
    assert {f.number_of("tcp.options.mptcp.recvtok") for f in asked} == {token}


@every_capture
def test_address_ids(compared: Compared, name: str) -> None:
    comparison = compared(name)
    known = sockets(comparison.capture)
    for flow, connection in comparison.pairs():
        socket, mptcp = known[ends(connection)], flow["mptcp"]
        assert (mptcp["local_id"], mptcp["remote_id"]) == (socket.id_local, socket.id_remote)
        assert mptcp["joined"] == socket.joined
        joins = [f for f in connection.frames if carries(f, MP_JOIN) and f.flags & SYN]
        for frame in joins:
            own = mptcp["local_id" if connection.leaves(frame) else "remote_id"]
            assert frame.number_of("tcp.options.mptcp.addrid") == own
        assert bool(joins) == socket.joined
    assert any(flow["mptcp"]["joined"] for flow in comparison.native["flows"])


@every_capture
def test_backup_is_what_was_said_last(compared: Compared, name: str) -> None:
    comparison = compared(name)
    known = sockets(comparison.capture)
    changed = 0
    for flow, connection in comparison.pairs():
        flags, mptcp = known[ends(connection)].flags, flow["mptcp"]
        assert mptcp["backup_received"] == ("bkup_rem" in flags)
        # On the accepting side the kernel does not tell what it said itself; it said nothing.
        assert mptcp["backup_announced"] == ("bkup_loc" in flags)
        changed += sum(carries(f, MP_PRIO) for f in connection.frames)
    assert changed >= 1
    backups = {f["mptcp"]["joined"]: f["mptcp"]["backup"] for f in comparison.native["flows"]}
    assert backups == {False: False, True: not name.startswith("mptcp-backup")}


@every_capture
def test_backup_before_it_changes(compared: Compared, scratch: Path, name: str) -> None:
    """As the join announced it: no MP_PRIO in what is left of the capture."""
    comparison = compared(name)
    first = min(f.number for f in comparison.frames if carries(f, MP_PRIO))
    before = cut(comparison.capture, scratch, f"1-{first - 1}")
    joined_as_backup = name.startswith("mptcp-backup")
    backups = {f["mptcp"]["joined"]: f["mptcp"]["backup"] for f in before.native["flows"]}
    assert backups == {False: False, True: joined_as_backup}


@every_capture
def test_without_the_handshakes(compared: Compared, scratch: Path, name: str) -> None:
    """A router that saw only the middle knows no token, and yet what belongs together."""
    comparison = compared(name)
    joined = max(f.number for f in comparison.frames if carries(f, MP_JOIN))
    middle = cut(comparison.capture, scratch, f"{joined + 1}-{len(comparison.frames)}")
    assert {flow["role"] for flow in middle.native["flows"]} == {"midlife"}
    assert one_connection(middle.native)["token"] is None


@pytest.mark.parametrize("name", [f"{name}-{side}" for name in PLAIN for side in SIDES])
def test_plain_tcp_is_not_taken_for_mptcp(compared: Compared, name: str) -> None:
    answer = compared(name).native
    assert answer["connections"] == []
    assert all(flow["mptcp"] is None and not flow["fallback"] for flow in answer["flows"])
