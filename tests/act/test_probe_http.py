# SPDX-License-Identifier: GPL-2.0-or-later
"""HttpProber and HttpsProber against real servers, portals, certificates and slowness."""

from __future__ import annotations

import asyncio
import functools
import threading

import pytest

from omrfast.probe.base import ProbePath
from omrfast.probe.http import HttpProber, HttpsProber
from omrfast.probe.resolve import Resolver

from .conftest import SERVER4, SERVER6, run
from .probes import GATEWAY, WAN1, WAN2, bound_sockets, only, outcome, place, probing, service
from .web import HOST, WORDS, Handler, authority, nameserver, records, server_context, web

SERVER = {4: SERVER4, 6: SERVER6}
ANSWER = [f"{HOST}. 60 A {SERVER4}", f"{HOST}. 60 AAAA {SERVER6}"]


@pytest.fixture
def plain(lab):
    with web(lab.server, 80) as server:
        yield lab, server


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("authority")
    authority(made)
    return made


@pytest.fixture
def trusted(folder, monkeypatch):
    """The system's store holds the lab's root."""
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder / "none"))
    return folder


def http(path, address=SERVER4, **expected):
    return service("http", f"http://{place(address, '').removesuffix(':')}{path}", **expected)


def https(address, path="/status/204", **expected):
    return service("https", f"https://{place(address, '').removesuffix(':')}{path}", **expected)


def failure(lab, make, target, path=WAN1):
    """(reason, alive) of a probe that fails."""
    heard = outcome(lab, make, path, target)
    assert heard[:3] == ("failed", path.name, target.key), heard
    return heard[3:]


@pytest.mark.parametrize("family", [4, 6])
def test_each_path_asks_from_its_own_device_and_address(plain, family):
    lab, server = plain
    target = http("/status/204?a=b", SERVER[family])
    for path in (WAN2, WAN1):
        assert outcome(lab, HttpProber, path, target) == ("reply", path.name, target.key)
    own = [path.source4 if family == 4 else path.source6 for path in (WAN2, WAN1)]
    assert server.seen == [(address, "/status/204?a=b") for address in own]
    literal = SERVER4 if family == 4 else f"[{SERVER6}]"
    assert dict(server.fields) == {
        "Host": literal, "User-Agent": "omrfast", "Connection": "close",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "expected", "reason"),
    [
        ("/status/204", {}, None),
        ("/status/204", {"expect_status": 204}, None),
        ("/status/200", {"expect_status": 204}, "status 200 instead of 204"),
        ("/status/503", {}, "status 503 instead of 200 to 299"),
        ("/status/503", {"expect_status": 503}, None),
        ("/continue", {}, None),
        ("/status/301/http://portal.test/", {"expect_status": 301}, None),
        (
            "/status/302/http://portal.test/login", {},
            "status 302 instead of 200 to 299, redirected to http://portal.test/login;"
            " a captive portal?",
        ),
        ("/status/302//x", {}, "status 302 instead of 200 to 299, redirected to /x"),
        ("/page/0/", {"expect_text": WORDS}, None),
        ("/page/16300/", {"expect_text": WORDS}, None),
        (
            "/page/16384/", {"expect_text": WORDS},
            f"{WORDS!r} is not in the first 16 KiB of the page; a captive portal?",
        ),
        (
            "/status/200", {"expect_text": WORDS},
            f"{WORDS!r} is not in the first 16 KiB of the page; a captive portal?",
        ),
        ("/endless", {}, None),
    ],
)  # fmt: skip
def test_what_counts_as_working(plain, path, expected, reason):
    lab, _ = plain
    target = http(path, **expected)
    if reason is None:
        assert outcome(lab, HttpProber, WAN1, target)[0] == "reply"
    else:
        assert failure(lab, HttpProber, target) == (reason, True)


@pytest.mark.parametrize("path", ["/nonsense", "/short", "/switch", "/headers", "/nothing"])
def test_what_is_no_http(plain, path):
    lab, _ = plain
    reason, alive = failure(lab, HttpProber, http(path, expect_text=WORDS))
    if path == "/nothing":
        assert reason == "ended without an answer"
    else:
        assert reason.startswith("answered what is no HTTP: ")
    assert alive


def test_a_closed_port_a_silent_one_and_a_slow_answer(plain):
    lab, server = plain
    closed = service("http", f"http://{SERVER4}:81/")
    assert failure(lab, HttpProber, closed) == ("Connection refused", True)
    run(*lab.server.exec("nft", "table inet f { chain i { type filter hook input priority 0; "
        "tcp dport 82 drop; }; }"))  # fmt: skip
    silent = service("http", f"http://{SERVER4}:82/", 0.3)
    reason = f"no answer within 0.3 s to a SYN to {SERVER4}"
    assert failure(lab, HttpProber, silent) == (reason, False)
    slow = http("/slow", timeout=0.5)
    assert failure(lab, HttpProber, slow) == ("no answer within 0.5 s to the request", False)
    assert server.seen == [(WAN1.source4, "/slow")]


