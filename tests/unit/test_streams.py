# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose silence is a sign: streams and what only looks like one, and how soon it is proof."""

from __future__ import annotations

from dataclasses import replace

import pytest
from world import SimPath, World

from omrfast.core import limits, model, streams
from omrfast.core.losses import Losses
from omrfast.core.model import PathModel, observe
from omrfast.core.types import PathCounters, Role

BASE = 0.040


def requests(world: World, path: SimPath, interval: float, size: int = 2) -> None:
    """A question every ``interval``, and an answer of so many segments."""

    def ask() -> None:
        world.message(path)
        for n in range(size):
            world.at(path.rtt + 0.0006 * n, lambda: world.receive(path, path.server))
        world.at(interval, ask)

    world.at(0.0, ask)


def pages(world: World, path: SimPath, length: float, pause: float) -> None:
    """A download for ``length`` seconds, again and again."""

    def page() -> None:
        world.message(path)
        for n in range(int(length / 0.01)):
            world.at(path.rtt + 0.01 * n, lambda: world.receive(path, path.server))
        world.at(length + pause, page)

    world.at(0.0, page)


def two(rtt: float = BASE) -> World:
    world = World(
        SimPath("one", rtt=rtt, gateway=True),
        SimPath("two", rtt=0.080, gateway=True, role=Role.BACKUP),
    )
    world.run(5.0)
    return world


def suspicions(world: World, since: float) -> int:
    return sum(d.state == "suspect" and d.at >= since for d in world.decisions)


@pytest.mark.parametrize("rtt", [0.015, 0.040, 0.120])
@pytest.mark.parametrize("interval", [0.1, 0.2])
@pytest.mark.parametrize("size", [2, 10])
def test_regular_requests_are_no_stream_that_stops(rtt: float, interval: float, size: int) -> None:
    world = two(rtt)
    requests(world, world.paths["one"], interval, size)
    at, asked = world.now, len(world.paths["two"].asked)
    world.run(60.0)
    assert suspicions(world, at) <= 2
    assert len(world.paths["two"].asked) - asked <= 6


@pytest.mark.parametrize("interval", [0.05, 0.2])
def test_requests_that_are_not_answered_any_more_are_seen_at_once(interval: float) -> None:
    world = two()
    requests(world, world.paths["one"], interval)
    world.run(10.0)
    world.paths["one"].dead = True
    at = world.now
    world.run(2.0)
    took = world.entered("one", "down", at)
    assert took is not None
    assert took <= interval + 0.150


def test_pages_that_end_again_and_again_teach_that_the_next_one_will() -> None:
    world = two()
    pages(world, world.paths["one"], 0.6, 1.2)
    at = world.now
    world.run(120.0)
    assert 1 <= suspicions(world, at) <= 2 * 8
    assert set(world.states("one", at)) <= {"up"}


def test_a_stream_that_stays_is_believed_in_spite_of_pages_before() -> None:
    world = two()
    world.paths["one"].download = 0.020
    pages(world, world.paths["one"], 0.6, 1.2)
    world.run(20.0)
    world.paths["one"].dead = True
    at = world.now
    world.run(2.0)
    took = world.entered("one", "down", at)
    assert took is not None
    assert took <= 0.200


def test_a_pause_is_remembered_for_a_moment() -> None:
    stream = streams.Stream()
    for n in range(1, 101):
        stream = streams.follow(stream, 1, 0.01 * n, 0.01 * (n - 1), 0.01 * n)
    assert stream.pause == pytest.approx(0.01)
    stream = streams.follow(stream, 0, 1.0, 1.0, 1.06)
    assert streams.steady(stream) is not None, "it may go on"
    stream = streams.follow(stream, 1, 1.07, 1.06, 1.07)
    assert stream.pause >= 0.06
    for n in range(108, 308):
        stream = streams.follow(stream, 1, 0.01 * n, 0.01 * (n - 1), 0.01 * n)
    assert stream.pause == pytest.approx(0.01)
    stream = streams.follow(stream, 0, 3.07, 3.07, 3.24)
    stream = streams.follow(stream, 1, 3.25, 3.24, 3.25)
    assert streams.steady(stream) is None, "it begins anew"


