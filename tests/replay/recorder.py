# SPDX-License-Identifier: GPL-2.0-or-later
"""tcpdump inside a namespace, from its first packet to its last."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from omrfast.lab import netns

WHOLE = 262144
HEADERS = 128
"""Snapshot lengths: all of a packet; Ethernet with a tag, IPv6 and TCP with all its options."""


@dataclass(frozen=True)
class Point:
    """Where to capture, and how."""

    file: Path
    namespace: str
    device: str
    snaplen: int = HEADERS
    precision: str = "micro"
    """micro or nano."""


@contextmanager
def recording(*points: Point) -> Iterator[None]:
    """Capture at all points for as long as the context lasts.

    AssertionError if tcpdump does not start, or if the kernel dropped a packet on the way to it.
    """
    with ExitStack() as running:
        for point in points:
            running.enter_context(_tcpdump(point))
        yield


@contextmanager
def _tcpdump(point: Point) -> Iterator[None]:
    command = ["tcpdump", "-i", point.device, "-w", str(point.file), "-s", str(point.snaplen)]
    command += ["--time-stamp-precision", point.precision, "-B", "16384", "-Z", "root", "-n"]
    # Without immediate mode what is still in the kernel's block at the end is lost.
    command += ["--immediate-mode", "-U"]
    process = netns.spawn(point.namespace, command, stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        heard = process.stderr.readline()
        while "listening on" not in heard:
            assert heard, f"{' '.join(command)} ended with {process.wait(5)}"
            heard = process.stderr.readline()
        yield
    finally:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    dropped = re.search(r"(\d+) packets? dropped by kernel", said)
    assert dropped is not None, said
    assert dropped[1] == "0", said
