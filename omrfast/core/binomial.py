# SPDX-License-Identifier: GPL-2.0-or-later
"""Tails of the binomial distribution: how likely so many losses are by chance. Pure."""

from __future__ import annotations

import math

_NEGLIGIBLE = 1e-12
"""Share of the sum so far below which further terms are left out."""


def at_least(lost: int, sent: int, share: float) -> float:
    """Chance that ``lost`` or more of ``sent`` are lost if each is, by itself, with ``share``."""
    if lost <= 0:
        return 1.0
    if lost > sent or share <= 0:
        return 0.0
    if share >= 1:
        return 1.0
    if lost <= sent * share:
        return 1.0 - at_most(lost - 1, sent, share)
    term = total = _point(lost, sent, share)
    odds = share / (1 - share)
    for count in range(lost, sent):
        term *= odds * (sent - count) / (count + 1)
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return min(1.0, total)


def at_most(lost: int, sent: int, share: float) -> float:
    """Chance that ``lost`` or fewer of ``sent`` are lost if each is, by itself, with ``share``."""
    if lost < 0:
        return 0.0
    if lost >= sent or share <= 0:
        return 1.0
    if share >= 1:
        return 0.0
    if lost > sent * share:
        return 1.0 - at_least(lost + 1, sent, share)
    term = total = _point(lost, sent, share)
    odds = (1 - share) / share
    for count in range(lost, 0, -1):
        term *= odds * count / (sent - count + 1)
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return min(1.0, total)


def _point(lost: int, sent: int, share: float) -> float:
    ways = math.lgamma(sent + 1) - math.lgamma(lost + 1) - math.lgamma(sent - lost + 1)
    return math.exp(ways + lost * math.log(share) + (sent - lost) * math.log1p(-share))
