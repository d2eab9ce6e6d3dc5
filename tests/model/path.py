# SPDX-License-Identifier: GPL-2.0-or-later
"""The path around the flows: counters, liveness, histogram, events, the flow table."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from .entry import Arrived, Now, Sample
from .flow import Flow
from .numbers import EVENTS, Rx, Seen
from .options import Mptcp, Options, Subtype
from .wire import ACK, FIN, RST, SYN, Given, Record, Tcp, read

EVENTS_PER_SECOND = 64
MIN_RTT_WINDOW = 2**13
HIST_BUCKETS = 352


class Key(NamedTuple):
    local: bytes
    remote: bytes
    local_port: int
    remote_port: int


class Event(NamedTuple):
    at_ns: int
    kind: int
    path: int
    direction: int
    key: bytes = bytes(8)
    token: bytes = bytes(4)
    family: int = 0
    backup: int = 0
    tcp_flags: int = 0
    local_id: int = 0
    remote_id: int = 0
    mptcp: int = 0
    flow: Key | None = None


@dataclass
class Path:
    counters: Counter[str] = field(default_factory=Counter)
    asked_j: int = 0
    last_tx_j: int = 0
    last_rx_j: int = 0
    epoch: int = 0
    min_rtt: int = 0
    min_rtt_before: int = 0
    buckets: Counter[int] = field(default_factory=Counter)
    gates: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Kind of event: jiffies when its second began, how many passed since."""

    def sample(self, sample: Sample, now: Now) -> None:
        self.counters["rtt_samples"] += 1
        self.counters["rtt_sum_us"] += sample.us
        self.counters["rtt_dev_sum_us"] += sample.deviation
        self.counters["rtt_step_sum_us"] += sample.step
        epoch = now.jiffies // MIN_RTT_WINDOW
        if epoch != self.epoch:
            self.min_rtt_before = self.min_rtt if epoch == self.epoch + 1 else 0
            self.min_rtt, self.epoch = 0, epoch
        self.min_rtt = min(self.min_rtt or sample.us, sample.us)
        self.buckets[bucket_of(sample.us)] += 1


def bucket_of(us: int) -> int:
    """Values below 16 one each, then every octave cut into 16."""
    if us < 16:
        return us
    octave = us.bit_length() - 5
    return min(16 + octave * 16 + (us >> octave) - 16, HIST_BUCKETS - 1)


@dataclass(frozen=True)
class Did:
    """What became of one packet; as the results of struct omr_replay."""

    sample: Sample | None = None
    began: bool = False
    replaced: bool = False
    before: Flow | None = None
    reasons: tuple[str, ...] = ()


@dataclass
class Knock:
    token: bytes
    remote_id: int
    backup: bool


