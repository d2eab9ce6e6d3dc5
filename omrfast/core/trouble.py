# SPDX-License-Identifier: GPL-2.0-or-later
"""Local trouble: every path silent at once is no path's own fault. Pure."""

from __future__ import annotations

from omrfast.core import limits
from omrfast.core.replacing import replace
from omrfast.core.state import CoreState
from omrfast.core.types import PathState, Role

_S = PathState


def judge(state: CoreState, now: float) -> CoreState:
    """Every path went silent at the same time: something here, or all of them share."""
    used = [record for record in state.paths if record.role is not Role.OFF]
    fallen = [record for record in used if record.state is _S.DOWN and record.fall is not None]
    if len(used) < 2 or len(fallen) < len(used):
        return state if state.trouble is None else replace(state, trouble=None, trouble_since=now)
    signs = [record.fall.sign_at for record in fallen if record.fall is not None]
    if state.trouble is not None or max(signs) - min(signs) > limits.AT_ONCE:
        return state
    words = f"all {len(used)} paths went silent within {(max(signs) - min(signs)) * 1e3:.0f} ms"
    paths = tuple(
        replace(record, reason=f"{record.reason}; {words}") if record in fallen else record
        for record in state.paths
    )
    return replace(state, paths=paths, trouble=f"{words}: local trouble", trouble_since=now)


def lately(state: CoreState, now: float) -> bool:
    """Every path is silent, or was a moment ago: late answers tell of what they share."""
    ended = state.trouble_since > 0 and now - state.trouble_since < limits.AT_ONCE
    return state.trouble is not None or ended
