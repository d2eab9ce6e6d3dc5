# SPDX-License-Identifier: GPL-2.0-or-later
"""How long to wait and when a figure is bad: every threshold of the policy, as pure functions.

Suspicion comes early, at one SRTT and the deviation (RFC 6298's time-out without its floor of a
second), because it costs three small probes and nothing else; death needs proof.
"""

from __future__ import annotations

import math

from omrfast.core import load
from omrfast.core.model import PathModel
from omrfast.core.streams import longest, regular, steady

INITIAL_RTT = 0.2
"""Assumed before the first sample: RFC 6298 says 1 s, which no uplink of a router needs."""
LEAST_SLACK = 0.02
"""Deviation allowed at least: two jiffies at 100 Hz, or a busy scheduler."""
WAKE_SLACK = 0.2
"""More for the first packet after a quiet time: a modem may have to leave its idle mode."""
WAKE_LEAST = 0.04
WAKES = 4
"""Probes after a quiet time that say how long this path takes to wake."""
WAVE = 3
"""Segments that left one after the other without an RTT sample, before that means anything."""
WAVE_LEAST = 0.1
DENSE_GAP = 0.02
DENSE = 8
"""Packets of any kind this close together; a pause of so many gaps is out of the ordinary."""
DENSE_SLACK = 0.01
JIFFY = 0.004
"""The data path's instants are rounded down to it, at 250 Hz."""
RADIO_PAUSE = 0.09 + JIFFY
"""As radios make them; no death of a stream of ours, wherever in its spacing the pause begins."""
PROOF_LEAST = 0.04
DRAINED_SLACK = 0.015
PROOF_UNANSWERING = 1.0
"""Proof by silence alone, where no target ever answered a probe."""
CALM_MOST = 2.0
ALARM_MEMORY = 5.0
"""After a suspicion that proved wrong there is no new one for half a round trip, twice as long
after each further one within ALARM_MEMORY, up to CALM_MOST: bounds what suspicion costs. Where
probes have no budget a stream's pause is followed by a round trip of calm at most: a start-up
pauses several times (BBR), and see streams.py for those that end."""
PROBES_PER_BURST = 3
PROBES_MOST = 16
ERROR = 1e-5
"""At least; more on a path that is known to lose, up to PROBES_MOST: see burst_size()."""
PATIENCE = 2.0
PATIENCE_HALF_LIFE = 60.0
PAUSE_ALIKE = 0.25
"""Pauses of more than this share of the longest known are of its kind."""
TELL_APART = 0.012
"""What arrives this much later than a gateway's answer is not that answer: three jiffies at
250 Hz."""
COMPARE_MOST = 2.0
"""A suspicion whose gateway answers waits so long for what other paths hear of the same servers."""
WITHDRAW = 5.0
"""A verdict may be withdrawn for so long, when the server turns out to answer nowhere."""
GONE = 1.0
"""A server that answers on no path for so long is down; machines stand still for shorter."""
SETTLES = 2.0
"""A server is back for so long before what its paths measure counts again."""
AT_ONCE = 2.0
"""Paths whose first signs are no further apart went silent at the same time."""
UNHEARD = 2.0
"""A path that was not heard for this long after the start is no choice for new connections."""
BUSY = 1.0
"""A path with a packet in this many seconds is watched by its deadlines, not only by probes.
The data path announces the first packet after such a pause (OMR_EVENT_BUSY)."""
IDLE_PROBE = {"active": 10.0, "backup": 60.0, "off": 60.0}
SPREAD = 0.2
"""Idle intervals vary by this share either way, so that paths and routers do not keep step."""
WATCH_PROBE = 0.25
"""Between probes while a path is degraded or in probation."""
WATCH_PROBE_SLOW = 1.0
LOSS_PROBES = (0.01, 0.07)
"""While losses that have just begun are to be counted (PathRecord.watch_until); the slower ones for
whoever does not answer the denser ones (PathRecord.gentle)."""
DOWN_PROBE = 0.5
DOWN_PROBE_SLOW = 2.0
SERVICE_PROBE = 30.0
FAILURES = 2
"""In a row, before a service counts as not working."""
FAILED_AGAIN = 1.0
"""After a service's first failure it is asked again."""
FAILING_PROBE = 5.0
"""Between questions to the services of a path that is failing, at most."""
GONE_PROBE = 2.0
GONE_PROBE_SLOW = 5.0
"""Between probes of a path whose servers, or some of them, are down: to hear them come back."""
MUTE_FOR = 3 * DOWN_PROBE_SLOW
"""On a path that was given up traffic has answers, and probes have none, for so long before nobody
counts as answering them any more."""
SLOW_AFTER = 60.0
"""A state that lasts longer than this is probed at the slow interval."""


def srtt(model: PathModel) -> float:
    return INITIAL_RTT if model.srtt is None else model.srtt


def deviation(model: PathModel) -> float:
    return srtt(model) / 2 if model.srtt is None else model.rttvar


def slack(model: PathModel) -> float:
    return max(4 * deviation(model), srtt(model) / 4, LEAST_SLACK)


