# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies in front of IPv6 routes that the kernel learnt from real router advertisements."""

from __future__ import annotations

from contextlib import closing

import pytest

from omrfast.act.errors import ActionError
from omrfast.act.routes import RouteManager
from omrfast.core.operations import CopyRoute, copied

from .advertise import accept, advertise, advertise_until_learnt, learnt
from .conftest import poll


@pytest.fixture
def advertised(lab):
    accept(lab)
    advertise_until_learnt(lab)
    return lab


def manage(lab, method, *args):
    def body():
        with closing(RouteManager()) as manager:
            return getattr(manager, method)(*args)

    return lab.router.call(body)


def defaults(lab):
    return [
        r
        for r in manage(lab, "observe", None, ()).routes
        if r.family == 6 and r.destination == "default"
    ]


def taken(lab):
    """The device of a new connection."""
    return lab.router.json("-6", "route", "get", "2001:db8:99::1")[0]["dev"]


def test_a_copy_is_taken_and_goes_again(advertised):
    lab = advertised
    routes = {route.ifindex: route for route in defaults(lab)}
    assert all(route.advertised for route in routes.values())
    for name in ("wan2", "wan1"):
        copy = CopyRoute(routes[lab.index(name)], 1023)
        for _ in range(2):
            manage(lab, "copy_route", copy)
        assert taken(lab) == name
        (row,) = lab.router.json("-6", "route", "show", "default", "proto", "111")
        assert (row["dev"], row["metric"]) == (name, 1023)
        assert 1700 < row["expires"] <= 1800
        advertise(lab, 1)
        advertise(lab, 2)
        assert learnt(lab) == ["wan1", "wan2"]
        assert taken(lab) == name
        for _ in range(2):
            manage(lab, "withdraw", copied(copy))
        assert {route.metric for route in defaults(lab)} == {1024}


def test_what_we_did_not_copy_is_not_withdrawn(advertised):
    before = defaults(advertised)
    for route in before:
        manage(advertised, "withdraw", route)
    assert defaults(advertised) == before


def test_a_route_that_is_gone_is_not_copied(advertised):
    lab = advertised
    route = next(r for r in defaults(lab) if r.ifindex == lab.index("wan2"))
    advertise(lab, 2, lifetime=0)
    poll("taken back", lambda: learnt(lab) == ["wan1"])
    with pytest.raises(ActionError, match="it was removed or changed meanwhile"):
        manage(lab, "copy_route", CopyRoute(route, 1023))
