# SPDX-License-Identifier: GPL-2.0-or-later
"""Counting losses and judging whether a share of them means anything; our own load."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omrfast.core import binomial, load, losses, shares
from omrfast.core.losses import Losses
from omrfast.core.types import PathCounters

LIMIT = 0.05
NOT_FULL = (False, False)


# --- chance -------------------------------------------------------------------------------------


@given(st.integers(0, 120), st.integers(0, 120), st.floats(0.001, 0.9))
def test_the_tails_are_those_of_the_binomial_distribution(
    lost: int, sent: int, share: float
) -> None:
    points = [
        math.comb(sent, count) * share**count * (1 - share) ** (sent - count)
        for count in range(sent + 1)
    ]
    assert binomial.at_least(lost, sent, share) == pytest.approx(sum(points[lost:]), abs=1e-9)
    assert binomial.at_most(lost, sent, share) == pytest.approx(
        min(1.0, sum(points[: lost + 1])), abs=1e-9
    )


def test_large_counts_are_no_trouble() -> None:
    assert binomial.at_least(5200, 100_000, 0.05) == pytest.approx(0.0019, abs=2e-4)
    assert binomial.at_most(0, 100_000, 0.05) < 1e-300


# --- counting -----------------------------------------------------------------------------------


class Path:
    """Counters and questions of a path, at 20 reads a second."""

    def __init__(self, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.now = 100.0
        self.counters = PathCounters()
        self.losses = losses.observe(Losses(), self.counters, self.now, full=NOT_FULL)

    def read(
        self, out: int = 0, out_lost: int = 0, into: int = 0, into_lost: int = 0, **flags: bool
    ) -> None:
        c = self.counters
        self.now += 0.05
        self.counters = replace(
            c,
            tx_segments=c.tx_segments + out,
            retransmitted_segments=c.retransmitted_segments + out_lost,
            rx_segments=c.rx_segments + into,
            refilled_segments=c.refilled_segments + into_lost,
        )
        full = flags.get("full_out", False), flags.get("full_into", False)
        self.losses = losses.observe(self.losses, self.counters, self.now, full=full)

    def chance(self, sent: int, share: float) -> int:
        return sum(self.random.random() < share for _ in range(sent))

    def beyond(self, seconds: float = 1.5) -> shares.Share | None:
        return shares.beyond(self.losses, self.now, seconds, LIMIT, LIMIT / 2)


def test_a_tenth_of_a_stream_is_beyond_the_limit_soon() -> None:
    path = Path()
    for _ in range(40):
        path.read(out=4, out_lost=path.chance(4, 0.12))
    share = path.beyond()
    assert share is not None
    assert share.ratio > 0.08


def test_an_hour_of_one_percent_is_never_beyond_it() -> None:
    path = Path()
    for _ in range(3600 * 20):
        path.read(out=4, out_lost=path.chance(4, 0.01), into=2, into_lost=path.chance(2, 0.01))
        assert path.beyond() is None


def test_each_direction_counts_by_itself() -> None:
    path = Path()
    for _ in range(40):
        path.read(out=4, out_lost=path.chance(4, 0.15), into=200)
    assert shares.recent(path.losses, path.now, 1.5).ratio < LIMIT
    assert path.beyond() is not None


def test_repeats_that_prove_needless_are_taken_back() -> None:
    path = Path()
    for _ in range(30):
        path.read(out=4, out_lost=1)
    assert path.beyond() is not None
    path.counters = replace(path.counters, spurious_segments=30)
    path.read()
    assert path.beyond() is None


def test_what_an_outage_took_is_no_loss_when_it_is_sent_again() -> None:
    path = Path()
    for _ in range(20):
        path.read(out=4, into=4)
    path.losses = losses.forget(path.losses)
    for _ in range(10):
        path.read(out=3, out_lost=3, into=2, into_lost=2)
    assert (path.losses.crossed, path.losses.lost) == (160, 0)
    assert shares.shown(path.losses) == (0, 0)


def test_its_rest_neither_hides_what_is_lost_since_nor_makes_it_less_when_needless() -> None:
    path = Path()
    path.losses = losses.forget(path.losses)
    path.read(out=20, out_lost=20)
    path.counters = replace(path.counters, spurious_segments=5)
    path.read()
    assert path.losses.lost == 0
    for _ in range(40):
        path.read(out=4, out_lost=path.chance(4, 0.12))
    share = path.beyond()
    assert share is not None
    assert share.ratio > 0.08


def test_a_segment_may_be_lost_more_than_once() -> None:
    path = Path()
    for _ in range(10):
        path.read(out=10, out_lost=7)
    assert path.losses.lost == 70


def test_many_losses_at_once_are_an_outage() -> None:
    path = Path()
    for _ in range(20):
        path.read(out=4)
    path.read(out=20, out_lost=20)
    path.read(out=20, out_lost=10)
    assert path.beyond() is None


def test_a_bulk_must_lose_all_the_time() -> None:
    path = Path()
    for number in range(30):
        path.read(out=80, out_lost=40 if number < 10 else 1)
    assert path.beyond() is None, "a start-up: its share is 17 %, in three steps of six"
    for _ in range(30):
        path.read(out=80, out_lost=8)
    assert path.beyond() is not None


def test_what_a_full_queue_of_our_own_drops_is_shown_and_not_judged() -> None:
    path = Path()
    for _ in range(60):
        path.read(out=80, out_lost=12, full_out=True)
    assert path.beyond() is None
    crossed, lost = shares.shown(path.losses)
    assert lost / crossed == pytest.approx(0.15, abs=0.01)
    assert (path.losses.crossed, path.losses.lost) == (0, 0)


def test_a_minute_is_remembered_and_no_more() -> None:
    path = Path()
    for _ in range(20 * 120):
        path.read(out=1)
    kept = (*path.losses.coarse, *path.losses.fine)
    assert path.now - kept[0].at <= losses.MEMORY + losses.COARSE
    assert sum(step.out for step in kept) == pytest.approx(20 * 60, rel=0.1)
    assert len(kept) < 40, "the whole of it is written to the journal"


# --- probes -------------------------------------------------------------------------------------


def test_a_question_is_lost_when_a_later_one_is_answered() -> None:
    path = Path()
    for at, whom in ((100.0, "a"), (100.1, "a"), (100.2, "b")):
        path.losses = losses.ask(path.losses, whom, at)
    path.losses = losses.answer(path.losses, "b", 100.2)
    path.losses = losses.expire(path.losses, 100.5, 0.1)
    assert path.losses.probes_lost == 0, "another one's answer says nothing about a"
    path.losses = losses.answer(path.losses, "a", 100.1)
    path.losses = losses.expire(path.losses, 100.5, 0.1)
    assert (path.losses.probes, path.losses.probes_lost) == (3, 1)
    assert path.losses.lost_at == 100.0


def test_somebody_who_falls_silent_is_no_loss() -> None:
    path = Path()
    for number in range(50):
        at = 100.0 + number * 0.1
        path.losses = losses.expire(losses.ask(path.losses, "a", at), at, 0.1)
        if number < 10:
            path.losses = losses.answer(path.losses, "a", at)
    path.losses = losses.expire(path.losses, 200.0, 0.1)
    assert path.losses.probes_lost == 0
    assert path.losses.asked == ()


def test_an_answer_that_comes_late_was_no_loss() -> None:
    path = Path()
    for at in (100.0, 100.1):
        path.losses = losses.ask(path.losses, "a", at)
    path.losses = losses.answer(path.losses, "a", 100.1)
    path.losses = losses.expire(path.losses, 100.5, 0.1)
    assert path.losses.probes_lost == 1
    path.losses = losses.answer(path.losses, "a", 100.0)
    assert (path.losses.probes, path.losses.probes_lost) == (2, 0)


def test_an_answer_finds_its_question_however_late_that_left() -> None:
    path = Path()
    for at in (100.0, 100.02):
        path.losses = losses.ask(path.losses, "a", at)
    path.losses = losses.answer(path.losses, "a", 100.015)  # 15 ms from order to packet
    assert path.losses.asked == ((100.02, "a"),)


def test_lost_probes_are_no_loss_where_traffic_passes() -> None:
    path = Path()
    for number in range(60):
        for whom in range(2):
            path.losses = losses.ask(path.losses, "a", path.now + whom * 0.01)
        path.losses = losses.answer(path.losses, "a", path.now + 0.01)
        path.read(out=4, out_lost=number % 40 == 0)
        path.losses = losses.expire(path.losses, path.now, 0.04)
    assert shares.recent(path.losses, path.now, 1.5).ratio > LIMIT
    assert path.beyond() is None, "somebody answers half of our probes only"


# --- load ---------------------------------------------------------------------------------------


class Loaded:
    """A path of 40 ms whose counters are read 20 times a second."""

    def __init__(self) -> None:
        self.now = 100.0
        self.counters = PathCounters()
        self.load = load.observe(load.Load(), self.counters, None, self.now)

    def carry(self, seconds: float, rate: float, rtt: float) -> None:
        for _ in range(round(seconds * 20)):
            self.now += 0.05
            c = self.counters
            self.counters = replace(
                c,
                tx_bytes=c.tx_bytes + round(rate * 0.05),
                rtt_samples=c.rtt_samples + 1,
                rtt_sum=c.rtt_sum + rtt,
            )
            self.load = load.observe(self.load, self.counters, 0.040, self.now)

    @property
    def loaded(self) -> bool:
        return load.loaded(self.load, 0.040)


def test_a_light_stream_is_no_load() -> None:
    path = Loaded()
    path.carry(5.0, 15_000, 0.040)
    path.carry(2.0, 15_000, 0.340)
    assert not path.loaded


def test_what_a_path_has_carried_before_is_no_excuse() -> None:
    path = Loaded()
    path.carry(5.0, 2.5e6, 0.042)
    path.carry(5.0, 300_000, 0.042)
    assert not path.loaded
    path.carry(2.0, 300_000, 0.340)
    assert not path.loaded


def test_more_than_ever_or_all_that_fits_is_load() -> None:
    path = Loaded()
    path.carry(5.0, 100_000, 0.040)
    path.carry(2.0, 2.5e6, 0.300)
    assert path.loaded
    path.carry(20.0, 2.5e6, 0.042)
    path.carry(2.0, 2.4e6, 0.300)
    assert path.loaded, "a transfer that fills the queue, after one that did not"
    path.carry(2.0, 50_000, 0.040)
    assert not path.loaded


def test_a_queue_is_full_by_what_it_has_held() -> None:
    path = Loaded()
    path.carry(5.0, 2.5e6, 0.042)
    assert load.full(path.load, 0.040) == NOT_FULL
    path.carry(5.0, 2.5e6, 0.058)
    assert load.full(path.load, 0.040) == (True, False)
    path.carry(5.0, 50_000, 0.058)
    assert load.full(path.load, 0.040) == NOT_FULL, "not by us"


def test_who_has_answered_everything_is_not_remembered() -> None:
    known = Losses()
    for number in range(1000):
        known = losses.ask(known, f"peer {number}", float(number))
        known = losses.answer(known, f"peer {number}", number + 0.001)
    assert known.answered == ()
    known = losses.ask(losses.ask(known, "a", 2000.0), "a", 2001.0)
    known = losses.answer(known, "a", 2001.0)
    assert known.answered == (("a", 2001.0),)
    assert losses.expire(known, 2002.0, 0.1).probes_lost == 1
    assert losses.forget(known).answered == ()
