# SPDX-License-Identifier: GPL-2.0-or-later
"""The command as scripts meet it: a process, its output and its exit code."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from snapshots import EVENT, FLOW, path, snapshot

from omrfast.cli.main import build_parser
from omrfast.core.views import FlowView, Snapshot
from omrfast.export.control import ControlServer, socket_path
from omrfast.export.events import EventLog
from omrfast.export.handlers import control_handlers
from omrfast.export.status import status_json

COMMAND = [sys.executable, "-m", "omrfast.cli.main"]


def omrfast(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("OMRFAST_")}
    return subprocess.run(
        [*COMMAND, *args],
        capture_output=True,
        text=True,
        timeout=50,
        env=clean | environment,
        check=False,
    )


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A configuration whose agent has folders of its own."""
    file = tmp_path / "omrfast.toml"
    file.write_text(f'[agent]\nrun_dir = "{tmp_path}/run"\nstate_dir = "{tmp_path}/state"\n')
    return str(file)


@contextmanager
def agent(config: str, shown: Snapshot, kept: int = 1) -> Iterator[EventLog]:
    """The agent's side of the control socket, on a loop of its own."""
    run_dir = str(Path(config).parent / "run")
    log = EventLog()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def flows(top: int) -> list[FlowView]:
        return [FLOW] * min(top, 3)

    async def snapshot() -> Snapshot:
        return shown

    server = ControlServer(run_dir, control_handlers(snapshot, flows, log))
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        for _ in range(kept):
            loop.call_soon_threadsafe(log.append, EVENT)
        yield log
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def one_line(text: str) -> bool:
    return text.startswith("omrfast: ") and text.count("\n") == 1 and text.endswith("\n")


# --- usage and configuration ----------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("stat",),
        ("status", "--jsn"),
        ("flows", "--top", "0"),
        ("flows", "--top", "many"),
        ("status", "--config"),
        ("detach", "everything"),
        ("lab", "up", "--name", "a/b"),
        ("lab", "link", "wan1", "delay=5"),
        ("lab", "link", "wan1", "loss=200%"),
        ("lab", "link", "wan1", "reorder=101%"),
        ("lab", "link", "wan1", "blackhole=perhaps"),
    ],
)
def test_usage_errors(args: tuple[str, ...]) -> None:
    done = omrfast(*args)
    assert done.returncode == 2
    assert one_line(done.stderr)
    assert "--help" in done.stderr
    assert not done.stdout


def test_options_may_stand_between_the_words_of_a_command() -> None:
    args = build_parser().parse_args(
        [
            "lab",
            "link",
            "wan1",
            "delay=150ms",
            "--name",
            "mine",
            "loss=3%",
            "hold=5ms",
            "blackhole=on",
        ]
    )
    assert (args.uplink, args.name) == ("wan1", "mine")
    assert args.changes == [("delay", 0.15), ("loss", 0.03), ("hold", 0.005), ("blackhole", 1.0)]


def test_help_and_version() -> None:
    shown = omrfast("--help")
    assert shown.returncode == 0
    for name in ("run", "status", "flows", "events", "check", "detach", "restore", "lab"):
        assert f"\n    {name} " in shown.stdout
        assert "--config" in omrfast(name, "--help").stdout
    assert omrfast("--version").stdout.startswith("omrfast 0.")


@pytest.mark.parametrize("command", ["status", "flows", "events", "check", "detach", "restore"])
def test_a_bad_configuration_is_named(command: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[agent]\nloaders = "bcc"\n')
    done = omrfast(command, "--config", str(file))
    assert done.returncode == 2
    assert one_line(done.stderr)
    assert f"{file}: unknown key agent.loaders; did you mean loader?" in done.stderr


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    done = omrfast("status", "--config", f"{tmp_path}/none.toml")
    assert done.returncode == 2
    assert f"{tmp_path}/none.toml: no such file" in done.stderr


def test_where_the_configuration_comes_from(config: str, tmp_path: Path) -> None:
    """--config beats OMRFAST_CONFIG, and may stand before or after the command."""
    here = socket_path(str(tmp_path / "run"))
    assert here in omrfast("status", OMRFAST_CONFIG=config).stderr
    assert here in omrfast("status", "--config", config, OMRFAST_CONFIG="/none").stderr
    assert here in omrfast("--config", config, "status", OMRFAST_CONFIG="/none").stderr


# --- no agent -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args", [("status",), ("flows",), ("events",), ("events", "-f"), ("status", "--json")]
)
def test_no_agent(args: tuple[str, ...], config: str, tmp_path: Path) -> None:
    done = omrfast(*args, "--config", config)
    assert done.returncode == 1
    assert one_line(done.stderr)
    assert f"no agent answers at {tmp_path}/run/control.sock; start it with" in done.stderr
    assert not done.stdout


