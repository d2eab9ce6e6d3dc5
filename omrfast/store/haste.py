# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing a small file without waiting long for a disk that hangs.

Even without fsync a write may hang: creating and renaming wait for the file system's journal, and
writing for a disk that is behind. Nobody who has a failover to do may wait for that.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

PATIENCE = 0.02
"""Seconds that the event loop waits for the disk."""


class HastyFile:
    """A file that is replaced as a whole, on a thread of its own. For one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.Condition()
        self._wanted: str | None = None
        self._busy = False
        """There is a thread that writes what is wanted."""
        self._began: float | None = None
        """CLOCK_MONOTONIC, of the write that is under way."""
        self._asked = self._done = 0
        """How many texts were given, and the last of them that was written or failed."""
        self._error: OSError | None = None
        """Of that one."""

    def put(self, text: str, patience: float) -> None:
        """Make the file hold the text; an empty one removes it. Raises OSError.

        TimeoutError if it takes more than ``patience`` seconds, those included that an earlier text
        has taken by now: the last one given will be in the file when the disk has come back.
        """
        with self._turn:
            if self._began is not None:
                patience -= time.monotonic() - self._began
            self._wanted, self._asked = text, self._asked + 1
            mine = self._asked
            if not self._busy:
                self._busy = True
                threading.Thread(target=self._work, name="changes", daemon=True).start()
            if not self._turn.wait_for(lambda: self._done >= mine, max(0.0, patience)):
                raise TimeoutError(None, "the disk does not take it")
            if self._error is not None:
                raise self._error

    def _work(self) -> None:
        while True:
            with self._turn:
                text, mine = self._wanted, self._asked
                if text is None:
                    self._busy = False
                    return
                self._wanted, self._began = None, time.monotonic()
            error = None
            try:
                self._write(text)
            except OSError as caught:
                error = caught
            with self._turn:
                self._done, self._error, self._began = mine, error, None
                self._turn.notify_all()

    def _write(self, text: str) -> None:
        if not text:
            self.path.unlink(missing_ok=True)
            return
        new = self.path.with_name(f".{self.path.name}.new")
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            new.write_text(text)
            os.replace(new, self.path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()
            raise
