# SPDX-License-Identifier: GPL-2.0-or-later
"""What the core remembers: immutable, plain values, which the journal writes as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field

from omrfast.core.config import PathConfig
from omrfast.core.model import PathModel
from omrfast.core.types import (
    Origin,
    PathState,
    ProbeKind,
    Role,
    ServerState,
    Target,
)

NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A path went silent; a burst of probes decides."""

    since: float
    """When it became suspect. Any arrival later than this clears it."""
    before: PathState
    sign: str
    """What made it suspect, with figures."""
    burst_left: int
    next_probe: float
    deadline: float
    sign_at: float
    """The first sign: the question without an answer, or the last arrival."""
    measured: float
    limit: float
    """Seconds of silence, and how many were allowed."""
    needs_answer: bool = False
    """Packets that arrive clear nothing, for what leaves may be lost: a probe's answer or an RTT
    sample does."""
    paused: bool = False
    """The sign is a stream's pause."""
    refused: bool = False
    """The sign is the gateway's word about somebody, not silence."""
    sparing: bool = False
    """Little is left of the budget: one is asked first, the burst follows if that is in vain."""
    waits_until: float | None = None
    """Its own burst is over; till then at most it waits for what other paths hear of the same
    servers."""
    plain: float = 0.0
    """Seconds of silence that would be proof if the path had not paused before."""
    reason: str = ""
    evidence: Evidence | None = None
    """Of the state before."""


@dataclass(frozen=True, slots=True)
class Purse:
    """What a path's probes may still cost."""

    level: float
    """Bytes, as of ``at``; below zero: owed."""
    at: float
    saving: bool = False
    """There was too little left for all that is wanted."""
    traffic: int = 0
    """Bytes that the path had carried by then, both ways, as the data path counts."""


@dataclass(frozen=True, slots=True)
class Fall:
    """What a path was when it was given up, to go back to if that proves wrong."""

    before: PathState
    penalty: float
    penalty_at: float
    sign_at: float


@dataclass(frozen=True, slots=True)
class TargetRecord:
    """What is known of one target on one path."""

    target: Target
    asked_at: float = NEVER
    """When it was last asked."""
    waiting_since: float | None = None
    """When the oldest question left that nothing has answered since; None: none is open."""
    answered_at: float = NEVER
    """When an answer last arrived; NEVER: it has not answered on this path."""
    unanswered: int = 0
    """Questions since the last answer."""
    refused_at: float = NEVER
    """When the path's gateway last said that it can't be reached."""
    excused: bool = False
    """Its server is down: its silence says nothing about the path."""
    rtt: float | None = None
    """Of the last answer, seconds."""
    works_since: float = NEVER
    """Its first answer after the last failure, or of all."""
    failed_at: float = NEVER
    failed_since: float = NEVER
    """Of the first of these failures."""
    failures: int = 0
    """Failures in a row that were told (a service that refuses, times out, or says other words)."""
    error: str = ""
    """The last of them, in words."""

    @property
    def answers(self) -> bool:
        """It has answered on this path."""
        return self.answered_at > NEVER

    @property
    def refused(self) -> bool:
        """The gateway has said that it can't be reached, and it has not answered since."""
        return self.waiting_since is not None and self.refused_at >= self.waiting_since

    @property
    def beyond(self) -> bool:
        """An answer shows that the path carries packets, not only that its gateway is there."""
        return self.target.origin is not Origin.GATEWAY

    @property
    def burstable(self) -> bool:
        """Somebody beyond who can be asked at any moment, for a packet or two."""
        kind, origin = self.target.kind, self.target.origin
        if kind is ProbeKind.ICMP:
            return origin is not Origin.GATEWAY
        return kind is ProbeKind.TCP and origin is Origin.SERVER


@dataclass(frozen=True, slots=True)
class Override:
    """The operator's word over the state machine."""

    role: Role
    """ACTIVE, BACKUP or OFF, whatever is measured."""
    until: float | None
    """None: until told otherwise."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The numbers behind a decision."""

    what: str
    """silence, rtt, p99, rise, loss, jitter, link, gateway, service, answers, good, operator, …"""
    measured: float | None = None
    limit: float | None = None
    """Both in seconds, or ratios for loss, or factors for rise; None where there is none."""
    sign_at: float | None = None
    """When the first sign was there: the question that had no answer, the first bad sample."""


