# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own truth about a namespace's subflows, for comparison with what was measured."""

from __future__ import annotations

from omrfast.act.sockets import SocketDiag, Subflow
from omrfast.lab import netns


def subflow_info(namespace: str | None) -> list[Subflow]:
    """Every MPTCP subflow of a namespace (None: where the caller is). Raises ActionError."""

    def dump() -> list[Subflow]:
        diag = SocketDiag()
        try:
            return diag.subflows()
        finally:
            diag.close()

    return netns.call(namespace, dump)
