# SPDX-License-Identifier: GPL-2.0-or-later
"""The reconciler on a real kernel: at once from what it knows, then as it really is."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from contextlib import closing
from dataclasses import replace

import pytest

from omrfast import deeds
from omrfast.act.apply import Actuator, observe
from omrfast.core.config import PathConfig
from omrfast.core.discover import bind
from omrfast.core.outcome import Wish
from omrfast.core.wish import PENALTY_DEGRADED, PENALTY_DOWN
from omrfast.reconcile import Reconciler
from omrfast.store.ledger import Ledger

from .advertise import accept, advertise, advertise_until_learnt

PATHS = (PathConfig("one", "wan1"), PathConfig("two", "wan2"))
UP = Wish(present=True, backup=False, penalty=0)
DOWN = Wish(present=False, penalty=PENALTY_DOWN)
DEGRADED = Wish(present=True, backup=True, penalty=PENALTY_DEGRADED)
ADDRESSES = {"one": "10.77.1.2", "two": "10.77.2.2"}


class Agent:
    """A reconciler and what it was wished; to be used on one loop inside the router."""

    def __init__(self, state_dir, *, dry_run=False):
        self.did: list[tuple[str, str]] = []
        self.reconciler = Reconciler(
            Actuator(),
            Ledger(state_dir),
            dry_run=dry_run,
            acted=lambda action, text: self.did.append((action.path, action.kind)),
            recorded=lambda why_not: None,
        )
        self.bindings = ()

    async def look(self):
        """Places as the agent finds them."""
        seen = await self.reconciler.observe(None, ())
        bindings, _ = bind(PATHS, seen, create=True)
        self.bindings = tuple(bindings.values())

    def wish(self, one, two, *, died=()):
        wishes = {"one": one, "two": two}
        self.reconciler.run(PATHS, self.bindings, (), wishes, {}, frozenset(died))

    async def settle(self, one, two, *, died=()):
        self.wish(one, two, died=died)
        await self.reconciler.settled()


@pytest.fixture
def router(lab):
    for number, address in enumerate(ADDRESSES.values(), 1):
        lab.router.ip(
            "mptcp", "endpoint", "add", address, "dev", f"wan{number}", "id", str(number), "subflow"
        )
    return lab.router


def within(router, state_dir, body, **options):
    """Run ``body(agent)`` with both paths up, and put everything back."""

    async def main():
        agent = Agent(state_dir, **options)
        try:
            await agent.look()
            await agent.settle(UP, UP)
            agent.did.clear()
            await body(agent)
            return await agent.reconciler.restore()
        finally:
            agent.reconciler.close()

    return router.call(lambda: asyncio.run(main()))


def truth(router):
    """Endpoints that make subflows, and default routes, by iproute2."""
    endpoints = {
        row["address"]: bool(row.get("backup"))
        for row in router.json("mptcp", "endpoint", "show")
        if row.get("subflow")
    }
    metrics = {
        (family, row["dev"]): row["metric"]
        for family in (4, 6)
        for row in router.json(f"-{family}", "route", "show", "default")
    }
    return endpoints, metrics


def addresses(router):
    """Of all endpoints, those included that nothing joins from."""
    return sorted(row["address"] for row in router.json("mptcp", "endpoint", "show"))


def metrics(one, two):
    return {(family, dev): m for family in (4, 6) for dev, m in (("wan1", one), ("wan2", two))}


BEFORE = ({"10.77.1.2": False, "10.77.2.2": False}, metrics(100, 200))
DEAD = ({"10.77.2.2": False}, metrics(100 + PENALTY_DOWN, 200))


def test_a_path_dies_comes_back_and_everything_is_as_it_was(router, state_dir):
    assert truth(router) == BEFORE

    async def body(agent):
        await agent.settle(DOWN, UP, died=("one",))
        assert truth(router) == DEAD
        assert sorted(agent.did) == [
            ("one", "abort"),
            ("one", "abort"),  # of its IPv6 address
            ("one", "delete"),
            ("one", "delete"),  # of the initial subflows from its IPv6 address
            ("one", "metric"),
            ("one", "metric"),
        ]
        agent.did.clear()
        await agent.settle(UP, UP)
        assert truth(router) == BEFORE
        assert agent.did[0] == ("one", "add"), "the endpoint first, then new connections"
        agent.did.clear()
        await agent.settle(UP, UP)
        assert agent.did == []

    restored = within(router, state_dir, body)
    assert restored.done == restored.left == restored.failed == ()


def test_a_decision_does_not_wait_for_a_look(router, state_dir):
    """Nothing is observed before the operations of a decision are begun."""

    async def body(agent):
        observed = agent.reconciler._actuator.observe
        begun = []

        async def counted(*args):
            begun.append(list(agent.did))
            return await observed(*args)

        agent.reconciler._actuator.observe = counted
        await agent.settle(DOWN, UP)
        assert ("one", "delete") in begun[0]
        assert truth(router) == DEAD

    within(router, state_dir, body)


def test_what_others_changed_meanwhile_is_seen_after_acting(router, state_dir, caplog):
    """The belief is out of date in every way; no error is logged and the end is right."""

    async def body(agent):
        router.ip("mptcp", "endpoint", "delete", "id", "1")
        router.ip("mptcp", "endpoint", "add", "10.77.1.2", "dev", "wan1", "id", "5", "subflow")
        router.ip("mptcp", "endpoint", "change", "id", "2", "backup")
        router.ip("route", "del", "default", "dev", "wan1")
        router.ip("route", "add", "default", "via", "10.77.1.1", "dev", "wan1", "metric", "50")
        await agent.settle(DOWN, UP)
        endpoints, routes = truth(router)
        assert endpoints == {"10.77.2.2": False}
        assert routes == {**DEAD[1], (4, "wan1"): 50 + PENALTY_DOWN}

    with caplog.at_level(logging.WARNING):
        within(router, state_dir, body)
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_wishes_that_change_faster_than_they_are_applied(router, state_dir):
    async def body(agent):
        for _ in range(20):
            agent.wish(DOWN, UP, died=("one",))
            await asyncio.sleep(0)
            agent.wish(UP, DEGRADED)
            agent.wish(DEGRADED, UP)
            await asyncio.sleep(0.001)
            agent.wish(DOWN, UP)
        await agent.reconciler.settled()
        assert truth(router) == DEAD
        agent.wish(UP, UP)
        agent.wish(DOWN, UP)
        agent.wish(UP, UP)
        await agent.reconciler.settled()
        assert truth(router) == BEFORE

    within(router, state_dir, body)


def test_a_removal_that_blocks_holds_up_no_route(router, state_dir):
    """It waits for RCU: some milliseconds at least. A pass after it moves its routes meanwhile."""

    async def body(agent):
        overtaken = 0
        for _ in range(200):
            agent.did.clear()
            agent.wish(DOWN, UP)
            await asyncio.sleep(0)
            agent.wish(DOWN, DEGRADED)
            await agent.reconciler.settled()
            assert sorted(agent.did).count(("two", "metric")) == 2
            overtaken += agent.did.index(("two", "metric")) < agent.did.index(("one", "delete"))
            await agent.settle(UP, UP)
            if overtaken >= 3:
                return
        pytest.fail("the routes always waited for the removal")

    within(router, state_dir, body)


def stuck(address, target):
    """A TCP connection from an address that nobody answers; non-blocking."""
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.setblocking(False)
    client.bind((address, 0))
    assert client.connect_ex((target, 5000)) == errno.EINPROGRESS
    return client


def failed(client):
    return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


@pytest.mark.parametrize("returns", [False, True])
def test_handshakes_begun_while_routes_moved_are_aborted_too(
    router, state_dir, returns, monkeypatch
):
    """With time to begin one between the two sweeps, however slow the machine."""
    assert deeds.SWEEP_AGAIN < 0.5
    monkeypatch.setattr(deeds, "SWEEP_AGAIN", 0.5)
    router.ip("neigh", "add", "10.77.1.77", "lladdr", "02:00:00:00:00:77", "dev", "wan1")

    async def aborted(client, patience):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if failed(client) == errno.ECONNABORTED:
                return True
            await asyncio.sleep(0.002)
        return False

    async def body(agent):
        with closing(stuck("10.77.1.2", "10.77.1.77")) as before:
            await agent.settle(DOWN, UP, died=("one",))
            assert await aborted(before, 10)
        with closing(stuck("10.77.1.2", "10.77.1.77")) as late:
            if returns:
                agent.wish(UP, UP)
            assert await aborted(late, 1.0 if returns else 10) is not returns

    within(router, state_dir, body)


def test_a_dry_run_says_it_once_and_changes_nothing(router, state_dir):
    async def body(agent):
        for _ in range(3):
            await agent.settle(DOWN, UP)
        kinds = [kind for path, kind in sorted(agent.did) if path == "one"]
        assert kinds == ["delete", "delete", "metric", "metric"], "initial subflows, too"
        assert truth(router) == BEFORE

    within(router, state_dir, body, dry_run=True)
    assert not (state_dir / "changes.json").exists()


def test_advertised_routes_are_put_behind_and_left_as_they_were(lab, router, state_dir):
    accept(lab)
    advertise_until_learnt(lab)
    endpoints = addresses(router)

    def taken():
        return router.json("-6", "route", "get", "2001:db8:99::1")[0]["dev"]

    async def body(agent):
        for one, two, better in ((DOWN, UP, "wan2"), (UP, DEGRADED, "wan1"), (DOWN, UP, "wan2")):
            await agent.settle(one, two)
            assert taken() == better
            assert len(router.json("-6", "route", "show", "default", "proto", "111")) == 1
        assert (state_dir / "changes.json").exists()

    restored = within(router, state_dir, body)
    added = [text for text in restored.done if "which we had added" in text]
    assert len([text for text in added if text.startswith("route")]) == 1
    assert addresses(router) == endpoints
    rows = router.json("-6", "route", "show", "default")
    assert sorted((row["dev"], row["metric"]) for row in rows) == [("wan1", 1024), ("wan2", 1024)]


def test_a_copy_does_not_end_before_the_advertised_route_that_it_copies(lab, router, state_dir):
    accept(lab)
    advertise_until_learnt(lab)
    advertise(lab, 2, lifetime=3)

    def left():
        (row,) = router.json("-6", "route", "show", "default", "proto", "111")
        return row["expires"]

    async def body(agent):
        await agent.settle(DOWN, UP)
        assert left() <= 3
        await agent.settle(DOWN, UP)
        assert left() <= 3, "nothing is won yet"
        await asyncio.sleep(1)
        advertise(lab, 2)
        await asyncio.sleep(0.1)
        agent.did.clear()
        for _ in range(2):
            await agent.settle(DOWN, UP)
            assert 1700 < left() <= 1800
        assert agent.did == [("two", "copy")]
        await asyncio.sleep(3)
        assert router.json("-6", "route", "get", "2001:db8:99::1")[0]["dev"] == "wan2"
        advertise(lab, 2, lifetime=0)
        await asyncio.sleep(0.1)
        await agent.settle(DOWN, UP)
        assert router.json("-6", "route", "show", "default", "proto", "111") == []

    within(router, state_dir, body)


def test_a_moved_device_is_not_taken_for_the_old_one(lab, router, state_dir):
    """A device made anew: what was believed of the old one is not acted on."""

    async def body(agent):
        await agent.settle(DOWN, UP)
        router.ip("link", "del", "wan1")
        lab.link(1)
        lab.routes(1, 100)
        await agent.look()
        await agent.settle(UP, UP)
        assert truth(router) == BEFORE
        (one,) = [e for e in observe(None, ()).endpoints if e.address == "10.77.1.2"]
        assert one == replace(one, ifindex=lab.index("wan1"))

    within(router, state_dir, body)
