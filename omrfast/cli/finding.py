# SPDX-License-Identifier: GPL-2.0-or-later
"""One line of `omrfast check`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at and found; the member names are those of ``check --json``."""

    name: str
    ok: bool | None
    """True: fine; False: the agent can't run; None: worth knowing."""
    detail: str
    todo: str = ""
    """What to do about it; empty where there is nothing to do."""
