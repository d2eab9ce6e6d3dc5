# SPDX-License-Identifier: GPL-2.0-or-later
"""When a path that is alive is demoted for its quality, and when it comes back. Pure.

A path that is beyond a limit for ``hold`` is demoted, unless our own load explains it. It comes
back when it has been well within all of them for as long as its record asks for; one that was
lossy has to show, by enough probes, that it no longer is.
"""

from __future__ import annotations

from collections.abc import Iterable

from omrfast.core import damping, faults, limits, shares
from omrfast.core import losses as lossy
from omrfast.core.binomial import at_least, at_most
from omrfast.core.config import Quality, probe_budget
from omrfast.core.faults import EXIT, Fault
from omrfast.core.model import PathModel
from omrfast.core.replacing import replace
from omrfast.core.state import NEVER, Evidence, PathRecord
from omrfast.core.transitions import enter
from omrfast.core.types import PathState

_S = PathState

MOMENTS = 3
MOMENTS_SPAN = 0.5
"""Samples beyond a limit must be read at so many moments, over this share of ``hold``: a single
late one tells of a pause, of the path, of the server or of this machine."""
PROVEN = 0.01
"""A path is no longer lossy when one at the limit would look as good less often than this."""
BLOAT_HOLD = 5.0
BLOAT_FLOWS = 3
"""A queue of our own making hurts others when it lasts so long, and so many flows were opened on
the path meanwhile, whose handshakes waited in it, although another path is better."""
BLOAT_AGAIN = 600.0
"""But the queue is there again as soon as the path is: no second time in so many seconds."""
WATCHES = (1.5, 6.0)
WATCH_LOOK = 0.6
WATCH_MOST = 100
"""The first losses of WATCH_LOOK seconds call for dense probes, for so many seconds by their pace
(PathRecord.gentle), to know at once whether there are more; not where traffic itself crosses the
path more than WATCH_MOST times."""
WATCH_REST = 8.0
WATCH_REST_DOUBLINGS = 3
WATCH_FORGET = 120.0
"""No second time so soon, and ever later while it comes to nothing; unless"""
WATCH_STRONG = 3
WATCH_STRONG_LOOK = 1.5
WATCH_USUAL = 0.2
WATCH_ODDS = 0.01
"""so many were lost in so many seconds, and a path that loses this share of the limit shows as much
less often than that."""
WATCH_ON = 0.8
"""Or it goes on, with losses at this share of the limit."""
GENTLE_FORGET = 600.0
"""Whoever answers so many probes a second at most makes a good path look lossy. If only dense ones
are lost, those that follow at a slower pace decide, and for so long all begin with that pace."""
GENTLE_AGAIN = 1.5
"""So do they on a path that seemed lossy again, of which so many demotions are not forgotten."""
EXAM_AFTER = 1.0
EXAMS = (2.0, 4.0)
EXAM_REST = 2.0
EXAM_PACES = (0, 1, 0, 0)
"""A lossy path that has lost nothing for a while is asked densely, for so many seconds by the pace,
which changes from one to the next: the densest tells soonest, but not everybody stands it."""


def badness(model: PathModel, quality: Quality, now: float) -> float:
    """How far beyond its limits a path is, to find the least bad: 1 is at a limit."""
    rtt = model.recent_rtt(now) or model.srtt or 0.0
    return max(rtt / quality.max_rtt, (model.loss or 0.0) / quality.max_loss)


def judge(record: PathRecord, others: Iterable[PathRecord], now: float) -> PathRecord:
    """The record, in another state if its quality says so; ``others`` are the other paths."""
    others = tuple(others)
    if record.gentle and record.state is _S.UP and now >= record.gentle_until:
        record = replace(record, gentle=0)
    fault = faults.find(record, others, now)
    if fault is not None and fault.probes and _is_dense(record, now):
        return _more_gently(record, now)
    if fault is not None:
        return _on_fault(record, fault, others, now)
    record = replace(record, bad_since=None, bad_moments=(), bad_own=False)
    if record.state is _S.UP:
        return _watch(record, now)
    return _recover(record, others, now)


# --- bad ----------------------------------------------------------------------------------------


