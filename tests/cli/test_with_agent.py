# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands against a real agent, in a namespace with two uplinks that lead nowhere."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from router import DEADLINE, Router, two_uplinks, wait_for


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    with two_uplinks(tmp_path) as router:
        yield router


def test_status_of_a_real_agent(router: Router) -> None:
    router.start()
    status = router.json("status")
    keys = ["version", "uptime_s", "loader", "paths", "actions", "servers", "trouble", "dry_run"]
    keys.append("unrecorded")
    assert list(status) == keys
    assert [path["name"] for path in status["paths"]] == ["wan1", "wan2"]
    assert status["loader"] in ("prebuilt", "bcc")
    assert {path["address"] for path in status["paths"]} == {"192.0.2.1", "192.0.2.2"}
    assert router.json("flows") == []
    assert isinstance(router.json("events"), list)
    found = {item["name"]: item for item in router.json("check")}
    assert found["agent"]["ok"] is True
    told = [line for line in router.log.read_text().splitlines() if "the VPS needs" in line]
    assert len(told) == 1
    assert told[0].endswith(f"the VPS {found['the VPS']['detail']}")
    assert told[0].endswith("there: ip mptcp limits set subflow 2")
    scrape = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9477/metrics').read())"
    inside = ["ip", "netns", "exec", router.name, sys.executable, "-c", scrape]
    metrics = subprocess.run(inside, capture_output=True, text=True, timeout=20, check=True).stdout
    assert 'omrfast_path_state{path="wan1"' in metrics


def test_a_second_agent_is_refused(router: Router) -> None:
    router.start()
    assert router.agent is not None
    second = router.omrfast("run")
    assert second.returncode == 1
    assert f"another agent (pid {router.agent.pid}) uses {router.run_dir}" in second.stderr
    assert router.omrfast("status").returncode in (0, 3)


def test_a_clean_stop_leaves_the_kernel_as_it_was(router: Router) -> None:
    before = router.found()
    router.start()
    assert router.end(signal.SIGTERM) == 0, router.log.read_text()
    assert router.found() == before
    assert router.omrfast("status").returncode == 1


def test_after_sigkill_restore_and_detach_clean_up(router: Router) -> None:
    before = router.found()
    router.start()
    router.end(signal.SIGKILL)
    assert router.omrfast("status").returncode == 1
    restored = router.omrfast("restore")
    assert restored.returncode == 0, restored.stderr
    assert router.found() == before
    detached = router.omrfast("detach")
    assert detached.returncode == 0, detached.stderr
    assert detached.stdout.startswith("4 packet programs detached"), detached.stdout
    assert not list((router.run_dir / "bpf").glob("*"))
    assert router.omrfast("detach").stdout.startswith("0 packet programs detached")


def test_a_killed_agents_successor_takes_over(router: Router) -> None:
    router.start()
    router.end(signal.SIGKILL)
    router.start()
    assert len(router.json("status")["paths"]) == 2
    router.end(signal.SIGKILL)
    assert router.omrfast("detach").stdout.startswith("4 packet programs detached")


def test_status_without_a_usable_path_exits_with_3(router: Router) -> None:
    router.start()
    for name in ("wan1", "wan2"):
        router.ip("link", "set", name, "down")

    def both_down() -> bool:
        return all(path["state"] == "down" for path in router.json("status")["paths"])

    wait_for("both paths down", both_down)
    assert router.omrfast("status").returncode == 3


def test_reload_says_what_became_of_it(router: Router) -> None:
    assert router.omrfast("reload").returncode == 1, "no agent"
    router.start()
    router.configure('[journal]\nsize = "0B"\n[quality]\nhold = "1s"\n')
    done = router.omrfast("reload")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"reloaded {router.config}\n[journal] changes with a restart only\n"
    good = router.config
    router.config = good.with_name("other.toml")
    router.configure("")
    good.write_text('[quality]\nholt = "1s"\n')
    done = router.omrfast("reload")
    assert done.returncode == 2
    assert "did you mean hold?" in done.stderr
    assert "not reloaded: " in router.log.read_text()


def test_the_operators_word_outlasts_a_reload_that_takes_the_path_away(router: Router) -> None:
    one, two = (f'[[path]]\ninterface = "wan{n}"\n' for n in (1, 2))
    router.configure(one + two)
    router.start()
    assert router.omrfast("path", "wan2", "backup").returncode == 0
    for paths, names in ((one, ["wan1"]), (one + two, ["wan1", "wan2"])):
        router.configure(paths)
        assert router.omrfast("reload").returncode == 0
        shown = router.json("status")["paths"]
        assert [path["name"] for path in shown] == names
    assert shown[1]["override"]["role"] == "backup"


def test_a_hangup_while_it_starts_does_not_end_it(router: Router) -> None:
    agent = router.launch()
    ignored = 1 << (signal.SIGHUP - 1)

    def takes_it() -> bool:
        status = Path(f"/proc/{agent.pid}/status").read_text()
        masks = [int(status.split(f"{name}:")[1].split()[0], 16) for name in ("SigIgn", "SigCgt")]
        return bool((masks[0] | masks[1]) & ignored)

    wait_for("SIGHUP is no end any more", takes_it)
    agent.send_signal(signal.SIGHUP)
    wait_for("it works", lambda: router.omrfast("status").returncode in (0, 3))
    assert router.end(signal.SIGTERM) == 0


def test_the_service_manager_is_told(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    name = str(router.run_dir.with_name("notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(DEADLINE)
        manager.bind(name)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        router.launch()
        assert manager.recv(64) == b"READY=1"
        assert router.omrfast("status").returncode in (0, 3)
        assert router.end(signal.SIGTERM) == 0
        assert manager.recv(64) == b"STOPPING=1"
