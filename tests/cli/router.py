# SPDX-License-Identifier: GPL-2.0-or-later
"""A namespace with two uplinks that lead nowhere, for tests of the commands on a real agent."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEADLINE = 30.0
_NUMBERS = itertools.count(1)


def wait_for(what: str, look: Callable[[], Any]) -> Any:
    """The first true answer; fails when there is none in time."""
    deadline = time.monotonic() + DEADLINE
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {DEADLINE:.0f} s: {what}"
        time.sleep(0.05)
    return found


class Router:
    """The namespace, its configuration, and the agent that may run in it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.run_dir = folder / "run"
        self.log = folder / "log"
        self.config = folder / "omrfast.toml"
        self.configure("")
        self.agent: subprocess.Popen[bytes] | None = None

    def configure(self, more: str) -> None:
        """Write the configuration: folders of its own, and ``more``."""
        folder = self.config.parent
        self.config.write_text(
            f'[agent]\nrun_dir = "{self.run_dir}"\nstate_dir = "{folder}/state"\n{more}'
        )

    def ip(self, *words: str) -> str:
        """Output of iproute2 here."""
        done = subprocess.run(
            ["ip", "-n", self.name, *words], check=True, capture_output=True, text=True, timeout=20
        )
        return done.stdout

    def command(self, *args: str, prefix: Sequence[str] = ()) -> list[str]:
        """``omrfast`` in the namespace; ``prefix``: a program that starts it."""
        inside = ["ip", "netns", "exec", self.name, *prefix]
        return [*inside, sys.executable, "-m", "omrfast.cli.main", *args, "--config", self._file]

    @property
    def _file(self) -> str:
        return str(self.config)

    def omrfast(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*args), capture_output=True, text=True, timeout=50, check=False
        )

    def json(self, *args: str) -> Any:
        """What a command says with --json."""
        done = self.omrfast(*args, "--json")
        assert done.returncode in (0, 3), done.stderr
        return json.loads(done.stdout)

    def launch(self, *args: str, prefix: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start ``omrfast run`` and do not wait."""
        with self.log.open("ab") as log:
            self.agent = subprocess.Popen(
                self.command("run", *args, prefix=prefix), stdout=log, stderr=log
            )
        return self.agent

    def start(self, *args: str, prefix: Sequence[str] = ()) -> None:
        """Start the agent and wait until it shows both paths."""
        agent = self.launch(*args, prefix=prefix)

        def answers() -> bool:
            assert agent.poll() is None, self.log.read_text()
            done = self.omrfast("status", "--json")
            return done.returncode in (0, 3) and len(json.loads(done.stdout)["paths"]) == 2

        wait_for("an agent that shows both paths", answers)

    def end(self, number: signal.Signals) -> int:
        """Send the signal; the exit code."""
        assert self.agent is not None
        self.agent.send_signal(number)
        code = self.agent.wait(DEADLINE)
        self.agent = None
        return code

    def found(self) -> tuple[str, str]:
        """Endpoints and routes, as the kernel has them."""
        return self.ip("mptcp", "endpoint", "show"), self.ip("route", "show")


@contextmanager
def two_uplinks(folder: Path) -> Iterator[Router]:
    """wan1 and wan2, 192.0.2.1 and .2, a default route and an endpoint each; nobody beyond."""
    router = Router(folder, f"omr-cli-{os.getpid()}-{next(_NUMBERS)}")
    subprocess.run(["ip", "netns", "add", router.name], check=True)
    try:
        router.ip("link", "set", "lo", "up")
        for n in ("1", "2"):
            wan, isp, address = f"wan{n}", f"isp{n}", f"192.0.2.{n}"
            router.ip("link", "add", wan, "type", "veth", "peer", "name", isp)
            router.ip("addr", "add", f"{address}/32", "dev", wan)
            router.ip("link", "set", wan, "up")
            router.ip("link", "set", isp, "up")
            router.ip("route", "add", "default", "dev", wan, "metric", n)
            router.ip("mptcp", "endpoint", "add", address, "dev", wan, "subflow")
        yield router
    finally:
        if router.agent is not None and router.agent.poll() is None:
            router.end(signal.SIGKILL)
        router.omrfast("detach", "--force")
        subprocess.run(["ip", "netns", "del", router.name], check=True)
