# SPDX-License-Identifier: GPL-2.0-or-later
"""The reconciler on a simulated kernel, whose routes are in others' hands, too."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from omrfast.act.apply import Actuator, Timing
from omrfast.act.errors import ActionError
from omrfast.core.config import PathConfig, TuningConfig
from omrfast.core.discover import bind
from omrfast.core.expect import expected
from omrfast.core.operations import (
    AbortHandshakes,
    DeleteEndpoint,
    Endpoint,
    Interface,
    Observed,
    Operation,
    Route,
    SetMetric,
)
from omrfast.core.outcome import Wish
from omrfast.core.plan import Binding
from omrfast.core.wish import PENALTY_DOWN
from omrfast.reconcile import Reconciler
from omrfast.store.changes import EndpointChange, RouteChange
from omrfast.store.found import before_changes
from omrfast.store.ledger import FILE_NAME, Ledger
from omrfast.store.restore import plan_restore

PATHS = (PathConfig("one", "ppp0"), PathConfig("two", "eth1"))
UP = Wish(present=True, backup=False, penalty=0)
DOWN = Wish(present=False, penalty=PENALTY_DOWN)
SUBFLOW = frozenset({"subflow"})
ROUTE_ONE = Route(4, "default", 2, "10.1.0.1", 100)
ROUTE_TWO = Route(4, "default", 3, "10.2.0.1", 200)
PPP = Interface(2, "ppp0", True, 512, ("10.1.0.2",))
ETH = Interface(3, "eth1", True, 1, ("10.2.0.2",))
FOUND = Observed(
    (Endpoint(1, "10.1.0.2", 0, 0, SUBFLOW), Endpoint(2, "10.2.0.2", 0, 0, SUBFLOW)),
    (ROUTE_ONE, ROUTE_TWO),
    (PPP, ETH),
    windows=((replace(ROUTE_ONE, metric=0), 0), (replace(ROUTE_TWO, metric=0), 0)),
)


class Kernel:
    """Does what is asked at once, and remembers it."""

    unmanaged = ()

    def __init__(self) -> None:
        self.has = FOUND
        self.did: list[Operation] = []
        self.after: Callable[[Operation], None] = lambda op: None

    async def observe(self, paths: object, servers: Iterable[str] = ()) -> Observed:
        return self.has

    def apply(self, op: Operation) -> asyncio.Future[Timing]:
        done: asyncio.Future[Timing] = asyncio.get_running_loop().create_future()
        self.did.append(op)
        if isinstance(op, SetMetric) and op.route not in self.has.routes:
            done.set_exception(ActionError("moving it", errno=3))
        else:
            self.has = expected(self.has, op)
            done.set_result(Timing(0.0, 0.0))
        self.after(op)
        return done

    async def subflows(self) -> list[object]:
        return []

    async def unmarked(self, address: str, backup: bool) -> Any:
        raise ActionError("not simulated")

    async def blackholes(self) -> int:
        return 0

    def close(self) -> None: ...

    # --- the hand of daemons and cables -----------------------------------------------------------

    def unplug(self, name: str) -> None:
        """A device goes with its routes."""
        index = next(d.index for d in self.has.interfaces if d.name == name)
        self.has = replace(
            self.has,
            routes=tuple(r for r in self.has.routes if r.ifindex != index),
            windows=tuple(w for w in self.has.windows if w[0].ifindex != index),
            interfaces=tuple(d for d in self.has.interfaces if d.index != index),
        )

    def plug(self, device: Interface, *routes: Route) -> None:
        """A device comes, and a daemon gives it routes."""
        routes = tuple(replace(route, ifindex=device.index) for route in routes)
        windows = tuple((replace(route, metric=0), 0) for route in routes)
        self.has = replace(
            self.has,
            routes=(*self.has.routes, *routes),
            windows=(*self.has.windows, *windows),
            interfaces=(*self.has.interfaces, device),
        )

    def metrics(self) -> dict[int, int]:
        return {route.ifindex: route.metric for route in self.has.routes}


class Agent:
    """A reconciler and what it was wished."""

    def __init__(self, state_dir: Path, tuning: TuningConfig) -> None:
        self.kernel = Kernel()
        self.ledger = Ledger(state_dir)
        self.unrecorded: list[str | None] = []
        """Why not, or None, each time."""
        self.reconciler = Reconciler(
            cast(Actuator, self.kernel),
            self.ledger,
            dry_run=False,
            acted=lambda action, text: None,
            recorded=self.unrecorded.append,
        )
        self._tuning = tuning
        self._bindings: dict[str, Binding] = {}

    async def look(self) -> None:
        """Where the paths are; a path that is nowhere keeps its last place."""
        seen = await self.reconciler.observe(None, ())
        found, _ = bind(PATHS, seen, create=True, before=self._bindings)
        self._bindings |= found

    @property
    def former(self) -> frozenset[str]:
        return self._bindings["one"].former

    async def settle(self, one: Wish, two: Wish, *died: str) -> None:
        self.reconciler.run(
            PATHS,
            tuple(self._bindings.values()),
            (),
            {"one": one, "two": two},
            {},
            frozenset(died),
            self._tuning,
        )
        await asyncio.wait_for(self.reconciler.settled(), 5)


def within(
    state_dir: Path, body: Callable[[Agent], Awaitable[None]], tuning: TuningConfig | None = None
) -> None:
    async def main() -> None:
        agent = Agent(state_dir, tuning or TuningConfig())
        await agent.look()
        await agent.settle(UP, UP)
        agent.kernel.did.clear()
        await body(agent)
        agent.reconciler.close()

    asyncio.run(main())


@pytest.mark.parametrize("first", [UP, DOWN])
def test_the_routes_of_a_device_made_anew_are_the_same_ones(tmp_path: Path, first: Wish) -> None:
    """A PPPoE session or a USB modem that is back has another index."""

    async def body(agent: Agent) -> None:
        await agent.settle(first, UP)
        for index in range(10, 13):
            agent.kernel.unplug("ppp0")
            await agent.settle(DOWN, UP, "one")
            agent.kernel.plug(replace(PPP, index=index), ROUTE_ONE)
            await agent.look()
            agent.kernel.did.clear()
            await agent.settle(DOWN, UP)
            assert agent.kernel.metrics() == {index: 100 + PENALTY_DOWN, 3: 200}
            await agent.settle(UP, UP)
            assert agent.kernel.metrics() == {index: 100, 3: 200}
            assert len([op for op in agent.kernel.did if isinstance(op, SetMetric)]) == 2
        await agent.reconciler.restore()
        assert agent.kernel.metrics() == {12: 100, 3: 200}

    within(tmp_path, body)


def test_the_window_of_a_device_made_anew_is_recorded_once(tmp_path: Path) -> None:
    async def body(agent: Agent) -> None:
        for index in range(10, 13):
            agent.kernel.unplug("ppp0")
            agent.kernel.plug(replace(PPP, index=index), ROUTE_ONE)
            await agent.look()
            await agent.settle(UP, UP)
            assert dict(agent.kernel.has.windows)[replace(ROUTE_ONE, metric=0, ifindex=index)] == 64
        assert len(agent.ledger.changes) == 2
        await agent.reconciler.restore()
        assert [segments for _, segments in agent.kernel.has.windows] == [0, 0]

    within(tmp_path, body, TuningConfig(initial_window=64))


def test_ever_new_addresses_leave_nothing_behind(tmp_path: Path) -> None:
    """A carrier that gives another address and gateway each time, while the path is dead, too."""

    async def body(agent: Agent) -> None:
        for number in range(50):
            agent.kernel.unplug("ppp0")
            await agent.look()
            await agent.settle(DOWN, UP, "one")
            address = f"10.9.{number}.2"
            device = replace(PPP, index=10 + number, addresses=(address,))
            agent.kernel.plug(device, replace(ROUTE_ONE, gateway=f"10.9.{number}.1"))
            await agent.look()
            await agent.settle(DOWN, UP)
            assert agent.kernel.metrics() == {device.index: 100 + PENALTY_DOWN, 3: 200}
            if number % 2:
                await agent.settle(UP, UP)
                assert {e.address for e in agent.kernel.has.endpoints} == {address, "10.2.0.2"}
                assert agent.kernel.metrics() == {device.index: 100, 3: 200}
            assert len(agent.ledger.changes) <= 4
            assert len(agent.former) <= 2
        await agent.reconciler.restore()
        assert agent.kernel.metrics() == {59: 100, 3: 200}
        (waiting,) = agent.ledger.changes
        assert isinstance(waiting, EndpointChange), "the endpoint as found, for its address"

    within(tmp_path, body)


def test_a_route_that_is_gone_is_remembered_until_another_is_in_its_place(tmp_path: Path) -> None:
    """Its link may be down only; and a daemon may give it back as it read it."""
    moved = replace(ROUTE_ONE, metric=100 + PENALTY_DOWN)

    async def body(agent: Agent) -> None:
        await agent.settle(DOWN, UP)
        agent.kernel.unplug("ppp0")
        await agent.settle(DOWN, UP)
        agent.kernel.plug(replace(PPP, up=False))
        await agent.settle(DOWN, UP)
        agent.kernel.has = replace(agent.kernel.has, routes=(ROUTE_TWO, moved))
        step, *_ = plan_restore(agent.ledger.changes, agent.kernel.has)
        assert step.op == SetMetric(moved, 100)
        agent.kernel.unplug("ppp0")
        other = replace(ROUTE_ONE, gateway="10.1.0.77", destination="203.0.113.10/32")
        agent.kernel.plug(PPP, other)
        await agent.settle(DOWN, UP)
        assert any(isinstance(change, RouteChange) for change in agent.ledger.changes)
        agent.kernel.plug(replace(PPP, index=9, name="ppp9"), replace(other, destination="default"))
        await agent.settle(DOWN, UP)
        assert any(isinstance(change, RouteChange) for change in agent.ledger.changes)

    within(tmp_path, body)


def test_an_endpoint_of_ours_is_known_while_its_address_is_gone() -> None:
    given, taken = FOUND.endpoints
    changes = [
        EndpointChange("10.1.0.2", 0, None, None),
        EndpointChange("10.2.0.2", 0, None, taken),
    ]
    seen = before_changes(changes, replace(FOUND, endpoints=(given,)))
    assert (seen.endpoints, seen.made) == ((taken,), {"10.1.0.2"})
    assert before_changes(changes, replace(FOUND, endpoints=())).made == frozenset()


def test_a_disk_that_takes_nothing_stops_no_failover(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"

    async def body(agent: Agent) -> None:
        state_dir.write_text("")  # neither a folder nor to be made one
        await agent.settle(DOWN, UP, "one")
        assert agent.kernel.did == [
            DeleteEndpoint(FOUND.endpoints[0]),
            SetMetric(ROUTE_ONE, 100 + PENALTY_DOWN),
            AbortHandshakes("10.1.0.2"),
        ]
        assert "changes.json: File exists; make room" in str(agent.unrecorded[-1])
        state_dir.unlink()
        await agent.settle(DOWN, UP)
        assert agent.unrecorded[-1] is None
        assert len(Ledger(state_dir).changes) == 2, "as found, for one who comes after a crash"
        state_dir.rename(tmp_path / "away")
        state_dir.write_text("")
        agent.kernel.did.clear()
        await agent.settle(UP, UP)
        assert agent.kernel.has.routes == FOUND.routes[::-1]
        assert agent.unrecorded[-1] is not None
        assert agent.ledger.changes == []
        await agent.settle(DOWN, UP, "one")
        assert AbortHandshakes("10.1.0.2") in agent.kernel.did, "at once, from what is believed"

    within(state_dir, body)


def test_nothing_is_repeated_without_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody gives a route that we move yet another metric, each time and at once."""

    async def body(agent: Agent) -> None:
        def contradict(op: Operation) -> None:
            if isinstance(op, SetMetric):
                moved = replace(op.route, metric=op.metric)
                other = replace(op.route, metric=op.route.metric + 1)
                agent.kernel.has = expected(agent.kernel.has, SetMetric(moved, other.metric))

        agent.kernel.after = contradict
        await agent.settle(DOWN, UP)
        assert len([op for op in agent.kernel.did if isinstance(op, SetMetric)]) <= 12
        assert "does not stay so" in caplog.text
        agent.kernel.after = lambda op: None
        await agent.settle(DOWN, UP)
        assert agent.kernel.metrics()[2] >= PENALTY_DOWN

    within(tmp_path, body)


def test_a_disk_that_hangs_stops_no_failover(tmp_path: Path) -> None:
    """A pipe that nobody reads, in place of the file, hangs at open like a disk."""
    pipe = tmp_path / f".{FILE_NAME}.new"

    async def body(agent: Agent) -> None:
        os.mkfifo(pipe)
        await agent.settle(DOWN, UP, "one")
        assert agent.kernel.did == [
            DeleteEndpoint(FOUND.endpoints[0]),
            SetMetric(ROUTE_ONE, 100 + PENALTY_DOWN),
            AbortHandshakes("10.1.0.2"),
        ]
        assert "the disk does not take it" in str(agent.unrecorded[-1])
        with pipe.open("rb") as lines:
            assert json.loads(lines.read())["endpoints"], "the text that hung"
        deadline = time.monotonic() + 5
        while agent.unrecorded[-1] is not None and time.monotonic() < deadline:
            await agent.settle(DOWN, UP)
        assert agent.unrecorded[-1] is None
        assert len(Ledger(tmp_path).changes) == 2, "in the file when the disk is back"

    within(tmp_path, body)
