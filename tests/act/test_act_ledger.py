# SPDX-License-Identifier: GPL-2.0-or-later
"""The ledger: what was found is put back after SIGKILL, and nothing else is touched."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from omrfast.act.apply import Actuator, apply, observe
from omrfast.core.operations import AddEndpoint, DeleteEndpoint, SetBackup, SetMetric
from omrfast.store.ledger import Ledger, LedgerError
from omrfast.store.restore import restore

ALL = ("delete", "backup", "add", "metric", "copy", "metric6", "limits", "tuning")


@pytest.fixture
def router(lab):
    lab.router.ip(
        "mptcp", "endpoint", "add", "10.77.1.2", "dev", "wan1", "id", "1", "subflow", "fullmesh"
    )
    lab.router.ip("mptcp", "endpoint", "add", "10.77.2.2", "dev", "wan2", "id", "2", "subflow")
    return lab.router


def truth(router):
    """Everything that matters, by iproute2."""
    return (
        sorted(router.json("mptcp", "endpoint", "show"), key=lambda row: row["id"]),
        sorted(router.json("-4", "route"), key=repr),
        sorted(router.json("-6", "route"), key=repr),
        router.ip("mptcp", "limits", "show"),
        router.call(Path("/proc/sys/net/ipv4/tcp_wmem").read_text),
    )


def killed(router, state_dir, moment, *kinds):
    """Run the child up to the moment and kill it; returns the truth that it left."""
    child = subprocess.Popen(
        router.exec(
            sys.executable, str(Path(__file__).with_name("crash_child.py")), str(state_dir),
            moment, *kinds,
        ),
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )  # fmt: skip
    try:
        assert child.stdout.readline() == "here\n"
    finally:
        child.kill()
        child.wait(10)
        child.stdout.close()
    return truth(router)


def put_back(router, state_dir):
    async def body():
        actuator = Actuator()
        try:
            return await restore(Ledger(state_dir), actuator)
        finally:
            actuator.close()

    return router.call(lambda: asyncio.run(body()))


@pytest.mark.parametrize("kinds", [*((kind,) for kind in ALL), ALL])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_after_sigkill_everything_is_as_it_was_found(router, state_dir, moment, kinds):
    found = truth(router)
    left = killed(router, state_dir, moment, *kinds)
    assert (left == found) == (moment == "before")
    assert (state_dir / "changes.json").exists()
    result = put_back(router, state_dir)
    assert truth(router) == found
    assert len(result.done) == (0 if moment == "before" else len(kinds))
    assert (result.left, result.failed) == ((), ())
    assert not (state_dir / "changes.json").exists()
    assert put_back(router, state_dir).done == ()
    assert truth(router) == found


def test_killed_between_adding_the_new_route_and_deleting_the_old(router, state_dir):
    found = truth(router)
    killed(router, state_dir, "before", "metric")
    router.ip("route", "add", "default", "via", "10.77.1.1", "dev", "wan1", "metric", "900")
    assert len(put_back(router, state_dir).done) == 1
    assert truth(router) == found


def test_the_first_original_wins_over_several_lives(router, state_dir):
    found = truth(router)
    killed(router, state_dir, "after", "metric", "backup", "delete")

    def second_life():
        ledger = Ledger(state_dir)
        seen = observe(None, ())
        (moved,) = [r for r in seen.routes if r.family == 4 and r.metric == 900]
        (two,) = seen.endpoints
        for op in (SetMetric(moved, 950), DeleteEndpoint(two)):
            ledger.record([op], seen)
            apply(op)
            ledger.done(op)
        ledger.settle(observe(None, ()))
        return len(ledger.changes)

    assert router.call(second_life) == 3
    put_back(router, state_dir)
    assert truth(router) == found


def test_what_is_back_is_forgotten_but_not_while_under_way(router, state_dir):
    def body():
        ledger = Ledger(state_dir)
        seen = observe(None, ())
        (_one, two) = seen.endpoints
        op = SetBackup(two, True)
        ledger.record([op], seen)
        ledger.settle(observe(None, ()))
        assert len(ledger.changes) == 1, "under way: the change may still come"
        apply(op)
        ledger.done(op)
        ledger.settle(observe(None, ()))
        assert len(ledger.changes) == 1
        again = SetBackup(two, False)
        ledger.record([again], seen)
        apply(again)
        ledger.done(again)
        ledger.settle(observe(None, ()))
        assert ledger.changes == []
        assert not ledger.path.exists()

    router.call(body)


def test_what_an_operator_changed_since_is_left(router, state_dir):
    killed(router, state_dir, "after", *ALL)
    router.ip("mptcp", "endpoint", "add", "10.77.1.2", "dev", "wan1", "id", "4", "signal")
    router.ip("mptcp", "endpoint", "delete", "id", "2")
    router.ip("mptcp", "endpoint", "delete", "id", "7")
    router.ip("route", "del", "default", "dev", "wan1")
    router.ip("route", "add", "default", "via", "10.77.1.1", "dev", "wan1", "metric", "42")
    router.ip("mptcp", "limits", "set", "subflows", "6")
    router.call(Path("/proc/sys/net/ipv4/tcp_wmem").write_text, "4096 16384 999999")
    for metric in ("50", "900"):
        router.ip("-6", "route", "del", "default", "dev", "wan1", "metric", metric)
    now = truth(router)
    result = put_back(router, state_dir)
    assert truth(router) == now
    assert result.done == ()
    assert len(result.left) == 6
    assert all("by someone else" in text for text in result.left)
    assert not (state_dir / "changes.json").exists()


THIEF = ("mptcp", "endpoint", "add", "fd77:2::2", "dev", "wan2", "id", "1", "subflow")


def test_an_endpoint_whose_id_was_given_away_is_put_back_with_another(lab, router, state_dir):
    found = router.call(observe, None, ()).endpoints

    def delete_both():
        ledger = Ledger(state_dir)
        for endpoint in found:
            seen = observe(None, ())
            ledger.record([DeleteEndpoint(endpoint)], seen)
            apply(DeleteEndpoint(endpoint))

    router.call(delete_both)
    router.ip(*THIEF)
    result = put_back(router, state_dir)
    assert (result.left, result.failed) == ((), ())
    own, other = result.done  # the one that keeps its id goes first
    assert own == "MPTCP endpoint 10.77.2.2 (id 2) added again"
    assert other.startswith("MPTCP endpoint 10.77.1.2 (id 1) added again, with another id")
    now = {e.address: e for e in router.call(observe, None, ()).endpoints}
    one, two = found
    assert now.pop("fd77:2::2").id == 1
    assert now["10.77.1.2"].id not in (1, 2)
    assert now == {
        "10.77.1.2": replace(one, id=now["10.77.1.2"].id),
        "10.77.2.2": two,
    }
    assert not (state_dir / "changes.json").exists()
    assert put_back(router, state_dir).done == ()


@pytest.mark.parametrize("backup", [False, True])
def test_an_endpoint_that_came_back_with_another_id_is_put_back(router, state_dir, backup):
    one, _two = router.call(observe, None, ()).endpoints
    flags = one.flags | {"backup"} if backup else one.flags

    def life():
        ledger = Ledger(state_dir)
        for op in (DeleteEndpoint(one), AddEndpoint(replace(one, flags=flags))):
            ledger.record([op], observe(None, ()))
            apply(op)
            ledger.done(op)
            if isinstance(op, DeleteEndpoint):
                router.ip(*THIEF)

    router.call(life)
    result = put_back(router, state_dir)
    assert (len(result.done), result.left, result.failed) == (int(backup), (), ())
    (held,) = [e for e in router.call(observe, None, ()).endpoints if e.address == one.address]
    assert held.id != one.id
    assert replace(held, id=one.id) == one
    assert not (state_dir / "changes.json").exists()


def test_an_interface_that_is_gone_waits_in_the_ledger(lab, router, state_dir):
    killed(router, state_dir, "after", "delete", "metric")
    router.ip("link", "del", "wan1")
    result = put_back(router, state_dir)
    assert result.done == ()
    assert len(result.left) == 2
    lab.link(1)
    lab.routes(1, 900)
    lab.router.ip("-6", "route", "del", "default", "dev", "wan1")
    result = put_back(router, state_dir)
    assert len(result.done) == 2, result
    index = lab.index("wan1")
    (one,) = [e for e in router.call(observe, None, ()).endpoints if e.id == 1]
    assert (one.ifindex, one.flags) == (index, frozenset({"subflow", "fullmesh"}))
    assert [r["metric"] for r in router.json("route", "show", "default", "dev", "wan1")] == [100]


def edit(state_dir, **values):
    path = state_dir / "changes.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_reboot_voids_the_record(router, state_dir):
    left = killed(router, state_dir, "after", "delete")
    edit(state_dir, boot_id="00000000-0000-0000-0000-000000000000")
    assert put_back(router, state_dir).done == ()
    assert truth(router) == left


def test_another_namespace_does_not_use_or_destroy_it(lab, router, state_dir, caplog):
    killed(router, state_dir, "after", "delete")
    text = (state_dir / "changes.json").read_text()
    with caplog.at_level(logging.WARNING):
        assert lab.server.call(lambda: Ledger(state_dir).changes) == []
    assert "another network namespace" in caplog.text
    (aside,) = state_dir.glob("changes.json.netns-*")
    assert aside.read_text() == text


def test_a_restore_in_the_wrong_namespace_leaves_it_for_the_right_one(lab, router, state_dir):
    killed(router, state_dir, "after", "delete")

    def body():
        with pytest.raises(LedgerError, match="another network namespace"):
            Ledger(state_dir, make_room=False)

    lab.server.call(body)
    assert len(router.call(lambda: Ledger(state_dir, make_room=False).changes)) == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 99}', '{"version": 1, "endpoints": 3}', "\xff\xfe"]
)
def test_a_corrupt_file_is_kept_aside_and_said(state_dir, caplog, text):
    state_dir.mkdir()
    (state_dir / "changes.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(LedgerError, match="cannot be used"):
        Ledger(state_dir, make_room=False)
    with caplog.at_level(logging.WARNING):
        assert Ledger(state_dir).changes == []
    assert "kept as changes.json.corrupt" in caplog.text
    assert (state_dir / "changes.json.corrupt").read_bytes() == text.encode("latin-1")


def test_what_cannot_be_written_is_said_and_written_later(router, state_dir):
    (state_dir / ".changes.json.new").mkdir(parents=True)

    def body():
        seen = observe(None, ())
        ledger = Ledger(state_dir)
        for _ in range(2):
            with pytest.raises(LedgerError, match=r"make room or set agent\.state_dir"):
                ledger.record([DeleteEndpoint(seen.endpoints[0])], seen)
        assert len(ledger.changes) == 1
        (state_dir / ".changes.json.new").rmdir()
        ledger.record([], seen)
        assert len(Ledger(state_dir).changes) == 1

    router.call(body)
