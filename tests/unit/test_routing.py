# SPDX-License-Identifier: GPL-2.0-or-later
"""Routes: what moves in which table, and copies in front of what can't be moved."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omrfast.act.route_message import (
    FAMILIES,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_TABLE,
    RTN_UNICAST,
    RawRoute,
    body_of,
    parse_route,
)
from omrfast.core.expect import expected
from omrfast.core.operations import (
    PROTOCOL_COPY,
    PROTOCOL_RA,
    CopyRoute,
    Observed,
    Operation,
    Route,
    SetMetric,
    WithdrawRoute,
    copied,
)
from omrfast.core.outcome import Wish
from omrfast.core.plan import EMPTY, Binding, learn, plan
from omrfast.core.routing import METRIC_MOST, RENEW
from omrfast.core.wish import PENALTY_DEGRADED, PENALTY_DOWN

ONE = Route(4, "default", 2, "10.1.0.1", 100)
TWO = Route(4, "default", 3, "10.2.0.1", 200)
RA_ONE = Route(6, "default", 2, "fe80::1", 1024, protocol=PROTOCOL_RA)
RA_TWO = Route(6, "default", 3, "fe80::2", 1024, protocol=PROTOCOL_RA)
PATHS = tuple(
    Binding(name, index, address, frozenset({address}))
    for name, index, address in (("one", 2, "10.1.0.2"), ("two", 3, "10.2.0.2"))
)
UP = Wish(present=True, backup=False, penalty=0)
DOWN = Wish(present=False, penalty=PENALTY_DOWN)
DEGRADED = Wish(present=True, backup=True, penalty=PENALTY_DEGRADED)


def operations(
    routes: tuple[Route, ...], one: Wish, two: Wish, found: tuple[Route, ...] | None = None
) -> list[Operation]:
    """``found``: the routes before anything was changed."""
    baseline = learn(EMPTY, PATHS, Observed((), found or routes))
    steps = plan(PATHS, {"one": one, "two": two}, baseline, Observed((), routes))
    return [operation for _, operation in steps]


def settled(routes: tuple[Route, ...], one: Wish, two: Wish) -> tuple[Route, ...]:
    """The routes after one pass."""
    observed = Observed((), routes)
    for operation in operations(routes, one, two):
        observed = expected(observed, operation)
    return observed.routes


def best(routes: tuple[Route, ...]) -> Route:
    """Where a new connection goes, in a group of competing routes."""
    return min(routes, key=lambda route: route.metric)


def test_every_table_with_an_alternative_is_moved() -> None:
    other = tuple(replace(route, table=77) for route in (ONE, TWO))
    assert set(operations((ONE, TWO, *other), DOWN, UP)) == {
        SetMetric(route, 100 + PENALTY_DOWN) for route in (ONE, other[0])
    }


def test_the_only_route_of_a_table_is_left() -> None:
    own = replace(ONE, table=101)
    twin = replace(own, gateway="10.1.0.9")
    assert operations((own,), DOWN, UP) == []
    assert operations((own, twin), DOWN, UP) == [], "both are of the same device"


SERVER = replace(ONE, destination="203.0.113.10/32", metric=0)


def test_a_route_to_a_server_that_a_worse_path_alone_has_gives_way_to_a_better_default() -> None:
    detour = CopyRoute(TWO, PENALTY_DOWN - 1, SERVER.destination)
    found = (SERVER, ONE, TWO)
    assert operations(found, DOWN, UP) == [
        detour,
        SetMetric(SERVER, PENALTY_DOWN),
        SetMetric(ONE, 100 + PENALTY_DOWN),
    ]
    after = settled(found, DOWN, UP)
    to_server = [r for r in after if r.destination == SERVER.destination]
    assert best(tuple(to_server)) == copied(detour)
    assert operations(after, DOWN, UP, found) == []
    assert set(operations(after, UP, UP, found)) == {
        SetMetric(replace(SERVER, metric=PENALTY_DOWN), 0),
        SetMetric(replace(ONE, metric=100 + PENALTY_DOWN), 100),
        WithdrawRoute(copied(detour)),
    }
    assert operations(found, UP, DOWN) == [SetMetric(TWO, 200 + PENALTY_DOWN)]
    assert operations(found, UP, UP) == []


def test_a_route_to_a_server_is_left_where_no_better_default_is_in_its_table() -> None:
    elsewhere = replace(TWO, table=77)
    assert operations((SERVER, elsewhere), DOWN, UP) == []
    assert operations((SERVER, ONE), DOWN, UP) == [], "the same path's"
    stranger = replace(SERVER, ifindex=9)
    assert operations((SERVER, stranger, TWO), DOWN, UP) == [SetMetric(SERVER, PENALTY_DOWN)]
    both = (SERVER, replace(SERVER, ifindex=3, gateway="10.2.0.1", metric=5), TWO)
    assert operations(both, DOWN, UP) == [SetMetric(SERVER, PENALTY_DOWN)], "its own is enough"
    twins = (SERVER, replace(SERVER, metric=7), TWO)
    assert operations(twins, DOWN, UP) == [], "nothing fits in front of metric 0"


def test_a_route_led_to_a_server_is_the_same_but_for_where_it_leads() -> None:
    for default, server in ((TWO, "203.0.113.10/32"), (RA_TWO, "2001:db8:99::10/128")):
        packed = ip_address(str(default.gateway)).packed
        wan2 = (RTA_OIF, struct.pack("=i", default.ifindex))
        header = (FAMILIES[default.family], 0, 0, 0, 254, 4, 0, RTN_UNICAST, 0)
        raw = RawRoute(default, header, ((RTA_GATEWAY, packed), wan2, (RTA_TABLE, b"\xfe\0\0\0")))
        copy = CopyRoute(default, 77, server)
        made = parse_route(body_of(raw.towards(server), 77, PROTOCOL_COPY))
        assert made is not None
        assert made.route == copied(copy)


def test_a_route_comes_back_when_its_alternative_goes() -> None:
    moved = replace(ONE, metric=100 + PENALTY_DOWN)
    assert operations((moved,), DOWN, UP, found=(ONE, TWO)) == [SetMetric(moved, 100)]


def test_no_metric_is_above_what_the_kernel_can_hold() -> None:
    last = replace(ONE, metric=METRIC_MOST - 5)
    moved = replace(ONE, metric=METRIC_MOST)
    assert operations((last, TWO), DOWN, UP) == [SetMetric(last, METRIC_MOST)]
    assert operations((moved, TWO), DOWN, UP, found=(last, TWO)) == []


def test_penalties_lead_behind_whatever_metrics_there_are() -> None:
    far = replace(TWO, metric=20_700)
    assert operations((ONE, far), DEGRADED, UP) == [SetMetric(ONE, 100 + 3 * PENALTY_DEGRADED)]
    assert operations((ONE, far), UP, DOWN) == [SetMetric(far, 20_700 + 3 * PENALTY_DOWN)]
    after = settled((far, ONE), DOWN, DEGRADED)
    assert best(after).ifindex == far.ifindex
    assert operations(after, DOWN, DEGRADED, found=(ONE, far)) == []
    last = replace(TWO, metric=2**32 - 2)
    assert operations((ONE, last), DOWN, UP) == [SetMetric(ONE, 2**32 - 1)], "there is none beyond"


def test_a_configured_metric_is_for_the_main_table() -> None:
    named = (replace(PATHS[0], metric=10), PATHS[1])
    routes = (ONE, TWO, replace(ONE, table=77), replace(TWO, table=77))
    baseline = learn(EMPTY, named, Observed((), routes))
    steps = plan(named, {"one": UP, "two": UP}, baseline, Observed((), routes))
    assert steps == (("one", SetMetric(ONE, 10)),)


def test_a_copy_is_put_in_front_of_an_advertised_route_and_withdrawn() -> None:
    copy = CopyRoute(RA_TWO, 1023)
    assert operations((RA_ONE, RA_TWO), DOWN, UP) == [copy]
    assert operations((RA_ONE, RA_TWO, copied(copy)), DOWN, UP) == []
    assert operations((RA_ONE, RA_TWO, copied(copy)), UP, UP) == [WithdrawRoute(copied(copy))]
    assert operations((RA_ONE, RA_TWO), UP, UP) == []
    assert operations((RA_ONE,), DOWN, UP) == [], "there is none to copy"


@pytest.mark.parametrize(
    ("original", "left", "renewed"),
    [
        (1800, 1200, False),
        (1800, RENEW, False),
        (1800, RENEW - 1, True),
        (1800, -20, True),  # listed, but used no more
        (None, 20, True),
        (30, 20, True),
        (30, 21, False),  # not with every pass where routers promise little
        (6, 4, True),
        (20, 20, False),
        (-3, -3, False),
        (1800, None, False),
    ],
)
def test_a_copy_is_renewed_before_it_ends(
    original: int | None, left: int | None, renewed: bool
) -> None:
    copy = CopyRoute(RA_TWO, 1023)
    ends = tuple(
        (route, end) for route, end in ((RA_TWO, original), (copied(copy), left)) if end is not None
    )
    found = Observed((), (RA_ONE, RA_TWO, copied(copy)), ends=ends)
    baseline = learn(EMPTY, PATHS, found)
    wishes = {"one": DOWN, "two": UP}
    steps = plan(PATHS, wishes, baseline, found)
    assert steps == ((("two", copy),) if renewed else ())
    after = expected(found, copy)
    assert sorted(after.routes, key=str) == sorted(found.routes, key=str)
    assert plan(PATHS, wishes, baseline, after) == ()


def test_no_copy_where_the_good_route_is_in_front_already() -> None:
    static = replace(RA_TWO, protocol=4, metric=200)
    assert operations((RA_ONE, static), DOWN, UP) == []
    behind = replace(static, metric=2000)
    assert operations((RA_ONE, behind), DOWN, UP) == [CopyRoute(behind, 1023)]
    assert operations((RA_ONE, static), UP, DOWN) == [SetMetric(static, 200 + PENALTY_DOWN)]


def test_the_copy_follows_the_better_path() -> None:
    first = copied(CopyRoute(RA_TWO, 1023))
    steps = operations((RA_ONE, RA_TWO, first), UP, DOWN)
    assert steps == [CopyRoute(RA_ONE, 1022), WithdrawRoute(first)], "no moment without"
    renumbered = replace(RA_TWO, gateway="fe80::9")
    steps = operations((RA_ONE, renumbered, first), DOWN, UP)
    assert steps == [CopyRoute(renumbered, 1022), WithdrawRoute(first)]


def test_what_is_taken_is_not_taken_again() -> None:
    stranger = Route(6, "default", 9, "fe80::7", 1023)
    assert operations((RA_ONE, RA_TWO, stranger), DOWN, UP) == [CopyRoute(RA_TWO, 1022)]
    full = replace(RA_ONE, metric=1)
    assert operations((full, RA_TWO), DOWN, UP) == [], "there is no lesser metric"


wish = st.sampled_from([UP, DOWN, DEGRADED])
group = st.lists(
    st.builds(
        Route,
        st.just(6),
        st.just("default"),
        st.sampled_from([2, 3]),
        st.sampled_from(["fe80::1", "fe80::2"]),
        st.integers(100, 4000),
        protocol=st.sampled_from([4, PROTOCOL_RA]),
    ),
    min_size=1,
    max_size=5,
    unique_by=(lambda r: r.metric, lambda r: (r.ifindex, r.gateway, r.protocol)),
)


@given(group, wish, wish)
def test_new_connections_take_a_best_path_after_one_pass(
    routes: list[Route], one: Wish, two: Wish
) -> None:
    after = settled(tuple(routes), one, two)
    penalties = {2: one.penalty or 0, 3: two.penalty or 0}
    assert penalties[best(after).ifindex] == min(penalties[r.ifindex] for r in routes)
    assert {r for r in routes if r.advertised} <= set(after)
