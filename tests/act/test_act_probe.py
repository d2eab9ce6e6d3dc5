# SPDX-License-Identifier: GPL-2.0-or-later
"""IcmpProber against the kernel's echo replies, errors, silence and vanishing devices."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import time

import pytest

from omrfast.core.types import Origin, ProbeKind, Target
from omrfast.probe import icmp_packet
from omrfast.probe.base import ProbePath
from omrfast.probe.icmp import IcmpProber

from .conftest import run
from .probes import GATEWAY, WAN1, WAN2, probing


def ping(address):
    return Target(f"icmp {address}", ProbeKind.ICMP, address, Origin.WITNESS, address)


def ignore_pings(lab, ignore):
    for name in ("ipv4/icmp_echo_ignore_all", "ipv6/icmp/echo_ignore_all"):
        lab.server.sysctl(name, int(ignore))


@pytest.mark.parametrize("family", [4, 6])
def test_replies_on_each_path_with_rtt_and_instant(lab, family):
    second = {4: "10.77.2.1", 6: "fd77:2::1"}[family]

    async def body(prober, listener):
        before = time.monotonic()
        for _ in range(5):
            prober.send(WAN1, ping(GATEWAY[family]))
            prober.send(WAN2, ping(second))
        assert listener.heard == []
        return before, await listener.until(10), time.monotonic()

    before, heard, after = probing(lab, IcmpProber, body)
    assert sorted(entry[:3] for entry in heard) == sorted(
        [("reply", "one", f"icmp {GATEWAY[family]}")] * 5 + [("reply", "two", f"icmp {second}")] * 5
    )
    for _kind, _path, _target, rtt, at in heard:
        assert 0 < rtt < after - before
        assert before < at < after


def test_a_link_local_target(lab):
    (address,) = [
        entry["local"]
        for entry in lab.server.json("-6", "addr", "show", "dev", "up1")[0]["addr_info"]
        if entry["scope"] == "link"
    ]

    async def body(prober, listener):
        path = ProbePath("one", "wan1")
        for _ in range(1000):  # until the server's address has passed duplicate detection
            prober.send(path, ping(address))
            await asyncio.sleep(0.01)
            if any(entry[0] == "reply" for entry in listener.heard):
                return listener.heard[-1]
        raise AssertionError(listener.heard[-1])

    assert probing(lab, IcmpProber, body)[:3] == ("reply", "one", f"icmp {address}")


def test_a_busy_loop_does_not_lengthen_the_rtt(lab):
    async def body(prober, listener):
        for _ in range(200):  # the kernel turns its time stamps on shortly after being asked
            prober.send(WAN1, ping(GATEWAY[4]))
            time.sleep(0.05)
            await listener.until(1)
            rtt = listener.heard.pop()[3]
            if rtt < 0.04:
                return rtt
        raise AssertionError(f"still {rtt}")

    assert probing(lab, IcmpProber, body) < 0.04


def test_what_has_arrived_is_told_before_the_loop_comes_to_it(lab):
    async def body(prober, listener):
        prober.send(WAN1, ping(GATEWAY[4]))
        prober.send(WAN2, ping("10.77.2.1"))
        deadline = time.monotonic() + 10
        while len(listener.heard) < 2 and time.monotonic() < deadline:
            prober.collect()  # and the loop has no turn
        return listener.heard

    heard = probing(lab, IcmpProber, body)
    assert sorted(entry[:2] for entry in heard) == [("reply", "one"), ("reply", "two")]


@pytest.mark.parametrize("family", [4, 6])
def test_silence_is_silent_and_ends(lab, family):
    async def body(prober, listener):
        prober.send(WAN1, ping(GATEWAY[family]))  # so that no packet has to wait for its neighbour
        await listener.until(1)
        listener.heard.clear()
        ignore_pings(lab, True)
        prober.send(WAN1, ping(GATEWAY[family]))
        prober.send(WAN1, ping(GATEWAY[family]))
        ignore_pings(lab, False)
        prober.send(WAN1, ping(GATEWAY[family]))
        await listener.until(1)
        return listener.heard

    # The first two were ignored for good: the server handled each within its own sendto().
    assert [entry[:3] for entry in probing(lab, IcmpProber, body)] == [
        ("reply", "one", f"icmp {GATEWAY[family]}")
    ]


@pytest.mark.parametrize(
    ("family", "target", "words"),
    [(4, "203.0.113.9", "host unreachable"), (6, "2001:db8::9", "no route")],
)
def test_a_router_says_unreachable_under_its_own_name(lab, family, target, words):
    for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        lab.server.sysctl(name, 1)
    network = {4: "203.0.113.0/24", 6: "2001:db8::/32"}[family]
    lab.server.ip(f"-{family}", "route", "add", "unreachable", network)

    async def body(prober, listener):
        before = time.monotonic()
        prober.send(WAN1, ping(target))
        (heard,) = await listener.until(1)
        assert before < heard[-1] < time.monotonic()
        return heard[:-1]

    assert probing(lab, IcmpProber, body) == (
        "unreachable",
        "one",
        f"icmp {target}",
        GATEWAY[family],
        words,
    )


@pytest.mark.parametrize("family", [4, 6])
def test_an_error_from_the_target_itself_is_an_answer(lab, family):
    ruleset = """table inet probe { chain input {
        type filter hook input priority 0;
        icmp type echo-request reject with icmp admin-prohibited;
        icmpv6 type echo-request reject with icmpv6 admin-prohibited;
    }; }"""
    run(*lab.server.exec("nft", ruleset))

    async def body(prober, listener):
        before = time.monotonic()
        prober.send(WAN1, ping(GATEWAY[family]))
        return before, await listener.until(1), time.monotonic()

    before, (heard,), after = probing(lab, IcmpProber, body)
    assert heard[:3] == ("reply", "one", f"icmp {GATEWAY[family]}")
    rtt, at = heard[3:]
    assert 0 < rtt < after - before
    assert before < at < after


def raw(family, *, filtered=None):
    kinds = {4: (socket.AF_INET, socket.IPPROTO_ICMP), 6: (socket.AF_INET6, socket.IPPROTO_ICMPV6)}
    opened = socket.socket(kinds[family][0], socket.SOCK_RAW, kinds[family][1])
    opened.settimeout(20)
    if filtered is not None:
        icmp_packet.attach_filter(opened, family, filtered)
    return opened


def reply(family, identifier, sequence, payload):
    bare = struct.pack("!BBHHH", icmp_packet.ECHO_REPLY[family], 0, 0, identifier, sequence)
    bare += payload
    return bare[:2] + struct.pack("!H", icmp_packet.checksum(bare)) + bare[4:]


@pytest.mark.parametrize("family", [4, 6])
def test_the_filter_wakes_only_for_our_identifier(lab, family):
    address = {4: "10.77.1.2", 6: "fd77:1::2"}[family]
    receiver = lab.router.call(lambda: raw(family, filtered=0x1234))

    def answer(identifier):
        with raw(family) as sender:
            sender.sendto(reply(family, identifier, 1, b"x" * 8), (address, 0))

    with receiver:
        lab.server.call(answer, 0x1235)
        lab.server.call(answer, 0x3412)
        lab.server.call(answer, 0x1234)
        # In the order of arrival: had any of the others passed, it would be the first.
        assert icmp_packet.parse(family, receiver.recv(2048)).identifier == 0x1234


@pytest.mark.parametrize("family", [4, 6])
def test_a_reply_with_anothers_payload_is_not_ours(lab, family):
    ignore_pings(lab, True)
    address = {4: "10.77.1.2", 6: "fd77:1::2"}[family]
    server = lab.server.call(lambda: raw(family))

    async def body(prober, listener):
        prober.send(WAN1, ping(GATEWAY[family]))
        while True:
            data = server.recv(2048)[20 if family == 4 else 0 :]
            if data[0] == icmp_packet.ECHO_REQUEST[family]:
                break
        identifier, sequence = struct.unpack_from("!HH", data, 4)
        for guess in (b"", b"12345678", data[8:15]):
            server.sendto(reply(family, identifier, sequence, guess), (address, 0))
        server.sendto(reply(family, identifier, sequence ^ 1, data[8:]), (address, 0))
        ignore_pings(lab, False)
        prober.send(WAN1, ping(GATEWAY[family]))
        await listener.until(1)
        assert len(listener.heard) == 1  # the second probe's: it was sent after all the others
        server.sendto(reply(family, identifier, sequence, data[8:]), (address, 0))
        return await listener.until(2)

    with server:
        assert [entry[0] for entry in probing(lab, IcmpProber, body)] == ["reply", "reply"]


def test_errors_are_told_and_overcome(lab):
    async def body(prober, listener):
        async def told(path, target):
            listener.heard.clear()
            prober.send(path, ping(target))
            (entry,) = await listener.until(1)
            return (entry[0], *entry[3:])

        assert (await told(WAN1, GATEWAY[4]))[0] == "reply"
        lab.router.ip("link", "set", "wan1", "down")
        assert await told(WAN1, GATEWAY[4]) == (
            "error", errno.ENETUNREACH, "probe to 10.77.1.1 through wan1: Network is unreachable",
        )  # fmt: skip
        lab.router.ip("link", "del", "wan1")
        assert await told(WAN1, GATEWAY[4]) == (
            "error", errno.ENODEV, "probe to 10.77.1.1 through wan1: No such device",
        )  # fmt: skip
        lab.link(1)
        assert (await told(WAN1, GATEWAY[4]))[0] == "reply"
        lab.router.ip("link", "del", "wan1")
        lab.link(1)
        for family in (4, 6):  # the old socket is bound to an index that is gone
            assert (await told(WAN1, GATEWAY[family]))[0] == "reply"
        absent = ProbePath("one", "wan1", "192.0.2.1", "2001:db8::1")
        for family in (4, 6):
            kind, code, reason = await told(absent, GATEWAY[family])
            assert (kind, code) == ("error", errno.EADDRNOTAVAIL)
            assert "Cannot assign requested address" in reason
        assert (await told(WAN1, GATEWAY[4]))[0] == "reply"

    probing(lab, IcmpProber, body)


def test_forgotten_paths_leave_nothing_open(lab):
    def open_files():
        return set(os.listdir("/proc/self/fd"))

    async def body(prober, listener):
        before = open_files()
        for _ in range(3):
            for path in (WAN1, WAN2):
                prober.send(path, ping(GATEWAY[4]))
                prober.send(path, ping(GATEWAY[6]))
        assert len(open_files()) == len(before) + 4
        for name in ("one", "two", "never"):
            prober.forget(name)
        assert len(open_files()) == len(before)

    probing(lab, IcmpProber, body)