def unanswered_limit(model: PathModel) -> float:
    """Something sent may stay unanswered for this long before the path is suspect."""
    return srtt(model) + slack(model)


def waking_limit(model: PathModel, wakes: tuple[float, ...]) -> float:
    """What is first for a while may stay unanswered for this long before the path counts as dead,
    for it may have had to wake a radio; ``wakes``: how long that took of late."""
    known = len(wakes) >= 2
    most = min(WAKE_SLACK, max(WAKE_LEAST, 2 * max(wakes))) if known else WAKE_SLACK
    return 2 * srtt(model) + slack(model) + most


def wave_limit(model: PathModel) -> float:
    """Data may leave for this long without an RTT sample: a retransmission, and its answer."""
    return max(WAVE_LEAST, 3 * srtt(model), 2 * srtt(model) + slack(model))


def quiet_limit(model: PathModel) -> float | None:
    """What arrives steadily may pause for this long; None when nothing does.

    Where messages get lost a stream of them may leave out one. Where packets of any kind come
    densely (acknowledgements of an upload, a download), a third of a round trip is long: only a
    sender that is limited to a few packets a round trip (BBR's PROBE_RTT) pauses so.
    """
    limits = []
    gap = steady(model.data, model.ends)
    if gap is not None:
        gaps = 2 if model.loss else 1
        limits.append(max(srtt(model) / 2, gaps * gap, model.data.pause) + slack(model))
    gap = steady(model.arrivals, model.ends)
    if gap is not None and gap <= DENSE_GAP:
        pause = max(srtt(model) / 3, DENSE * gap, longest(model.arrivals, model.ends))
        limits.append(pause + max(model.rttvar, DENSE_SLACK))
    return min(limits, default=None)


def answers_limit(model: PathModel) -> float | None:
    """What acknowledges a regular stream of ours may be missing for so long; None: there is none.

    Such a stream has questions under way at any moment, and their answers come as regularly as it
    asks: their absence tells sooner than the age of the oldest question that nothing came after.
    """
    answers = model.arrivals
    if model.loss or model.data.gap is not None or not regular(answers, model.ends):
        return None
    if (answers.gap or 0.0) > srtt(model):
        return None
    late = max(srtt(model) / 2, answers.worst) + slack(model)
    return max(late, answers.worst + RADIO_PAUSE - answer_limit(model))


def answer_limit(model: PathModel) -> float:
    """An answer takes this long at most, as far as is known."""
    return srtt(model) + max(4 * deviation(model), srtt(model) / 8, DENSE_SLACK)


def proof_limit(model: PathModel, *, answers: bool, patience: float) -> float:
    """Silence after the first probe of the burst that proves death: RFC 6298's time-out, without
    its least value, since nothing is sent again for it; longer where nobody answers probes.

    A queue of our own makes answers late only while it empties, and then something arrives. After
    a pause that is out of the ordinary it is empty: an answer takes the least RTT of the last ten
    seconds, for a queue that others fill may stay as it was.
    """
    if not answers:
        return max(PROOF_UNANSWERING, 4 * srtt(model))
    expected = answer_limit(model)
    floor = model.floor(model.at)
    low = model.low(model.at)
    if floor is not None and low is not None and _drained(model, floor):
        expected = min(expected, low + max(low / 4, DRAINED_SLACK))
    return max(PROOF_LEAST, expected, patience)


def _drained(model: PathModel, floor: float) -> bool:
    """Whatever of ours was queued on the path has left its queue, or is lost."""
    most = quiet_limit(model)
    heard = model.counters.last_rx if model.counters else None
    if most is None or heard is None or model.at - heard <= most:
        return False
    return load.answered(model.load, floor)


def deaf_limit(model: PathModel) -> float:
    """What arrives this long after an unanswered probe shows that nobody answers probes."""
    return max(PROOF_UNANSWERING, 4 * srtt(model))


def patience(late: float, elapsed: float) -> float:
    """How long an answer may take on a path that has paused before without being dead."""
    return float(PATIENCE * late * 0.5 ** (elapsed / PATIENCE_HALF_LIFE))


def calm(model: PathModel, alarms: int, *, brief: bool) -> float:
    """No new suspicion for this long after ``alarms`` wrong ones in a row; ``brief``: for a
    round trip at most."""
    most = min(CALM_MOST, srtt(model)) if brief else CALM_MOST
    return float(min(most, srtt(model) / 2 * 2 ** min(alarms - 1, 10)))


def burst_size(model: PathModel) -> int:
    """Probes of a burst: so many that a path that loses as this one does leaves them all without an
    answer no more often than by ERROR."""
    lost = 1 - (1 - min(model.loss or 0.0, 0.5)) ** 2
    if lost <= 0:
        return PROBES_PER_BURST
    enough = math.ceil(math.log(ERROR) / math.log(lost))
    return min(max(PROBES_PER_BURST, enough), PROBES_MOST)


def burst_spacing(model: PathModel) -> float:
    """Between the probes of a burst: all are out before the proof is complete."""
    return max(0.005, srtt(model) / 8)
