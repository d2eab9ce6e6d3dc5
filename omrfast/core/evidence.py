# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers behind a decision in the units that people read. Pure."""

from __future__ import annotations

from omrfast.core.state import Evidence
from omrfast.core.views import EvidenceView

_SHARES = frozenset({"loss", "service"})
_FACTORS = frozenset({"rise"})


def unit(what: str) -> str:
    """Of what was measured: ``ms`` (a time), ``%`` (a share) or ``x`` (a factor)."""
    if what in _SHARES:
        return "%"
    return "x" if what in _FACTORS else "ms"


def shown(evidence: Evidence) -> EvidenceView:
    """Seconds become milliseconds, shares percents; without a number there is no unit."""
    word = unit(evidence.what)
    factor = {"ms": 1e3, "%": 1e2, "x": 1.0}[word]
    measured, limit = (
        None if value is None else round(value * factor, 3)
        for value in (evidence.measured, evidence.limit)
    )
    known = measured is not None or limit is not None
    return EvidenceView(evidence.what, measured, limit, word if known else None)