def _on_fault(
    record: PathRecord, fault: Fault, others: tuple[PathRecord, ...], now: float
) -> PathRecord:
    sign_at = now if fault.evidence.sign_at is None else fault.evidence.sign_at
    if record.bad_own and not fault.own and fault.moments:  # a queue of ours left such samples
        record = replace(record, bad_since=None, bad_moments=())
    record = replace(record, bad_own=fault.own)
    if record.bad_since is None:
        counters = record.model.counters
        record = replace(record, bad_flows=counters.flows_opened if counters else 0)
    since = min(sign_at, now if record.bad_since is None else record.bad_since)
    record = replace(_note(record, fault), bad_since=since, good_since=None)
    shown = _shown(record, fault)
    if record.state is _S.DEGRADED:
        if now - since >= record.config.quality.hold and shown:
            record = replace(record, late=0.0)  # slow for good, and not in pauses: SRTT knows
        return replace(record, lossy=record.lossy or fault.evidence.what == "loss")
    if not shown:
        return replace(record, next_probe=min(record.next_probe, now + limits.WATCH_PROBE))
    if now - since < record.config.quality.hold:
        return record
    if fault.own and not _hurts(record, others, now):
        return record
    evidence = replace(fault.evidence, sign_at=since)
    reason = f"{fault.words} for {(now - since) * 1e3:.0f} ms"
    if fault.own:
        reason += ", by our own load, and new connections wait"
        record = replace(record, bloated_at=now)
    record = enter(record, _S.DEGRADED, reason, now, evidence)
    if fault.evidence.what == "p99":
        record = damping.note_tail(record)
    return replace(record, lossy=fault.evidence.what == "loss", watches=0, gentle=0)


def _note(record: PathRecord, fault: Fault) -> PathRecord:
    """The moments at which bad samples were read since it is bad."""
    what, moments = fault.evidence.what, record.bad_moments
    if what != record.bad_what and not {what, record.bad_what} <= {"rtt", "rise"}:
        moments = ()
    if fault.moment is not None and fault.moment not in moments:
        moments = (*moments[: MOMENTS - 1], fault.moment)
    return replace(record, bad_moments=moments, bad_what=what)


def _shown(record: PathRecord, fault: Fault) -> bool:
    moments = record.bad_moments
    if not fault.moments:
        return True
    span = MOMENTS_SPAN * record.config.quality.hold
    return len(moments) >= MOMENTS and moments[-1] - moments[0] >= span


def _hurts(record: PathRecord, others: tuple[PathRecord, ...], now: float) -> bool:
    """Others suffer from the queue that our own load makes, and need not."""
    counters = record.model.counters
    if record.bad_since is None or counters is None or now - record.bad_since < BLOAT_HOLD:
        return False
    if now - record.bloated_at < BLOAT_AGAIN:
        return False
    opened = counters.flows_opened - record.bad_flows
    return opened >= BLOAT_FLOWS and faults.better(record, others, now) is not None


def _watch(record: PathRecord, now: float) -> PathRecord:
    """Ask for dense probes when losses begin."""
    if now < record.watch_until or not record.answers or probe_budget(record.config) is not None:
        return record
    limit = faults.loss_limit(record.config)
    look = shares.recent(record.model.losses, now, WATCH_LOOK)
    if not look.lost or look.crossed > WATCH_MOST or look.ratio <= limit / 2:
        return record
    if now < record.watch_rest_until:
        strong = shares.recent(record.model.losses, now, WATCH_STRONG_LOOK)
        just = now < record.watch_until + EXAM_REST
        if just and strong.ratio <= WATCH_ON * limit:
            return record
        if strong.lost < WATCH_STRONG or not _unusual(strong, limit):
            return record
    return _densely(record, now)


def ask_in_place_of_traffic(record: PathRecord, now: float) -> PathRecord:
    """Dense probes on a path whose traffic seems to lose, but to a server that may not take it."""
    if record.state is not _S.UP or now < max(record.watch_until, record.watch_rest_until):
        return record
    if not record.answers or probe_budget(record.config) is not None:
        return record
    return _densely(record, now)


def _densely(record: PathRecord, now: float) -> PathRecord:
    watches = 0 if now - record.watch_until > WATCH_FORGET else record.watches
    rest = WATCH_REST * 2 ** min(watches, WATCH_REST_DOUBLINGS)
    until = now + WATCHES[record.gentle]
    return replace(
        record,
        watch_until=until,
        watch_rest_until=until + rest,
        watches=watches + 1,
        next_probe=now,
    )


def _is_dense(record: PathRecord, now: float) -> bool:
    """Losses of late may be those of probes that were too dense for whoever was asked. Beside
    traffic that would be harmed a moment is dear, and an examination soon brings the path back."""
    if now - max(record.tcp_at, record.model.traffic_at) < WATCHES[0]:
        return False
    return record.state is _S.UP and not record.gentle and now - record.watch_until < lossy.MEMORY


