# SPDX-License-Identifier: GPL-2.0-or-later
"""From the core's decisions and state to events and to the Snapshot."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from omrfast.core.config import PathConfig
from omrfast.core.outcome import Decision, Wish
from omrfast.core.plan import Binding
from omrfast.core.state import CoreState, Evidence, Override, PathRecord, Purse, ServerRecord
from omrfast.core.types import FlowSum, Objective, PathState, Role, ServerState
from omrfast.core.views import ActionView, DelaysView, EvidenceView, OverrideView, Snapshot
from omrfast.export.board import Board
from omrfast.export.snapshot import Figures, History, build
from omrfast.export.status import event_json, status_json

NOW = 1000.0
DOWN = Decision(
    at=NOW,
    path="wan1",
    before=PathState.SUSPECT,
    state=PathState.DOWN,
    reason="unanswered",
    evidence=Evidence("silence", measured=0.302, limit=0.301, sign_at=NOW - 0.36),
)
SERVER = ServerRecord(
    "vps",
    ("203.0.113.1", "2001:db8::1"),
    ServerState.UP,
    NOW - 60,
    "answers",
    unreachable_on=frozenset({"wan2", "lte"}),
    evidence=Evidence("answers", 0.0415),
)


FLOWS = {
    "203.0.113.1": FlowSum(3, 3, 1, rtt_mean=0.040, rtt_min=0.039, arrived=NOW - 5),
    "2001:db8::1": FlowSum(1, 0, 0, rtt_mean=0.070, rtt_min=0.070, arrived=NOW - 9),
    "198.51.100.9": FlowSum(7),
}


BOUND = {"wan1": Binding("wan1", 2, "192.0.2.1", frozenset({"192.0.2.1"}))}


def shown(state: CoreState, **wishes: Wish) -> Snapshot:
    """As of NOW."""
    figures = Figures(server_flows=FLOWS)
    times = {"now": NOW, "tick_seconds": 0.0}
    return build(state, wishes, BOUND, figures, History(), loader="prebuilt", **times)


def published(board: Board) -> Snapshot:
    """By the board, with the history that it has kept."""
    state = CoreState((record(),), NOW)
    return board.publish(state, {}, {}, Figures(), loader="prebuilt", tick_seconds=0.0)


def record(**members: object) -> PathRecord:
    config = PathConfig("wan1", "eth1", role=Role.BACKUP, objective=Objective.THROUGHPUT)
    return replace(PathRecord(config, since=NOW), **members)  # type: ignore[arg-type]


def test_a_decision_carries_its_numbers() -> None:
    board = Board(dry_run=False)
    board.decided(DOWN)
    (event,) = map(event_json, board.events.recent())
    assert (event["kind"], event["path"], event["server"]) == ("decision", "wan1", None)
    assert event["message"] == "suspect -> down: unanswered"
    assert event["details"] == {
        "what": "silence",
        "measured": 302.0,
        "limit": 301.0,
        "unit": "ms",
        "sign_ms": pytest.approx(360, abs=0.01),
    }
    assert published(board).transitions == ((("wan1", "down"), 1),)


def test_a_servers_decision_is_no_paths() -> None:
    board = Board(dry_run=False)
    decision = Decision(NOW, "", ServerState.UP, ServerState.DOWN, "answers nowhere", "vps")
    board.decided(decision)
    (event,) = map(event_json, board.events.recent())
    assert (event["kind"], event["path"], event["server"]) == ("server", None, "vps")
    assert event["message"] == "up -> down: answers nowhere"
    state = CoreState((record(),), NOW)
    assert published(board).transitions == ()
    assert board.take_causes(state)["wan1"].decided_at is None


def test_the_operators_word_is_no_change_of_state() -> None:
    board = Board(dry_run=False)
    word = "operator: off for 600 s"
    board.decided(
        Decision(NOW, "wan1", PathState.UP, PathState.UP, word, evidence=Evidence("operator"))
    )
    (event,) = map(event_json, board.events.recent())
    assert (event["kind"], event["path"], event["message"]) == ("operator", "wan1", word)
    assert published(board).transitions == ()
    assert board.take_causes(CoreState((record(),), NOW))["wan1"].reason == word


def test_a_decision_is_the_cause_of_one_pass() -> None:
    board = Board(dry_run=False)
    board.decided(DOWN)
    state = CoreState((record(reason="answers"),), NOW)
    assert board.take_causes(state)["wan1"].sign_at == NOW - 0.36
    assert board.take_causes(state)["wan1"].reason == "answers"


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        (PathState.UP, PathState.UP, False),
        (PathState.DEGRADED, PathState.DEGRADED, False),
        (PathState.UNKNOWN, PathState.UP, True),
        (PathState.UP, PathState.DOWN, True),
        (PathState.UP, PathState.UNREACHABLE, True),
    ],
)
def test_a_suspicion_that_comes_to_nothing_is_neither_logged_nor_a_cause(
    before: PathState, after: PathState, counts: bool, caplog: pytest.LogCaptureFixture
) -> None:
    board = Board(dry_run=False)
    state = CoreState((record(reason="as before"),), NOW)
    caplog.set_level("INFO")
    board.decided(Decision(NOW, "wan1", before, PathState.SUSPECT, "silent"))
    assert not caplog.messages
    board.decided(Decision(NOW + 0.1, "wan1", PathState.SUSPECT, after, "so it is"))
    assert len(caplog.messages) == counts
    assert board.take_causes(state)["wan1"].reason == ("so it is" if counts else "as before")
    assert len(board.events.recent()) == 2, "events have all"


def test_trouble_is_told_once_and_its_end() -> None:
    board = Board(dry_run=False)
    for text in (None, "all silent", "all silent", None, None):
        board.trouble(text)
    assert [(event.kind, event.message) for event in board.events.recent()] == [
        ("agent", "trouble: all silent"),
        ("agent", "trouble is over"),
    ]


def test_what_is_not_recorded_is_told_once_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    board = Board(dry_run=False)
    why = "changes.json: No space left on device"
    for why_not in (None, why, why):
        board.recorded(why_not)
    assert published(board).unrecorded == why
    assert [r.levelname for r in caplog.records] == ["ERROR"]
    board.recorded(None)
    assert published(board).unrecorded is None
    assert [(event.kind, event.message) for event in board.events.recent()] == [
        ("agent", f"what is changed can't be put back after a crash, it can't be recorded: {why}"),
        ("agent", "what is changed is recorded again"),
    ]


def test_actions_and_their_delays() -> None:
    board = Board(dry_run=False)
    board.acted(ActionView(1.7e9, "wan1", "delete", "silent", 6.8, 12.0, 361.0), "removed")
    board.acted(ActionView(1.7e9, "wan1", "add", "repair", 0.3), "added")
    removed, added = map(event_json, board.events.recent())
    assert removed["details"] == {
        "reason": "silent",
        "took_ms": 6.8,
        "decision_ms": 12.0,
        "sign_ms": 361.0,
    }
    assert added["details"]["sign_ms"] is None
    snapshot = published(board)
    ((key, delays),) = snapshot.sign_delays
    assert (key, delays.sum_s) == (("wan1", "delete"), pytest.approx(0.361))
    assert [count for bound, count in delays.buckets if bound in (0.3, 0.5)] == [0, 1]
    ((_, decided),) = snapshot.decision_delays
    assert isinstance(decided, DelaysView)
    assert decided.sum_s == pytest.approx(0.012)


@pytest.mark.parametrize(
    ("wish", "endpoint", "behind"),
    [
        (Wish(), None, None),
        (Wish(present=True, backup=False, penalty=0), "active", False),
        (Wish(present=True, backup=True, penalty=10_000), "backup", True),
        (Wish(present=False, penalty=30_000), "absent", True),
    ],
)
def test_what_is_wished(wish: Wish, endpoint: str | None, behind: bool | None) -> None:
    (path,) = shown(CoreState((record(),), NOW), wan1=wish).paths
    assert (path.endpoint, path.routes_behind) == (endpoint, behind)


def test_a_path_with_everything() -> None:
    given = record(
        override=Override(Role.OFF, NOW + 600),
        penalty=2.0,
        penalty_at=NOW - 120,
        evidence=Evidence("loss", 0.102, 0.05),
        probe_bytes=7200,
        purse=Purse(level=-5.0, at=NOW, saving=True),
    )
    (path,) = shown(CoreState((given,), NOW)).paths
    assert path.objective == "throughput"
    assert path.override == OverrideView("off", 600.0)
    assert path.penalty == 1.0, "one half-life of 120 s later"
    assert (path.probe_bytes, path.probe_budget, path.probes_saving) == (7200, 5_000_000, True)
    assert path.evidence == EvidenceView("loss", 10.2, 5.0, "%")


def test_an_override_without_an_end() -> None:
    (path,) = shown(CoreState((record(override=Override(Role.BACKUP, None)),), NOW)).paths
    assert path.override == OverrideView("backup", None)


def test_a_server_is_the_sum_of_its_addresses() -> None:
    (server,) = shown(CoreState((), NOW, servers=(SERVER,))).servers
    assert (server.name, server.state, server.unreachable_on) == ("vps", "up", ("lte", "wan2"))
    assert server.address == "203.0.113.1"
    assert (server.flows, server.subflows, server.handshakes) == (4, 3, 1)
    assert server.rtt_mean_ms == pytest.approx(50), "two flows of 40 ms and one of 70"
    assert server.rtt_min_ms == 39
    assert server.evidence == EvidenceView("answers", 41.5, None, "ms")
    assert server.silent_s == 5


def test_a_server_without_flows() -> None:
    state = CoreState((), NOW, servers=(replace(SERVER, addresses=("192.0.2.77",)),))
    (server,) = shown(state).servers
    assert (server.flows, server.rtt_mean_ms, server.silent_s) == (0, None, None)


def test_trouble_is_shown() -> None:
    state = CoreState((record(),), NOW, trouble="all silent", trouble_since=NOW)
    found = json.loads(json.dumps(status_json(shown(state))))
    assert found["trouble"] == {"reason": "all silent", "since_s": 0.0}
    assert status_json(shown(CoreState((record(),), NOW)))["trouble"] is None
