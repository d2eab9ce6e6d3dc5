# SPDX-License-Identifier: GPL-2.0-or-later
"""Quality on simulated traffic: what is demoted, how soon, what is left alone, what comes back."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from rough import RoughPath, RoughWorld
from world import SimPath

from omrfast.core.config import Quality
from omrfast.core.events import Walked
from omrfast.core.outcome import Decision
from omrfast.core.types import Objective, PathState, Role, RttTail

RECOVER = Quality().recover_after


def two(seed: int = 1, **first: object) -> RoughWorld:
    """A 40 ms path beside an idle 80 ms one, both heard; chance begins with ``seed``."""
    world = RoughWorld(
        RoughPath("one", rng=random.Random(seed), **first),  # type: ignore[arg-type]
        RoughPath("two", rtt=0.080, rng=random.Random(seed + 1)),
    )
    world.run(3.0)
    assert [world.state.path(n).state for n in ("one", "two")] == ["up", "up"]
    return world


def start(world: RoughWorld, kind: str) -> None:
    if kind in ("paced", "both"):
        world.paced(0.02)
    if kind in ("requests", "both"):
        world.requests(0.05)
    world.run(5.0)


def demotions(world: RoughWorld, since: float) -> list[Decision]:
    """Of the first path, suspicions that ended where they began left out."""
    return [
        d
        for d in world.decisions
        if d.path == "one" and d.at >= since and d.state == "degraded" and d.before != "suspect"
    ]


def rough(world: RoughWorld, name: str = "one") -> RoughPath:
    path = world.paths[name]
    assert isinstance(path, RoughPath)
    return path


# --- loss ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["paced", "requests", "both"])
def test_ten_percent_each_way_is_seen_within_two_seconds(kind: str) -> None:
    took = []
    for seed in range(12):
        world = two(seed)
        start(world, kind)
        rough(world).loss = 0.1
        lossy = world.now
        world.run(4.0)
        entered = world.entered("one", "degraded", lossy)
        assert entered is not None, seed
        took.append(entered)
    assert sorted(took)[len(took) // 2] < 1.5
    assert sorted(took)[round(0.9 * len(took)) - 1] < 2.0


def test_the_decision_says_what_was_measured_and_since_when() -> None:
    world = two()
    start(world, "paced")
    rough(world).loss = 0.1
    lossy = world.now
    world.run(4.0)
    decision = demotions(world, lossy)[0]
    evidence = decision.evidence
    assert evidence is not None
    assert evidence.what == "loss"
    assert evidence.limit == Quality().max_loss
    assert evidence.measured is not None
    assert evidence.measured == pytest.approx(0.1, abs=0.05)
    assert evidence.sign_at is not None
    assert lossy <= evidence.sign_at <= decision.at - Quality().hold


@pytest.mark.slow
def test_one_percent_is_nothing() -> None:
    world = two()
    start(world, "both")
    rough(world).loss = rough(world, "two").loss = 0.01
    lossy = world.now
    world.run(600.0)
    assert set(world.states("one", lossy)) <= {"up"}
    assert set(world.states("two", lossy)) <= {"up"}


@pytest.mark.slow
def test_ten_minutes_of_loss_demote_once() -> None:
    world = two(3)
    start(world, "requests")
    rough(world).loss = 0.1
    lossy = world.now
    world.run(600.0)
    changes = [s for s in world.states("one", lossy) if s != "up"]
    assert changes == ["degraded"]
    assert world.state.path("one").state is PathState.DEGRADED
    assert world.wishes["one"].backup is True
    rough(world).loss = 0.0
    healed = world.now
    world.run(RECOVER + 5.0)
    back = world.entered("one", "up", healed)
    assert back is not None
    assert back <= RECOVER + 2.0
    assert world.wishes["one"].backup is False


@pytest.mark.parametrize("seed", range(6))
def test_a_lossy_path_is_back_in_time(seed: int) -> None:
    world = two(seed)
    start(world, "paced")
    rough(world).loss = 0.1
    world.run(30.0 + seed * 0.04)
    assert world.state.path("one").state is PathState.DEGRADED
    rough(world).loss = 0.0
    healed = world.now
    world.run(RECOVER + 5.0)
    back = world.entered("one", "up", healed)
    assert back is not None
    assert back <= RECOVER + 2.0
    assert not demotions(world, healed)


def test_what_an_outage_took_and_is_sent_again_does_not_keep_a_path_from_coming_back() -> None:
    world = two()
    one = rough(world)
    one.upload = 0.02
    world.run(5.0)
    one.dead = True
    world.run(0.5)
    one.upload = None
    assert world.state.path("one").state is PathState.DOWN
    world.run(3.5)
    one.dead = False
    healed = world.now
    for after, segments in ((0.9, 1), (2.4, 1), (2.45, 4), (2.5, 8)):  # RTOs, then its whole rest
        for _ in range(segments):
            world.at(after, lambda: world.resend(one))
    world.run(RECOVER + 2.0)
    assert world.states("one", healed) == ["probation", "up"]
    assert not [d for d in world.decisions if d.at >= healed and d.state == "suspect"]


def test_a_path_that_loses_does_not_come_back_from_an_outage() -> None:
    back = 0
    for seed in range(20):
        world = RoughWorld(RoughPath("one", rng=random.Random(seed)))
        world.run(3.0)
        if seed % 2:
            world.paced(0.02)
        world.run(5.0)
        one = rough(world)
        one.dead = True
        world.link("one", False)
        world.run(4.0)
        one.dead, one.loss = False, 0.1
        world.link("one", True)
        healed = world.now
        world.run(RECOVER + 2.0)
        assert world.states("one", healed)[:1] == ["probation"]
        back += "up" in world.states("one", healed)
    assert back <= 1, "one in twelve without traffic loses too few probes to tell"


def test_the_wish_for_throughput_keeps_a_lossy_path_and_drops_a_hopeless_one() -> None:
    world = two()
    configs = tuple(
        replace(record.config, objective=Objective.THROUGHPUT) for record in world.state.paths
    )
    world.state = replace(
        world.state,
        paths=tuple(
            replace(record, config=config)
            for record, config in zip(world.state.paths, configs, strict=True)
        ),
    )
    start(world, "both")
    rough(world).loss = 0.1
    lossy = world.now
    world.run(60.0)
    assert set(world.states("one", lossy)) <= {"up"}
    rough(world).loss = 0.4
    worse = world.now
    world.run(5.0)
    gone = [d for d in world.decisions if d.path == "one" and d.at >= worse]
    assert any(d.state in ("degraded", "down") for d in gone)


def test_on_a_metered_path_losses_cost_no_dense_probes() -> None:
    world = RoughWorld(
        RoughPath("one", budget=5_000_000, rng=random.Random(5)), RoughPath("two", rtt=0.08)
    )
    world.run(3.0)
    start(world, "requests")
    rough(world).loss = 0.03
    probes = world.paths["one"].probes
    world.run(60.0)
    assert world.paths["one"].probes - probes < 4 * 60, "bursts of suspicions only"


def test_a_short_outage_is_no_loss_rate() -> None:
    world = two()
    start(world, "paced")
    began = world.now
    for _ in range(20):
        rough(world).loss = 1.0
        world.run(0.06)
        rough(world).loss = 0.0
        world.run(10.0)
    assert set(world.states("one", began)) <= {"up"}


class LimitedWorld(RoughWorld):
    """Whoever is probed answers so many a second, and somewhat more at once after a rest."""

    rate = 20.0
    depth = 20.0
    left = 0.0
    left_at = 0.0
    loses_next = False

    def _probe(self, path: SimPath, key: str) -> None:
        self.left = min(self.depth, self.left + (self.now - self.left_at) * self.rate)
        self.left_at = self.now
        answers = self.left >= 1 and not (self.loses_next and path.name == "one")
        if answers:
            self.left -= 1
            super()._probe(path, key)
            return
        self.loses_next = False
        path.probes += 1
        self._leave(path, asks=False)


@pytest.mark.parametrize(("rate", "depth"), [(20, 20), (50, 50), (20, 2)])
def test_who_answers_few_probes_makes_no_path_lossy(rate: float, depth: float) -> None:
    world = LimitedWorld(
        RoughPath("one", rng=random.Random(1)), RoughPath("two", rtt=0.080, rng=random.Random(2))
    )
    world.rate, world.depth = rate, depth
    world.run(60.0)
    began, probes = world.now, world.paths["one"].probes
    for _ in range(4):
        world.loses_next = True
        world.run(100.0)
    assert set(world.states("one", began)) <= {"up", "suspect"}
    assert world.paths["one"].probes - probes < 600


@pytest.mark.parametrize("seed", [1, 4, 8])
def test_a_path_that_is_taken_for_lossy_for_that_comes_back(seed: int) -> None:
    world = LimitedWorld(
        RoughPath("one", rng=random.Random(seed)),
        RoughPath("two", rtt=0.080, rng=random.Random(seed + 100)),
    )
    world.requests(0.3)
    world.run(60.0)
    began, probes = world.now, world.paths["one"].probes
    rough(world).loss = 0.01
    world.run(400.0)
    assert len(demotions(world, began)) <= 2
    assert world.state.path("one").state is PathState.UP
    assert world.paths["one"].probes - probes < 1500


def test_a_path_without_traffic_that_loses_is_found_out_by_slower_probes_too() -> None:
    took = []
    for seed in range(6):
        world = two(seed)
        world.run(20.0)
        rough(world).loss = 0.1
        began = world.now
        while not world.state.path("one").model.losses.lost_at > began:
            world.run(0.5)
        noticed = world.now
        world.run(60.0)
        entered = world.entered("one", "degraded", noticed)
        took.append(60.0 if entered is None else entered)
    assert sorted(took)[3] < 6.0


# --- our own load -------------------------------------------------------------------------------


def overshoot(now: float) -> float:
    """BBR's start: twice what fits for a fifth of a second, then what fits."""
    return 5.0e6 if now < 0.2 else 2.45e6