@dataclass(frozen=True, slots=True)
class PathRecord:
    config: PathConfig
    state: PathState = PathState.UNKNOWN
    since: float = 0.0
    reason: str = "not heard yet"
    model: PathModel = field(default_factory=PathModel)
    link_up: bool = True
    suspicion: Suspicion | None = None
    cleared: str = ""
    """Why the last suspicion came to nothing."""
    bad_since: float | None = None
    bad_moments: tuple[float, ...] = ()
    """When samples were read since then that were bad themselves: the first, the second, the
    last."""
    bad_own: bool = False
    """By our own load, as it seems."""
    bad_what: str = ""
    """Evidence.what of them."""
    good_since: float | None = None
    bad_flows: int = 0
    """Flows opened on it before bad_since."""
    bloated_at: float = NEVER
    """When it was last demoted for a queue of our own making."""
    good_mark: tuple[int, int] = (0, 0)
    """Crossings and losses (model.losses) before good_since."""
    lossy: bool = False
    """Demoted for loss: it has to show that it no longer is."""
    tailed: bool = False
    """Demoted for its 99th percentile, which is not measured while others carry the traffic."""
    tails: int = 0
    """Such demotions in a row, each after less time up than it was held back for before."""
    watch_until: float = NEVER
    """Dense probes are wanted until then, to know soon whether it loses."""
    watch_rest_until: float = NEVER
    watches: int = 0
    """No more of them for small reasons before then; how many there were in a row for nothing, or
    without proof that it no longer loses."""
    gentle: int = 0
    """Which of LOSS_PROBES they are: whoever is asked may not answer denser ones."""
    gentle_until: float = NEVER
    """So long, while it is up."""
    admitted: bool = False
    """On probation: has answered for long enough to come back as backup."""
    answers: bool = False
    """A target has answered a probe on this path: silence after a probe means something."""
    deaf: bool = False
    """None has, although the path was alive: silence after a probe means nothing."""
    late: float = 0.0
    late_at: float = NEVER
    """RTT of an answer that came after the verdict, and when: patience for the next one."""
    answered_at: float = NEVER
    """Last probe reply."""
    next_probe: float = NEVER
    calm_until: float = NEVER
    alarms: int = 0
    """Suspicions in a row that proved wrong, since alarm_at not long ago."""
    alarm_at: float = NEVER
    penalty: float = 0.0
    penalty_at: float = 0.0
    clean_since: float | None = None
    """When it last came to be up; None: it has not yet."""
    clean_for: float = 0.0
    """Seconds from then to the demotion that is charged in ``penalty`` last."""
    targets: tuple[TargetRecord, ...] = ()
    """Whom to ask on this path, as the last TargetsChanged said."""
    rounds: int = 0
    """Probes sent: whose turn it is, and the seed of the next interval."""
    tcp_at: float = NEVER
    """Read at which TCP data, or an RTT sample, had last arrived: that comes from beyond."""
    arrived_at: float = NEVER
    """Last packet that the data path counted, reads that saw nothing but ICMP errors left out."""
    question_at: float = NEVER
    """Oldest question of the traffic that nothing, but for ICMP errors, has come after."""
    probe_bytes: int = 0
    """What its probes have cost since the start: IP packets, both ways, as estimated."""
    purse: Purse | None = None
    """None: its probes are not bounded, or none was sent yet."""
    unsampled_at: float = NEVER
    """Read at which data had left that no RTT sample has come after; NEVER: there is none."""
    unsampled: int = 0
    """Segments that have left since the last RTT sample."""
    doubted_at: float = NEVER
    """When a suspicion was last cleared by probes alone: its traffic has no answers."""
    woken_at: float = NEVER
    """When a probe last left after a quiet time."""
    wakes: tuple[float, ...] = ()
    """How much longer than SRTT such probes took, seconds; the last few."""
    served_at: float = NEVER
    """Last arrival of a server's flow on any path, as of the last walk in which no handshake of
    this path's that may be with a server was sent again: till then traffic speaks for servers."""
    syns_again: int = 0
    """SYNs sent again, as of the last walk."""
    settles_at: float = NEVER
    """A server has come back: till then its answers tell of its absence, not of the path."""
    fall: Fall | None = None
    """While DOWN or UNREACHABLE by silence."""
    override: Override | None = None
    kept: bool = False
    """Switched off by word, but no other path is left: measured, and used if it answers."""
    evidence: Evidence | None = None
    """Of the present state."""

    @property
    def unused(self) -> bool:
        """Switched off: nothing is asked or judged on it."""
        return self.role is Role.OFF and not self.kept

    @property
    def role(self) -> Role:
        """The operator's word of the moment, else that of the configuration."""
        return self.config.role if self.override is None else self.override.role

    @property
    def sober(self) -> PathState:
        """The state without a suspicion that is not decided yet."""
        return self.state if self.suspicion is None else self.suspicion.before

    @property
    def excused(self) -> bool:
        """Whoever beyond could be asked is down, so that no silence of theirs is the path's."""
        return self.by_gateway and any(entry.burstable for entry in self.targets)

    @property
    def by_gateway(self) -> bool:
        """There is nobody beyond to ask: the gateway's answers must do as a sign of life."""
        return all(entry.excused or not entry.burstable for entry in self.targets)

    @property
    def asked(self) -> float | None:
        """Since when something that calls for an answer has had none: traffic, or a probe."""
        if self.by_gateway:
            open_since = [
                entry.waiting_since
                for entry in self.targets
                if not entry.beyond and entry.answers and entry.waiting_since is not None
            ]
            asked = min((at for at in open_since if at > self.heard), default=None)
            if self.excused or asked is not None:
                return asked
        counters = self.model.counters
        waiting = []
        if self.answers or not (self.deaf or self.sober is PathState.UNKNOWN):
            waiting = [at for at in self.model.outstanding if at > self.heard][:1]
        if counters is not None and self.question_at > self.heard:
            if self.question_at >= self.since or self.answers:
                waiting.append(self.question_at)
            elif self.model.traffic_at > self.since:
                # The data path holds the first question only; there have been others since.
                waiting.append(self.since)
        return min(waiting, default=None)

    @property
    def heard(self) -> float:
        """When anything last arrived: a packet that the data path counted, or a probe reply."""
        return max(self.arrived_at, self.answered_at)


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """A [[server]], over all its addresses and all paths."""

    name: str
    addresses: tuple[str, ...]
    state: ServerState = ServerState.UNKNOWN
    since: float = 0.0
    reason: str = "not heard yet"
    heard_at: float = NEVER
    """Last answer on any path, or arrival of any of its flows."""
    silent_at: float | None = None
    """When it turned out to answer on no path; it is DOWN if that lasts. None: it was heard."""
    silent_since: float = NEVER
    """The first question without an answer, then."""
    retransmitted: int = 0
    """Segments of its open flows that were sent again, as of the last walk."""
    doubted_at: float = NEVER
    """When a walk last found that more was sent again, and that nothing had come of it; or when its
    ports failed and its host had not been heard meanwhile."""
    handshakes: int = 0
    """Of its flows, those that had no answer yet as of the last walk."""
    walked_at: float = NEVER
    """That walk."""
    arrived_at: float = NEVER
    """Last arrival of any of its flows."""
    mute_since: float | None = None
    """Since when its flows have sent again and nothing of theirs has arrived; None: it has."""
    mute_at: float = NEVER
    """When a walk last found them so."""
    resumes_until: float = NEVER
    """They have had an answer again, and till then some may still send what was left over."""
    evidence: Evidence | None = None
    """Of the present state."""
    unreachable_on: frozenset[str] = frozenset()
    """Paths that live and on which it does not answer, while it does on another."""


@dataclass(frozen=True, slots=True)
class Front:
    """The path that carries while none is good."""

    path: str
    beaten_since: float | None = None
    """Since when another one has been clearly better."""
    changes: int = 0
    changed_at: float = NEVER
    """How often another one has taken its place, one not long after the other; the last time."""


@dataclass(frozen=True, slots=True)
class CoreState:
    paths: tuple[PathRecord, ...]
    started: float
    servers: tuple[ServerRecord, ...] = ()
    quorum: float = 0.5
    """Share of the weights of a path's services that must work for the path to work."""
    trouble: str | None = None
    """Local trouble: every path that was alive went at once; None: there is none."""
    trouble_since: float = 0.0
    front: Front | None = None
    """None: no path is bad."""

    def path(self, name: str) -> PathRecord:
        """Raises KeyError for a name that is not configured."""
        for record in self.paths:
            if record.config.name == name:
                return record
        raise KeyError(name)
