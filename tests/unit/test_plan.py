# SPDX-License-Identifier: GPL-2.0-or-later
"""Plan: what makes up the difference, in which order, and that applying it leaves none."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from omrfast.core.expect import expected
from omrfast.core.operations import (
    PROTOCOL_RA,
    AbortHandshakes,
    AddEndpoint,
    DeleteEndpoint,
    Endpoint,
    Observed,
    Operation,
    Route,
    SetBackup,
    SetMetric,
)
from omrfast.core.outcome import Wish
from omrfast.core.plan import EMPTY, ENDPOINTS_MOST, Baseline, Binding, learn, leaving, plan, twins
from omrfast.core.wish import PENALTY_DEGRADED, PENALTY_DOWN

ONE = Endpoint(1, "10.1.0.2", 2, 0, frozenset({"subflow"}))
TWO = Endpoint(2, "10.2.0.2", 3, 0, frozenset({"subflow"}))
ROUTE_ONE = Route(4, "default", 2, "10.1.0.1", 100)
ROUTE_TWO = Route(4, "default", 3, "10.2.0.1", 200)
FOUND = Observed((ONE, TWO), (ROUTE_ONE, ROUTE_TWO))
PATHS = (
    Binding("one", 2, "10.1.0.2", frozenset({"10.1.0.2"})),
    Binding("two", 3, "10.2.0.2", frozenset({"10.2.0.2"})),
)
BASE = learn(EMPTY, PATHS, FOUND)
UP = Wish(present=True, backup=False, penalty=0)
DOWN = Wish(present=False, penalty=PENALTY_DOWN)
DEGRADED = Wish(present=True, backup=True, penalty=PENALTY_DEGRADED)


def test_nothing_to_do_means_no_operation() -> None:
    assert plan(PATHS, {"one": UP, "two": UP}, BASE, FOUND) == ()
    assert plan(PATHS, {}, BASE, FOUND) == ()
    assert plan(PATHS, {"one": Wish(), "two": Wish()}, BASE, FOUND) == ()


def test_a_dead_path_loses_its_endpoint_then_its_route_then_its_handshakes() -> None:
    steps = plan(PATHS, {"one": DOWN, "two": UP}, BASE, FOUND, frozenset({"one"}))
    assert steps == (
        ("one", DeleteEndpoint(ONE)),
        ("one", SetMetric(ROUTE_ONE, 100 + PENALTY_DOWN)),
        ("one", AbortHandshakes("10.1.0.2")),
    )


def test_handshakes_are_aborted_where_there_is_no_endpoint_either() -> None:
    bare = Observed((), FOUND.routes)
    steps = plan(PATHS, {"one": DOWN, "two": UP}, EMPTY, bare, frozenset({"one"}))
    assert ("one", AbortHandshakes("10.1.0.2")) in steps


def test_a_degraded_path_becomes_backup() -> None:
    assert plan(PATHS, {"one": DEGRADED, "two": UP}, BASE, FOUND) == (
        ("one", SetMetric(ROUTE_ONE, 100 + PENALTY_DEGRADED)),
        ("one", SetBackup(ONE, True)),
    )


def test_a_backup_is_promoted_before_the_active_one_is_demoted() -> None:
    two = replace(TWO, flags=TWO.flags | {"backup"})
    found = Observed((ONE, two), (ROUTE_ONE, ROUTE_TWO))
    steps = plan(PATHS, {"one": DEGRADED, "two": UP}, learn(EMPTY, PATHS, found), found)
    assert [s[1] for s in steps[1:]] == [SetBackup(two, False), SetBackup(ONE, True)]


def test_an_endpoint_comes_back_as_it_was_found() -> None:
    odd = Endpoint(7, "10.1.0.2", 2, 0, frozenset({"subflow", "fullmesh"}))
    base = learn(EMPTY, PATHS, Observed((odd, TWO), ()))
    gone = Observed((TWO,), ())
    assert plan(PATHS, {"one": UP}, base, gone) == (("one", AddEndpoint(odd)),)
    as_backup = replace(odd, flags=odd.flags | {"backup"})
    assert plan(PATHS, {"one": DEGRADED}, base, gone) == (("one", AddEndpoint(as_backup)),)


def test_an_endpoint_is_made_only_for_a_configured_path() -> None:
    none = Observed((), ())
    assert plan(PATHS, {"one": UP}, EMPTY, none) == ()
    named = (replace(PATHS[0], create=True),)
    made = Endpoint(0, "10.1.0.2", 2, 0, frozenset({"subflow"}))
    assert plan(named, {"one": UP}, EMPTY, none) == (("one", AddEndpoint(made)),)


def test_what_only_announces_an_address_is_left_alone() -> None:
    signal = Endpoint(1, "10.1.0.2", 2, 0, frozenset({"signal"}))
    found = Observed((signal,), ())
    assert plan(PATHS, {"one": DOWN}, learn(EMPTY, PATHS, found), found) == ()


def test_what_the_kernel_made_by_itself_is_not_there() -> None:
    implicit = Endpoint(9, "10.1.0.2", 2, 0, frozenset({"implicit"}))
    named = (replace(PATHS[0], create=True),)
    found = Observed((implicit,), ())
    base = learn(EMPTY, named, found)
    assert base.endpoints == {}
    made = Endpoint(0, "10.1.0.2", 2, 0, frozenset({"subflow"}))
    assert plan(named, {"one": UP}, base, found) == (("one", AddEndpoint(made)),)


def test_a_device_made_anew_gets_its_endpoint_on_the_new_one() -> None:
    moved = (replace(PATHS[0], ifindex=12),)
    gone = Observed((TWO,), ())
    added = AddEndpoint(replace(ONE, ifindex=12))
    assert plan(moved, {"one": UP}, BASE, gone) == (("one", added),)
    assert plan(moved, {"one": UP}, BASE, FOUND) == (
        ("one", DeleteEndpoint(ONE)),
        ("one", added),
    )


def test_a_new_address_takes_the_place_of_the_old_one() -> None:
    moved = (
        replace(
            PATHS[0],
            addresses=frozenset({"10.1.0.9"}),
            address="10.1.0.9",
            former=frozenset({"10.1.0.2"}),
        ),
    )
    steps = plan(moved, {"one": UP}, BASE, FOUND)
    assert steps == (
        ("one", DeleteEndpoint(ONE)),
        ("one", AddEndpoint(replace(ONE, id=0, address="10.1.0.9"))),
    )


def test_an_initial_subflow_without_endpoint_is_closed_if_there_is_another_way() -> None:
    only_two = Observed((TWO,), (ROUTE_ONE, ROUTE_TWO))
    base = learn(EMPTY, PATHS, only_two)
    wishes = {"one": DOWN, "two": UP}
    left = leaving({"one": UP, "two": UP}, wishes)
    steps = plan(PATHS, wishes, base, only_two, left=left)
    assert steps == (
        ("one", DeleteEndpoint(Endpoint(0, "10.1.0.2"))),
        ("one", SetMetric(ROUTE_ONE, 100 + PENALTY_DOWN)),
    )
    again = plan(PATHS, wishes, base, only_two, left=leaving(wishes, wishes))
    assert [type(s[1]) for s in again] == [SetMetric], "once"
    none = Observed((), (ROUTE_ONE, ROUTE_TWO))
    steps = plan(PATHS, wishes, learn(EMPTY, PATHS, none), none, left=left)
    assert [type(s[1]) for s in steps] == [SetMetric]


def test_what_is_left_of_a_dead_path_is_closed_when_another_has_proved_itself() -> None:
    """It was kept as the last one; handshakes are ended when the routes move, as the core says."""
    only_two = Observed((TWO,), (ROUTE_ONE, ROUTE_TWO))
    base = learn(EMPTY, PATHS, only_two)
    kept = {"one": Wish(present=True, backup=False, penalty=0)}
    answers = {"one": Wish(present=None, penalty=PENALTY_DOWN)}
    proved = {"one": DOWN}
    assert not leaving(kept, answers)
    steps = plan(PATHS, answers, base, only_two, frozenset({"one"}), leaving(kept, answers))
    assert [type(s[1]) for s in steps] == [SetMetric, AbortHandshakes]
    steps = plan(PATHS, proved, base, only_two, left=leaving(answers, proved))
    assert steps[0] == ("one", DeleteEndpoint(Endpoint(0, "10.1.0.2")))


def test_each_family_has_its_new_address() -> None:
    """The uplink's IPv6 prefix changes, its IPv4 address does not; and both do."""
    six = replace(ONE, id=3, address="2001:db8:1::2")
    observed = Observed((ONE, TWO, six), ())
    moved = replace(
        PATHS[0],
        addresses=frozenset({"10.1.0.2", "2001:db8:99::2"}),
        former=frozenset({six.address}),
    )
    made = AddEndpoint(replace(six, id=0, address="2001:db8:99::2"))
    wishes = {"one": UP, "two": UP}
    base = learn(EMPTY, (moved, PATHS[1]), observed)
    steps = plan((moved, PATHS[1]), wishes, base, observed)
    assert [op for _, op in steps] == [DeleteEndpoint(six), made]
    assert plan((moved, PATHS[1]), wishes, base, after(steps, observed)) == ()
    both = replace(
        moved,
        address="10.1.0.9",
        addresses=frozenset({"10.1.0.9", "2001:db8:99::2"}),
        former=frozenset({six.address, ONE.address}),
    )
    base = learn(EMPTY, (both, PATHS[1]), observed)
    steps = plan((both, PATHS[1]), wishes, base, observed)
    assert [op for _, op in steps] == [
        DeleteEndpoint(ONE),
        DeleteEndpoint(six),
        AddEndpoint(replace(ONE, id=0, address="10.1.0.9")),
        made,
    ]


