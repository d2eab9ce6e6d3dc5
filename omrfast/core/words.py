# SPDX-License-Identifier: GPL-2.0-or-later
"""Times, figures, answers and wishes in words. Pure."""

from __future__ import annotations

from omrfast.core.evidence import unit
from omrfast.core.outcome import Wish
from omrfast.core.state import Evidence, TargetRecord
from omrfast.core.types import Origin


def span(seconds: float) -> str:
    """``35 ms``, ``4.2 s``, ``3 min 7 s``, ``5 h 2 min``, ``12 d 3 h``."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def amount(what: str, value: float) -> str:
    """A measured value or its limit, as Evidence has it."""
    match unit(what):
        case "%":
            return f"{value:.1%}"
        case "x":
            return f"{value:.1f} times"
    return span(value)


def evidence(found: Evidence, at: float) -> str:
    """The numbers behind a state entered ``at`` that moment; empty if there are none."""
    words = []
    if found.measured is not None:
        words.append(f"measured {amount(found.what, found.measured)}")
    if found.limit is not None:
        words.append(f"limit {amount(found.what, found.limit)}")
    if found.sign_at is not None:
        words.append(f"first sign {span(at - found.sign_at)} before")
    return f"{found.what}: {', '.join(words)}" if words else ""


def origin(entry: TargetRecord) -> str:
    """Why somebody is asked, and who it is."""
    target = entry.target
    named = target.origin in (Origin.SERVER, Origin.SERVICE, Origin.WITNESS)
    return f"{target.origin} {target.name}" if named else str(target.origin)


def answer(entry: TargetRecord, now: float) -> str:
    """What somebody who is asked on a path has said."""
    if entry.failures:
        return f"failed {entry.failures} times in a row: {entry.error}"
    if entry.answered_at > 0:
        rtt = "" if entry.rtt is None else f" in {span(entry.rtt)}"
        words = f"answered{rtt}, {span(now - entry.answered_at)} ago"
        if entry.waiting_since is not None:
            words += f"; asked again {span(now - entry.waiting_since)} ago"
        return words
    if entry.asked_at > 0:
        return f"never answered; last asked {span(now - entry.asked_at)} ago"
    return "not asked yet"


def wish_words(wish: Wish) -> str:
    """What a path's endpoint and routes are wished to be."""
    if wish.present is None and wish.backup is None:
        endpoint = "endpoint as it is"
    elif wish.present is False:
        endpoint = "no endpoint"
    else:
        endpoint = {True: "endpoint as backup", False: "endpoint active", None: "endpoint"}[
            wish.backup
        ]
    if wish.penalty is None:
        return f"{endpoint}, routes as they are"
    if wish.penalty == 0:
        return f"{endpoint}, routes in their place"
    return f"{endpoint}, routes behind those of the other paths (metric +{wish.penalty})"
