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
    """Targets of the family of ``address``, at most MOST_TARGETS.

    A gateway answers for its own link only, so it is asked only until something beyond it has
    answered. Targets that never answered are dropped as soon as one has.
    """
    beyond = list(dict.fromkeys(t for t in (*servers, *peers) if (":" in t) == (":" in address)))
    proven = [target for target in beyond if target in answering]
    if proven:
        return tuple(proven[:MOST_TARGETS])
    near = [g for g in gateways if (":" in g) == (":" in address)]
    return (*beyond[: MOST_TARGETS - len(near[:1])], *near[:1])