def probing(now: float) -> float:
    """Eight phases of 50 ms: a quarter more, a quarter less, and what fits."""
    phase = int(now / 0.05) % 8
    return 2.5e6 * (1.25 if phase == 0 else 0.75 if phase == 1 else 1.0)


@pytest.mark.parametrize("buffer", [12e3, 50e3, 250e3])
@pytest.mark.parametrize("offered", [overshoot, probing])
def test_what_our_own_bulk_loses_is_no_fault_of_the_path(offered: object, buffer: float) -> None:
    world = two(buffer=buffer)
    start(world, "requests")
    began = world.now
    for _ in range(3):
        world.bulk("one", offered)  # type: ignore[arg-type]
        world.run(8.0)
        world.bulk("one", None)
        world.run(3.0)
    assert set(world.states("one", began)) <= {"up"}
    assert world.paths["one"].counters.retransmitted_segments > 0 or buffer > 12e3


def test_loss_under_bulk_is_told_from_our_own() -> None:
    world = two()
    world.bulk("one", lambda now: 2.4e6)
    world.run(5.0)
    rough(world).loss = 0.1
    lossy = world.now
    world.run(5.0)
    took = world.entered("one", "degraded", lossy)
    assert took is not None
    assert took < 3.0


def test_bufferbloat_of_our_own_is_not_punished() -> None:
    world = two(buffer=2e6, capacity=2.5e6)
    start(world, "requests")
    began = world.now
    world.bulk("one", lambda now: 2.8e6)
    world.run(20.0)
    assert rough(world).delay > 0.5, "there is a queue"
    assert set(world.states("one", began)) <= {"up"}
    world.bulk("one", None)
    world.run(10.0)
    assert set(world.states("one", began)) <= {"up"}


