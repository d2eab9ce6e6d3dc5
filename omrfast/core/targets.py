# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom to probe on a path: servers first, whoever has answered before the rest. Pure."""

from __future__ import annotations

from collections.abc import Sequence, Set

MOST_TARGETS = 2
"""Per path: each costs a packet a probe."""


def choose(
    address: str,
    servers: Sequence[str],
    peers: Sequence[str],
    gateways: Sequence[str],
    answering: Set[str],
) -> tuple[str, ...]:
    """Targets of the family of ``address``, at most MOST_TARGETS; whoever answered here first.

    ``answering`` are those that have answered on this path. A gateway answers for its own link
    only, so it is asked only until something beyond it has answered.
    """
    six = ":" in address
    beyond = list(dict.fromkeys(t for t in (*servers, *peers) if (":" in t) == six))
    beyond.sort(key=lambda target: target not in answering)
    if any(target in answering for target in beyond):
        return tuple(beyond[:MOST_TARGETS])
    near = [gateway for gateway in gateways if (":" in gateway) == six][:1]
    return (*beyond[: MOST_TARGETS - len(near)], *near)