# --- how soon silence is proof, after a download ------------------------------------------------


class Bulk:
    """A download of 20 Mbit/s as the data path counts it, read every 20 ms."""

    def __init__(self) -> None:
        self.now = 100.0
        self.counters = PathCounters()
        self.model = observe(PathModel(), self.counters, self.now)

    def run(self, seconds: float, rtt: float, others: int = 0) -> None:
        """``others``: bytes a second of ours that nobody need answer."""
        for n in range(round(seconds / 0.02)):
            self.now += 0.02
            c = self.counters
            self.counters = replace(
                c,
                rx_packets=c.rx_packets + 33,
                rx_segments=c.rx_segments + 33,
                rx_bytes=c.rx_bytes + 33 * 1500,
                tx_packets=c.tx_packets + 17,
                tx_bytes=c.tx_bytes + 17 * 60 + round(others * 0.02),
                rtt_samples=c.rtt_samples + 1,
                rtt_sum=c.rtt_sum + rtt + 0.01 * (n % 3),
                last_rx=self.now,
            )
            self.model = observe(self.model, self.counters, self.now)

    def proof(self, patience: float = 0.0) -> float:
        """Seconds, of a silence that has just become a sign."""
        limit = limits.quiet_limit(self.model)
        assert limit is not None
        after = observe(self.model, self.counters, self.now + limit + 0.004)
        return limits.proof_limit(after, answers=True, patience=patience)


def bulk() -> Bulk:
    flow = Bulk()
    flow.run(1.0, BASE)
    return flow


def test_our_own_queue_does_not_put_off_the_proof() -> None:
    flow = bulk()
    flow.run(5.0, BASE + 0.030)
    assert flow.proof() <= BASE + limits.DRAINED_SLACK
    assert flow.proof(patience=0.3) == pytest.approx(0.3), "it was slow before"


def test_a_queue_that_stays_may_be_that_of_others() -> None:
    flow = bulk()
    flow.run(15.0, BASE + 0.100)
    assert flow.proof() >= BASE + 0.100


def test_what_nobody_answers_may_fill_the_queue_without_a_sign() -> None:
    flow = bulk()
    flow.run(5.0, BASE + 0.060, others=1_000_000)
    assert flow.proof() >= BASE + 0.060


def test_calm_after_false_alarms_may_be_brief() -> None:
    state = PathModel(srtt=0.04)
    assert [limits.calm(state, n, brief=True) for n in (1, 2, 5)] == [0.02, 0.04, 0.04]
    assert [limits.calm(state, n, brief=False) for n in (1, 2, 5)] == [0.02, 0.04, 0.32]


def test_the_least_rtt_of_late_forgets_sooner_than_that_of_minutes() -> None:
    state = model.PathModel()
    for n in range(200):
        state = model.probe_answered(state, 0.04 if n < 20 else 0.09, n / 10, n / 10)
    assert state.floor(20.0) == 0.04
    assert state.low(20.0) == 0.09


def test_a_stream_of_messages_may_leave_out_none_where_none_are_lost() -> None:
    world = two()
    world.paths["one"].download = 0.020
    world.run(5.0)
    clean = world.state.path("one").model
    limit = limits.quiet_limit(clean)
    assert limit is not None
    assert limit <= 0.020 + limits.LEAST_SLACK + 0.005
    lossy = replace(clean, losses=lost(0.02))
    allowed = limits.quiet_limit(lossy)
    assert allowed is not None
    assert allowed >= 0.040 + limits.LEAST_SLACK
    world.paths["one"].dead = True
    at = world.now
    world.run(1.0)
    took = world.entered("one", "down", at)
    assert took is not None
    assert took <= 0.110


def lost(share: float) -> Losses:
    """What is remembered of a path that lost so much of what left."""
    counters, state = PathCounters(), PathModel()
    for n in range(400):
        counters = replace(
            counters,
            tx_segments=counters.tx_segments + 50,
            retransmitted_segments=counters.retransmitted_segments + round(50 * share),
            rx_segments=counters.rx_segments + 50,
        )
        state = observe(state, counters, 0.1 * n)
    assert state.loss
    return state.losses