class Model:
    """Several paths, the flow tables behind them, a clock that stands still."""

    def __init__(self, hz: int, capacity: int) -> None:
        self.hz, self.capacity = hz, capacity
        self.paths: defaultdict[int, Path] = defaultdict(Path)
        self.flows: dict[Key, Flow] = {}
        self.knocks: dict[Key, Knock] = {}
        self.events: list[Event] = []

    def packet(self, given: Given, egress: bool, path: int, jiffies: int, ns: int) -> Did:
        now = Now(jiffies, ns, self.hz)
        record = read(given)
        self._volume(given, record, egress, self.paths[path])
        if egress:
            did = self._leaves(given, record, now, path)
        else:
            did = self._arrives(given, record, now, path)
        return did

    # --- the path ---------------------------------------------------------------------------

    def _volume(self, given: Given, record: Record, egress: bool, path: Path) -> None:
        side = "tx" if egress else "rx"
        path.counters[f"{side}_packets"] += wire_packets(given, record)
        path.counters[f"{side}_bytes"] += wire_bytes(given, record)
        for reason in record.reasons:
            path.counters[reason] += 1
        if record.tcp:
            path.counters[f"{side}_segments"] += record.tcp.segments
        if record.icmp_error and not egress:
            path.counters["icmp_errors"] += 1

    def _ask(self, tcp: Tcp, keep_alive: bool, path: int, now: Now) -> None:
        live = self.paths[path]
        if not ((tcp.space and not tcp.flags & RST) or keep_alive):
            return
        if live.last_tx_j == 0 or now.jiffies - live.last_tx_j >= self.hz:
            self._emit(Event(now.ns, EVENTS["BUSY"], path + 1, 0), now)
        if live.asked_j == 0 or live.asked_j <= live.last_rx_j:
            live.asked_j = now.jiffies

    # --- a packet leaves --------------------------------------------------------------------

    def _leaves(self, given: Given, record: Record, now: Now, path: int) -> Did:
        tcp = record.tcp
        live = self.paths[path]
        if tcp is None:
            self._left(record, now, path)
            return Did(reasons=tuple(record.reasons))
        key = Key(tcp.source, tcp.destination, tcp.sport, tcp.dport)
        flow = self.flows.get(key)
        replaced = flow if flow and flow.is_other_connections(tcp) else None
        first = flow is None or replaced is not None
        if first and not tcp.flags & RST:
            flow = self._begin(key, tcp, path, replaced, now)
        keep_alive = False
        if flow:
            closing = flow.closing
            sent = flow.leaves(tcp, wire_bytes(given, record), now, path, first)
            keep_alive = sent.keep_alive
            counters = live.counters
            counters["retransmitted_segments"] += sent.retransmitted
            counters["syn_retransmissions"] += sent.syn_again
            if first and tcp.flags & SYN:
                self._event("FLOW_OPEN", key, flow, tcp, True, path, now)
            if not closing and tcp.flags & (FIN | RST):
                self._event("FLOW_CLOSE", key, flow, tcp, True, path, now)
            self._mptcp_events(key, flow, tcp, True, path, now)
        if record.alive:
            self._ask(tcp, keep_alive, path, now)
        self._left(record, now, path)
        began = first and flow is not None
        return Did(None, began, began and replaced is not None, replaced, tuple(record.reasons))

    def _left(self, record: Record, now: Now, path: int) -> None:
        if record.alive:
            self.paths[path].last_tx_j = now.jiffies

    def _begin(self, key: Key, tcp: Tcp, path: int, replaced: Flow | None, now: Now) -> Flow | None:
        counters = self.paths[path].counters
        if replaced is None and self._table_size(key) >= self.capacity:
            counters["flows_refused"] += 1
            return None
        counters["flows_opened"] += 1
        flow = self.flows[key] = Flow.begun_by(tcp, now)
        joins = tcp.options.carries(Subtype.JOIN)
        if tcp.flags & SYN and tcp.flags & ACK and joins and key in self.knocks:
            knock = self.knocks.pop(key)
            flow.token, flow.remote_id = knock.token, knock.remote_id
            flow.rx_flags |= int(Rx.MPTCP | Rx.JOIN | (Rx.BACKUP if knock.backup else 0))
        return flow

    def _table_size(self, key: Key) -> int:
        return sum(len(other.local) == len(key.local) for other in self.flows)

    # --- a packet arrives -------------------------------------------------------------------

    def _arrives(self, given: Given, record: Record, now: Now, path: int) -> Did:
        live = self.paths[path]
        if record.alive:
            live.last_rx_j = now.jiffies
        tcp = record.tcp
        if tcp is None:
            return Did(reasons=tuple(record.reasons))
        key = Key(tcp.destination, tcp.source, tcp.dport, tcp.sport)
        if tcp.flags & SYN and not tcp.flags & ACK:
            self._knock(key, tcp)
        flow = self.flows.get(key)
        if flow is None:
            return Did(reasons=tuple(record.reasons))
        closing = flow.closing
        found = flow.arrives(tcp, wire_bytes(given, record), now)
        if found.peer:
            self._count(found, live, now)
            if found.ready:
                self._event("FLOW_READY", key, flow, tcp, False, path, now)
            if not closing and tcp.flags & (FIN | RST):
                self._event("FLOW_CLOSE", key, flow, tcp, False, path, now)
            self._mptcp_events(key, flow, tcp, False, path, now)
        return Did(found.sample, reasons=tuple(record.reasons))

    def _knock(self, key: Key, tcp: Tcp) -> None:
        join = tcp.options.last(Subtype.JOIN)
        if join and join.token is not None and join.address_id is not None:
            self.knocks[key] = Knock(join.token, join.address_id, join.backup)

    def _count(self, found: Arrived, live: Path, now: Now) -> None:
        live.counters["spurious_segments"] += found.spurious
        live.counters["refilled_segments"] += found.refilled_on_path
        live.counters["reordered_segments"] += found.reordered
        if found.sample:
            live.sample(found.sample, now)

    # --- events -----------------------------------------------------------------------------

    def _mptcp_events(
        self, key: Key, flow: Flow, tcp: Tcp, egress: bool, path: int, now: Now
    ) -> None:
        seen = mptcp_seen(tcp.options.mptcp)
        if seen & Seen.PRIO:
            self._event("PRIORITY", key, flow, tcp, egress, path, now)
        if seen & (Seen.ADD_ADDR | Seen.REMOVE_ADDR | Seen.FASTCLOSE | Seen.FAIL | Seen.INFINITE):
            self._event("MPTCP", key, flow, tcp, egress, path, now)

    def _event(
        self, kind: str, key: Key, flow: Flow, tcp: Tcp, egress: bool, path: int, now: Now
    ) -> None:
        known = bool(flow.rx_flags & Rx.KEY)
        event = Event(
            now.ns,
            EVENTS[kind],
            path + 1,
            0 if egress else 1,
            flow.key if known else bytes(8),
            bytes(4) if known else flow.token,
            4 if len(key.local) == 4 else 6,
            backup_bit(tcp.options),
            tcp.flags,
            flow.local_id,
            flow.remote_id,
            mptcp_seen(tcp.options.mptcp),
            key,
        )
        self._emit(event, now)

    def _emit(self, event: Event, now: Now) -> None:
        path = self.paths[event.path - 1]
        began, passed = path.gates.get(event.kind, (0, 0))
        if now.jiffies - began >= self.hz:
            began, passed = now.jiffies, 0
        if passed >= EVENTS_PER_SECOND:
            path.counters["events_suppressed"] += 1
        else:
            self.events.append(event)
            passed += 1
        path.gates[event.kind] = began, passed


