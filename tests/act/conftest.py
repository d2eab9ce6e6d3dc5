# SPDX-License-Identifier: GPL-2.0-or-later
"""A router with two uplinks and a server, in namespaces of their own.

    router  wan1 10.77.1.2 fd77:1::2 ── 10.77.1.1 fd77:1::1 up1  server
            wan2 10.77.2.2 fd77:2::2 ── 10.77.2.1 fd77:2::1 up2  (lo 10.77.9.1, fd77:9::1)

Python code runs inside a namespace on a thread of its own: the namespace is the thread's, and
threads that it starts inherit it.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
SERVER4 = "10.77.9.1"
SERVER6 = "fd77:9::1"

_numbers = itertools.count(1)
_libc = ctypes.CDLL(None, use_errno=True)


def run(*words: str, check: bool = True) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def poll(what: str, condition: Callable[[], T], deadline: float = 20.0) -> T:
    """The first true value of ``condition``; fails the test after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"never happened: {what}; last seen {value!r}")
        time.sleep(0.01)


class Namespace:
    def __init__(self, name: str) -> None:
        self.name = name
        run("ip", "netns", "add", name)
        self.path = f"/run/netns/{name}"
        self.ip("link", "set", "lo", "up")

    def ip(self, *words: str, check: bool = True) -> str:
        return run("ip", "-n", self.name, *words, check=check)

    def json(self, *words: str) -> Any:
        return json.loads(run("ip", "-n", self.name, "-j", "-d", *words) or "[]")

    def exec(self, *words: str) -> list[str]:
        return ["nsenter", f"--net={self.path}", *words]

    def sysctl(self, name: str, value: int) -> None:
        """Set net.`name`; /proc/sys/net is that of the thread's namespace."""
        self.call(Path("/proc/sys/net", name).write_text, str(value))

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function inside; its result or exception comes back."""
        outcome: list[Any] = []

        def body() -> None:
            fd = os.open(self.path, os.O_RDONLY)
            try:
                if _libc.setns(fd, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns {self.path}")
            finally:
                os.close(fd)
            try:
                outcome.extend((True, function(*args)))
            except BaseException as error:
                outcome.extend((False, error))

        thread = threading.Thread(target=body)
        thread.start()
        thread.join(60)
        assert outcome, f"{function} did not come back"
        if not outcome[0]:
            raise outcome[1]
        return outcome[1]

    def remove(self) -> None:
        run("ip", "netns", "del", self.name, check=False)


class Lab:
    def __init__(self, router: Namespace, server: Namespace) -> None:
        self.router = router
        self.server = server

    def index(self, interface: str) -> int:
        return self.router.json("link", "show", interface)[0]["ifindex"]

    def link(self, number: int) -> None:
        wan, up = f"wan{number}", f"up{number}"
        self.router.ip(
            "link", "add", wan, "type", "veth", "peer", "name", up, "netns", self.server.name
        )
        for space, name, last in ((self.router, wan, 2), (self.server, up, 1)):
            space.ip("addr", "add", f"10.77.{number}.{last}/24", "dev", name)
            space.ip("addr", "add", f"fd77:{number}::{last}/64", "dev", name, "nodad")
            space.ip("link", "set", name, "up")

    def routes(self, number: int, metric: int) -> None:
        wan = f"wan{number}"
        self.router.ip(
            "route", "add", "default", "via", f"10.77.{number}.1", "dev", wan, "metric", str(metric)
        )
        self.router.ip(
            "-6", "route", "add", "default", "via", f"fd77:{number}::1", "dev", wan,
            "metric", str(metric),
        )  # fmt: skip


@pytest.fixture
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    stem = f"omr-act-{os.getpid()}-{next(_numbers)}"
    spaces: list[Namespace] = []
    try:
        spaces.append(Namespace(f"{stem}r"))
        spaces.append(Namespace(f"{stem}s"))
        built = Lab(*spaces)
        for number, metric in ((1, 100), (2, 200)):
            built.link(number)
            built.routes(number, metric)
        built.server.ip("addr", "add", f"{SERVER4}/32", "dev", "lo")
        built.server.ip("addr", "add", f"{SERVER6}/128", "dev", "lo", "nodad")
        for name in ("wan1", "wan2"):
            poll(f"{name} up", lambda name=name: _running(built, name))
        yield built
    finally:
        for space in spaces:
            space.remove()


def _running(lab: Lab, name: str) -> bool:
    return lab.router.json("link", "show", name)[0]["operstate"] == "UP"


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"
