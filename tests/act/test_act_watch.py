# SPDX-License-Identifier: GPL-2.0-or-later
"""Watch: what `ip` does is told, and nothing else."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time

import pytest

from omrfast.act.watch import AddressEvent, LinkEvent, NeighbourFailed, Overrun, RouteEvent, Watch


def watching(lab, body):
    """Run ``body(expect, heard)`` on a loop inside the router."""

    async def main():
        heard = []
        watch = Watch(asyncio.get_running_loop(), heard.append)

        async def expect(what, condition):
            end = time.monotonic() + 20
            while not any(condition(event) for event in heard):
                assert time.monotonic() < end, f"not told: {what}; {heard}"
                await asyncio.sleep(0.005)
            told = list(heard)
            heard.clear()
            return told

        try:
            await body(expect, heard)
        finally:
            watch.close()
            watch.close()

    lab.router.call(lambda: asyncio.run(main()))


def link(**wanted):
    return lambda event: (
        isinstance(event, LinkEvent)
        and all(getattr(event, name) == value for name, value in wanted.items())
    )


def equals(wanted):
    return lambda event: event == wanted


def test_links_come_go_and_lose_their_carrier(lab):
    async def body(expect, _heard):
        index = lab.index("wan1")
        lab.server.ip("link", "set", "up1", "down")
        await expect("carrier lost", link(name="wan1", index=index, up=False, removed=False))
        lab.server.ip("link", "set", "up1", "up")
        await expect("carrier back", link(name="wan1", index=index, up=True))
        lab.router.ip("link", "set", "wan1", "down")
        await expect("down", link(name="wan1", up=False, removed=False))
        lab.router.ip("link", "del", "wan1")
        await expect("removed", link(name="wan1", index=index, up=False, removed=True))
        lab.link(1)
        await expect("made anew", link(name="wan1", index=lab.index("wan1"), up=True, arphrd=1))

    watching(lab, body)


def test_addresses(lab):
    async def body(expect, _heard):
        index = lab.index("wan1")
        for address, length in (("192.0.2.7", 32), ("2001:db8::7", 128)):
            for word, removed in (("add", False), ("del", True)):
                lab.router.ip("addr", word, f"{address}/{length}", "dev", "wan1")
                event = AddressEvent(index, address, removed)
                await expect(event, equals(event))

    watching(lab, body)


@pytest.mark.parametrize("family", [4, 6])
def test_routes_of_every_table(lab, family):
    via = {4: "10.77.1.1", 6: "fd77:1::1"}[family]

    async def body(expect, heard):
        index = lab.index("wan1")
        tail = ("via", via, "dev", "wan1", "metric", "7")
        for table in (77, 254):
            words = (*tail, "table", str(table))
            for word, gone in (("add", False), ("del", True)):
                lab.router.ip(f"-{family}", "route", word, "default", *words)
                event = RouteEvent(family, "default", index, 7, table, gone)
                assert await expect(event, equals(event)) == [event]

    watching(lab, body)


def test_an_overrun_is_told(lab):
    async def body(expect, heard):
        commands = [
            f"route {word} 203.0.113.0/24 via 10.77.1.1 metric 9\n"
            for _ in range(4000)
            for word in ("add", "del")
        ]
        subprocess.run(
            lab.router.exec("ip", "-batch", "-"), input="".join(commands), text=True, check=True
        )
        await expect("overrun", lambda event: isinstance(event, Overrun))
        lab.router.ip("addr", "add", "192.0.2.7/32", "dev", "wan1")
        event = AddressEvent(lab.index("wan1"), "192.0.2.7", False)
        await expect(event, equals(event))

    watching(lab, body)


@pytest.mark.parametrize("family", [4, 6])
def test_a_gateway_that_nobody_answers_for(lab, family):
    """The carrier's box is gone, the link is not: the kernel asks three times, a second apart."""
    gateway = {4: "10.77.1.1", 6: "fd77:1::1"}[family]
    length = {4: "24", 6: "64"}[family]
    lab.server.ip("addr", "del", f"{gateway}/{length}", "dev", "up1")
    kind = {4: socket.AF_INET, 6: socket.AF_INET6}[family]

    async def body(expect, _heard):
        with socket.socket(kind, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"?", ({4: "203.0.113.9", 6: "2001:db8::9"}[family], 9))
            event = NeighbourFailed(lab.index("wan1"), gateway)
            told = await expect(event, equals(event))
        assert [e for e in told if isinstance(e, NeighbourFailed)] == [event]

    watching(lab, body)
