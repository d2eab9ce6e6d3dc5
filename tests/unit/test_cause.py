# SPDX-License-Identifier: GPL-2.0-or-later
"""What an action is said to be for, and the units of evidence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from omrfast.core import evidence
from omrfast.core.cause import Cause, causes
from omrfast.core.config import PathConfig
from omrfast.core.outcome import Decision
from omrfast.core.state import Evidence, Override, PathRecord
from omrfast.core.types import PathState, Role
from omrfast.core.views import EvidenceView

RECORDS = tuple(
    PathRecord(PathConfig(name, name), PathState.UP, reason=f"{name} answers")
    for name in ("wan1", "wan2")
)
DOWN = Decision(
    at=100.5,
    path="wan1",
    before=PathState.UP,
    state=PathState.DOWN,
    reason="silent",
    evidence=Evidence("silence", 0.3, 0.2, sign_at=100.1),
)


def test_without_a_decision_a_pass_only_repairs() -> None:
    assert causes(RECORDS, {}) == {
        "wan1": Cause("wan1 answers"),
        "wan2": Cause("wan2 answers"),
    }


def test_a_path_acts_for_its_own_decision_and_the_others_for_the_latest() -> None:
    late = Decision(100.7, "wan2", PathState.UP, PathState.DEGRADED, "rtt 341 ms > 250 ms")
    records = (*RECORDS, PathRecord(PathConfig("lte", "lte"), PathState.UP))
    assert causes(records, {"wan1": DOWN, "wan2": late}) == {
        "wan1": Cause("silent", 100.5, 100.1),
        "wan2": Cause("rtt 341 ms > 250 ms", 100.7),
        "lte": Cause("wan2 up -> degraded: rtt 341 ms > 250 ms", 100.7),
    }


def test_what_is_done_for_the_operator_says_so() -> None:
    on = Decision(100.7, "wan2", PathState.UP, PathState.UP, "operator: no longer off")
    heard = Decision(100.5, "wan1", PathState.UNKNOWN, PathState.UP, "a probe answered in 40 ms")
    off = replace(RECORDS[0], override=Override(Role.OFF, None))
    assert causes((off, RECORDS[1]), {"wan1": heard, "wan2": on}) == {
        "wan1": Cause("operator: off", 100.5),
        "wan2": Cause("operator: no longer off", 100.7),
    }
    assert causes(RECORDS, {"wan2": on})["wan1"].reason == "wan2: operator: no longer off"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Evidence("rtt", 0.3414, 0.25), EvidenceView("rtt", 341.4, 250.0, "ms")),
        (Evidence("silence", 0.0423), EvidenceView("silence", 42.3, None, "ms")),
        (Evidence("loss", 0.102, 0.05), EvidenceView("loss", 10.2, 5.0, "%")),
        (Evidence("service", 0.25, 0.5), EvidenceView("service", 25.0, 50.0, "%")),
        (Evidence("rise", 4.71, 4.0), EvidenceView("rise", 4.71, 4.0, "x")),
        (Evidence("link"), EvidenceView("link", None, None, None)),
    ],
)
def test_units_of_evidence(given: Evidence, expected: EvidenceView) -> None:
    assert evidence.shown(given) == expected