# --- what acknowledges a regular stream of ours -------------------------------------------------


def uploads(seconds: float, rtt: float = BASE, gap: float = 0.02) -> PathModel:
    """A message every ``gap`` and its acknowledgement a round trip later, read at each of them."""
    counters = PathCounters()
    state = observe(PathModel(), counters, 100.0)
    for n in range(1, round(seconds / gap) + 1):
        now = 100.0 + gap * n
        counters = replace(
            counters,
            tx_segments=n,
            rx_packets=n,
            rtt_samples=n,
            rtt_sum=rtt * n,
            last_rx=now,
        )
        state = observe(state, counters, now)
    return state


@pytest.mark.parametrize(("rtt", "gap"), [(0.04, 0.02), (0.04, 0.01), (0.08, 0.02), (0.15, 0.05)])
def test_acknowledgements_of_a_regular_stream_are_missed_soon(rtt: float, gap: float) -> None:
    """But not so soon that a radio's pause of 90 ms, wherever it begins, could be death."""
    state = uploads(4.0, rtt, gap)
    limit = limits.answers_limit(state)
    assert limit is not None
    assert limit < gap + limits.unanswered_limit(state), "sooner than the oldest question tells"
    assert limit + limits.proof_limit(state, answers=True, patience=0.0) >= 0.090 + gap


def test_acknowledgements_tell_nothing_of_a_stream_that_is_not_regular() -> None:
    assert limits.answers_limit(uploads(0.9)) is None, "too young"
    assert limits.answers_limit(uploads(4.0, rtt=0.015)) is None, "nothing is under way at times"
    state = uploads(4.0)
    assert limits.answers_limit(replace(state, losses=lost(0.02))) is None, "some may be lost"
    answered = replace(state, data=replace(state.data, gap=0.05))
    assert limits.answers_limit(answered) is None, "questions and answers"
    halting = replace(state, arrivals=replace(state.arrivals, worst=2.5 * 0.02))
    assert limits.answers_limit(halting) is None
    assert limits.answers_limit(replace(state, ends=(state.at - 29,))) is None, "a false alarm"
    assert limits.answers_limit(replace(state, ends=(state.at - 31,))) is not None


def upload_that_dies(budget: int | None = None) -> tuple[World, float]:
    world = World(
        SimPath("one", gateway=True, upload=0.020, budget=budget),
        SimPath("two", rtt=0.080, gateway=True),
    )
    world.run(5.010)
    world.paths["one"].dead = True
    at = world.now
    world.run(1.0)
    return world, at


def test_an_upload_that_is_not_acknowledged_any_more_is_seen_soon() -> None:
    world, at = upload_that_dies()
    took = world.entered("one", "suspect", at)
    assert took is not None
    assert took <= 0.066
    frugal, at = upload_that_dies(budget=5_000_000)
    later = frugal.entered("one", "suspect", at)
    assert later is not None
    assert later > took, "three probes for what is a little late are too many"


def test_an_upload_that_rests_is_no_sign() -> None:
    world = two()
    path = world.paths["one"]

    def talk(left: int) -> None:
        world.message(path)
        world.at(0.025 if left else 0.500, lambda: talk(left - 1 if left else 150))

    talk(150)
    at = world.now
    world.run(60.0)
    assert suspicions(world, at) == 0
    assert world.ticks < 30 * 65, "nor is it watched for one"


@pytest.mark.parametrize("pause", [0.060, 0.085, 0.090])
def test_a_radio_that_pauses_for_a_moment_under_an_upload_is_not_dead(pause: float) -> None:
    world = two()
    world.paths["one"].upload = 0.020
    at = world.now
    for n in range(10):
        world.run(10.0 + 0.002 * n)
        world.paths["one"].paused_until = world.now + pause
    world.run(10.0)
    assert "down" not in world.states("one", at)
