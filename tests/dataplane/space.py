# SPDX-License-Identifier: GPL-2.0-or-later
"""Namespaces, devices and processes for these tests: all of it real."""

from __future__ import annotations

import functools
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute, netns

from omrfast.core.types import PathLink

ARPHRD_ETHER = 1


def command(*words: str, check: bool = True) -> str:
    """Run a tool in the present namespace and return what it prints."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


def until(condition: Callable[[], bool], what: str, deadline: float = 10.0) -> None:
    """Poll until it is true."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"not within {deadline} s: {what}"
        time.sleep(0.01)


def python(script: str, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start an interpreter with this script, in the present namespace."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@functools.cache
def usual_tc() -> str:
    """The kind of TC hook that attach() is to take by itself, told from the kernel's symbols."""
    symbols = Path("/proc/kallsyms").read_text()
    return "tcx" if " tcx_prog_attach\n" in symbols else "clsact"


_serial = itertools.count()


@dataclass
class Space:
    """A network namespace; as a context it is the one of this thread."""

    name: str

    def __enter__(self) -> Space:
        netns.pushns(self.name)
        return self

    def __exit__(self, *_: object) -> None:
        netns.popns()

    def veth(self, name: str, address: str) -> PathLink:
        """A veth pair, up at both ends, with a neighbour entry for everything behind it."""
        with self, IPRoute() as route:
            route.link("add", ifname=name, kind="veth", peer=f"{name}p")
            index = route.link_lookup(ifname=name)[0]
            for end in (name, f"{name}p"):
                Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
                route.link("set", ifname=end, state="up")
            route.addr("add", index=index, address=address, prefixlen=24)
            peer = route.get_links(ifname=f"{name}p")[0].get_attr("IFLA_ADDRESS")
            other = address.rsplit(".", 1)[0] + ".2"
            route.neigh("add", dst=other, lladdr=peer, ifindex=index, state="permanent")
        return PathLink(0, index, name, ARPHRD_ETHER)


def make_space() -> Space:
    """A new namespace; its maker removes it."""
    space = Space(f"omr-shim-{os.getpid()}-{next(_serial)}")
    netns.create(space.name)
    return space


@contextmanager
def temporary_space() -> Iterator[Space]:
    """A new namespace, entered, and removed after."""
    space = make_space()
    try:
        with space:
            yield space
    finally:
        netns.remove(space.name)


def send(address: str, count: int) -> None:
    """Datagrams to the other end of a veth, none of which is answered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(count):
            sender.sendto(b"x" * 100, (address, 9))