@pytest.mark.parametrize(("buffer", "phase"), [(0.7e6, 0.13), (2e6, 0.26), (2e6, 0.39)])
def test_what_a_queue_of_our_own_has_left_is_no_fault_of_the_path(
    buffer: float, phase: float
) -> None:
    """The transfer is over, nothing follows it, and the last samples are those of its queue."""
    world = two(buffer=buffer, capacity=2.5e6)
    world.run(20.0)
    began = world.now
    world.bulk("one", lambda now: 2.8e6)
    world.run(15.0 + phase)
    world.bulk("one", None)
    world.run(10.0)
    assert set(world.states("one", began)) <= {"up", "suspect"}


def test_bufferbloat_that_hurts_new_connections_is() -> None:
    world = two(buffer=2e6, capacity=2.5e6)
    start(world, "requests")
    began = world.now
    world.bulk("one", lambda now: 2.8e6)

    def connection() -> None:
        path = rough(world)
        path.counters = replace(path.counters, flows_opened=path.counters.flows_opened + 1)
        world.at(0.5, connection)

    connection()
    world.run(20.0)
    took = world.entered("one", "degraded", began)
    assert took is not None
    assert took > 5.0
    assert "our own load" in world.decision("one", "degraded").reason


# --- RTT ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["paced", "requests"])
def test_three_hundred_milliseconds_more_are_seen_within_two_seconds(kind: str) -> None:
    world = two()
    start(world, kind)
    rough(world).rtt = 0.340
    slow = world.now
    world.run(4.0)
    took = world.entered("one", "degraded", slow)
    assert took is not None
    assert took < 2.0
    world.run(4.0)
    rough(world).rtt = 0.040
    healed = world.now
    world.run(RECOVER + 5.0)
    back = world.entered("one", "up", healed)
    assert back is not None
    assert back <= RECOVER + 2.0


