# SPDX-License-Identifier: GPL-2.0-or-later
"""How long to wait and when a figure is bad: every threshold of the policy, as pure functions.

Suspicion comes early, at one SRTT and the deviation (RFC 6298's time-out without its floor of a
second), because it costs three small probes and nothing else; death needs proof.
"""

from __future__ import annotations

from omrfast.core.config import Quality
from omrfast.core.model import PathModel, steady

INITIAL_RTT = 0.2
"""Assumed before the first sample: RFC 6298 says 1 s, which no uplink of a router needs."""
LEAST_SLACK = 0.02
"""Deviation allowed at least: two jiffies at 100 Hz, or a busy scheduler."""
WAKE_SLACK = 0.2
"""More for the first packet after a quiet time: a modem may have to leave its idle mode."""
DENSE_GAP = 0.02
DENSE = 8
"""Packets of any kind this close together; a pause of so many gaps is out of the ordinary."""
DENSE_SLACK = 0.01
PROOF_LEAST = 0.04
PROOF_UNANSWERING = 1.0
"""Proof by silence alone, where no target ever answered a probe."""
CALM_MOST = 2.0
ALARM_MEMORY = 5.0
"""After a suspicion that proved wrong there is no new one for half a round trip, twice as long
after each further one within ALARM_MEMORY, up to CALM_MOST: bounds what suspicion costs."""
PROBES_PER_BURST = 3
PATIENCE = 2.0
PATIENCE_HALF_LIFE = 60.0
UNHEARD = 2.0
"""A path that was not heard for this long after the start is no choice for new connections."""
TRIAL = 10.0
"""A dead path on which no target ever answered a probe is tried again after this long."""

BUSY = 1.0
"""A path with a packet in this many seconds is watched by its deadlines, not only by probes.
The data path announces the first packet after such a pause (OMR_EVENT_BUSY)."""
IDLE_PROBE = {"active": 10.0, "backup": 60.0, "off": 60.0}
WATCH_PROBE = 0.25
"""Between probes while a path is degraded or in probation."""
WATCH_PROBE_SLOW = 1.0
DOWN_PROBE = 0.5
DOWN_PROBE_SLOW = 2.0
SLOW_AFTER = 60.0
"""A state that lasts longer than this is probed at the slow interval."""

EXIT = 0.75
"""A path comes back below this share of the limit that it had crossed."""

LOST_LEAST = 5
"""Fewer losses than this say nothing, however few segments they are a share of."""

DAMPING_HALF_LIFE = 120.0
DAMPING_MOST = 4.0
"""RFC 2439's idea: each demotion counts one, the sum halves every half-life, and the time to
come back doubles with every count beyond the first, at most 2 ** DAMPING_MOST times."""


def srtt(model: PathModel) -> float:
    return INITIAL_RTT if model.srtt is None else model.srtt


def slack(model: PathModel) -> float:
    deviation = srtt(model) / 2 if model.srtt is None else model.rttvar
    return max(4 * deviation, srtt(model) / 4, LEAST_SLACK)


def unanswered_limit(model: PathModel, *, after_quiet: bool) -> float:
    """Something sent may stay unanswered for this long before the path is suspect.

    ``after_quiet``: it was the first for a while and may have had to wake a radio.
    """
    if after_quiet:
        return 2 * srtt(model) + slack(model) + WAKE_SLACK
    return srtt(model) + slack(model)


def quiet_limit(model: PathModel) -> float | None:
    """What arrives steadily may pause for this long; None when nothing does.

    A stream of messages may leave out one. Where packets of any kind come densely
    (acknowledgements of an upload, a download), a third of a round trip is long: only a sender
    that is limited to a few packets a round trip (BBR's PROBE_RTT) pauses so.
    """
    limits = []
    gap = steady(model.data)
    if gap is not None:
        limits.append(max(srtt(model) / 2, 2 * gap) + slack(model))
    gap = steady(model.arrivals)
    if gap is not None and gap <= DENSE_GAP:
        limits.append(max(srtt(model) / 3, DENSE * gap) + max(2 * model.rttvar, DENSE_SLACK))
    return min(limits, default=None)


def proof_limit(model: PathModel, *, answers: bool, patience: float) -> float:
    """Silence after the first probe of the burst that proves death: RFC 6298's time-out, without
    its least value, since nothing is sent again for it; longer where nobody answers probes."""
    if not answers:
        return max(PROOF_UNANSWERING, 4 * srtt(model))
    deviation = srtt(model) / 2 if model.srtt is None else model.rttvar
    expected = srtt(model) + max(4 * deviation, srtt(model) / 8, DENSE_SLACK)
    return max(PROOF_LEAST, expected, patience)


def deaf_limit(model: PathModel) -> float:
    """What arrives this long after an unanswered probe shows that nobody answers probes."""
    return max(PROOF_UNANSWERING, 4 * srtt(model))


def patience(late: float, elapsed: float) -> float:
    """How long an answer may take on a path that has paused before without being dead."""
    return float(PATIENCE * late * 0.5 ** (elapsed / PATIENCE_HALF_LIFE))


def calm(model: PathModel, alarms: int) -> float:
    """No new suspicion for this long after ``alarms`` wrong ones in a row."""
    return float(min(CALM_MOST, srtt(model) / 2 * 2 ** min(alarms - 1, 10)))


def burst_spacing(model: PathModel) -> float:
    """Between the probes of a burst: all are out before the proof is complete."""
    return max(0.005, srtt(model) / 8)


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


def damped(penalty: float, elapsed: float) -> float:
    return float(penalty * 0.5 ** (elapsed / DAMPING_HALF_LIFE))


def trial_time(quality: Quality, penalty: float) -> float:
    return max(TRIAL, recover_time(quality, penalty))


def recover_time(quality: Quality, penalty: float) -> float:
    return float(quality.recover_after * 2 ** min(max(0.0, penalty - 1), DAMPING_MOST))
