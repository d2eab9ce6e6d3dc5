# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever happens: one path stays, transitions are those of the table, and nothing oscillates."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import GATEWAY, OTHER, PORT, SERVER, WEB, WITNESS, SimPath, World

from omrfast.core import policy, wish
from omrfast.core.config import PathConfig, Quality
from omrfast.core.events import (
    LinkChanged,
    OverrideChanged,
    PathProof,
    ProbeFailed,
    ProbeReply,
    ServersChanged,
    TargetsChanged,
    Tick,
    Walked,
)
from omrfast.core.outcome import Wish
from omrfast.core.state import CoreState, Override, PathRecord
from omrfast.core.transitions import TRANSITIONS
from omrfast.core.types import FlowSum, PathCounters, PathState, Role

NAMES = ("one", "two", "three")
TARGETS = (SERVER, OTHER, PORT, WITNESS, WEB, GATEWAY)
QUICK = Quality(recover_after=2.0)

instants = st.floats(0, 1e4, allow_nan=False)
names = st.sampled_from(NAMES)
keys = st.sampled_from([target.key for target in TARGETS]) | st.just("icmp 192.0.2.1")
counters = st.builds(
    PathCounters,
    tx_segments=st.integers(0, 10**6),
    rx_segments=st.integers(0, 10**6),
    rx_packets=st.integers(0, 10**6),
    retransmitted_segments=st.integers(0, 10**5),
    icmp_errors=st.integers(0, 10**5),
    rtt_samples=st.integers(0, 10**6),
    rtt_sum=st.floats(0, 1e4),
    rtt_dev_sum=st.floats(0, 1e4),
    last_rx=st.none() | instants,
    last_tx=st.none() | instants,
    asked=st.none() | instants,
)
words = st.none() | st.builds(Override, st.sampled_from(list(Role)), st.none() | instants)
sums = st.builds(FlowSum, arrived=st.none() | instants)
events = (
    st.builds(Tick, st.dictionaries(names, counters))
    | st.builds(Walked, st.dictionaries(st.just("203.0.113.10"), sums))
    | st.builds(ProbeReply, names, keys, st.floats(1e-4, 5), instants)
    | st.builds(
        ProbeFailed, names, keys, st.just("refused"), st.booleans(), st.booleans(), st.booleans()
    )
    | st.builds(PathProof, names, st.just("FAILED"))
    | st.builds(LinkChanged, names, st.booleans(), st.just("link"))
    | st.builds(TargetsChanged, names, st.lists(st.sampled_from(TARGETS), unique=True).map(tuple))
    | st.builds(OverrideChanged, names, words)
)


def beginning(roles: list[Role]) -> CoreState:
    records = tuple(
        PathRecord(PathConfig(name, name, role=role))
        for name, role in zip(NAMES, roles, strict=False)
    )
    state = policy.start(records, 0.0)
    servers = (("vps", ("203.0.113.10",)), ("vps2", ("203.0.113.20",)))
    state = policy.step(state, ServersChanged(servers), 0.0).state
    for name in NAMES[: len(roles)]:
        state = policy.step(state, TargetsChanged(name, TARGETS), 0.0).state
    return state


@settings(max_examples=300, deadline=None)
@given(
    roles=st.lists(st.sampled_from(list(Role)), min_size=1, max_size=3),
    history=st.lists(st.tuples(st.floats(0, 30), events), max_size=60),
)
def test_whatever_happens_one_path_stays(
    roles: list[Role], history: list[tuple[float, object]]
) -> None:
    now = 0.0
    state = beginning(roles)
    wishes: dict[str, Wish] = dict(wish.wishes(state, now))
    for pause, event in history:
        now += pause
        outcome = policy.step(state, event, now)  # type: ignore[arg-type]
        again = policy.step(state, event, now)  # type: ignore[arg-type]
        assert again == outcome, "a pure function"
        for decision in outcome.decisions:
            if decision.path and decision.state is not decision.before:
                assert isinstance(decision.before, PathState)
                assert decision.reason
        state = outcome.state
        wishes = wishes if outcome.wishes is None else dict(outcome.wishes)
        usable = [r for r in state.paths if Role.OFF not in (r.config.role, r.role)]
        assert len(state.paths) == len(roles)
        assert all((r.suspicion is not None) == (r.state is PathState.SUSPECT) for r in state.paths)
        if not usable:
            continue
        kept = wishes.values()
        assert any(one.present is not False and not one.penalty for one in kept)
        assert all(wishes[name].penalty for name in outcome.aborts), "what is kept is not aborted"


