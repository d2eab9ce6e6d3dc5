# SPDX-License-Identifier: GPL-2.0-or-later
"""RouteManager and InterfaceManager against `ip route`, `ip monitor` and `ip addr`."""

from __future__ import annotations

import json
import subprocess
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

import pytest

from omrfast.act.errors import ActionError
from omrfast.act.interfaces import InterfaceManager
from omrfast.act.routes import RouteManager

from .conftest import SERVER4, SERVER6, poll


def observe(lab, names=("wan1", "wan2"), destinations=()):
    indexes = None if names is None else [lab.index(name) for name in names]

    def body():
        with closing(RouteManager()) as manager:
            return manager.observe(indexes, destinations)

    return lab.router.call(body)


def move(lab, route, metric):
    def body():
        with closing(RouteManager()) as manager:
            manager.set_metric(route, metric)

    lab.router.call(body)


def defaults(lab, family):
    return lab.router.json(f"-{family}", "route", "show", "default")


def without(row, *keys):
    return {key: value for key, value in row.items() if key not in keys}


@contextmanager
def route_monitor(lab):
    """The lines of `ip monitor route` while the body ran, complete once it has ended.

    The monitor drops what comes before it has listed the devices, so a route is added and removed
    until it is seen there; another one tells that the end has been read.
    """
    process = subprocess.Popen(
        lab.router.exec("stdbuf", "-oL", "ip", "-d", "monitor", "route"),
        stdout=subprocess.PIPE,
        text=True,
    )
    begin, end = "198.51.100.1", "198.51.100.2"
    lines: list[str] = []

    def read():
        for line in process.stdout:
            lines.append(line)  # noqa: PERF402 - seen from outside line by line

    reader = threading.Thread(target=read)
    reader.start()

    def seen(marker):
        for word in ("add", "del"):
            lab.router.ip("route", word, marker, "dev", "lo")
        return any(marker in line for line in lines)

    try:
        poll("the monitor listens", lambda: seen(begin))
        yield lines
        poll("the monitor has read all", lambda: seen(end))
    finally:
        process.terminate()
        process.wait(10)
        reader.join(10)
        process.stdout.close()


@pytest.mark.parametrize("family", [4, 6])
def test_a_default_route_moves_without_a_gap_and_loses_nothing(lab, family):
    prefix = {4: "10.77.1.", 6: "fd77:1::"}[family]
    lab.router.ip(f"-{family}", "route", "del", "default", "dev", "wan1")
    lab.router.ip(
        f"-{family}", "route", "add", "default", "via", f"{prefix}1", "dev", "wan1",
        "metric", "100", "src", f"{prefix}2", "proto", "dhcp", "mtu", "1400", "initcwnd", "20",
        "onlink",
    )  # fmt: skip
    before = {row["dev"]: row for row in defaults(lab, family)}
    route = next(r for r in observe(lab).routes if r.family == family and r.metric == 100)
    assert (route.gateway, route.source, route.onlink) == (f"{prefix}1", f"{prefix}2", True)
    with route_monitor(lab) as lines:
        move(lab, route, 300)
    after = {row["dev"]: row for row in defaults(lab, family)}
    assert after["wan1"]["metric"] == 300
    assert without(after["wan1"], "metric") == without(before["wan1"], "metric")
    assert after["wan2"] == before["wan2"]
    changes = [line for line in lines if "default" in line]
    assert len(changes) == 2, lines
    assert "metric 300" in changes[0]
    assert not changes[0].startswith("Deleted")
    assert changes[1].startswith("Deleted")
    assert "metric 100" in changes[1]


@pytest.mark.parametrize("family", [4, 6])
def test_a_route_moves_while_its_link_has_no_carrier(lab, family):
    lab.server.ip("link", "set", "up1", "down")
    poll("carrier lost", lambda: lab.router.json("link", "show", "wan1")[0]["operstate"] != "UP")
    route = next(r for r in observe(lab).routes if r.family == family and r.metric == 100)
    move(lab, route, 300)
    lab.server.ip("link", "set", "up1", "up")
    poll("carrier back", lambda: lab.router.json("link", "show", "wan1")[0]["operstate"] == "UP")
    assert {row["dev"]: row["metric"] for row in defaults(lab, family)} == {
        "wan1": 300,
        "wan2": 200,
    }
    move(lab, replace(route, metric=300), 100)
    assert {row["dev"]: row["metric"] for row in defaults(lab, family)} == {
        "wan1": 100,
        "wan2": 200,
    }


def test_a_dump_that_a_change_disturbed_is_not_taken_for_the_truth(lab):
    """2,000 addresses need several reads; one that comes and goes in between spoils the dump."""
    lab.router.ip("link", "add", "many", "type", "veth", "peer", "name", "peer")
    batch = "".join(f"addr add 10.{n // 250}.{n % 250}.1/32 dev many\n" for n in range(2000))
    command = lab.router.exec("ip", "-batch", "-")
    subprocess.run(command, input=batch, text=True, check=True)
    churn = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)

    def body():
        with closing(InterfaceManager()) as manager:
            try:
                for _ in range(2000):
                    for word in ("add", "del"):
                        churn.stdin.write(f"addr {word} 10.99.0.1/32 dev many\n")
                    churn.stdin.flush()
                    with suppress(ActionError):
                        assert len(by_name(manager)["many"].addresses) >= 2000
                    if manager.disturbed:
                        break
            finally:
                churn.stdin.close()
                churn.wait(30)
            assert manager.disturbed
            assert len(by_name(manager)["many"].addresses) == 2000

    lab.router.call(body)


def by_name(manager):
    return {entry.name: entry for entry in manager.observe()}