def after(steps: tuple[tuple[str, Operation], ...], observed: Observed) -> Observed:
    for _, operation in steps:
        observed = expected(observed, operation)
    return observed


def test_an_initial_subflow_without_endpoint_becomes_backup_by_one_that_nothing_joins_from() -> (
    None
):
    observed = Observed((TWO,), (ROUTE_ONE, ROUTE_TWO))
    base = learn(EMPTY, PATHS, observed)
    made = Endpoint(0, "10.1.0.2", 2)
    steps = plan(PATHS, {"one": DEGRADED, "two": UP}, base, observed)
    assert [op for _, op in steps if not isinstance(op, SetMetric)] == [
        AddEndpoint(made),
        SetBackup(made, True),
    ], "MP_PRIO goes out when the flag changes"
    observed = after(steps, observed)
    assert plan(PATHS, {"one": DEGRADED, "two": UP}, base, observed) == ()
    base = learn(base, PATHS, observed)
    (back, _) = plan(PATHS, {"one": UP, "two": UP}, base, observed)
    marked = replace(made, flags=frozenset({"backup"}))
    assert back == ("one", SetBackup(marked, False))
    steps = plan(PATHS, {"one": DOWN, "two": UP}, base, observed, left=frozenset({"one"}))
    assert [op for _, op in steps[:2]] == [
        DeleteEndpoint(marked),
        DeleteEndpoint(Endpoint(0, "10.1.0.2")),
    ]