def mptcp_seen(options: list[Mptcp]) -> int:
    """enum omr_mptcp_seen of a packet's options."""
    names = {
        Subtype.CAPABLE: Seen.CAPABLE,
        Subtype.JOIN: Seen.JOIN,
        Subtype.DSS: Seen.DSS,
        Subtype.ADD_ADDR: Seen.ADD_ADDR,
        Subtype.REMOVE_ADDR: Seen.REMOVE_ADDR,
        Subtype.PRIO: Seen.PRIO,
        Subtype.FASTCLOSE: Seen.FASTCLOSE,
        Subtype.FAIL: Seen.FAIL,
        Subtype.TCPRST: Seen.RST,
    }
    seen = 0
    for option in options:
        seen |= names.get(option.subtype, Seen.OTHER)
        if option.infinite:
            seen |= Seen.INFINITE
    return int(seen)


def backup_bit(options: Options) -> int:
    """What MP_PRIO or else MP_JOIN says."""
    said = options.last(Subtype.PRIO) or options.last(Subtype.JOIN)
    return int(said.backup) if said else 0


def wire_bytes(given: Given, record: Record) -> int:
    """Section 1: a super-packet's headers once for each segment."""
    return given.length + (wire_packets(given, record) - 1) * record.headers


def wire_packets(given: Given, record: Record) -> int:
    return record.tcp.gso_segs if record.tcp else max(given.gso[0], 1)
