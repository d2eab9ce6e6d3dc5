# SPDX-License-Identifier: GPL-2.0-or-later
"""TcpProber against open, closed, silent and unreachable ports, over two uplinks."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
from collections import Counter

import pytest

from omrfast.probe.base import ProbePath
from omrfast.probe.tcp import TcpProber

from .conftest import SERVER4, SERVER6, poll, run
from .probes import GATEWAY, WAN1, WAN2, bound_sockets, outcome, place, probing, service

SERVER = {4: SERVER4, 6: SERVER6}
PORT = 4430


def tcp(address, port=PORT, timeout=10.0):
    return service("tcp", place(address, port), timeout)


@pytest.fixture
def listening(lab):
    """(lab, addresses of those who connected): a server at PORT of both families, in the order."""
    seen = []

    def listen():
        opened = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
        opened.settimeout(60)
        return opened

    def serve():
        while True:
            try:
                accepted, sender = opened.accept()
            except OSError:
                return
            seen.append(sender[0].removeprefix("::ffff:"))
            accepted.close()

    opened = lab.server.call(listen)
    thread = threading.Thread(target=serve)
    thread.start()
    yield lab, seen
    opened.shutdown(socket.SHUT_RDWR)
    opened.close()
    thread.join()


@pytest.mark.parametrize("family", [4, 6])
def test_each_path_asks_from_its_own_device_and_address(listening, family):
    lab, seen = listening
    target = tcp(SERVER[family])

    async def body(prober, listener):
        for path in (WAN2, WAN1, WAN2):
            listener.heard.clear()
            prober.send(path, target)
            assert listener.heard == []
            ((kind, name, key, rtt, at),) = await listener.until(1)
            assert (kind, name, key) == ("reply", path.name, target.key)
            assert 0 < rtt < 10
            assert at <= time.monotonic()

    counters = [received(lab, name) for name in ("up1", "up2")]
    probing(lab, TcpProber, body)
    one, two = WAN1.source4, WAN2.source4
    if family == 6:
        one, two = WAN1.source6, WAN2.source6
    poll("three connections", lambda: len(seen) == 3)
    assert seen == [two, one, two]

    def grown():
        now = [received(lab, name) for name in ("up1", "up2")]
        return [after - before for after, before in zip(now, counters, strict=True)]

    # SYN, ACK and FIN of each connection, at the least.
    poll("packets on both", lambda: grown()[0] >= 3 and grown()[1] >= 6)


def received(lab, device):
    (link,) = lab.server.json("-s", "link", "show", device)
    return link["stats64"]["rx"]["packets"]


def test_the_device_binds_whatever_the_tables_prefer(listening):
    """Without a route through the device IPv6 sends nothing, and IPv4 asks the device's link."""
    lab, seen = listening
    lab.router.ip("-6", "route", "del", "default", "dev", "wan2")
    kind, name, _key, code, reason = outcome(lab, TcpProber, WAN2, tcp(SERVER6))
    assert (kind, name, code) == ("error", "two", errno.ENETUNREACH)
    assert reason == f"probe to [{SERVER6}]:{PORT} through wan2: Network is unreachable"
    lab.router.ip("route", "del", "default", "dev", "wan2")
    lab.server.ip("addr", "add", "10.77.8.1/32", "dev", "lo")
    lab.server.sysctl("ipv4/conf/up2/arp_ignore", 1)  # of addresses that are not up2's
    heard = outcome(lab, TcpProber, WAN2, tcp("10.77.8.1"))
    assert (heard[0], *heard[3:]) == ("unreachable", WAN2.source4, "host unreachable")
    assert seen == []
    assert outcome(lab, TcpProber, WAN1, tcp("10.77.8.1"))[0] == "reply"
    poll("one connection", lambda: seen == [WAN1.source4])


def test_a_busy_loop_makes_the_answer_no_later(listening):
    lab, _ = listening

    async def body(prober, listener):
        before = time.monotonic()
        prober.send(WAN1, tcp(SERVER4))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # the SYN has left
        between = time.monotonic()
        time.sleep(0.2)
        ((kind, _, _, rtt, at),) = await listener.until(1)
        assert kind == "reply"
        assert before < at - rtt < between
        assert at < between + 0.15

    probing(lab, TcpProber, body)


def test_a_syn_sent_again_is_answered_when_it_is(listening):
    lab, _ = listening
    run(*lab.server.exec("nft", "table inet f { chain i { type filter hook input priority 0; "
        f"tcp dport {PORT} drop; }}; }}"))  # fmt: skip

    async def body(prober, listener):
        begun = time.monotonic()
        prober.send(WAN1, tcp(SERVER4))
        while not transmitted(lab):
            await asyncio.sleep(0.005)
        run(*lab.server.exec("nft", "flush ruleset"))
        ((kind, _, _, rtt, at),) = await listener.until(1)
        assert kind == "reply"
        assert at > begun + 0.9
        assert rtt < 0.9

    def transmitted(lab):
        return run(*lab.router.exec("ss", "-Htn", "state", "syn-sent"))

    probing(lab, TcpProber, body)


@pytest.mark.parametrize("family", [4, 6])
def test_a_reset_is_a_failure_that_shows_life(lab, family):
    heard = outcome(lab, TcpProber, WAN1, tcp(SERVER[family]))
    assert heard[:2] == ("failed", "one")
    assert heard[3:] == ("Connection refused", True)


