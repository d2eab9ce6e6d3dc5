# SPDX-License-Identifier: GPL-2.0-or-later
"""False alarms: what happens on healthy paths all day must not take any of them away."""

from __future__ import annotations

from random import Random

import pytest
from world import SERVER, WITNESS, SimPath, World

from omrfast.core import budget
from omrfast.core.config import BACKUP_PROBE_BUDGET
from omrfast.core.types import Role

HOUR = 3600.0
STALL = ("down", "unreachable")


class Web:
    """Somebody at home: pages of all sizes, thinking servers, streams, uploads, long silences."""

    def __init__(self, world: World, path: SimPath, seed: int) -> None:
        self.world = world
        self.path = path
        self.random = Random(seed)
        self.base = path.rtt
        self.pages = 0
        world.at(self.random.expovariate(1 / 5), self.page)

    def page(self) -> None:
        """A request, the server's thinking time, and an answer in windows that double."""
        self.pages += 1
        chance = self.random.random()
        think = self.random.choice((0.02, 0.1, 0.3, 1.0, 3.0))
        segments = int(min(600, self.random.paretovariate(0.7) * 4))
        self.world.message(self.path)
        self.world.at(think, lambda: self.window(10, segments))
        if chance < 0.1:
            for n in range(self.random.randrange(2, 40)):
                self.world.at(0.015 * n, lambda: self.world.message(self.path))
        if chance > 0.97:
            pause = self.random.uniform(0.3, 3.0)
            self.world.hosts[self.path.server].paused_until = self.world.now + pause
        quiet = chance < 0.03
        wait = self.random.uniform(60, 300) if quiet else self.random.expovariate(1 / 8)
        self.world.at(wait, self.page)

    def window(self, size: int, left: int) -> None:
        """One round trip's worth; a long answer fills the queue of the link, and it drains."""
        count = min(size, left)
        spacing = 0.0006
        full = size > 100
        self.path.rtt = self.base + (0.15 if full else 0.02 if size > 40 else 0.0)
        for n in range(0, count, 4):
            self.world.at(n * spacing, lambda: self.world.receive(self.path, self.path.server))
        if count < left:
            more = min(size * 2, 200)
            delay = max(self.path.rtt, count * spacing)
            self.world.at(delay, lambda: self.window(more, left - count))
        else:
            self.path.rtt = self.base


OWED = 3 * 3 * 72
"""Bytes of a burst: three times as many as there are to ask. What can't wait may be owed."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2])
def test_an_hour_of_web_traffic_takes_no_path_away(seed: int) -> None:
    world = World(
        SimPath("one", rtt=0.040, gateway=True),
        SimPath("two", rtt=0.080, gateway=True, role=Role.BACKUP),
        targets=(SERVER, WITNESS),
    )
    web = Web(world, world.paths["one"], seed)
    world.run(HOUR)
    assert web.pages > 200
    assert [d for d in world.decisions if d.path and d.state in STALL] == []
    backup = world.state.path("two").probe_bytes
    saved = BACKUP_PROBE_BUDGET * (budget.START + budget.RATE * HOUR / budget.MONTH)
    assert backup <= saved + OWED
    alarms = sum(d.state == "suspect" for d in world.decisions)
    assert world.paths["one"].probes <= HOUR / 8 + 30 + 7 * alarms


@pytest.mark.timeout(300)
def test_an_hour_of_it_without_anybody_to_compare_with() -> None:
    """No gateway answers, no witness: what pauses is slow, and nothing is dead."""
    world = World(SimPath("one", rtt=0.040), SimPath("two", rtt=0.080))
    webs = [Web(world, path, 3) for path in world.paths.values()]
    for web in webs:
        web.random = Random(web.path.name)
    world.run(HOUR)
    fallen = [d for d in world.decisions if d.path and d.state in STALL]
    pauses = 0.03 * sum(web.pages for web in webs)
    assert len(fallen) <= 4 * pauses, "a machine that stands still is all that could do it"


def test_an_idle_night_wakes_nobody() -> None:
    world = World(
        SimPath("one", rtt=0.040, gateway=True),
        SimPath("two", rtt=0.080, gateway=True, role=Role.BACKUP),
    )
    world.run(5.0)
    ticks, decisions = world.ticks, len(world.decisions)
    world.run(1200.0)
    assert len(world.decisions) == decisions
    assert world.ticks - ticks <= 2.5 * 1200
    assert world.paths["one"].probes <= 1200 / 8 + 10
    assert world.paths["two"].probes <= 1200 / 48 + 10
