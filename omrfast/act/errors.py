# SPDX-License-Identifier: GPL-2.0-or-later
"""The one error that leaves this package."""

from __future__ import annotations

import os


class ActionError(Exception):
    """The kernel refused something: names the thing, the errno text and the way out.

    ``errno`` is the positive number, or None where the kernel was not asked.
    """

    def __init__(self, what: str, *, errno: int | None = None, hint: str = "") -> None:
        text = what if errno is None else f"{what}: {os.strerror(errno)}"
        super().__init__(f"{text}; {hint}" if hint else text)
        self.errno = errno
