# SPDX-License-Identifier: GPL-2.0-or-later
"""EndpointManager against `ip mptcp`."""

from __future__ import annotations

import errno
import logging
from dataclasses import replace

import pytest

from omrfast.act.errors import ActionError
from omrfast.act.mptcp import EndpointManager, Limits
from omrfast.core.operations import Endpoint


def managed(function):
    with EndpointManager() as manager:
        return function(manager)


def shown(lab):
    """{address: (id, flags, dev, port)} as iproute2 sees it; it does not know every flag."""
    known = ("signal", "subflow", "backup", "fullmesh", "implicit")
    return {
        row["address"]: (
            row["id"],
            frozenset(name for name in known if row.get(name)),
            row.get("dev"),
            row.get("port"),
        )
        for row in lab.router.json("mptcp", "endpoint", "show")
    }


@pytest.mark.parametrize("address", ["10.77.1.2", "fd77:1::2"])
def test_an_endpoint_goes_and_comes_back_as_it_was(lab, address):
    lab.router.ip(
        "mptcp", "endpoint", "add", address, "dev", "wan1", "id", "5", "subflow", "fullmesh",
        "backup",
    )  # fmt: skip
    before = shown(lab)
    (endpoint,) = lab.router.call(managed, lambda m: m.list())
    assert endpoint == Endpoint(
        5, address, lab.index("wan1"), 0, frozenset({"subflow", "fullmesh", "backup"})
    )
    lab.router.call(managed, lambda m: m.delete(endpoint))
    assert shown(lab) == {}
    lab.router.call(managed, lambda m: m.delete(endpoint))
    lab.router.call(managed, lambda m: m.add(endpoint))
    assert shown(lab) == before
    lab.router.call(managed, lambda m: m.add(endpoint))
    assert shown(lab) == before


def test_port_and_laminar_survive(lab):
    wished = Endpoint(3, "10.77.1.2", 0, 4321, frozenset({"signal"}))
    laminar = Endpoint(4, "10.77.2.2", lab.index("wan2"), 0, frozenset({"laminar", "subflow"}))

    def cycle(manager):
        for endpoint in (wished, laminar):
            manager.add(endpoint)
        first = manager.list()
        manager.delete(wished)
        between = manager.list()
        manager.add(wished)
        return first, between, manager.list()

    first, between, last = lab.router.call(managed, cycle)
    assert set(first) == set(last) == {wished, laminar}
    assert between == (laminar,)
    assert shown(lab)["10.77.1.2"] == (3, frozenset({"signal"}), None, 4321)


@pytest.mark.parametrize("address", ["10.77.2.2", "fd77:2::2"])
@pytest.mark.parametrize("extra", [(), ("fullmesh",)])
def test_backup_flips_both_ways_and_nothing_else_changes(lab, address, extra):
    lab.router.ip("mptcp", "endpoint", "add", address, "dev", "wan2", "subflow", *extra)
    base = frozenset({"subflow", *extra})
    (endpoint,) = lab.router.call(managed, lambda m: m.list())
    for backup in (True, True, False, False, True):
        lab.router.call(managed, lambda m, b=backup: m.set_backup(endpoint, b))
        expected = base | {"backup"} if backup else base
        assert shown(lab)[address] == (endpoint.id, expected, "wan2", None)


def test_the_id_of_another_endpoint_is_not_touched(lab):
    lab.router.ip("mptcp", "endpoint", "add", "10.77.1.2", "id", "1", "subflow")
    stale = Endpoint(1, "10.77.2.2", 0, 0, frozenset({"subflow"}))
    before = shown(lab)
    lab.router.call(managed, lambda m: m.delete(stale))
    with pytest.raises(ActionError, match=r"10\.77\.2\.2.*No such file.*removed meanwhile"):
        lab.router.call(managed, lambda m: m.set_backup(stale, True))
    assert shown(lab) == before


@pytest.mark.parametrize("thief", ["10.77.2.2", "fd77:2::2"])
def test_an_endpoint_whose_id_was_given_away_comes_back_with_another(lab, caplog, thief):
    lab.router.ip(
        "mptcp", "endpoint", "add", "10.77.1.2", "dev", "wan1", "id", "1", "subflow", "backup"
    )
    (endpoint,) = lab.router.call(managed, lambda m: m.list())
    lab.router.call(managed, lambda m: m.delete(endpoint))
    lab.router.ip("mptcp", "endpoint", "add", thief, "dev", "wan2", "id", "1", "subflow")
    with caplog.at_level(logging.WARNING):
        lab.router.call(managed, lambda m: m.add(endpoint))
    assert f"10.77.1.2 (id 1): {thief} has its id now" in caplog.text
    after = shown(lab)
    assert after[thief] == (1, frozenset({"subflow"}), "wan2", None)
    number, *rest = after["10.77.1.2"]
    assert number > 1
    assert rest == [frozenset({"subflow", "backup"}), "wan1", None]
    lab.router.call(managed, lambda m: m.add(endpoint))
    assert shown(lab) == after
    lab.router.call(managed, lambda m: m.set_backup(endpoint, False))
    assert shown(lab)["10.77.1.2"] == (number, frozenset({"subflow"}), "wan1", None)
    with pytest.raises(ActionError, match=r"10\.77\.1\.2 .id 1.*exists and differs"):
        lab.router.call(managed, lambda m: m.add(endpoint))
    lab.router.call(managed, lambda m: m.delete(endpoint))
    assert shown(lab) == {thief: after[thief]}


def test_an_endpoint_that_somebody_made_with_another_id_is_an_error(lab):
    lab.router.ip("mptcp", "endpoint", "add", "10.77.1.2", "id", "5", "subflow")
    before = shown(lab)
    wished = Endpoint(1, "10.77.1.2", 0, 0, frozenset({"subflow"}))
    with pytest.raises(ActionError, match=r"10\.77\.1\.2 .id 1.*exists and differs"):
        lab.router.call(managed, lambda m: m.add(wished))
    assert shown(lab) == before
    lab.router.call(managed, lambda m: m.add(replace(wished, id=0)))
    assert shown(lab) == before


def test_limits(lab):
    lab.router.call(managed, lambda m: m.set_limits(Limits(4, 3)))
    assert " ".join(lab.router.ip("mptcp", "limits").split()) == "add_addr_accepted 3 subflows 4"
    assert lab.router.call(managed, lambda m: m.limits()) == Limits(4, 3)
    with pytest.raises(ActionError, match="200 subflows") as raised:
        lab.router.call(managed, lambda m: m.set_limits(Limits(200, 0)))
    assert raised.value.errno == errno.EINVAL
