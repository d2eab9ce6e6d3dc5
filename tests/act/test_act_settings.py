# SPDX-License-Identifier: GPL-2.0-or-later
"""Limits, tuning and the black-hole conclusion on a real kernel: applied, kept, put back."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest

from omrfast.act import settings
from omrfast.act.apply import Actuator, apply
from omrfast.act.errors import ActionError
from omrfast.act.sockets import SocketDiag
from omrfast.core.config import PathConfig, TuningConfig
from omrfast.core.discover import bind
from omrfast.core.operations import ForgetBlackhole
from omrfast.core.outcome import Wish
from omrfast.core.settings import STALE_LOSS_CNT, TCP_NOTSENT_LOWAT, TCP_RTO_MIN, TCP_WMEM
from omrfast.core.wish import PENALTY_DOWN
from omrfast.reconcile import Reconciler
from omrfast.store.ledger import Ledger

from .conftest import SERVER4, Lab, Namespace

PATHS = (PathConfig("one", "wan1"), PathConfig("two", "wan2"))
UP = Wish(present=True, backup=False, penalty=0)
DOWN = Wish(present=False, penalty=PENALTY_DOWN)
MPTCP = 262
TIMEOUT = "net.mptcp.blackhole_timeout"


def within(router, state_dir, body, *, dry_run=False):
    """Run ``body(wish)`` on a loop in the router; ``wish`` settles both paths and the tuning."""

    async def main():
        did = []
        reconciler = Reconciler(
            Actuator(),
            Ledger(state_dir),
            dry_run=dry_run,
            acted=lambda action, text: did.append((action.path, action.kind)),
            recorded=lambda why_not: None,
        )
        bindings = tuple(bind(PATHS, await reconciler.observe(None, ()), create=True)[0].values())

        async def wish(one, two, tuning=TuningConfig()):  # noqa: B008
            did.clear()
            wishes = {"one": one, "two": two}
            reconciler.run(PATHS, bindings, (), wishes, {}, frozenset(), tuning)
            await reconciler.settled()
            return did

        try:
            await body(wish)
            return await reconciler.restore()
        finally:
            reconciler.close()

    return router.call(lambda: asyncio.run(main()))


def now(router):
    names = (STALE_LOSS_CNT, TCP_WMEM, TCP_RTO_MIN, TCP_NOTSENT_LOWAT)
    return router.call(settings.read, names), router.ip("mptcp", "limits", "show").strip()


def test_limits_and_tuning_are_applied_and_put_back(lab, state_dir):
    router = lab.router
    router.ip("mptcp", "limits", "set", "subflows", "1", "add_addr_accepted", "3")
    found = now(router)
    tuning = TuningConfig(stale_loss_cnt=1, rto_min=0.02, send_buffer=524_288, unsent_limit=32_768)

    async def body(wish):
        did = await wish(UP, UP)
        assert [kind for path, kind in did if not path] == ["setting"]
        assert now(router)[0] == found[0]
        assert "subflows 2" in now(router)[1]
        assert "add_addr_accepted 3" in now(router)[1]
        did = await wish(UP, UP, tuning)
        assert did == [("", "setting")] * 4
        assert now(router)[0] == {
            STALE_LOSS_CNT: "1",
            TCP_NOTSENT_LOWAT: "32768",
            TCP_RTO_MIN: "20000",
            TCP_WMEM: " ".join([*found[0][TCP_WMEM].split()[:2], "524288"]),
        }
        assert await wish(UP, UP, tuning) == []
        assert await wish(UP, UP, replace(tuning, stale_loss_cnt=None)) == [("", "setting")]
        assert now(router)[0][STALE_LOSS_CNT] == found[0][STALE_LOSS_CNT]

    restored = within(router, state_dir, body)
    assert now(router) == found
    assert len([text for text in restored.done if "put back to" in text]) == 4
    assert not (state_dir / "changes.json").exists()


def time_outs(router: Namespace) -> list[float]:
    """Retransmission time-outs of a new connection, milliseconds."""

    def read() -> list[float]:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP) as client:
            client.settimeout(30)
            client.connect((SERVER4, 5000))
            client.sendall(b"?")
            words = ["ss", "-tin", f"sport = :{client.getsockname()[1]}"]
            shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
            return [float(value) for value in re.findall(r"\brto:([\d.]+)", shown)]

    return router.call(read)


def test_the_least_time_out_is_that_of_new_connections(lab, state_dir):
    if not lab.router.call(settings.read, [TCP_RTO_MIN]):
        pytest.skip("this kernel has no tcp_rto_min_us (before Linux 6.11)")

    async def body(wish):
        await wish(UP, UP)
        usual = await asyncio.to_thread(time_outs, lab.router)
        assert usual
        assert min(usual) >= 200, "TCP_RTO_MIN"
        await wish(UP, UP, TuningConfig(rto_min=0.02))
        tuned = await asyncio.to_thread(time_outs, lab.router)
        assert tuned
        assert max(tuned) < 200

    with listening(lab):
        within(lab.router, state_dir, body)


def routes_of(router: Namespace) -> dict[tuple[str, str], tuple[str, str]]:
    """(metric, initial window) of default routes, by gateway and table."""
    found = {}
    for version in (4, 6):
        shown = router.ip(f"-{version}", "route", "show", "table", "all", "default")
        for line in shown.splitlines():
            words = line.split()
            after = dict(pairwise(words))
            key = after["via"], after.get("table", "main")
            found[key] = after.get("metric", "0"), after.get("initcwnd", "")
    return found


def first_window(router: Namespace) -> int:
    """Congestion window of a new connection."""

    def read() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP) as client:
            client.settimeout(30)
            client.connect((SERVER4, 5000))
            words = ["ss", "-tin", f"sport = :{client.getsockname()[1]}"]
            shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
            return int(re.search(r"\bcwnd:(\d+)", shown)[1])

    return router.call(read)


def test_the_initial_window_is_that_of_every_route_wherever_it_is_moved(lab, state_dir):
    router = lab.router
    for number in (1, 2):
        via = ("via", f"10.77.{number}.1", "dev", f"wan{number}")
        router.ip("route", "add", "default", *via, "table", str(100 + number))
    router.ip("route", "add", "default", "via", "10.77.1.77", "dev", "wan1", "metric", "300",
              "mtu", "1400", "initcwnd", "20")  # fmt: skip
    router.ip("route", "change", "default", "via", "10.77.2.1", "dev", "wan2", "metric", "200",
              "mtu", "1400")  # fmt: skip
    found = router.ip("route", "show", "table", "all"), router.ip("-6", "route", "show")
    tuned = TuningConfig(initial_window=64)

    def windows():
        return {window for _, window in routes_of(router).values()}

    async def body(wish):
        await wish(UP, UP)
        assert await asyncio.to_thread(first_window, router) == 10
        did = sorted(await wish(UP, UP, tuned))
        assert did == [("one", "setting")] * 4 + [("two", "setting")] * 3
        assert windows() == {"64"}
        assert "mtu 1400" in router.ip("route", "show", "default", "dev", "wan2")
        assert await asyncio.to_thread(first_window, router) == 64
        assert await wish(UP, UP, tuned) == []
        await wish(DOWN, UP, tuned)
        assert int(routes_of(router)["10.77.1.1", "main"][0]) > PENALTY_DOWN
        assert windows() == {"64"}
        await wish(UP, UP)
        assert (
            router.ip("route", "show", "table", "all"),
            router.ip("-6", "route", "show"),
        ) == found
        await wish(DOWN, UP, tuned)
        assert windows() == {"64"}, "moved and tuned in one go"

    with listening(lab):
        within(router, state_dir, body)
    assert (router.ip("route", "show", "table", "all"), router.ip("-6", "route", "show")) == found
    assert not (state_dir / "changes.json").exists()


def test_another_namespace_keeps_its_own(lab, state_dir):
    before = now(lab.server)

    async def body(wish):
        await wish(UP, UP, TuningConfig(send_buffer=65536))
        assert now(lab.server) == before

    within(lab.router, state_dir, body)


def test_what_the_kernel_refuses_is_said(lab):
    def body():
        with pytest.raises(ActionError, match=r"setting net\.mptcp\.stale_loss_cnt to many"):
            settings.write(STALE_LOSS_CNT, "many")
        assert settings.read(["net.mptcp.no_such_thing"]) == {}

    lab.router.call(body)


# --- the black hole -----------------------------------------------------------------------------


@contextmanager
def listening(lab: Lab) -> Iterator[None]:
    def listen() -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP)
        listener.bind((SERVER4, 5000))
        listener.listen()
        return listener

    with lab.server.call(listen):
        yield


def speaks_mptcp(router: Namespace) -> bool:
    """Whether a new connection is Multipath TCP."""

    def connect() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP) as client:
            client.settimeout(30)
            client.connect((SERVER4, 5000))
            port = client.getsockname()[1]
            with closing(SocketDiag()) as diag:
                flows = [flow for flow in diag.subflows() if flow.local_port == port]
            return any("mcap_rem" in flow.flags for flow in flows)

    return router.call(connect)


def nft(router: Namespace, *words: str) -> None:
    subprocess.run(router.exec("nft", *words), check=True)


def draw_the_conclusion(router: Namespace) -> None:
    """Every SYN with an MPTCP option is lost; the plain one, 3 s later, is answered."""
    nft(router, "add", "table", "ip", "hole")
    hook = "{ type filter hook output priority 0; }"
    nft(router, "add", "chain", "ip", "hole", "out", hook)
    rule = ("tcp", "flags", "syn", "tcp", "option", "30", "exists", "drop")
    nft(router, "add", "rule", "ip", "hole", "out", *rule)
    drawn = router.call(settings.blackholes)
    assert not speaks_mptcp(router)
    nft(router, "delete", "table", "ip", "hole")
    assert router.call(settings.blackholes) == drawn + 1


@pytest.fixture
def router(lab):
    if not lab.router.call(settings.read, [TIMEOUT]):
        pytest.skip("this kernel draws no such conclusion (before Linux 6.12)")
    with listening(lab):
        yield lab.router


def test_forgetting_makes_new_connections_multipath_again(router):
    router.call(settings.write, TIMEOUT, "1800")
    draw_the_conclusion(router)
    assert not speaks_mptcp(router), "every later connection is plain"
    router.call(apply, ForgetBlackhole())
    assert speaks_mptcp(router)
    assert router.call(settings.read, [TIMEOUT]) == {TIMEOUT: "1800"}


@pytest.mark.parametrize(("dead", "dry_run"), [(True, False), (False, False), (True, True)])
def test_a_conclusion_is_taken_back_where_a_path_was_dead_and_only_there(
    router, state_dir, dead, dry_run
):
    forgotten = dead and not dry_run
    for number in (1, 2):
        address = f"10.77.{number}.2"
        router.ip("mptcp", "endpoint", "add", address, "dev", f"wan{number}", "subflow")

    async def body(wish):
        did = await wish(UP, DOWN if dead else UP)
        await asyncio.to_thread(draw_the_conclusion, router)
        end = time.monotonic() + (20 if forgotten else 2)
        while ("", "forget") not in did and time.monotonic() < end:
            await asyncio.sleep(0.05)
        assert (("", "forget") in did) is forgotten

    within(router, state_dir, body, dry_run=dry_run)
    assert speaks_mptcp(router) is forgotten
