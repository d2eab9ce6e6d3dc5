# SPDX-License-Identifier: GPL-2.0-or-later
"""When a path that is alive is bad, and when it is good again. Pure."""

from __future__ import annotations

from dataclasses import replace

from omrfast.core import damping
from omrfast.core.config import Quality
from omrfast.core.model import PathModel
from omrfast.core.state import PathRecord
from omrfast.core.transitions import enter
from omrfast.core.types import PathState

_S = PathState

EXIT = 0.75
"""A path comes back below this share of the limit that it had crossed."""

LOST_LEAST = 5
"""Fewer losses than this say nothing, however few segments they are a share of."""


def why_bad(model: PathModel, quality: Quality, now: float) -> str | None:
    """The first limit that the path is beyond, with its figures; None if it is within all."""
    rtt = model.recent_rtt(now)
    if rtt is not None and rtt > quality.max_rtt:
        return f"RTT {rtt * 1e3:.0f} ms > {quality.max_rtt * 1e3:.0f} ms"
    loss = model.loss
    if loss is not None and loss > quality.max_loss and model.lost[1] >= LOST_LEAST:
        return f"loss {loss:.1%} > {quality.max_loss:.1%}"
    if rtt is not None and model.rttvar > quality.max_jitter:
        return f"jitter {model.rttvar * 1e3:.0f} ms > {quality.max_jitter * 1e3:.0f} ms"
    return None


def is_good(model: PathModel, quality: Quality, now: float, *, answers: bool) -> bool:
    """Fresh samples say that the path is well within every limit.

    Where nobody answers probes, a path without traffic has none: no bad sign must do.
    """
    rtt = model.recent_rtt(now)
    if rtt is None and not answers:
        return True
    loss = model.loss
    return (
        rtt is not None
        and rtt <= EXIT * quality.max_rtt
        and model.rttvar <= quality.max_jitter
        and (loss is None or loss <= EXIT * quality.max_loss)
    )


def badness(model: PathModel, quality: Quality, now: float) -> float:
    """How far beyond its limits a path is, to find the least bad: 1 is at a limit."""
    rtt = model.recent_rtt(now) or model.srtt or 0.0
    return max(rtt / quality.max_rtt, (model.loss or 0.0) / quality.max_loss)


def judge(record: PathRecord, others: tuple[PathRecord, ...], now: float) -> PathRecord:
    """The record, in another state if its quality says so; ``others`` are the other paths."""
    quality = record.config.quality
    bad = why_bad(record.model, quality, now)
    if bad is not None:
        since = now if record.bad_since is None else record.bad_since
        late = 0.0 if record.state is _S.DEGRADED else record.late  # slow for good: SRTT knows
        record = replace(record, bad_since=since, good_since=None, late=late)
        if record.state is not _S.DEGRADED and now - since >= quality.hold:
            return enter(record, _S.DEGRADED, f"{bad} for {(now - since) * 1e3:.0f} ms", now)
        return record
    record = replace(record, bad_since=None)
    if record.state is _S.UP:
        return record
    if not is_good(record.model, quality, now, answers=record.answers):
        return replace(record, good_since=None)
    since = now if record.good_since is None else record.good_since
    needed = damping.recover_time(record, now)
    if now - since < needed:
        return _admit(replace(record, good_since=since), now - since, needed)
    return enter(record, _S.UP, f"good for {now - since:.1f} s", now)


def _admit(record: PathRecord, good_for: float, needed: float) -> PathRecord:
    """Half of the probation on probes alone, the other half as backup."""
    if record.state is not _S.PROBATION or record.admitted or good_for < needed / 2:
        return record
    reason = f"good for {good_for:.1f} s: back as backup, active after {needed:.1f} s"
    return replace(record, admitted=True, reason=reason)
