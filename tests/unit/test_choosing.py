# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom a path asks: in a burst, by turns, and when it was given up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from world import GATEWAY, OTHER, PORT, SERVER, WITNESS

from omrfast.core import choosing
from omrfast.core.config import PathConfig
from omrfast.core.state import NEVER, PathRecord, TargetRecord
from omrfast.core.types import Target

SECOND = replace(SERVER, key="icmp 203.0.113.11", address="203.0.113.11")
THIRD = replace(OTHER, key="icmp 203.0.113.30", address="203.0.113.30", name="vps3")
S, T, P, W, G = (target.key for target in (SERVER, OTHER, PORT, WITNESS, GATEWAY))
S2, U = SECOND.key, THIRD.key


def record(
    targets: Iterable[Target], answering: Iterable[str] = (), excused: Iterable[str] = ()
) -> PathRecord:
    return PathRecord(
        PathConfig("p", "p"),
        targets=tuple(
            TargetRecord(
                target,
                answered_at=1.0 if target.key in answering else NEVER,
                excused=target.name in excused,
            )
            for target in targets
        ),
    )


@pytest.mark.parametrize(
    ("targets", "answering", "excused", "chosen"),
    [
        ((GATEWAY,), (), (), (G,)),
        ((SERVER, GATEWAY), (), (), (S, G)),
        ((SERVER, GATEWAY), (S, G), (), (S, G)),
        ((SERVER, OTHER, WITNESS, GATEWAY), (S, T, W, G), (), (S, T, W, G)),
        ((SERVER, OTHER, THIRD, WITNESS), (S, T, U, W), (), (S, T, W)),
        ((SERVER, OTHER, THIRD, GATEWAY), (S, T, U), (), (S, T, U, G)),
        ((SERVER, SECOND, WITNESS, GATEWAY), (S, S2, W), (), (S, W, G)),
        ((SERVER, SECOND, GATEWAY), (S, S2), (), (S, S2, G)),
        ((SERVER, SECOND, OTHER), (S, S2, T), (), (S, T)),
        ((WITNESS, SERVER, GATEWAY), (S, W), (), (S, W, G)),
        ((SERVER, OTHER, GATEWAY), (T,), (), (T, G)),
        ((SERVER, PORT, GATEWAY), (S, P), (), (S, G)),
        ((SERVER, PORT, GATEWAY), (P,), (), (P, G)),
        ((SERVER, WITNESS, GATEWAY), (S, W), ("vps",), (W, S, G)),
        ((), (), (), ()),
    ],
)
def test_a_burst_asks_those_who_answer_and_the_gateway(
    targets: tuple[Target, ...],
    answering: tuple[str, ...],
    excused: tuple[str, ...],
    chosen: tuple[str, ...],
) -> None:
    assert choosing.burst(record(targets, answering, excused)) == chosen


def test_a_gateway_that_ignores_us_is_asked_no_more() -> None:
    path = record((SERVER, GATEWAY), (S,))
    ignored = tuple(
        replace(e, unanswered=choosing.GIVE_UP) if not e.beyond else e for e in path.targets
    )
    assert choosing.burst(replace(path, targets=ignored)) == (S,)


def test_regular_probes_take_turns_and_try_the_others_now_and_then() -> None:
    path = record((SERVER, OTHER, WITNESS, GATEWAY), (S, W))
    asked = [choosing.regular(replace(path, rounds=n)) for n in range(16)]
    assert [keys[0] for keys in asked] == [S, W] * 8
    assert [n for n, keys in enumerate(asked) if T in keys] == [0, 8]
    assert not any(G in keys for keys in asked)


def test_who_is_down_is_asked_beside_somebody_who_tells_that_the_path_lives() -> None:
    path = record((SERVER, OTHER, GATEWAY), (S, T, G), ("vps",))
    assert choosing.regular(path) == (T, S)
    path = record((SERVER, GATEWAY), (S, G), ("vps",))
    assert choosing.regular(path) == (G, S)


def test_a_path_that_was_given_up_asks_beyond_its_gateway() -> None:
    assert choosing.recovery(record((SERVER, WITNESS, GATEWAY), (S, W, G))) == (S, W)
    assert choosing.recovery(record((GATEWAY,), (G,))) == (G,)


def test_recovery_asks_everybody_who_answered_by_turns() -> None:
    path = record((SERVER, SECOND, WITNESS, OTHER), (S, S2, W))
    asked = [choosing.recovery(replace(path, rounds=n)) for n in range(4)]
    assert asked == [(S, S2), (S, W)] * 2


def test_the_port_of_a_host_that_has_fallen_silent_is_tried_now_and_then() -> None:
    path = record((SERVER, PORT), (S,))
    asked = [choosing.recovery(replace(path, rounds=n)) for n in range(16)]
    assert not any(P in keys for keys in asked)
    silent = tuple(replace(e, unanswered=choosing.MUTE) for e in path.targets)
    asked = [choosing.recovery(replace(path, targets=silent, rounds=n)) for n in range(16)]
    assert [n for n, keys in enumerate(asked) if P in keys] == [0, 8]
    assert all(S in keys for keys in asked)