@pytest.mark.parametrize("family", [4, 6])
def test_silence_is_a_failure_that_shows_nothing(listening, family):
    lab, _ = listening
    run(*lab.server.exec("nft", "table inet f { chain i { type filter hook input priority 0; "
        f"tcp dport {PORT} drop; }}; }}"))  # fmt: skip
    heard = outcome(lab, TcpProber, WAN1, tcp(SERVER[family], timeout=0.3))
    assert heard[:2] == ("failed", "one")
    assert heard[3:] == ("no answer within 0.3 s", False)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("hook", ["input", "forward"])
def test_who_rejects_is_told_apart(lab, family, hook):
    """By ICMP, the host itself (it is there), or a router on the way to an address behind it."""
    for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        lab.server.sysctl(name, 1)
    behind = {4: "203.0.113.9", 6: "2001:db8::9"}[family]
    target = GATEWAY[family] if hook == "input" else behind
    lab.server.ip(f"-{family}", "route", "add", behind, "dev", "up2")
    run(*lab.server.exec("nft", f"table inet f {{ chain c {{ type filter hook {hook} priority 0; "
        "tcp dport 4430 reject with icmpx admin-prohibited; }; }"))  # fmt: skip
    heard = outcome(lab, TcpProber, WAN1, tcp(target))
    if hook == "input":
        assert heard[3:] == ("administratively prohibited", True)
        assert heard[0] == "failed"
    else:
        assert heard[3:] == (GATEWAY[family], "administratively prohibited")
        assert heard[0] == "unreachable"


def test_a_neighbour_that_does_not_answer_is_told_by_ourselves(lab):
    heard = outcome(lab, TcpProber, WAN1, tcp("10.77.1.99", timeout=15))
    assert heard[0] == "unreachable"
    assert heard[3:] == (WAN1.source4, "host unreachable")


def test_what_cannot_be_sent_is_told_once_and_overcome(listening):
    lab, _ = listening

    def told(path):
        kind, _, _, code, reason = outcome(lab, TcpProber, path, tcp(SERVER4))
        assert kind == "error"
        return code, reason

    absent = ProbePath("one", "wan1", "192.0.2.1", None)
    code, reason = told(absent)
    assert code == errno.EADDRNOTAVAIL
    assert "Cannot assign requested address" in reason
    lab.router.ip("link", "del", "wan1")
    where = f"probe to {SERVER4}:{PORT} through wan1: "
    assert told(WAN1) == (errno.ENODEV, where + "No such device")
    lab.link(1)
    lab.routes(1, 100)
    poll("wan1 answers", lambda: outcome(lab, TcpProber, WAN1, tcp(SERVER4))[0] == "reply")


def test_a_device_that_vanishes_under_a_probe_is_one_failure(lab):
    run(*lab.server.exec("nft", "table inet f { chain i { type filter hook input priority 0; "
        f"tcp dport {PORT} drop; }}; }}"))  # fmt: skip

    async def body(prober, listener):
        prober.send(WAN1, tcp(SERVER4, timeout=1.5))
        prober.send(WAN2, tcp(SERVER4, timeout=1.0))
        await asyncio.sleep(0)
        lab.router.ip("link", "del", "wan1")
        await listener.until(2)
        assert not prober._tasks
        return sorted(listener.heard, key=lambda entry: entry[1])

    first, second = probing(lab, TcpProber, body)
    assert first[0] in ("failed", "error")
    assert first[1] == "one"
    assert second[:2] == ("failed", "two")


def test_many_at_once_and_not_more_than_a_burst_of_each(listening):
    lab, seen = listening
    addresses = [f"10.77.9.{number}" for number in range(2, 102)]
    for address in addresses:
        lab.server.ip("addr", "add", f"{address}/32", "dev", "lo")
    targets = [tcp(address) for address in addresses]

    async def body(prober, listener):
        for _ in range(6):
            for target in targets[:50]:
                prober.send(WAN1, target)
                prober.send(WAN2, target)
        for target in targets[50:]:
            prober.send(WAN1, target)
        heard = await listener.until(450, 40)
        assert {entry[0] for entry in heard} == {"reply"}
        counts = Counter(entry[1:3] for entry in heard)
        assert sorted(counts.values()) == [1] * 50 + [4] * 100
        assert not prober._tasks

    probing(lab, TcpProber, body)
    poll("450 connections", lambda: len(seen) >= 450)
    assert len(seen) == 450


@pytest.mark.parametrize("end", ["forget", "close"])
def test_what_is_dropped_leaves_no_task_and_no_file(lab, end):
    run(*lab.server.exec("nft", "table inet f { chain i { type filter hook input priority 0; "
        f"tcp dport {PORT} drop; }}; }}"))  # fmt: skip

    async def body(prober, listener):
        for path in (WAN1, WAN2):
            prober.send(path, tcp(SERVER4, timeout=5))
            prober.send(path, tcp(SERVER6, timeout=5))
        while len(bound_sockets()) < 4:
            await asyncio.sleep(0.005)
        prober.send(WAN1, tcp(GATEWAY[4], timeout=5))  # one that has not begun
        if end == "forget":
            for name in ("one", "two", "never"):
                prober.forget(name)
        else:
            prober.close()
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert bound_sockets() == []
        assert listener.heard == []

    probing(lab, TcpProber, body)