@pytest.mark.parametrize("secure", [False, True])
def test_a_server_that_resets_the_connection(lab, trusted, secure):
    """By a reset of the server; it was there a moment ago."""
    make, target = (HttpsProber, https) if secure else (HttpProber, http)
    with web(lab.server, 443 if secure else 80, server_context(trusted) if secure else None):
        reset = target(SERVER4, "/reset") if secure else target("/reset")
        reason, alive = failure(lab, make, reset)
    # OpenSSL takes a reset for an end.
    assert reason == ("ended without an answer" if secure else "Connection reset by peer")
    assert alive


def test_an_icmp_error_after_the_handshake_shows_no_life(plain):
    """The kernel does not keep who sent it then."""
    lab, server = plain
    run(*lab.server.exec("nft", "table ip f { chain c { type filter hook input priority 0;"
        " tcp dport 80 tcp flags & (psh | ack) == psh | ack reject with icmp host-unreachable;"
        " }; }"))  # fmt: skip
    assert failure(lab, HttpProber, http("/status/204")) == ("No route to host", False)
    assert server.seen == []


def test_a_large_page_is_not_fetched(plain):
    """What an endless page costs is bounded by the receive buffer, however slow the reader."""
    lab, _ = plain

    def arrived():
        (link,) = lab.router.json("-s", "link", "show", "wan1")
        return link["stats64"]["rx"]["bytes"]

    before = arrived()
    assert outcome(lab, HttpProber, WAN1, http("/endless"))[0] == "reply"
    missing = http("/endless", expect_text=WORDS)
    assert failure(lab, HttpProber, missing)[1]
    assert 16_384 < arrived() - before < 150_000


def test_a_redirecting_portal_on_one_path_only(plain):
    """Of a path's own gateway: what the same URL says elsewhere is what it should say."""
    lab, _ = plain
    target = http("/page/0/", expect_text=WORDS)
    with web(lab.server, 8080) as portal:
        portal.RequestHandlerClass = Portal
        run(*lab.server.exec("nft", "table ip n { chain p { type nat hook prerouting priority -100;"
            " iifname up1 tcp dport 80 redirect to :8080; }; }"))  # fmt: skip
        reason, alive = failure(lab, HttpProber, target, WAN1)
        assert outcome(lab, HttpProber, WAN2, target)[0] == "reply"
    assert reason == (
        "status 302 instead of 200 to 299, redirected to http://portal.test/; a captive portal?"
    )
    assert alive


class Portal(Handler):
    def do_GET(self):
        self.send_response(302)
        self.send_header("Location", "http://portal.test/")
        self.end_headers()


def test_a_device_that_vanishes_under_a_probe_is_one_failure(plain):
    lab, server = plain

    async def body(prober, listener):
        for path in (WAN1, WAN2):
            prober.send(path, http("/slow", timeout=2.0))
        while len(server.seen) < 2:
            await asyncio.sleep(0.005)
        lab.router.ip("link", "del", "wan1")
        await listener.until(2)
        assert not prober._tasks
        assert bound_sockets() == []
        return sorted(entry[:2] for entry in listener.heard)

    assert probing(lab, HttpProber, body) == [("failed", "one"), ("failed", "two")]


# --- https ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [4, 6])
def test_a_certificate_that_the_store_vouches_for(lab, trusted, family):
    with web(lab.server, 443, server_context(trusted)) as server:
        for path in (WAN1, WAN2):
            assert outcome(lab, HttpsProber, path, https(SERVER[family]))[0] == "reply"
        text = https(SERVER[family], "/page/9000/", expect_text=WORDS)
        assert outcome(lab, HttpsProber, WAN1, text)[0] == "reply"
    sources = [(path.source4, path.source6)[family == 6] for path in (WAN1, WAN2, WAN1)]
    assert [address for address, _ in server.seen] == sources


@pytest.mark.parametrize(
    ("certificate", "address", "reason"),
    [
        ("old", SERVER4, "certificate refused: certificate has expired"),
        (
            "web", GATEWAY[4],
            "certificate refused: IP address mismatch, certificate is not valid for '10.77.1.1'.",
        ),
    ],
)  # fmt: skip
def test_a_certificate_that_is_not_good(lab, trusted, certificate, address, reason):
    with web(lab.server, 443, server_context(trusted, certificate)):
        assert failure(lab, HttpsProber, https(address)) == (reason, True)