def test_an_address_without_endpoint_beside_one_that_has_it_is_backup_too() -> None:
    """Two families on one uplink; two uplinks at once have no more room than there is."""
    six = "2001:db8:1::2"
    named = (replace(PATHS[0], addresses=frozenset({"10.1.0.2", six}), create=True), PATHS[1])
    steps = plan(named, {"one": DEGRADED, "two": UP}, learn(EMPTY, named, FOUND), FOUND)
    made = Endpoint(0, six, 2)
    assert [op for _, op in steps if not isinstance(op, SetMetric)] == [
        AddEndpoint(made),
        SetBackup(ONE, True),
        SetBackup(made, True),
    ]
    many = frozenset(f"2001:db8:1::{n}" for n in range(20))
    crowded = (replace(named[0], addresses=named[0].addresses | many), PATHS[1])
    steps = plan(crowded, {"one": DEGRADED, "two": UP}, learn(EMPTY, crowded, FOUND), FOUND)
    assert sum(isinstance(op, AddEndpoint) for _, op in steps) == ENDPOINTS_MOST - len(
        FOUND.endpoints
    )


def test_endpoints_of_addresses_that_are_gone_take_no_room() -> None:
    """Eight reconnections, each with another address."""
    bare = Observed((TWO,), (ROUTE_ONE, ROUTE_TWO))
    base = learn(EMPTY, PATHS, bare)
    gone = {
        f"10.9.0.{n}": (Endpoint(0, f"10.9.0.{n}", 2, 0, frozenset({"subflow"})),) for n in range(9)
    }
    base = replace(base, endpoints={**base.endpoints, **gone})
    steps = plan(PATHS, {"one": DEGRADED, "two": UP}, base, bare)
    assert any(isinstance(op, AddEndpoint) for _, op in steps)


def test_no_endpoint_is_made_where_connections_have_no_other_way() -> None:
    none = Observed((), (ROUTE_ONE, ROUTE_TWO))
    steps = plan(PATHS, {"one": DEGRADED, "two": UP}, learn(EMPTY, PATHS, none), none)
    assert [type(op) for _, op in steps] == [SetMetric]


def test_a_path_that_is_back_before_it_was_left_keeps_its_initial_subflows() -> None:
    only_two = Observed((TWO,), (ROUTE_ONE, ROUTE_TWO))
    base = learn(EMPTY, PATHS, only_two)
    assert plan(PATHS, {"one": UP}, base, only_two, left=frozenset({"one"})) == ()