def test_server_routes_are_found_and_others_are_not(lab):
    for prefix, server, via in (("-4", SERVER4, "10.77.1.1"), ("-6", SERVER6, "fd77:1::1")):
        lab.router.ip(prefix, "route", "add", server, "via", via, "dev", "wan1", "metric", "7")
    lab.router.ip("route", "add", "203.0.113.0/24", "via", "10.77.1.1")
    table = observe(lab, names=("wan1",), destinations=(SERVER4, SERVER6))
    assert {(r.destination, r.metric) for r in table.routes} == {
        ("default", 100),
        (f"{SERVER4}/32", 7),
        (f"{SERVER6}/128", 7),
    }
    for route in table.routes:
        if route.metric == 7:
            move(lab, route, 9)
    assert [row["metric"] for row in lab.router.json("route", "show", SERVER4)] == [9]
    assert [row["metric"] for row in lab.router.json("-6", "route", "show", SERVER6)] == [9]


@pytest.mark.parametrize("family", [4, 6])
def test_routes_of_other_tables_are_found_and_moved_there_alone(lab, family):
    via = {4: "10.77.1.1", 6: "fd77:1::1"}[family]
    for number in ("77", "7000"):
        lab.router.ip(
            f"-{family}", "route", "add", "default", "via", via, "dev", "wan1", "metric", "100",
            "table", number,
        )  # fmt: skip
    found = [r for r in observe(lab, names=("wan1",)).routes if r.family == family]
    assert {(r.table, r.metric) for r in found} == {(254, 100), (77, 100), (7000, 100)}
    move(lab, next(r for r in found if r.table == 7000), 300)
    found = [r for r in observe(lab, names=("wan1",)).routes if r.family == family]
    assert {(r.table, r.metric) for r in found} == {(254, 100), (77, 100), (7000, 300)}


@pytest.mark.parametrize("family", [4, 6])
def test_moving_is_finished_and_repeated_without_harm(lab, family):
    route = next(r for r in observe(lab).routes if r.family == family and r.metric == 100)
    via = {4: "10.77.1.1", 6: "fd77:1::1"}[family]
    lab.router.ip(
        f"-{family}", "route", "add", "default", "via", via, "dev", "wan1", "metric", "300"
    )
    for _ in range(2):
        move(lab, route, 300)
        assert sorted(row["metric"] for row in defaults(lab, family)) == [200, 300]
    lab.router.ip(f"-{family}", "route", "del", "default", "dev", "wan1")
    with pytest.raises(ActionError, match=r"default via .* dev wan1 .*removed or changed"):
        move(lab, route, 300)


def test_a_tie_is_refused_in_ipv6_and_harmless_in_ipv4(lab):
    by_family = {r.family: r for r in observe(lab).routes if r.metric == 100}
    with pytest.raises(ActionError, match="another route has this destination and metric"):
        move(lab, by_family[6], 200)
    assert sorted(row["metric"] for row in defaults(lab, 6)) == [100, 200]
    move(lab, by_family[4], 200)
    assert [row["dev"] for row in defaults(lab, 4)] == ["wan2", "wan1"]


def test_an_expiring_route_still_expires(lab):
    lab.router.ip("-6", "route", "del", "default", "dev", "wan1")
    lab.router.ip(
        "-6", "route", "add", "default", "via", "fd77:1::1", "dev", "wan1", "metric", "100",
        "expires", "500",
    )  # fmt: skip
    route = next(r for r in observe(lab).routes if r.family == 6 and r.metric == 100)
    move(lab, route, 300)
    (row,) = [row for row in defaults(lab, 6) if row["dev"] == "wan1"]
    assert row["metric"] == 300
    assert 400 < row["expires"] <= 500


def test_what_is_not_ours_to_move_is_said_and_left(lab):
    lab.router.ip(
        "route", "add", SERVER4, "metric", "50", "nexthop", "via", "10.77.1.1", "dev", "wan1",
        "nexthop", "via", "10.77.2.1", "dev", "wan2",
    )  # fmt: skip
    lab.router.ip("nexthop", "add", "id", "9", "via", "10.77.2.1", "dev", "wan2")
    lab.router.ip("route", "add", "default", "nhid", "9", "metric", "70")
    before = json.dumps([defaults(lab, 4), defaults(lab, 6)])
    table = observe(lab, names=None, destinations=(SERVER4,))
    assert {route.metric: reason for route, reason in table.unmanaged} == {
        50: "it has several next hops",
        70: "it uses a nexthop object",
    }
    assert {route.metric for route in table.routes} == {100, 200}
    for route, reason in table.unmanaged:
        with pytest.raises(ActionError, match=reason):
            move(lab, route, 999)
    assert json.dumps([defaults(lab, 4), defaults(lab, 6)]) == before


def test_a_metric_that_the_kernel_cannot_hold_is_refused(lab):
    route = next(r for r in observe(lab).routes if r.metric == 100)
    with pytest.raises(ActionError, match="no metric is above 4294967295"):
        move(lab, route, 2**32)


def test_interfaces_are_as_ip_shows_them(lab):
    def body():
        with closing(InterfaceManager()) as manager:
            return by_name(manager)

    seen = lab.router.call(body)
    assert set(seen) == {row["ifname"] for row in lab.router.json("link", "show")}
    assert seen["wan1"].index == lab.index("wan1")
    assert seen["wan1"].arphrd == 1
    assert seen["wan1"].up
    assert {"10.77.1.2", "fd77:1::2"} <= set(seen["wan1"].addresses)
    lab.server.ip("link", "set", "up1", "down")
    lab.router.ip("link", "set", "wan2", "down")
    poll("carrier lost", lambda: not lab.router.call(body)["wan1"].up)
    assert not lab.router.call(body)["wan2"].up
    lab.server.ip("link", "set", "up1", "up")
    poll("carrier back", lambda: lab.router.call(body)["wan1"].up)
