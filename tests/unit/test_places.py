# SPDX-License-Identifier: GPL-2.0-or-later
"""Following paths to where they are, and what becomes of those that a reload takes away."""

from __future__ import annotations

import pytest

from omrfast.core.config import Config, PathConfig
from omrfast.core.events import LinkChanged, PathProof
from omrfast.core.operations import Interface, Observed, Route
from omrfast.core.outcome import Wish
from omrfast.core.types import Role
from omrfast.places import NoPathError, Places

WAN1 = Interface(2, "wan1", True, 1, ("10.1.0.2",))
WAN2 = Interface(3, "wan2", True, 1, ("10.2.0.2",))
PATHS = (PathConfig("one", "wan1", role=Role.BACKUP), PathConfig("two", "wan2"))


def followed(*devices: Interface) -> Places:
    places = Places()
    places.follow(PATHS, Observed(interfaces=devices), create=True)
    return places


def test_what_comes_and_goes_is_told_once() -> None:
    places = followed(WAN1, WAN2)
    measured, changes = places.follow(PATHS, Observed(interfaces=(WAN1,)), create=True)
    assert measured == {"one": (2, "wan1", 1)}
    assert changes == [LinkChanged("two", False, "interface wan2 is gone")]
    assert places.bindings["two"].ifindex == 3, "its last place is remembered"
    _, again = places.follow(PATHS, Observed(interfaces=(WAN1,)), create=True)
    assert again == []
    back = Interface(9, "wan2", True, 1, ("10.2.0.2",))
    measured, changes = places.follow(PATHS, Observed(interfaces=(WAN1, back)), create=True)
    assert changes == [LinkChanged("two", True, "link is back")]
    assert measured["two"] == (9, "wan2", 1)


def test_a_link_that_goes_is_told_before_it_is_looked_at() -> None:
    places = followed(WAN1, WAN2)
    assert [c.path for c in places.link_down(2, "interface wan1 is down")] == ["one"]
    assert list(places.link_down(2, "interface wan1 is down")) == []
    assert list(places.link_down(7, "somebody else's")) == []


def test_a_gateway_without_an_answer_is_proof_for_the_paths_that_use_it() -> None:
    routes = (Route(4, "default", 2, "10.1.0.1", 100), Route(4, "default", 3, "10.2.0.1", 200))
    places = Places()
    places.follow(PATHS, Observed(routes=routes, interfaces=(WAN1, WAN2)), create=True)
    (proof,) = places.neighbour_failed(2, "10.1.0.1")
    assert proof == PathProof("one", "gateway 10.1.0.1 does not answer ARP")
    assert list(places.neighbour_failed(3, "10.1.0.1")) == []
    assert list(places.neighbour_failed(2, "10.1.0.77")) == []


def test_a_path_taken_away_is_to_be_as_it_was_found() -> None:
    places = followed(WAN1, WAN2)
    places.retire(PATHS, PATHS[1:])
    paths, bindings, wishes = places.all(PATHS[1:], {"two": Wish(present=True)})
    assert [path.interface for path in paths] == ["wan2", "wan1"]
    (retired,) = (b for b in bindings if b.name != "two")
    assert wishes[retired.name] == Wish(present=True, backup=True, penalty=0)
    assert retired.create is False


def test_a_path_taken_away_is_forgotten_where_another_is_now() -> None:
    places = followed(WAN1, WAN2)
    renamed = (PathConfig("fibre", "wan1"), PATHS[1])
    places.retire(PATHS, renamed)
    assert len(places.all(renamed, {})[1]) == 2, "two, and what is left of one"
    places.follow(renamed, Observed(interfaces=(WAN1, WAN2)), create=True)
    paths, bindings, wishes = places.all(renamed, {})
    assert paths == renamed
    assert {b.name for b in bindings} == {"fibre", "two"}
    assert wishes == {}


def test_paths_are_found_where_none_is_configured() -> None:
    observed = Observed(routes=(Route(4, "default", 2, "10.1.0.1", 100),), interfaces=(WAN1, WAN2))
    places = Places()
    (found,) = places.find(Config(), observed)
    assert found.name == "wan1"
    with_both = Observed(
        routes=(*observed.routes, Route(4, "default", 3, "10.2.0.1", 200)),
        interfaces=(WAN1, WAN2),
    )
    assert [p.name for p in places.discover(Config(), with_both, (found,))] == ["wan1", "wan2"]
    assert places.discover(Config(paths=PATHS), with_both, PATHS) == PATHS
    with pytest.raises(NoPathError, match="name the paths"):
        places.find(Config(), Observed(interfaces=(WAN1,)))
