# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent as a real process in the router of a lab."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omrfast.export import client
from omrfast.export.control import ControlError
from omrfast.lab import netns
from omrfast.lab.addresses import uplink_address
from omrfast.lab.devices import LabError
from omrfast.lab.topology import Lab

Overrides = Mapping[str, Mapping[str, Any]]
"""What differs from the generated configuration: keys of a plain section, {"quality":
{"recover_after": "3s"}}, or names in a list of sections and their keys, {"path": {"wan1": {"role":
"off"}}, "probe": {"web": {"kind": "http", "target": "http://203.0.113.10/"}}}."""

AGENT_CONFIG = "agent.toml"
"""File name in the lab's directory."""
START_PATIENCE = 60.0
STOP_PATIENCE = 30.0
POLL = 0.05


def _toml(tables: Mapping[str, Any]) -> str:
    """TOML of sections (mappings) and lists of sections; scalars are written as in JSON."""
    lines = []
    for name, value in tables.items():
        for header, table in (
            [(f"[{name}]", value)]
            if isinstance(value, Mapping)
            else [(f"[[{name}]]", table) for table in value]
        ):
            lines.append(header)
            lines += [f"{key} = {json.dumps(item)}" for key, item in table.items()]
            lines.append("")
    return "\n".join(lines)


class Agent:
    """One agent; ``start`` it as often as you like, over the same run_dir and state_dir.

    ``overrides`` go into the generated configuration, ``arguments`` to ``omrfast run``.
    """

    def __init__(
        self, lab: Lab, overrides: Overrides | None = None, arguments: Sequence[str] = ()
    ) -> None:
        self._lab = lab
        self._arguments = list(arguments)
        self._process: subprocess.Popen[str] | None = None
        self.run_dir = str(lab.directory / "run")
        self.config_path = lab.directory / AGENT_CONFIG
        self.log_path = lab.directory / "agent.log"
        self.configure(overrides or {})

    def configure(self, overrides: Overrides) -> None:
        """Write the configuration; a running agent takes it on SIGHUP."""
        spec = self._lab.spec
        plain: dict[str, Any] = {
            "agent": {"run_dir": self.run_dir, "state_dir": str(self._lab.directory / "state")},
        }
        named: dict[str, dict[str, dict[str, Any]]] = {
            "path": {
                f"wan{n}": {
                    "interface": f"wan{n}",
                    "address": uplink_address(n),
                    "role": uplink.role,
                }
                for n, uplink in enumerate(spec.uplinks, 1)
            },
            "server": {
                f"vps{v}": {"addresses": self._lab.server_addresses(v)}
                for v in range(1, spec.servers + 1)
            },
            "probe": {},
        }
        for section, keys in overrides.items():
            if section in named:
                for name, own in keys.items():
                    named[section][name] = named[section].get(name, {}) | dict(own)
            else:
                plain[section] = plain.get(section, {}) | dict(keys)
        lists = {
            section: [{"name": name} | keys for name, keys in entries.items()]
            for section, entries in named.items()
        }
        self.config_path.write_text(_toml(plain | lists))

    # --- life ---

    def start(self, paths: int | None = None) -> None:
        """Start it and wait until it answers with every path (or so many); LabError with its log
        if not."""
        command = [sys.executable, "-m", "omrfast.cli.main", "run", "--config"]
        with self.log_path.open("a") as log:
            self._process = netns.spawn(
                self._lab.ns("router"),
                [*command, str(self.config_path), *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        expected = len(self._lab.spec.uplinks) if paths is None else paths
        self.wait_for(lambda status: len(status["paths"]) == expected, START_PATIENCE, "start")

    @property
    def pid(self) -> int:
        if self._process is None:
            raise LabError("the agent was not started")
        return self._process.pid

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def send_signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self) -> int:
        """End it with SIGTERM; its exit code. LabError if it does not end."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """End it with SIGKILL, as a crash does."""
        return self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        process = self._process
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            raise LabError(f"the agent did not end: {self.log_tail()}") from error
        finally:
            self._process = None

    # --- what it says ---

    def events(self) -> list[dict[str, Any]]:
        """What it has decided, done and noticed, oldest first; ControlError if it is silent."""
        told: list[dict[str, Any]] = client.request(self.run_dir, "events", timeout=2.0)
        return told

    def status(self) -> dict[str, Any] | None:
        """Its answer to ``status``; None while it does not answer."""
        try:
            answer: dict[str, Any] = client.request(self.run_dir, "status", timeout=2.0)
        except ControlError:
            return None
        return answer

    def wait_for(
        self, condition: Callable[[dict[str, Any]], bool], timeout: float, what: str
    ) -> dict[str, Any]:
        """Poll ``status`` until the condition holds; LabError with the log if it never does."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            status = self.status()
            if status is not None and condition(status):
                return status
            if not self.running():
                raise LabError(f"the agent ended while waiting for {what}:\n{self.log_tail()}")
            time.sleep(POLL)
        raise LabError(f"no {what} within {timeout:g} s:\n{self.log_tail()}")

    def wait_state(self, path: str, state: str, timeout: float = 30.0) -> dict[str, Any]:
        """Wait until a path is in a state."""

        def reached(status: dict[str, Any]) -> bool:
            return any(p["name"] == path and p["state"] == state for p in status["paths"])

        return self.wait_for(reached, timeout, f"{path} {state}")

    def log_tail(self, lines: int = 20) -> str:
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text().splitlines()[-lines:])
