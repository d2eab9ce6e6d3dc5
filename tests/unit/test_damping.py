# SPDX-License-Identifier: GPL-2.0-or-later
"""Recovery times: they grow with flapping, fade with time, and a clean record shortens them."""

from __future__ import annotations

import pytest

from omrfast.core import damping
from omrfast.core.config import PathConfig, Quality
from omrfast.core.state import PathRecord
from omrfast.core.transitions import enter
from omrfast.core.types import PathState

QUALITY = Quality(recover_after=4.0, half_life=100.0)


def up(at: float) -> PathRecord:
    record = PathRecord(PathConfig("one", "one", quality=QUALITY))
    return enter(record, PathState.UP, "heard", at)


def flap(record: PathRecord, at: float) -> PathRecord:
    return enter(record, PathState.DEGRADED, "bad", at)


def test_the_first_demotion_costs_the_plain_time() -> None:
    record = flap(up(0.0), 1.0)
    assert damping.recover_time(record, 1.0) == pytest.approx(4.0, rel=0.01)


def test_each_further_one_doubles_it_up_to_a_bound() -> None:
    record, times = up(0.0), []
    for _ in range(8):
        record = flap(record, 1.0)
        times.append(damping.recover_time(record, 1.0))
        record = enter(record, PathState.UP, "good", 1.0)
    assert times[:5] == pytest.approx([4.0, 8.0, 16.0, 32.0, 64.0], rel=0.01)
    assert times[5:] == pytest.approx([64.0] * 3, rel=0.01)


def test_what_was_is_forgotten_by_the_half_life() -> None:
    record = flap(enter(flap(up(0.0), 1.0), PathState.UP, "good", 1.0), 1.0)
    assert damping.penalty(record, 1.0) == pytest.approx(2.0)
    assert damping.penalty(record, 101.0) == pytest.approx(1.0)
    assert damping.recover_time(record, 101.0) == pytest.approx(4.0, rel=0.01)


def test_a_clean_record_halves_it_and_no_more() -> None:
    times = [damping.recover_time(flap(up(0.0), clean), clean) for clean in (1.0, 500.0, 1e3, 1e6)]
    assert times == pytest.approx([4.0, 4.0 / 2**0.5, 2.0, 2.0], rel=0.01)


def test_being_bad_for_long_is_no_clean_record() -> None:
    record = flap(up(0.0), 1.0)
    record = enter(record, PathState.DOWN, "dead", 5000.0)
    assert damping.recover_time(record, 5000.0) >= 4.0


def test_a_path_where_nobody_answers_is_tried_again_not_too_soon() -> None:
    record = flap(up(0.0), 1.0)
    assert damping.trial_time(record, 1.0) == damping.TRIAL
    for _ in range(4):
        record = flap(enter(record, PathState.UP, "good", 1.0), 1.0)
    assert damping.trial_time(record, 1.0) == damping.recover_time(record, 1.0) > damping.TRIAL