def test_a_certificate_of_a_stranger(lab, folder, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with web(lab.server, 443, server_context(folder)) as server:
        reason, alive = failure(lab, HttpsProber, https(SERVER4))
        assert server.seen == []
    assert reason == "certificate refused: unable to get local issuer certificate"
    assert alive


def test_what_is_no_tls(lab, trusted):
    with web(lab.server, 443):
        reason, alive = failure(lab, HttpsProber, https(SERVER4))
    assert reason.startswith("TLS failed: ")
    assert alive


def test_a_server_that_accepts_and_says_nothing(lab, trusted):
    with web(lab.server, 443, server_context(trusted)) as server:
        server.shutdown()  # the kernel goes on accepting
        silent = https(SERVER4, timeout=0.4)
        reason, alive = failure(lab, HttpsProber, silent)
    assert (reason, alive) == ("no answer within 0.4 s in the TLS handshake", False)


# --- names ----------------------------------------------------------------------------------------


def with_resolver(prober, conf):
    return functools.partial(prober, resolver=Resolver(conf))


@pytest.fixture
def conf(tmp_path):
    return tmp_path / "resolv.conf"


@pytest.mark.parametrize("family", [4, 6])
def test_a_name_is_asked_over_the_path_itself(lab, trusted, conf, family):
    conf.write_text(f"# ours\nnameserver {SERVER4}\nnameserver {SERVER6}\n")
    target = service("https", f"https://{HOST}/status/204")
    make = with_resolver(HttpsProber, conf)
    with (
        web(lab.server, 443, server_context(trusted)) as server,
        nameserver(lab.server, SERVER[family], records(*ANSWER)) as asked,
    ):
        for path in (WAN1, WAN2):
            heard = outcome(lab, make, only(path, family), target)
            assert heard == ("reply", path.name, target.key)
    own = [path.source4 if family == 4 else path.source6 for path in (WAN1, WAN2)]
    kind = "A" if family == 4 else "AAAA"
    # Once or, while the kernel makes sure of its link-local addresses, twice.
    assert list(dict.fromkeys(asked)) == [(address, f"{HOST}. IN {kind}") for address in own]
    assert server.seen == [(address, "/status/204") for address in own]
    assert server.fields["Host"] == HOST


def test_a_path_s_own_resolvers_come_first_and_what_they_say_is_kept(plain, conf):
    lab, server = plain
    conf.write_text(f"nameserver {GATEWAY[4]}\n")
    path = ProbePath("one", "wan1", WAN1.source4, None, (SERVER4,))
    target = service("http", f"http://{HOST}/status/204")

    async def body(prober, listener):
        for count in (1, 2, 3):
            prober.send(path, target)
            await listener.until(count)
        prober.forget("one")
        prober.send(path, target)
        return [entry[0] for entry in await listener.until(4)]

    make = with_resolver(HttpProber, conf)
    with (
        nameserver(lab.server, SERVER4, records(*ANSWER)) as first,
        nameserver(lab.server, GATEWAY[4], records(*ANSWER)) as second,
    ):
        assert probing(lab, make, body) == ["reply"] * 4
    assert len(first) == 2
    assert second == []
    assert len(server.seen) == 4


def test_the_next_resolver_is_asked_and_the_machine_s_own_through_lo(plain, conf):
    lab, _ = plain
    conf.write_text(f"nameserver {SERVER4}\nnameserver 127.0.0.1\n")
    target = service("http", f"http://{HOST}/status/204", 2.0)
    with (
        nameserver(lab.server, SERVER4, lambda query: None) as silent,
        nameserver(lab.router, "127.0.0.1", records(*ANSWER)) as own,
    ):
        make = with_resolver(HttpProber, conf)
        assert outcome(lab, make, only(WAN1, 4), target)[0] == "reply"
    assert silent == [(WAN1.source4, f"{HOST}. IN A")]
    assert own == [("127.0.0.1", f"{HOST}. IN A")]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([f"nameserver {SERVER4}"], f"name {HOST}: {SERVER4}: answered NXDOMAIN"),
        ([f"nameserver {GATEWAY[4]}"], f"name {HOST}: {GATEWAY[4]}: port unreachable"),
        (["nameserver 127.0.0.1"], f"name {HOST}: 127.0.0.1: port unreachable"),
    ],
)
def test_a_name_that_nobody_knows_shows_no_life(plain, conf, lines, reason):
    lab, server = plain
    conf.write_text("\n".join(lines))
    with nameserver(lab.server, SERVER4, records("other.test. 60 A 192.0.2.1")):
        target = service("http", f"http://{HOST}/status/204")
        make = with_resolver(HttpProber, conf)
        assert failure(lab, make, target, only(WAN1, 4)) == (reason, False)
    assert server.seen == []


