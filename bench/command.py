# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks share as commands: arguments, signals, exit codes."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable

from omrfast.dataplane.names import DataPlaneError
from omrfast.lab.devices import LabError
from omrfast.lab.links import LinkError
from omrfast.lab.process import end_on_signals

_EXPECTED = (
    *(DataPlaneError, LabError, LinkError),
    *(OSError, RuntimeError, subprocess.CalledProcessError),
)


def positive(text: str) -> int:
    """A type for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: write a whole number from 1")
    return int(text)


def run(work: Callable[[], None]) -> int:
    """Do it; the exit code: 0, 1 with one line that says what is missing or wrong, 130 by Ctrl-C.

    SIGTERM and SIGHUP end it as an exception does, so that mounts and labs are removed.
    """
    end_on_signals()
    try:
        work()
    except _EXPECTED as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
