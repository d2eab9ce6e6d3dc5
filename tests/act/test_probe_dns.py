# SPDX-License-Identifier: GPL-2.0-or-later
"""DnsProber against resolvers that know, refuse, babble, lose a packet, or are not there."""

from __future__ import annotations

import asyncio
import errno
import time

import dns.message
import dns.rcode
import pytest

from omrfast.probe.dns import DnsProber

from .conftest import SERVER4, SERVER6, run
from .probes import GATEWAY, WAN1, WAN2, bound_sockets, outcome, probing, service
from .web import nameserver, records

SERVER = {4: SERVER4, 6: SERVER6}
KNOWN = records(". 60 NS ns.test.", "web.test. 60 A 192.0.2.1")


def resolver(address=SERVER4, query=".", timeout=10.0):
    return service("dns", address, timeout, query=query)


def failure(lab, target):
    heard = outcome(lab, DnsProber, WAN1, target)
    assert heard[:3] == ("failed", "one", target.key), heard
    return heard[3:]


@pytest.mark.parametrize("family", [4, 6])
def test_each_path_asks_from_its_own_device_and_address(lab, family):
    target = resolver(SERVER[family])
    with nameserver(lab.server, SERVER[family], KNOWN) as asked:
        for path in (WAN2, WAN1):
            assert outcome(lab, DnsProber, path, target) == ("reply", path.name, target.key)
    own = [path.source4 if family == 4 else path.source6 for path in (WAN2, WAN1)]
    # Once or, while the kernel makes sure of its link-local addresses, twice.
    assert list(dict.fromkeys(asked)) == [(address, ". IN NS") for address in own]


@pytest.mark.parametrize(("family", "kind"), [(4, "A"), (6, "AAAA")])
def test_a_name_is_asked_for_addresses_and_none_is_an_answer(lab, family, kind):
    with nameserver(lab.server, SERVER[family], KNOWN) as asked:
        assert outcome(lab, DnsProber, WAN1, resolver(SERVER[family], "web.test"))[0] == "reply"
    assert asked[-1][1] == f"web.test. IN {kind}"


def with_code(code):
    def reply(query):
        response = dns.message.make_response(query)
        response.set_rcode(code)
        return response

    return reply


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (with_code(dns.rcode.SERVFAIL), "answered SERVFAIL to 'web.test'"),
        (with_code(dns.rcode.REFUSED), "answered REFUSED to 'web.test'"),
        (with_code(dns.rcode.NXDOMAIN), "answered NXDOMAIN to 'web.test'"),
        (lambda query: b"no", "answered what is no DNS: "),
    ],
)
def test_a_resolver_that_does_not_work_is_there(lab, reply, reason):
    with nameserver(lab.server, SERVER4, reply):
        heard, alive = failure(lab, resolver(query="web.test"))
    assert heard.startswith(reason)
    assert alive


def test_answers_to_other_questions_are_passed_over(lab):
    """Identifier, question and response bit have to fit; the right answer comes last, and fails."""

    def reply(query):
        other = dns.message.make_response(dns.message.make_query("other.test", "A"))
        other.id = query.id
        stranger = dns.message.make_response(query)
        stranger.id = query.id ^ 1
        return [other, query, stranger, with_code(dns.rcode.REFUSED)(query)]

    with nameserver(lab.server, SERVER4, reply):
        assert failure(lab, resolver()) == ("answered REFUSED to '.'", True)


def test_a_lost_question_is_asked_again(lab):
    lost = []

    def reply(query):
        if not lost:
            lost.append(query.id)
            return None
        return KNOWN(query)

    async def body(prober, listener):
        begun = time.monotonic()
        prober.send(WAN1, resolver())
        ((kind, _, _, rtt, at),) = await listener.until(1)
        assert kind == "reply"
        assert at - begun > 1.0
        assert rtt < at - begun - 1.0  # of the second question, not since the first

    with nameserver(lab.server, SERVER4, reply):
        probing(lab, DnsProber, body)


def test_silence_shows_nothing(lab):
    with nameserver(lab.server, SERVER4, lambda query: None) as asked:
        heard = failure(lab, resolver(timeout=0.3))
    assert heard == ("no answer within 0.3 s", False)
    assert len(asked) == 1


@pytest.mark.parametrize("family", [4, 6])
def test_a_host_without_a_resolver_says_so(lab, family):
    assert failure(lab, resolver(SERVER[family])) == ("port unreachable", True)


@pytest.mark.parametrize("family", [4, 6])
def test_a_router_that_rejects_is_named(lab, family):
    for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        lab.server.sysctl(name, 1)
    behind = {4: "203.0.113.9", 6: "2001:db8::9"}[family]
    lab.server.ip(f"-{family}", "route", "add", behind, "dev", "up2")
    run(*lab.server.exec("nft", "table inet f { chain c { type filter hook forward priority 0; "
        "udp dport 53 reject with icmpx admin-prohibited; }; }"))  # fmt: skip
    heard = outcome(lab, DnsProber, WAN1, resolver(behind))
    assert heard[0] == "unreachable"
    assert heard[3:] == (GATEWAY[family], "administratively prohibited")


def test_what_cannot_be_sent_and_what_cannot_be_asked(lab):
    lab.router.ip("-6", "route", "del", "default", "dev", "wan2")
    kind, _, _, code, reason = outcome(lab, DnsProber, WAN2, resolver(SERVER6))
    assert (kind, code) == ("error", errno.ENETUNREACH)
    assert reason == f"probe to {SERVER6} through wan2: Network is unreachable"
    reason, alive = failure(lab, resolver(query="a" * 64 + ".test"))
    assert reason.endswith("is no domain name: A DNS label is > 63 octets long.")
    assert not alive


def test_a_busy_loop_does_not_lengthen_the_rtt(lab):
    async def body(prober, listener):
        for _ in range(200):  # the kernel turns its time stamps on shortly after being asked
            prober.send(WAN1, resolver())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            time.sleep(0.05)
            await listener.until(1)
            rtt = listener.heard.pop()[3]
            if rtt < 0.04:
                return rtt
        raise AssertionError(f"still {rtt}")

    with nameserver(lab.server, SERVER4, KNOWN):
        assert probing(lab, DnsProber, body) < 0.04


@pytest.mark.parametrize("end", ["forget", "close"])
def test_what_is_dropped_leaves_no_task_and_no_file(lab, end):
    async def body(prober, listener):
        for path in (WAN1, WAN2):
            prober.send(path, resolver())
        while len(asked) < 2:
            await asyncio.sleep(0.005)
        assert sorted(bound_sockets()) == ["wan1", "wan2"]
        if end == "forget":
            prober.forget("one")
            prober.forget("two")
        else:
            prober.close()
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert bound_sockets() == []
        assert listener.heard == []

    with nameserver(lab.server, SERVER4, lambda query: None) as asked:
        probing(lab, DnsProber, body)