def test_a_slow_resolver_still_counts_and_silent_ones_are_named(plain, conf):
    lab, _ = plain
    conf.write_text(f"nameserver {SERVER4}\nnameserver {GATEWAY[4]}\n")
    make = with_resolver(HttpProber, conf)
    known = records(*ANSWER)
    second_asked = threading.Event()

    def slow(query):
        second_asked.wait(20)
        return known(query)

    def silent(query):
        second_asked.set()

    with (
        nameserver(lab.server, SERVER4, slow) as first,
        nameserver(lab.server, GATEWAY[4], silent) as second,
    ):
        target = service("http", f"http://{HOST}/status/204", 10.0)
        assert outcome(lab, make, only(WAN1, 4), target)[0] == "reply"
    assert first
    assert second
    with nameserver(lab.server, SERVER4, silent), nameserver(lab.server, GATEWAY[4], silent):
        target = service("http", f"http://{HOST}/status/204", 1.0)
        reason = f"name {HOST}: no answer from {SERVER4}, {GATEWAY[4]}"
        make = with_resolver(HttpProber, conf)  # that remembers nothing
        assert failure(lab, make, target, only(WAN1, 4)) == (reason, False)


def test_without_a_resolver_the_reason_says_so(plain, conf):
    lab, _ = plain
    target = service("http", f"http://{HOST}/status/204")
    make = with_resolver(HttpProber, conf)
    reason = f"name {HOST}: there is no resolver for it, neither in {conf} nor as a [[probe]]"
    heard = failure(lab, make, target, only(WAN1, 4))
    assert heard == (f"{reason} of kind dns", False)


def test_an_address_outlives_its_resolver(plain, conf):
    lab, server = plain
    conf.write_text(f"nameserver {SERVER4}\n")
    target = service("http", f"http://{HOST}/status/204")
    speaking = [True]
    reply = records(f"{HOST}. 0 A {SERVER4}")

    async def body(prober, listener):
        prober.send(only(WAN1, 4), target)
        await listener.until(1)
        speaking.clear()
        prober.send(only(WAN1, 4), target)
        return [entry[0] for entry in await listener.until(2)]

    def answer(query):
        return reply(query) if speaking else None

    with nameserver(lab.server, SERVER4, answer) as asked:
        assert probing(lab, with_resolver(HttpProber, conf), body) == ["reply"] * 2
    assert len(asked) > 1
    assert len(server.seen) == 2


# --- many, and the end of them --------------------------------------------------------------------


def test_many_at_once(plain):
    lab, server = plain
    targets = [http(f"/status/204?{number}") for number in range(100)]

    async def body(prober, listener):
        for target in targets:
            for path in (WAN1, WAN2, WAN1):
                prober.send(path, target)
        heard = await listener.until(200, 40)
        assert {entry[0] for entry in heard} == {"reply"}
        assert len({entry[1:3] for entry in heard}) == 200
        assert not prober._tasks

    probing(lab, HttpProber, body)
    assert len(server.seen) == 200


@pytest.mark.parametrize("end", ["forget", "close"])
def test_what_is_dropped_leaves_no_task_and_no_file(lab, trusted, conf, end):
    """At each step: the name, the SYN, TLS, the answer."""
    conf.write_text(f"nameserver {SERVER4}\n")
    with (
        web(lab.server, 443, server_context(trusted)) as server,
        web(lab.server, 444, server_context(trusted)) as deaf,
        nameserver(lab.server, SERVER4, lambda query: None) as asked,
    ):
        deaf.shutdown()
        run(*lab.server.exec("nft", "table inet f { chain i { type filter hook input priority 0; "
            "tcp dport 445 drop; }; }"))  # fmt: skip
        targets = [
            service("https", url)
            for url in (
                f"https://{HOST}/", f"https://{SERVER4}:445/", f"https://{SERVER4}:444/",
                f"https://{SERVER4}/slow",
            )
        ]  # fmt: skip

        async def body(prober, listener):
            for target in targets:
                prober.send(only(WAN1, 4), target)
                prober.send(only(WAN2, 4), target)
            while len(server.seen) < 2 or len(asked) < 2:
                await asyncio.sleep(0.005)
            assert len(bound_sockets()) == 8
            if end == "forget":
                prober.forget("one")
                prober.forget("two")
            else:
                prober.close()
            for _ in range(6):
                await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert bound_sockets() == []
            assert listener.heard == []

        probing(lab, with_resolver(HttpsProber, conf), body)