FAULTS = ("dead", "cut", "loses_ours", "rtt", "loss_every", "blocked", "failing", "server", "pause")


def spoil(world: World, path: SimPath, fault: str, random: Random) -> None:
    """One thing goes wrong, or is mended."""
    if fault in ("dead", "cut", "loses_ours"):
        setattr(path, fault, not getattr(path, fault))
    elif fault == "rtt":
        path.rtt = random.choice((0.02, 0.04, 0.08, 0.35, 0.9))
    elif fault == "loss_every":
        path.loss_every = random.choice((0, 0, 5, 10))
    elif fault == "blocked":
        path.blocked = random.choice((set(), {"vps"}, {"vps2"}, {"vps", "vps2"}))
    elif fault == "failing":
        path.failing = random.choice((set(), {"web"}))
    elif fault == "server":
        host = world.hosts[random.choice(("vps", "vps2", "witness"))]
        host.dead = not host.dead
    else:
        world.hosts["vps"].paused_until = world.now + random.uniform(0.1, 3)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(12))
def test_random_worlds_keep_a_path_and_settle(seed: int) -> None:
    random = Random(seed)
    world = World(
        *(
            SimPath(
                name,
                rtt=random.choice((0.02, 0.04, 0.08)),
                upload=random.choice((None, 0.02, 0.1)),
                download=random.choice((None, 0.02, 0.1)),
                gateway=random.random() < 0.7,
                role=random.choice((Role.ACTIVE, Role.ACTIVE, Role.BACKUP)),
                quality=QUICK,
            )
            for name in NAMES[: random.choice((2, 3))]
        ),
        targets=random.choice(((SERVER,), (SERVER, WITNESS), (SERVER, OTHER, WITNESS, WEB))),
    )
    for name in ("vps", "vps2", "witness", "web"):
        world.hosts.setdefault(name, type(world.hosts["vps"])())
    world.run(3.0)
    for _ in range(25):
        spoil(world, random.choice(list(world.paths.values())), random.choice(FAULTS), random)
        world.run(random.choice((0.05, 0.5, 3.0, 8.0)))
        kept = [wish for wish in world.wishes.values() if wish.present is not False]
        assert any(not wish.penalty for wish in kept)
    for decision in world.decisions:
        if decision.path and decision.before is not decision.state:
            assert decision.state in TRANSITIONS[decision.before], decision  # type: ignore[index]
    world.run(60.0)
    settled = world.now
    world.run(120.0)
    for name in world.paths:
        assert len(world.states(name, settled)) <= 6, world.states(name, settled)


@pytest.mark.parametrize("rtt", [(0.30, 0.31), (0.6, 0.5), (0.9, 0.9)])
def test_when_everything_is_slow_nothing_swings(rtt: tuple[float, float]) -> None:
    world = World(
        SimPath("one", rtt=0.04, upload=0.02, quality=QUICK),
        SimPath("two", rtt=0.08, upload=0.02, quality=QUICK),
    )
    world.run(4.0)
    world.paths["one"].rtt, world.paths["two"].rtt = rtt
    world.run(10.0)
    shown = []
    for _ in range(300):
        world.run(0.2)
        wish = world.wishes
        both = (wish["one"].backup, wish["two"].backup)
        if shown[-1:] != [both]:
            shown.append(both)
    assert len(shown) <= 3, shown
