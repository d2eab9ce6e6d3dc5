# SPDX-License-Identifier: GPL-2.0-or-later
"""For processes that tests end by signals."""

from __future__ import annotations

import signal


def as_usual() -> None:
    """As preexec_fn: nohup, or a shell that runs the tests behind, hands on ignored signals."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
