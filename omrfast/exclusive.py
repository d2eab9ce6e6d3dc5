# SPDX-License-Identifier: GPL-2.0-or-later
"""One agent per network namespace: two would take each other's packet programs and endpoints."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

LOCKS = Path("/run")


class NamespaceTakenError(Exception):
    """Another agent is at work here; the text says which."""


class NamespaceLock:
    """Held from the beginning to close(); the kernel drops it with the process."""

    def __init__(self) -> None:
        """Raises NamespaceTakenError, or OSError if the lock file can't be made."""
        inode = os.stat("/proc/self/ns/net").st_ino
        self._path = LOCKS / f"omrfast.netns-{inode}"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 32).decode() or "unknown"
            os.close(self._file)
            raise NamespaceTakenError(
                f"another agent (process {holder}) looks after this network namespace: stop it, "
                "or run this one in a namespace of its own"
            ) from None
        os.truncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def close(self) -> None:
        """Let go."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        os.close(self._file)
