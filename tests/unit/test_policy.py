# SPDX-License-Identifier: GPL-2.0-or-later
"""The path state machine on simulated traffic: what it sees, when, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from world import SERVER, SimPath, World

from omrfast.core import policy, transitions
from omrfast.core.config import PathConfig, Quality
from omrfast.core.events import ProbeReply, Tick
from omrfast.core.outcome import Wish
from omrfast.core.state import PathRecord
from omrfast.core.types import PathCounters, PathState, Role

QUICK = Quality(recover_after=2.0)


def two(**first: object) -> World:
    """A 40 ms path with the given traffic beside an idle 80 ms one, both heard."""
    world = World(
        SimPath("one", rtt=0.040, quality=QUICK, **first),  # type: ignore[arg-type]
        SimPath("two", rtt=0.080, quality=QUICK),
    )
    world.run(3.0)
    assert [world.state.path(n).state for n in ("one", "two")] == ["up", "up"]
    return world


@pytest.mark.parametrize(
    ("traffic", "most"),
    [
        ({"upload": 0.020}, 0.170),
        ({"download": 0.020}, 0.170),
        ({"upload": 0.001}, 0.150),
        ({"download": 0.001}, 0.150),
        ({"upload": 0.020, "download": 0.020}, 0.170),
    ],
)
def test_silent_black_hole_is_death_within_round_trips(
    traffic: dict[str, float], most: float
) -> None:
    world = two(**traffic)
    world.paths["one"].dead = True
    at = world.now
    world.run(1.0)
    took = world.entered("one", "down", at)
    assert took is not None
    assert took <= most
    assert world.wishes["one"].present is False
    assert world.wishes["two"].present is True
    assert world.aborted == ["one"]
    assert world.state.path("two").state is PathState.UP


def test_idle_path_dies_unseen_but_not_for_long() -> None:
    world = two()
    world.paths["two"].dead = True
    at = world.now
    world.run(15.0)
    took = world.entered("two", "down", at)
    assert took is not None
    assert took < 13


def test_what_was_kept_as_the_last_path_is_given_up_when_another_answers() -> None:
    world = two(upload=0.020)
    world.paths["two"].dead = True
    world.run(15.0)
    world.paths["one"].dead = True
    world.run(15.0)
    assert world.wishes["one"] == Wish(present=True, backup=False, penalty=0)
    assert world.aborted == ["two"]
    world.paths["two"].dead = False
    while not world.wishes["one"].penalty:
        world.run(0.01)
    assert world.wishes["one"].present is None
    assert world.aborted == ["two", "one"], "new connections go elsewhere: these would hang"
    world.run(15.0)
    assert world.wishes["one"].present is False
    assert world.aborted == ["two", "one"]


def test_recovery_goes_through_probation_and_backup() -> None:
    world = two(upload=0.020)
    world.paths["one"].dead = True
    world.run(1.0)
    world.paths["one"].dead = False
    healed = world.now
    seen: list[tuple[bool | None, bool | None]] = []
    for _ in range(80):
        world.run(0.05)
        wish = world.wishes["one"]
        shown = (wish.present, wish.backup if wish.present else None)
        if seen[-1:] != [shown]:
            seen.append(shown)
    assert seen == [(False, None), (True, True), (True, False)]
    took = world.entered("one", "up", healed)
    assert took is not None
    assert QUICK.recover_after <= took <= QUICK.recover_after + 2
    assert world.states("one", healed) == ["probation", "up"]


@pytest.mark.parametrize("traffic", [{"upload": 0.020}, {"download": 0.020}, {"upload": 0.002}])
@pytest.mark.parametrize("rtt", [0.3, 0.34, 0.8])
def test_slow_path_becomes_backup_within_two_seconds_and_comes_back_once(
    traffic: dict[str, float], rtt: float
) -> None:
    world = two(**traffic)
    world.paths["one"].rtt = rtt
    slow = world.now
    world.run(6.0)
    took = world.entered("one", "degraded", slow)
    assert took is not None
    assert took < 2.0
    assert world.states("one", slow)[-1] == "degraded"
    assert world.wishes["one"].present is True
    assert world.wishes["one"].backup is True
    assert world.wishes["one"].penalty
    world.paths["one"].rtt = 0.040
    healed = world.now
    world.run(12.0)
    assert world.states("one", healed) == ["up"]


def test_a_late_answer_tells_slow_from_dead() -> None:
    world = two(upload=0.020)
    world.paths["one"].rtt = 0.340
    slow = world.now
    world.run(1.0)
    assert world.states("one", slow) == ["down", "degraded"]
    back = world.entered("one", "degraded", slow)
    assert back is not None
    assert back < 0.5
    assert world.wishes["one"].present is True


def test_lossy_path_is_demoted_once_and_stays_demoted() -> None:
    world = two(upload=0.005)
    world.paths["one"].loss_every = 10
    at = world.now
    world.run(60.0)
    assert world.states("one", at) == ["degraded"]


def test_a_steady_path_is_never_suspected() -> None:
    world = two(upload=0.020)
    probes = world.paths["one"].probes
    world.run(30.0)
    assert world.states("one") == ["up"]
    assert world.paths["one"].probes == probes, (
        "traffic answers for the path, probes are not needed"
    )


def test_a_stream_that_ends_costs_one_burst_and_nothing_else() -> None:
    world = two(download=0.005)
    probes = world.paths["one"].probes
    world.paths["one"].download = None
    at = world.now
    world.run(5.0)
    assert world.states("one", at) == ["up"], "suspect, then alive after all"
    assert world.paths["one"].probes - probes == 3
    assert world.wishes["one"].present is True


def test_link_down_is_proof_by_itself() -> None:
    world = two(upload=0.020)
    at = world.now
    world.link("one", up=False)
    assert world.entered("one", "down", at) == 0
    world.paths["one"].dead = True
    world.run(2.0)
    world.paths["one"].dead = False
    world.link("one", up=True)
    world.run(5.0)
    assert world.states("one", at) == ["down", "probation", "up"]


def test_the_last_path_is_never_taken_away() -> None:
    world = two(upload=0.020)
    world.paths["one"].dead = True
    world.run(1.0)
    world.paths["two"].dead = True
    world.run(15.0)
    assert world.state.path("one").state is PathState.DOWN
    assert world.state.path("two").state is PathState.DOWN
    assert world.wishes["one"].present is False
    assert world.wishes["two"].present is True, "the last to die stays"
    assert world.wishes["two"].penalty == 0


def test_the_kept_path_stays_when_both_answer_again() -> None:
    world = two(upload=0.020)
    world.paths["one"].dead = True
    world.run(1.0)
    world.paths["two"].dead = True
    world.run(15.0)
    for path in world.paths.values():
        path.dead = False
    kept = set()
    for _ in range(60):
        world.run(0.05)
        kept.add(world.wishes["two"].present)
    assert False not in kept


def test_two_bad_paths_leave_the_less_bad_one_in_charge() -> None:
    world = two(upload=0.020)
    world.paths["two"].upload = 0.020
    world.paths["one"].rtt = 0.600
    world.paths["two"].rtt = 0.300
    world.run(10.0)
    assert world.wishes["one"].backup is True
    assert world.wishes["two"].backup is False
    assert world.wishes["two"].penalty == 0


def test_a_backup_takes_over_for_a_degraded_active_path() -> None:
    world = World(
        SimPath("one", upload=0.020, quality=QUICK),
        SimPath("two", rtt=0.080, role=Role.BACKUP, quality=QUICK),
    )
    world.run(2.0)
    assert world.wishes["two"].backup is True
    world.paths["one"].rtt = 0.5
    world.run(4.0)
    assert world.wishes["one"].backup is True
    assert world.wishes["two"].backup is False
    world.paths["one"].rtt = 0.040
    world.run(10.0)
    assert world.wishes["one"].backup is False
    assert world.wishes["two"].backup is True


def test_a_path_that_is_off_is_absent_and_not_probed() -> None:
    world = World(SimPath("one"), SimPath("two", role=Role.OFF))
    world.run(5.0)
    assert world.wishes["two"].present is False
    assert world.paths["two"].probes == 0


def test_silence_proves_nothing_where_no_target_ever_answered() -> None:
    world = World(SimPath("one", filters=True), SimPath("two", rtt=0.080))
    world.run(1.0)
    assert world.wishes["one"] == Wish(), "as found"
    world.run(20.0)
    assert world.state.path("one").state is PathState.UNKNOWN
    assert world.wishes["one"].present is None, "not taken away"
    assert world.wishes["one"].backup is True, "but no choice for new connections"
    world.paths["one"].download = 0.020
    world.run(1.5)
    assert world.state.path("one").state is PathState.UP, "traffic proves that it works"
    world.run(60.0)
    assert world.states("one") == ["up"]
    world.paths["one"].download = None
    world.run(60.0)
    assert world.states("one") == ["up"], "idle again, and nobody answers"


def test_a_path_that_dies_before_its_first_answer_is_not_taken_for_a_deaf_one() -> None:
    world = World(SimPath("one", download=0.020, filters=True), SimPath("two", rtt=0.080))
    world.run(0.5)
    assert world.state.path("one").state is PathState.UP, "packets arrive"
    world.paths["one"].dead = True
    died = world.now
    world.run(4.0)
    took = world.entered("one", "down", died)
    assert took is not None
    assert took < 3


def test_traffic_without_an_answer_is_death_even_where_nobody_answers_probes() -> None:
    world = World(
        SimPath("one", filters=True, upload=0.020, quality=QUICK), SimPath("two", rtt=0.080)
    )
    world.run(3.0)
    world.paths["one"].dead = True
    died = world.now
    world.run(3.0)
    took = world.entered("one", "down", died)
    assert took is not None
    assert 1.0 < took < 1.5
    world.paths["one"].upload = None
    world.paths["one"].dead = False
    world.run(40.0)
    assert world.states("one", died) == ["down", "probation", "up"], "tried again, as backup"


def test_a_cable_that_is_plugged_in_again_brings_an_unanswering_path_back() -> None:
    world = World(SimPath("one", filters=True, download=0.02, quality=QUICK), SimPath("two"))
    world.run(2.0)
    world.link("one", up=False)
    world.run(1.0)
    at = world.now
    world.link("one", up=True)
    world.run(4.0)
    assert world.states("one", at) == ["probation", "up"]


def test_a_slow_path_is_not_given_up_for_one_that_was_never_heard() -> None:
    world = World(SimPath("one", upload=0.020, quality=QUICK), SimPath("two", dead=True))
    world.run(4.0)
    for step in range(30):
        world.paths["one"].rtt = 0.040 + step * 0.02
        world.run(0.2)
    assert world.state.path("one").state is PathState.DEGRADED
    assert world.wishes["one"].backup is False
    assert not world.wishes["one"].penalty


def test_nothing_is_taken_away_for_a_path_that_was_never_heard() -> None:
    world = World(SimPath("one", upload=0.020), SimPath("two", filters=True))
    world.run(4.0)
    world.paths["one"].dead = True
    world.run(2.0)
    assert world.state.path("one").state is PathState.DOWN
    assert world.wishes["one"].present is not False


def test_a_server_that_boots_later_leaves_no_loss_behind() -> None:
    world = World(SimPath("one", dead=True), SimPath("two", dead=True))
    world.run(20.0)
    world.paths["one"].dead = world.paths["two"].dead = False
    booted = world.now
    world.run(60.0)
    for name in ("one", "two"):
        assert world.states(name, booted)[-1] == "up"
        assert "degraded" not in world.states(name)


@pytest.mark.parametrize(("on", "off"), [(1.0, 8.0), (2.0, 4.0), (2.0, 1.0), (0.6, 0.4)])
def test_bursts_do_not_keep_a_healed_path_away(on: float, off: float) -> None:
    world = two(upload=0.020)
    for step in range(20):
        world.paths["one"].rtt = 0.040 + step * 0.02
        world.run(0.2)
    world.run(1.0)
    assert world.state.path("one").state is PathState.DEGRADED
    world.paths["one"].rtt = 0.040
    world.paths["one"].upload = None
    healed = world.now
    while world.now < healed + 20:
        world.paths["one"].download = 0.002
        world.run(on)
        world.paths["one"].download = None
        world.run(off)
    took = world.entered("one", "up", healed)
    assert took is not None
    assert "down" not in world.states("one", healed)
    assert world.states("one", healed).count("up") == 1
    assert took < 12


def test_bursty_traffic_on_a_healthy_path_is_no_reason_for_anything() -> None:
    world = two()
    probes = world.paths["one"].probes
    for _ in range(30):
        world.paths["one"].download = 0.002
        world.run(0.6)
        world.paths["one"].download = None
        world.run(1.4)
    assert world.states("one") == ["up", *["up"] * (len(world.states("one")) - 1)]
    assert world.paths["one"].probes - probes < 4 * 30 + 10


def test_a_radio_that_pauses_is_met_with_patience() -> None:
    world = two(upload=0.020)
    at = world.now
    for _ in range(6):
        world.paths["one"].paused_until = world.now + 0.180
        world.run(10.0)
    assert world.states("one", at).count("down") <= 1, "the first time it could be dead"
    assert world.state.path("one").state is PathState.UP


def test_flapping_makes_coming_back_slower() -> None:
    world = two(upload=0.020)
    times = []
    for _ in range(4):
        world.paths["one"].dead = True
        world.run(1.0)
        world.paths["one"].dead = False
        healed = world.now
        world.run(40.0)
        took = world.entered("one", "up", healed)
        assert took is not None
        times.append(took)
    assert times == sorted(times)
    assert times[-1] > 2 * times[0]


def test_what_is_lost_in_an_outage_does_not_keep_a_path_away() -> None:
    world = two(upload=0.002)
    world.paths["one"].dead = True
    world.paths["one"].loss_every = 3
    world.run(2.0)
    world.paths["one"].dead = False
    world.paths["one"].loss_every = 0
    healed = world.now
    world.run(8.0)
    assert world.states("one", healed) == ["probation", "up"]


def test_trouble_on_probation_does_not_take_the_endpoint_away_again() -> None:
    world = two()
    world.link("one", up=False)
    world.link("one", up=True)
    world.run(1.5)
    assert world.wishes["one"].present is True
    kept = set()
    for step in range(40):
        world.paths["one"].rtt = min(0.240, 0.040 + step * 0.010)
        world.run(0.1)
        kept.add(world.wishes["one"].present)
    assert kept == {True}


def test_a_late_answer_is_the_same_incident() -> None:
    world = two(upload=0.020)
    world.paths["one"].rtt = 0.340
    world.run(3.0)
    assert world.state.path("one").penalty == pytest.approx(1.0, abs=0.05)


def test_an_idle_router_is_hardly_woken() -> None:
    world = two()
    ticks = world.ticks
    world.run(20.0)
    assert world.ticks - ticks <= 2 * 20 * 2


# --- the table ----------------------------------------------------------------------------------


@pytest.mark.parametrize("before", list(PathState))
@pytest.mark.parametrize("after", list(PathState))
def test_only_the_table_s_transitions_are_possible(before: PathState, after: PathState) -> None:
    record = PathRecord(PathConfig("p", "p"), state=before)
    if after in transitions.TRANSITIONS[before]:
        assert transitions.enter(record, after, "because", 1.0).state is after
    else:
        with pytest.raises(transitions.IllegalTransition):
            transitions.enter(record, after, "because", 1.0)


def test_steps_do_not_change_what_they_were_given() -> None:
    world = two(upload=0.020)
    before = world.state
    copy = replace(before)
    policy.step(before, ProbeReply("one", SERVER.key, 0.04, world.now), world.now)
    assert before == copy


def test_a_path_without_counters_forgets_old_questions() -> None:
    world = two(upload=0.020)
    world.paths["one"].dead = True
    world.run(1.0)
    assert world.state.path("one").state is PathState.DOWN
    for second in range(3600):
        at = world.now + second
        world.state = policy.step(world.state, Tick({"two": PathCounters()}), at).state
    model = world.state.path("one").model
    assert len(model.outstanding) <= 5
    assert len(model.losses.asked) <= 5
