# SPDX-License-Identifier: GPL-2.0-or-later
"""The process that has a lab: what it needs, and that nothing is left when it ends."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Protocol

from omrfast.lab.devices import LabError


class Closed(Protocol):
    """What has to be closed in the end: a lab, or a process inside it that is no part of it."""

    def close(self) -> None: ...


def check_root() -> None:
    """LabError if this is not root."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root: run it with sudo")


def check_machine() -> None:
    """LabError if labs cannot run here, with what to do."""
    check_root()
    try:
        if int(Path("/proc/sys/net/mptcp/enabled").read_text()) == 0:
            raise LabError("MPTCP is off: sysctl -w net.mptcp.enabled=1")
    except FileNotFoundError as error:
        raise LabError("this kernel has no MPTCP: use Linux 5.6 or newer with it") from error


open_labs: set[Closed] = set()
"""Closed when the process ends."""


@atexit.register
def _close_all() -> None:
    for lab in list(open_labs):
        lab.close()


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the process as an exception does, so that labs are removed.

    For programs whose main thread may do so; SIGINT does it by itself.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, leave)
