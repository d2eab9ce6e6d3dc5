# SPDX-License-Identifier: GPL-2.0-or-later
"""packaging/omrfast.service: what systemd says of it, and that the agent can do with its rights."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from router import DEADLINE, Router, two_uplinks, wait_for

from omrfast.cli import reload
from omrfast.cli.machine import CAPABILITIES
from omrfast.cli.main import build_parser

UNIT = Path(__file__).parents[2] / "packaging" / "omrfast.service"
GIVEN = re.compile(r"([A-Za-z]+)=(.*)")


def settings() -> dict[str, str]:
    """Keys of the unit; every one stands once."""
    lines = [line for line in UNIT.read_text().splitlines() if line and line[0] not in "#["]
    found = [GIVEN.fullmatch(line) for line in lines]
    assert all(found), lines
    pairs = [match.groups() for match in found if match is not None]
    assert len({key for key, _ in pairs}) == len(pairs)
    return dict(pairs)


def granted() -> list[str]:
    return settings()["CapabilityBoundingSet"].split()


def test_systemd_accepts_it(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        assert {"ExecStart", "Restart", "StateDirectory"} <= settings().keys()
        return
    unit = tmp_path / UNIT.name
    here = f"{sys.executable} -m omrfast.cli.main"
    text = UNIT.read_text()
    assert "=/usr/local/bin/omrfast " in text
    unit.write_text(text.replace("=/usr/local/bin/omrfast ", f"={here} "))
    done = subprocess.run(
        [tool, "verify", str(unit)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_it_is_started_and_reloaded_when_the_agent_says_so() -> None:
    given = settings()
    assert given["Type"] == "notify", "test_with_agent.py: READY=1"
    command = given["ExecReload"].split()
    assert command[0] == given["ExecStart"].split()[0]
    assert build_parser().parse_args(command[1:]).handler is reload.handle


def test_it_grants_what_check_asks_for() -> None:
    assert set(granted()) == set(CAPABILITIES)


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    """With its bpffs mounted as the unit does it, and a server to ask."""
    with two_uplinks(tmp_path) as router:
        router.configure(
            '[[path]]\ninterface = "wan1"\n[[path]]\ninterface = "wan2"\n'
            '[[server]]\nname = "vps"\naddresses = ["203.0.113.10"]\n'
            "[tuning]\nstale_loss_cnt = 1\n"
        )
        mount = settings()["ExecStartPre"]
        assert mount.startswith("+/bin/sh -c '")
        command = mount.removeprefix("+/bin/sh -c '").removesuffix("'")
        script = command.replace("/run/omrfast", str(router.run_dir))
        subprocess.run(["/bin/sh", "-c", script], check=True, timeout=20)
        try:
            yield router
        finally:
            if router.agent is not None and router.agent.poll() is None:
                router.end(signal.SIGKILL)
            router.omrfast("detach", "--force")
            assert not (router.run_dir / "bpf").exists(), "unmounted"


def holding(*capabilities: str) -> list[str]:
    """A command's prefix: root with these and no other capabilities."""
    names = [f"+{name.removeprefix('CAP_').lower()}" for name in capabilities]
    return ["setpriv", "--no-new-privs", f"--bounding-set={','.join(['-all', *names])}"]


def protected() -> list[str]:
    """A command's prefix: what ProtectSystem=full makes of the file system."""
    assert settings()["ProtectSystem"] == "full"
    read_only = "mount --bind $d $d && mount -o remount,bind,ro $d"
    script = f'set -e; for d in /usr /boot /etc; do {read_only}; done; exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh"]


def tuned(router: Router) -> str:
    """net.mptcp.stale_loss_cnt."""
    command = ["cat", "/proc/sys/net/mptcp/stale_loss_cnt"]  # sysctl is not on every machine
    inside = ["ip", "netns", "exec", router.name, *command]
    return subprocess.run(inside, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("loader", ["prebuilt", "bcc"])
def test_the_agent_does_its_work_with_these_rights(router: Router, loader: str) -> None:
    before = router.found(), tuned(router)
    router.start("--loader", loader, prefix=[*protected(), *holding(*granted())])
    assert router.agent is not None
    status = Path(f"/proc/{router.agent.pid}/status").read_text()
    held = int(status.split("CapEff:")[1].split()[0], 16)
    assert held == sum(1 << CAPABILITIES[name][0] for name in granted())
    router.ip("link", "set", "wan1", "down")
    wait_for("the endpoint is gone", lambda: "192.0.2.1" not in router.found()[0])
    wait_for("its tuning is in effect", lambda: tuned(router) == "1")
    router.ip("link", "set", "wan1", "up")
    router.ip("route", "add", "default", "dev", "wan1", "metric", "1")
    assert router.end(signal.SIGTERM) == 0, router.log.read_text()
    assert (router.found(), tuned(router)) == before
    said = router.log.read_text()
    assert re.search(r"stale_loss_cnt set to 1 in .* ms \(as \[tuning\] says\)", said)
    assert "ERROR" not in said
    assert "not permitted" not in said


@pytest.mark.parametrize("missing", ["CAP_NET_ADMIN", "CAP_BPF", "CAP_PERFMON"])
def test_without_one_of_them_it_does_not_start(router: Router, missing: str) -> None:
    agent = router.launch(prefix=holding(*(name for name in granted() if name != missing)))
    assert agent.wait(DEADLINE) == 1
    assert re.search("not permitted|Permission denied|prohibited", router.log.read_text())


def test_without_raw_sockets_it_says_that_it_cannot_probe(router: Router) -> None:
    router.start(prefix=holding(*(name for name in granted() if name != "CAP_NET_RAW")))
    wait_for("a complaint", lambda: "not permitted" in router.log.read_text())
    assert router.end(signal.SIGTERM) == 0