def test_restore_without_anything_to_restore(config: str) -> None:
    done = omrfast("restore", "--config", config)
    assert (done.returncode, done.stdout) == (0, "nothing to restore\n")


def test_detach_without_anything_attached(config: str) -> None:
    done = omrfast("detach", "--config", config)
    assert done.returncode == 0, done.stderr
    assert "no pin below" in done.stdout


# --- with an agent ----------------------------------------------------------------------------


def test_status(config: str) -> None:
    with agent(config, snapshot()):
        done = omrfast("status", "--json", "--config", config)
        assert done.returncode == 0
        assert json.loads(done.stdout) == json.loads(json.dumps(status_json(snapshot())))
        shown = omrfast("status", "--config", config)
    assert shown.returncode == 0
    header, fibre, lte = (
        next(line for line in shown.stdout.splitlines() if line.startswith(word))
        for word in ("PATH", "fibre", "lte")
    )
    assert [header.index(word) for word in ("PATH", "INTERFACE", "STATE")] == [
        fibre.index("fibre"),
        fibre.index("wan0"),
        fibre.index("up"),
    ]
    assert "41.2" in fibre
    assert "2.00 kB" in fibre
    assert " - " in lte
    assert "rtt 341 ms > 250 ms" in shown.stdout


@pytest.mark.parametrize("args", [(), ("--json",)])
def test_status_without_a_usable_path(args: tuple[str, ...], config: str) -> None:
    with agent(config, snapshot(path(state="down"), path("dsl", state="probation"))):
        done = omrfast("status", *args, "--config", config)
    assert done.returncode == 3
    assert "probation" in done.stdout


def test_flows(config: str) -> None:
    with agent(config, snapshot()):
        found = omrfast("flows", "--json", "--top", "2", "--config", config)
        shown = omrfast("flows", "--config", config)
    assert [flow["remote_port"] for flow in json.loads(found.stdout)] == [443, 443]
    assert shown.stdout.count("203.0.113.1:443") == 3
    assert "deadbeef" in shown.stdout


def test_events(config: str) -> None:
    with agent(config, snapshot(), kept=3):
        found = omrfast("events", "--json", "--config", config)
        shown = omrfast("events", "--config", config)
    assert [event["message"] for event in json.loads(found.stdout)] == [EVENT.message] * 3
    assert shown.stdout.count("rtt_ms=341") == 3


def test_events_follow_until_the_agent_stops(config: str) -> None:
    with agent(config, snapshot(), kept=2):
        follower = subprocess.Popen(
            [*COMMAND, "events", "-f", "--json", "--config", config],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert follower.stdout is not None
        lines = [json.loads(follower.stdout.readline()) for _ in range(2)]
    assert [line["kind"] for line in lines] == ["decision", "decision"]
    assert follower.stdout.read() == ""
    assert follower.wait(10) == 0
    follower.stdout.close()


@pytest.mark.parametrize("command", ["detach", "restore"])
def test_a_running_agent_is_left_alone(command: str, config: str) -> None:
    with agent(config, snapshot()):
        done = omrfast(command, "--config", config)
    assert done.returncode == 1
    assert one_line(done.stderr)
    assert f"(pid {os.getpid()})" in done.stderr


def test_a_reader_that_leaves_is_no_error(config: str) -> None:
    with agent(config, snapshot(), kept=900):
        done = subprocess.run(
            ["bash", "-c", f"{' '.join(COMMAND)} events --config {config} | head -n 1"],
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
        )
    assert EVENT.message in done.stdout
    assert not done.stderr


# --- check --------------------------------------------------------------------------------------


def check(*args: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = omrfast("check", "--json", *args)
    found = json.loads(done.stdout)
    assert all(set(item) == {"name", "ok", "detail", "todo"} for item in found)
    return done.returncode, {item["name"]: item for item in found}


def test_check_of_this_machine(config: str) -> None:
    code, found = check("--config", config)
    assert code == 0
    for name in ("kernel", "capabilities", "BTF", "BPF ring buffer", "BPF TC programs", "MPTCP"):
        assert found[name]["ok"] is True, found[name]
    for name in ("shim", "TCX", "prebuilt object", "bcc loader", "lab"):
        assert found[name]["ok"] is True, found[name]
    assert "no agent answers" in found["agent"]["detail"]


def test_check_tells_flows_that_found_no_room(config: str) -> None:
    with agent(config, snapshot()):
        code, found = check("--config", config)
    assert code == 0
    assert "12 of 65536 flows; 4 flows found no room" in found["agent"]["detail"]


def test_check_without_rights_fails_and_says_what_is_missing(config: str) -> None:
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", *COMMAND, "check", "--config", config],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1
    assert "FAIL  capabilities" in done.stdout
    for name in ("CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_PERFMON", "CAP_BPF"):
        assert name in done.stdout
    assert one_line(done.stderr)