def _more_gently(record: PathRecord, now: float) -> PathRecord:
    """Dense probes that were lost count for nothing, slower ones will show."""
    until = now + WATCHES[1]
    return replace(
        record,
        model=replace(record.model, losses=lossy.forget_probes(record.model.losses)),
        bad_since=None,
        bad_moments=(),
        gentle=1,
        gentle_until=now + GENTLE_FORGET,
        watch_until=until,
        watch_rest_until=until + WATCH_REST,
        next_probe=now + 2 * limits.LOSS_PROBES[1],
    )


def _unusual(share: shares.Share, limit: float) -> bool:
    lost = min(share.lost, share.crossed)
    return at_least(lost, share.crossed, WATCH_USUAL * limit) < WATCH_ODDS


# --- good again ---------------------------------------------------------------------------------


def _recover(record: PathRecord, others: tuple[PathRecord, ...], now: float) -> PathRecord:
    losses = record.model.losses
    if not _calm(record, others, now):
        return replace(record, good_since=None)
    if record.good_since is None:
        record = _begin(record, now)
    since = now if record.good_since is None else record.good_since
    crossed = max(0, losses.crossed - record.good_mark[0])
    lost = max(0, losses.lost - record.good_mark[1])
    limit = faults.loss_limit(record.config)
    if lost >= 2 and lost > EXIT * limit * crossed:
        return replace(_begin(record, now), watch_until=min(now, record.watch_until))
    needed = damping.recover_time(record, now)
    proven = not record.lossy or not record.answers or at_most(lost, crossed, limit) < PROVEN
    if not proven and now - since >= EXAM_AFTER:
        record = _examine(record, now)
    if now - since < needed or not proven:
        return _admit(record, now - since, needed)
    rtt = record.model.recent_rtt(now)
    evidence = Evidence("good", rtt, EXIT * record.config.quality.max_rtt, since)
    soon = now - record.since < limits.SLOW_AFTER
    again = record.lossy and damping.penalty(record, now) > GENTLE_AGAIN
    gentle = int(soon and (again or bool(record.gentle)))
    until = now + GENTLE_FORGET if gentle else NEVER
    record = enter(record, _S.UP, f"good for {now - since:.1f} s", now, evidence)
    model = replace(record.model, losses=lossy.forget(losses), tail=None)
    record = replace(record, model=model, lossy=False, tailed=False)
    return replace(record, watches=0, gentle=gentle, gentle_until=until)


def _begin(record: PathRecord, now: float) -> PathRecord:
    """Good from now on, or since the last loss left, if one was noticed late."""
    losses = record.model.losses
    since = now
    if record.good_since is not None:
        since = max(record.good_since, losses.lost_at)
    elif record.lossy:
        since = min(now, max(record.since, losses.lost_at, now - EXAM_AFTER))
    return replace(record, good_since=since, good_mark=(losses.crossed, losses.lost))


def _calm(record: PathRecord, others: tuple[PathRecord, ...], now: float) -> bool:
    """Fresh samples say that the path is well within the limits of RTT and jitter, and as far as
    there are enough of them, so is their 99th percentile.

    Where nobody answers probes, a path without traffic has none: no bad sign must do.
    """
    quality = record.config.quality
    if (faults.tail(record, now) or 0.0) > EXIT * quality.max_p99:
        return False
    rtt = record.model.recent_rtt(now)
    if rtt is None:
        return not record.answers
    if rtt > EXIT * quality.max_rtt or record.model.jitter > EXIT * quality.max_jitter:
        return False
    baseline = record.model.baseline or rtt
    usual = max(EXIT * quality.max_rise * baseline, baseline + faults.RISE_LEAST)
    return rtt <= usual or faults.better(record, others, now) is None


def _examine(record: PathRecord, now: float) -> PathRecord:
    if now < max(record.watch_until, record.watch_rest_until):
        return record
    if probe_budget(record.config) is not None:
        return record
    gentle = EXAM_PACES[record.watches % len(EXAM_PACES)]
    return replace(
        record,
        watch_until=now + EXAMS[gentle],
        watch_rest_until=now + EXAMS[0] + EXAM_REST,
        watches=record.watches + 1,
        gentle=gentle,
        next_probe=now,
    )


def _admit(record: PathRecord, good_for: float, needed: float) -> PathRecord:
    """Half of the probation on probes alone, the other half as backup."""
    if record.state is not _S.PROBATION or record.admitted or good_for < needed / 2:
        return record
    reason = f"good for {good_for:.1f} s: back as backup, active after {needed:.1f} s"
    return replace(record, admitted=True, reason=reason)