def test_a_slow_drift_demotes_once() -> None:
    world = two()
    start(world, "requests")
    began = world.now
    for step in range(600):
        rough(world).rtt = 0.040 + 0.0005 * step
        world.run(0.5)
    assert [s for s in world.states("one", began) if s != "up"] == ["degraded"]
    assert world.state.path("one").state is PathState.DEGRADED


def test_a_rise_counts_only_where_another_path_is_better() -> None:
    for other, expected in ((0.080, "degraded"), (0.180, "up")):
        world = two()
        rough(world, "two").rtt = other
        world.run(30.0)
        start(world, "requests")
        for step in range(20):
            rough(world).rtt = 0.040 + 0.008 * step
            world.run(0.5)
        world.run(5.0)
        assert world.state.path("one").state == expected
    assert world.state.path("one").model.baseline == pytest.approx(0.040, abs=0.005)


def test_pauses_of_a_radio_are_no_quality() -> None:
    world = two()
    start(world, "requests")
    began = world.now
    for number in range(10):
        world.paths["one"].paused_until = world.now + 0.2 + 0.01 * number
        world.run(15.0)
    late = [d for d in demotions(world, began) if "slow, not dead" in d.reason]
    assert demotions(world, began) == late, "taken for dead perhaps, but not for bad"


def test_the_slowest_hundredth_counts_by_the_tails_of_walks() -> None:
    world = two()
    start(world, "requests")
    began = world.now
    for _ in range(5):
        world.tell(Walked({}, {"one": RttTail(150, 3.0)}))
        world.run(1.0)
    assert set(world.states("one", began)) <= {"up"}, "too few samples to have a hundredth"
    for _ in range(5):
        world.tell(Walked({}, {"one": RttTail(400, 1.4)}))
        world.run(1.0)
    decision = demotions(world, began)[0]
    assert decision.evidence is not None
    assert (decision.evidence.what, decision.evidence.measured) == ("p99", 1.4)


def tails(world: RoughWorld, p99: list[float]) -> None:
    """From now on every second what a walk finds, ``p99[0]``: enough only where traffic goes."""
    carries = world.path_for_traffic().name == "one"
    world.tell(Walked({}, {"one": RttTail(400 if carries else 20, p99[0])}))
    world.at(1.0, lambda: tails(world, p99))


def test_a_tail_that_is_bad_whenever_there_is_traffic_is_tried_ever_less_often() -> None:
    world = two()
    world.requests(0.1)
    world.run(5.0)
    began = world.now
    p99 = [1.4]
    tails(world, p99)
    world.run(300.0)
    first, second, third = (d.at for d in demotions(world, began))
    assert second - first > 60.0
    assert third - second > 120.0
    p99[0] = 0.5
    world.run(500.0)
    assert world.state.path("one").state is PathState.UP
    p99[0] = 1.4
    world.run(5.0)
    assert world.state.path("one").state is PathState.DEGRADED
    p99[0] = 0.5
    world.run(60.0)
    assert world.state.path("one").state is PathState.UP, "after so long up it is the first time"


def test_a_tail_that_is_measured_tells_when_it_is_good_again() -> None:
    world = RoughWorld(RoughPath("one", rng=random.Random(1)))
    world.run(3.0)
    world.requests(0.1)
    world.run(5.0)
    p99 = [1.4]
    tails(world, p99)
    world.run(10.0)
    assert world.state.path("one").state is PathState.DEGRADED
    p99[0] = 0.9
    world.run(100.0)
    assert world.state.path("one").state is PathState.DEGRADED, "better, but not well within"
    p99[0] = 0.7
    world.run(RECOVER + 2.0)
    assert world.state.path("one").state is PathState.UP


def test_a_bad_path_with_no_better_one_stays_in_charge() -> None:
    world = RoughWorld(
        RoughPath("one", rng=random.Random(1)),
        RoughPath("two", rtt=0.08, role=Role.OFF),
    )
    world.run(3.0)
    start(world, "requests")
    rough(world).loss = 0.1
    world.run(20.0)
    assert world.wishes["one"].backup is False
    assert not world.wishes["one"].penalty
