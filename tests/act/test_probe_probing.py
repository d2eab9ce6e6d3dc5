# SPDX-License-Identifier: GPL-2.0-or-later
"""Probing: the core's orders out to real servers, and what comes of them back as events."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time

import pytest

from omrfast.core.config import Config, ProbeConfig, ServerConfig
from omrfast.core.events import ProbeFailed, ProbeReply, TargetsChanged
from omrfast.core.operations import Observed, Route
from omrfast.core.outcome import ProbeOrder
from omrfast.core.plan import Binding
from omrfast.core.types import ProbeKind
from omrfast.probing import Probing

from .conftest import SERVER4, SERVER6, run
from .probes import bound_sockets
from .web import HOST, WORDS, authority, nameserver, records, server_context, web

NAMES = {"one": "wan1", "two": "wan2"}
ROOT = [". 60 NS ns.test.", f"{HOST}. 60 A {SERVER4}", f"{HOST}. 60 AAAA {SERVER6}"]


def probe(name, kind, target, **more):
    return ProbeConfig(name, ProbeKind(kind), target, timeout=10.0, **more)


class Bench:
    """A Probing with two paths of one family; keeps the events."""

    def __init__(self, lab, config, family=4):
        self.events = []
        take = self.events.append
        loop = asyncio.get_running_loop()
        self.probing = Probing(loop, config, replied=take, failed=take, changed=take)
        self._lab = lab
        self._family = family
        self.bind("one", "two")

    def bind(self, *paths):
        family = self._family
        known = {}
        routes = []
        for number, name in enumerate(NAMES, 1):
            if name in paths:
                index = self._lab.index(NAMES[name])
                own = f"10.77.{number}.2" if family == 4 else f"fd77:{number}::2"
                near = f"10.77.{number}.1" if family == 4 else f"fd77:{number}::1"
                known[name] = Binding(name, index, own, frozenset({own}))
                routes.append(Route(family, "default", index, near, 100))
        self.probing.bind(known, NAMES, Observed(routes=tuple(routes)))

    def targets(self, path="one"):
        changes = [e for e in self.events if isinstance(e, TargetsChanged) and e.path == path]
        return {target.key: target for target in changes[-1].targets}

    async def ask(self, path, key):
        """The event that answers."""
        before = len(self.events)
        self.probing.send(ProbeOrder(path, key))
        end = time.monotonic() + 20
        while True:
            for event in self.events[before:]:
                if isinstance(event, ProbeReply | ProbeFailed):
                    return event
            assert time.monotonic() < end, self.events
            await asyncio.sleep(0.005)


def on_loop(lab, config, body, family=4):
    async def main():
        bench = Bench(lab, config, family)
        try:
            return await body(bench)
        finally:
            bench.probing.close()

    return lab.router.call(lambda: asyncio.run(main()))


@pytest.mark.parametrize("family", [4, 6])
def test_every_kind_on_every_path(lab, tmp_path, monkeypatch, family):
    """The name is asked of the resolver that is a probe, whatever resolv.conf says."""
    authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    address = SERVER4 if family == 4 else SERVER6
    config = Config(
        servers=(ServerConfig("vps", (SERVER4, SERVER6), 443),),
        probes=(
            probe("names4", "dns", SERVER4),
            probe("names6", "dns", SERVER6),
            probe("words", "http", f"http://{HOST}/page/0/", expect_text=WORDS),
            probe("secure", "https", f"https://{HOST}/status/204"),
        ),
    )

    async def body(bench):
        keys = list(bench.targets())
        assert [key.partition(" ")[0] for key in keys] == [
            "icmp", "tcp", "dns", "http", "https", "icmp",
        ]  # fmt: skip
        assert list(bench.targets("two"))[:-1] == keys[:-1]
        for path in NAMES:
            for key in bench.targets(path):
                event = await bench.ask(path, key)
                assert isinstance(event, ProbeReply), event
                assert (event.path, event.target) == (path, key)

    with (
        web(lab.server, 80),
        web(lab.server, 443, server_context(tmp_path)),
        nameserver(lab.server, address, records(*ROOT)),
    ):
        on_loop(lab, config, body, family)


def test_what_failed_is_told_with_whether_the_host_lives(lab):
    config = Config(servers=(ServerConfig("vps", (SERVER4,), 443),))

    async def body(bench):
        key = f"tcp {SERVER4}:443"
        assert await bench.ask("one", key) == ProbeFailed(
            "one", key, f"{SERVER4}:443: Connection refused", proof=False, sent=True, alive=True
        )

    on_loop(lab, config, body)


@pytest.mark.parametrize("near", [True, False])
def test_the_word_of_the_path_s_own_gateway_is_proof(lab, near):
    lab.server.sysctl("ipv4/ip_forward", 1)
    lab.server.ip("route", "add", "203.0.113.9", "dev", "up2")
    run(*lab.server.exec("nft", "table inet f { chain c { type filter hook forward priority 0; "
        "tcp dport 22 reject with icmpx host-unreachable; }; }"))  # fmt: skip
    config = Config(probes=(probe("ssh", "tcp", "203.0.113.9:22"),))

    async def body(bench):
        if not near:  # the address it speaks from is another path's gateway then
            bench.probing.bind(
                {"one": Binding("one", lab.index("wan1"), "10.77.1.2", frozenset())},
                NAMES,
                Observed(routes=(Route(4, "default", lab.index("wan1"), "10.77.1.99", 100),)),
            )
        return await bench.ask("one", "tcp 203.0.113.9:22")

    event = on_loop(lab, config, body)
    assert isinstance(event, ProbeFailed)
    assert event.text == "203.0.113.9:22: host unreachable"
    assert (event.proof, event.sent, event.alive) == (near, True, False)


def test_a_neighbour_that_is_gone_is_proof(lab):
    config = Config(probes=(probe("next", "tcp", "10.77.1.99:22"),))

    async def body(bench):
        return await bench.ask("one", "tcp 10.77.1.99:22")

    event = on_loop(lab, config, body)
    assert (event.text, event.proof) == ("10.77.1.99:22: host unreachable", True)


@pytest.mark.parametrize("kind", ["icmp", "tcp", "dns", "http"])
def test_what_cannot_be_sent_is_proof_logged_once(lab, caplog, kind):
    address = {"tcp": f"[{SERVER6}]:80", "http": f"http://[{SERVER6}]/status/204"}
    config = Config(probes=(probe("it", kind, address.get(kind, SERVER6)),))
    caplog.set_level(logging.WARNING, "omrfast.probing")

    async def body(bench):
        (key,) = [key for key in bench.targets() if SERVER6 in key]
        assert isinstance(await bench.ask("one", key), ProbeReply)
        lab.router.ip("link", "del", "wan1")
        for _ in range(3):
            event = await bench.ask("one", key)
            assert (event.proof, event.sent, event.alive) == (True, False, False)
            assert event.text.startswith("probe to ")
        assert len(caplog.records) == 1
        lab.link(1)
        lab.routes(1, 100)
        for _ in range(1000):  # until the link is up
            if isinstance(await bench.ask("one", key), ProbeReply):
                break
        else:
            raise AssertionError("never again")
        caplog.clear()
        lab.router.ip("link", "del", "wan1")
        await bench.ask("one", key)
        assert len(caplog.records) == 1

    with (
        web(lab.server, 80),
        nameserver(lab.server, SERVER6, records(*ROOT)),
    ):
        on_loop(lab, config, body, 6)


def test_a_path_that_goes_takes_its_probes_along(lab):
    config = Config(probes=(probe("slow", "http", f"http://{SERVER4}/slow"),))
    key = f"http http://{SERVER4}/slow"

    async def body(bench):
        for path in NAMES:
            bench.probing.send(ProbeOrder(path, key))
        while len(server.seen) < 2:
            await asyncio.sleep(0.005)
        bench.bind("two")
        for _ in range(3):
            await asyncio.sleep(0)
        assert bound_sockets() == ["wan2"]
        bench.probing.send(ProbeOrder("one", key))
        bench.probing.send(ProbeOrder("two", "icmp 192.0.2.99"))
        server.release.set()
        while not isinstance(bench.events[-1], ProbeFailed):
            await asyncio.sleep(0.005)
        told = [e for e in bench.events if isinstance(e, ProbeReply | ProbeFailed)]
        assert [event.path for event in told] == ["two"]
        assert len(server.seen) == 2

    with web(lab.server, 80) as server:
        on_loop(lab, config, body)


def test_the_core_learns_what_a_server_costs(lab):
    url = f"http://{SERVER4}/page/9000/"
    config = Config(probes=(probe("words", "http", url, expect_text=WORDS),))

    async def body(bench):
        costs = []
        for _ in range(3):
            await bench.ask("one", f"http {url}")
            costs.append(bench.targets()[f"http {url}"].cost)
        changes = [e for e in bench.events if isinstance(e, TargetsChanged) and e.path == "one"]
        assert len(changes) <= 3  # at first, when it was seen, and if an acknowledgement more was
        assert 9_000 < costs[0] < 12_000
        assert bench.targets("two")[f"http {url}"].cost < 2_000
        bench.probing.configure(config)  # what was seen stays
        assert bench.targets()[f"http {url}"].cost == costs[-1]

    with web(lab.server, 80):
        on_loop(lab, config, body)


def test_a_reload_reads_the_store_of_certificates_anew(lab, tmp_path, monkeypatch):
    authority(tmp_path)
    config = Config(probes=(probe("secure", "https", f"https://{SERVER4}/status/204"),))
    key = f"https https://{SERVER4}/status/204"

    async def body(bench):
        assert "certificate refused" in (await bench.ask("one", key)).text
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert "certificate refused" in (await bench.ask("one", key)).text
        bench.probing.configure(config)
        assert isinstance(await bench.ask("one", key), ProbeReply)

    with web(lab.server, 443, server_context(tmp_path)):
        on_loop(lab, config, body)


def test_libraries_are_imported_where_they_are_needed_only():
    """And a kind whose library is missing is left out, and said to be."""
    code = """
import asyncio, logging, sys
from omrfast.core.config import Config, ProbeConfig
from omrfast.core.operations import Observed
from omrfast.core.plan import Binding
from omrfast.core.types import ProbeKind
from omrfast.probing import Probing
import omrfast.agent
logging.basicConfig(format="%(message)s")
sys.modules["h11"] = None  # not installed
told = []
async def main():
    take = told.append
    probing = Probing(asyncio.get_running_loop(), Config(), replied=take, failed=take, changed=take)
    binding = Binding("one", 1, "192.0.2.2", frozenset())
    probing.bind({"one": binding}, {"one": "lo"}, Observed())
    assert "dns" not in sys.modules
    resolver = ProbeConfig("names", ProbeKind.DNS, "192.0.2.1")
    probing.configure(Config(probes=(resolver,)))
    assert "dns" in sys.modules and "omrfast.probe.http" not in sys.modules
    web = ProbeConfig("web", ProbeKind.HTTP, "http://192.0.2.1/")
    probing.configure(Config(probes=(resolver, web)))
    probing.configure(Config(probes=(web, resolver)))
    assert [target.key for target in told[-1].targets] == ["dns 192.0.2.1 ."]
    probing.close()
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no probes of kind http: ") == 1