def test_a_closed_initial_subflow_gets_an_endpoint_to_come_back_by() -> None:
    only_two = Observed((TWO,), (ROUTE_ONE, ROUTE_TWO))
    base = learn(EMPTY, PATHS, only_two)
    assert plan(PATHS, {"one": UP, "two": UP}, base, only_two) == (), "none is made unasked"
    closed = replace(base, closed=frozenset({"10.1.0.2", "192.0.2.1"}))
    assert plan(PATHS, {"one": DOWN, "two": UP}, closed, only_two)[0][1] == SetMetric(
        ROUTE_ONE, 100 + PENALTY_DOWN
    )
    made = Endpoint(0, "10.1.0.2", 2, 0, frozenset({"subflow"}))
    steps = plan(PATHS, {"one": UP, "two": UP}, closed, only_two)
    assert steps == (("one", AddEndpoint(made)),)
    there = Observed((TWO, replace(made, id=3)), only_two.routes)
    assert plan(PATHS, {"one": UP, "two": UP}, closed, there) == ()


def test_routes_that_differ_in_metric_alone_are_left_alone() -> None:
    twin = replace(ROUTE_ONE, metric=150)
    found = Observed((ONE, TWO), (ROUTE_ONE, twin, ROUTE_TWO))
    base = learn(EMPTY, PATHS, found)
    steps = plan(PATHS, {"one": DOWN, "two": UP}, base, found)
    assert [s[1] for s in steps] == [DeleteEndpoint(ONE)]
    assert list(twins(PATHS, base, found)) == [ROUTE_ONE, twin], "which is said"
    assert not list(twins(PATHS, BASE, FOUND))
    assert not list(twins(PATHS, BASE, found)), "one was found, the other came after it"


def test_what_an_operator_changed_meanwhile_is_as_found() -> None:
    changed = Observed((ONE, TWO), (replace(ROUTE_ONE, metric=50), ROUTE_TWO))
    assert plan(PATHS, {"one": UP, "two": UP}, learn(EMPTY, PATHS, changed), changed) == ()


def test_the_configured_metric_replaces_the_found_one() -> None:
    named = (replace(PATHS[0], metric=10),)
    assert plan(named, {"one": UP}, BASE, FOUND) == (("one", SetMetric(ROUTE_ONE, 10)),)


def test_what_was_learnt_first_stays() -> None:
    moved = Observed((), (replace(ROUTE_ONE, metric=30_100),))
    assert learn(BASE, PATHS, moved) == BASE


wish = st.sampled_from([UP, DOWN, DEGRADED, Wish(), Wish(present=True, backup=True, penalty=0)])
endpoints = st.lists(
    st.sampled_from([ONE, TWO, replace(ONE, flags=ONE.flags | {"backup"})]),
    max_size=2,
    unique_by=lambda e: e.address,
)
routes = st.lists(
    st.builds(
        Route,
        st.sampled_from([4, 6]),
        st.sampled_from(["default", "203.0.113.10/32"]),
        st.sampled_from([2, 3, 9]),
        st.sampled_from(["10.1.0.1", None]),
        st.integers(0, 40_000),
        protocol=st.sampled_from([4, PROTOCOL_RA]),
        table=st.sampled_from([254, 100]),
    ),
    max_size=8,
    unique_by=lambda r: (r.family, r.destination, r.ifindex, r.gateway, r.table, r.protocol),
)


@given(endpoints, routes, endpoints, routes, wish, wish, st.sampled_from([None, 5]))
def test_one_pass_is_enough_and_foreign_routes_are_not_touched(
    e1: list[Endpoint],
    r1: list[Route],
    e2: list[Endpoint],
    r2: list[Route],
    first: Wish,
    second: Wish,
    metric: int | None,
) -> None:
    paths = (replace(PATHS[0], metric=metric), PATHS[1])
    base = learn(EMPTY, paths, Observed(tuple(e1), tuple(r1)))
    observed = Observed(tuple(e2), tuple(r2))
    base = learn(base, paths, observed)
    wishes = {"one": first, "two": second}
    steps = plan(paths, wishes, base, observed)
    for _, operation in steps:
        observed = expected(observed, operation)
    assert plan(paths, wishes, base, observed) == ()
    kept = {r for r in r2 if r.ifindex == 9 or r.advertised}
    assert kept <= set(observed.routes)
    assert {r for r in observed.routes if r.ifindex == 9} == {r for r in r2 if r.ifindex == 9}


def test_learning_ignores_what_belongs_to_no_path() -> None:
    stranger = Endpoint(3, "10.9.0.2", 9, 0, frozenset({"subflow"}))
    route = Route(4, "default", 9, "10.9.0.1", 50)
    assert learn(EMPTY, PATHS, Observed((stranger,), (route,))) == Baseline({}, {})
