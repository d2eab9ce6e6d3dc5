# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast check`: what the configuration asks for, and whether it can be had here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NAME = f"omr-cli-conf-{os.getpid()}"
UPLINKS = '[[path]]\ninterface = "wan1"\n[[path]]\ninterface = "lte"\nrole = "backup"\n'
SERVER = '[[server]]\nname = "vps"\naddresses = ["203.0.113.10"]\n'
RUN = "from omrfast.cli.main import main; sys.exit(main(sys.argv[1:]))"

Check = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def namespace() -> Iterator[str]:
    subprocess.run(["ip", "netns", "add", NAME], check=True)
    try:
        yield NAME
    finally:
        subprocess.run(["ip", "netns", "del", NAME], check=True)


@pytest.fixture
def check(namespace: str, tmp_path: Path) -> Check:
    """Findings by name, in a namespace of its own; ``missing``: modules that can't be imported."""
    file = tmp_path / "omrfast.toml"

    def run(text: str, *missing: str) -> dict[str, dict[str, Any]]:
        agent = f'run_dir = "{tmp_path}/run"\nstate_dir = "{tmp_path}/state"\n'
        file.write_text(text if "[agent]" in text else f"[agent]\n{agent}{text}")
        hide = f"import sys; sys.modules.update(dict.fromkeys({list(missing)!r})); "
        done = subprocess.run(
            [
                *("ip", "netns", "exec", namespace, sys.executable, "-c", hide + RUN),
                *("check", "--json", "--config", str(file)),
            ],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.stdout, done.stderr
        found = {item["name"]: item for item in json.loads(done.stdout)}
        assert done.returncode == any(item["ok"] is False for item in found.values())
        return found

    return run


def test_objectives(check: Check, tmp_path: Path) -> None:
    assert check(UPLINKS)["objective"]["detail"] == "latency"
    agent = f'[agent]\nrun_dir = "{tmp_path}/run"\nobjective = "throughput"\n'
    lte = UPLINKS + 'objective = "latency"\n'
    assert check(agent + lte)["objective"]["detail"] == "throughput, lte latency"


def test_budgets(check: Check) -> None:
    found = check(UPLINKS + SERVER)
    assert found["probe budget wan1"]["detail"] == "no bound"
    assert found["probe budget lte"]["detail"] == "5.00 MB in 30 days"
    assert found["probe budget lte"]["ok"] is True


def test_a_budget_that_the_services_would_not_keep_within(check: Check) -> None:
    probe = '[[probe]]\nname = "web"\nkind = "http"\ntarget = "http://198.51.100.1/"\n'
    found = check(UPLINKS + SERVER + probe)
    assert found["probe budget wan1"]["ok"] is True
    lte = found["probe budget lte"]
    assert lte["ok"] is None
    assert "5.00 MB in 30 days; at their intervals the services asked would take" in lte["detail"]
    assert "intervals of" in lte["todo"]
    rare = check(UPLINKS + SERVER + probe + 'interval = "24h"\n')["probe budget lte"]
    assert rare["ok"] is True


def test_probes_and_their_libraries(check: Check) -> None:
    web = '[[probe]]\nname = "web"\nkind = "https"\ntarget = "https://example.org/"\n'
    names = '[[probe]]\nname = "names"\nkind = "dns"\ntarget = "198.51.100.53"\n'
    there = check(UPLINKS + SERVER + web + names)
    assert there["probe web"]["detail"] == "https https://example.org/, every 30 s"
    assert [there[name]["ok"] for name in ("probe web", "probe names")] == [True, True]
    gone = check(UPLINKS + SERVER + web + names, "h11", "dns")
    assert gone["probe web"]["ok"] is None
    assert "left out, needs h11" in gone["probe web"]["detail"]
    assert gone["probe web"]["todo"] == "pip install h11"
    assert gone["probe names"]["todo"] == "pip install dnspython"


def test_nobody_to_ask(check: Check) -> None:
    assert check(UPLINKS)["probes"]["ok"] is None
    assert "probes" not in check(UPLINKS + SERVER)
    assert check(UPLINKS + SERVER + "port = 443\n")["server vps"]["ok"] is True


def test_journal(check: Check, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "journal"
    folder.mkdir(parents=True)
    (folder / "some").write_bytes(bytes(123_000))
    assert check(UPLINKS)["journal"] == {
        "name": "journal",
        "ok": True,
        "detail": f"{folder}, 123 kB of 8.00 MB",
        "todo": "",
    }
    assert "off" in check(UPLINKS + '[journal]\nsize = "0B"\n')["journal"]["detail"]


def test_a_journal_without_room(check: Check, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", small], check=True)
    try:
        agent = f'[agent]\nrun_dir = "{tmp_path}/run"\nstate_dir = "{small}/state"\n'
        found = check(agent + UPLINKS)["journal"]
    finally:
        subprocess.run(["umount", small], check=True)
    assert found["ok"] is None
    assert "are free there" in found["detail"]
    assert "smaller size under [journal]" in found["todo"]


def test_tuning(check: Check) -> None:
    none = check(UPLINKS)["tuning"]
    assert none["ok"] is True
    assert none["detail"].startswith("none asked for; in effect: net.mptcp.stale_loss_cnt = ")
    value = int(none["detail"].split("stale_loss_cnt = ")[1].split(",")[0])
    same = check(f"{UPLINKS}[tuning]\nstale_loss_cnt = {value}\n")["tuning"]
    assert same["ok"] is True
    assert same["detail"].startswith("as asked for: ")
    other = check(f"{UPLINKS}[tuning]\nstale_loss_cnt = {value + 1}\n")["tuning"]
    assert other["ok"] is None
    assert f"asked for: net.mptcp.stale_loss_cnt = {value + 1}; in effect" in other["detail"]
    assert other["todo"] == "the agent sets it while it runs: omrfast run"


def test_the_initial_window(check: Check, namespace: str) -> None:
    def ip(*words: str) -> None:
        subprocess.run(["ip", "-n", namespace, *words], check=True)

    wish = f"{UPLINKS}[tuning]\ninitial_window = 64\n"
    assert check(wish)["tuning"]["detail"].endswith("initial windows: no routes")
    ip("link", "add", "wan1", "type", "veth", "peer", "name", "isp1")
    for device in ("wan1", "isp1"):
        ip("link", "set", device, "up")
    for metric in ("1", "2"):
        ip("route", "add", "default", "dev", "wan1", "metric", metric)
    found = check(wish)["tuning"]
    assert found["ok"] is None
    assert "asked for: initial_window = 64 on 2 of them; in effect: " in found["detail"]
    assert found["detail"].endswith("initial windows: the kernel's own on 2 routes")
    ip("route", "replace", "default", "dev", "wan1", "metric", "1", "initcwnd", "64")
    found = check(wish)["tuning"]
    assert "asked for: initial_window = 64 on 1 of them" in found["detail"]
    assert found["detail"].endswith("the kernel's own on 1 route, 64 on 1 route")
    ip("route", "replace", "default", "dev", "wan1", "metric", "2", "initcwnd", "64")
    found = check(wish)["tuning"]
    assert found["ok"] is True
    assert found["detail"].startswith("as asked for: ")
    assert found["detail"].endswith("initial windows: 64 on 2 routes")
