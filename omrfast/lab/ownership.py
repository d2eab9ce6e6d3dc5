# SPDX-License-Identifier: GPL-2.0-or-later
"""Who a lab belongs to, and how everything of a lab goes away.

A lab's files are in a directory of its own below `root()`, with ``owner.json`` naming the process
that answers for it. A lab whose owner is dead is stale: `collect_stale` removes its processes,
namespaces, mounts and files. Only namespaces named in an owner record are touched.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from omrfast.lab import netns

ROOT_VARIABLE = "OMRFAST_LAB_DIR"


def root() -> Path:
    """Where labs keep their files; OMRFAST_LAB_DIR overrides."""
    return Path(os.environ.get(ROOT_VARIABLE, "/run/omrfast-lab"))


@dataclass(frozen=True, slots=True)
class Owner:
    """The content of owner.json."""

    token: str
    pid: int
    started: int
    """Start time of the process in clock ticks since boot: tells a reused pid."""
    namespaces: tuple[str, ...]

    def alive(self) -> bool:
        return process_start(self.pid) == self.started


def process_start(pid: int) -> int:
    """Field 22 of /proc/PID/stat; 0 if there is no such process (or only its zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def claim(token: str, namespaces: tuple[str, ...]) -> Path:
    """Make the lab's directory and record this process as its owner."""
    directory = root() / token
    directory.mkdir(mode=0o700, parents=True)
    owner = Owner(token, os.getpid(), process_start(os.getpid()), namespaces)
    partial = directory / "owner.json.new"
    partial.write_text(json.dumps(asdict(owner)))
    partial.rename(directory / "owner.json")
    return directory


def owners() -> list[Owner]:
    """All labs of this machine, stale ones too."""
    found = []
    for record in sorted(root().glob("*/owner.json")):
        try:
            data = json.loads(record.read_text())
        except (OSError, ValueError):
            continue
        data["namespaces"] = tuple(data["namespaces"])
        found.append(Owner(**data))
    return found


def _signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def end_processes(namespaces: tuple[str, ...], patience: float = 2.0) -> None:
    """End whatever lives in the namespaces: SIGTERM, then SIGKILL."""
    for number, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        pids = [pid for pid in netns.processes(namespaces) if pid != os.getpid()]
        _signal_all(pids, number)
        deadline = time.monotonic() + wait
        while any(process_start(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.01)


def unmount_below(directory: Path) -> None:
    """Unmount everything below a directory, innermost first."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for where in sorted((m for m in mounts if Path(m).is_relative_to(directory)), reverse=True):
        netns.unmount(where)


def release(token: str, namespaces: tuple[str, ...]) -> None:
    """Remove a lab: processes, namespaces, mounts, files; the record last."""
    directory = root() / token
    end_processes(namespaces)
    for name in namespaces:
        netns.remove(name)
    unmount_below(directory)
    shutil.rmtree(directory, ignore_errors=True)


def collect_stale() -> list[str]:
    """Remove the labs whose owner is gone; their tokens."""
    stale = [owner for owner in owners() if not owner.alive()]
    for owner in stale:
        release(owner.token, owner.namespaces)
    return [owner.token for owner in stale]
