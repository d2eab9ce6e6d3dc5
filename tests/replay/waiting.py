# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for what a kernel counts or shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from omrfast.lab import netns

TIMEOUT = 30.0
POLL = 0.01


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Poll until it holds; AssertionError if it does not in time."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, f"not within {TIMEOUT:g} s: {what}"
        time.sleep(POLL)


def tcp_ext(namespace: str, name: str) -> int:
    """One counter of TcpExt in /proc/net/netstat."""
    text = netns.call(namespace, Path("/proc/thread-self/net/netstat").read_text)
    names, values = (line.split() for line in text.splitlines() if line.startswith("TcpExt:"))
    return int(values[names.index(name)])
