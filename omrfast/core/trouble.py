# SPDX-License-Identifier: GPL-2.0-or-later
"""Local trouble: every path gone at once is no path's own fault. Pure."""

from __future__ import annotations

from omrfast.core import limits
from omrfast.core.replacing import replace
from omrfast.core.state import CoreState, PathRecord
from omrfast.core.types import PathState

_S = PathState


def judge(state: CoreState, now: float) -> CoreState:
    """No path is left, and those that were alive till then went at the same time: something here,
    or all of them share."""
    used = [record for record in state.paths if not record.unused]
    if len(used) < 2 or any(record.state is not _S.DOWN for record in used):
        return state if state.trouble is None else replace(state, trouble=None, trouble_since=now)
    last = max(_went_at(record) for record in used)
    gone = [record for record in used if last - _went_at(record) <= limits.AT_ONCE]
    if state.trouble is not None or len(gone) < 2:
        return state
    within = last - min(_went_at(record) for record in gone)
    whose = f"all {len(used)}" if gone == used else f"the last {len(gone)} of {len(used)}"
    words = f"{whose} paths {_how(gone)} within {within * 1e3:.0f} ms"
    paths = tuple(
        replace(record, reason=f"{record.reason}; {words}") if record in gone else record
        for record in state.paths
    )
    return replace(state, paths=paths, trouble=f"{words}: local trouble", trouble_since=now)


def _went_at(record: PathRecord) -> float:
    """The first sign of a path's silence, or when it lost its link."""
    return record.since if record.fall is None else record.fall.sign_at


def _how(gone: list[PathRecord]) -> str:
    if all(record.link_up for record in gone):
        return "went silent"
    if any(record.link_up for record in gone):
        return "went silent or lost their link"
    return "lost their link"


def lately(state: CoreState, now: float) -> bool:
    """Every path is gone, or was a moment ago: late answers tell of what they share."""
    ended = state.trouble_since > 0 and now - state.trouble_since < limits.AT_ONCE
    return state.trouble is not None or ended
