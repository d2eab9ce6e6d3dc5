# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs under test, in the kernel and built natively, and the model, in one shape.

All of them are asked the same after each packet: what struct omr_replay says of it, its flow entry,
the events; and at the end, everything that is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from .entry import MEMBERS
from .flow import Flow
from .numbers import Rx
from .path import Did, Event, Key, Model
from .wire import Given, read

LOOPBACK = 1
"""BPF_PROG_TEST_RUN passes packets off as the loopback device's."""
PATHS = (5, 6)
SOURCES = ("", "handshake", "data", "echo", "sack")
Numbers = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One packet at the hook."""

    given: Given
    egress: bool
    path: int
    jiffies: int
    ns: int


@dataclass(frozen=True)
class Shown:
    """What one packet did."""

    sample: tuple[int, str] | None
    began: bool
    replaced: bool
    before: Numbers | None
    reason: str
    flow: Numbers | None
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Left:
    """What is there after all packets."""

    flows: dict[Key, Numbers]
    counters: dict[int, Numbers]
    live: dict[int, tuple[int, int, int]]
    histograms: dict[int, dict[int, int]]


class Subject(Protocol):
    name: str

    def reset(self) -> None: ...
    def pass_(self, step: Step) -> Shown | None: ...
    def left(self) -> Left: ...


def key_of(given: Given, egress: bool) -> Key | None:
    tcp = read(given).tcp
    if tcp is None:
        return None
    if egress:
        return Key(tcp.source, tcp.destination, tcp.sport, tcp.dport)
    return Key(tcp.destination, tcp.source, tcp.dport, tcp.sport)


# --- the model ----------------------------------------------------------------------------------


def flow_numbers(flow: Flow) -> Numbers:
    numbers = {name: getattr(flow, name) for name in MEMBERS}
    numbers["tx_flags"], numbers["rx_flags"] = int(flow.tx_flags), int(flow.rx_flags)
    if flow.rx_flags & Rx.KEY:
        numbers["key"] = flow.key
    else:
        numbers["token"], numbers["data_word"] = flow.token, flow.data_word
    return numbers


class Reference:
    """The model."""

    name = "model"

    def __init__(self, hz: int, capacity: int) -> None:
        self._new: Callable[[], Model] = lambda: Model(hz, capacity)
        self.model = self._new()

    def reset(self) -> None:
        self.model = self._new()

    def pass_(self, step: Step) -> Shown:
        model = self.model
        model.events.clear()
        before = {key: flow_numbers(flow) for key, flow in model.flows.items()}
        did: Did = model.packet(step.given, step.egress, step.path, step.jiffies, step.ns)
        key = key_of(step.given, step.egress)
        flow = model.flows.get(key) if key else None
        return Shown(
            (did.sample.us, did.sample.source) if did.sample else None,
            did.began,
            did.replaced,
            before[key] if did.replaced and key else None,
            did.reasons[0] if did.reasons else "",
            flow_numbers(flow) if flow else None,
            tuple(sorted(model.events, key=repr)),
        )

    def left(self) -> Left:
        paths = {number: self.model.paths[number] for number in PATHS}
        counters = {}
        for number, path in paths.items():
            numbers: Numbers = {name: count for name, count in path.counters.items() if count}
            extra = {
                "min_rtt_epoch": path.epoch,
                "min_rtt_us": path.min_rtt,
                "min_rtt_prev_us": path.min_rtt_before,
            }
            numbers.update({name: value for name, value in extra.items() if value})
            counters[number] = numbers
        return Left(
            {key: flow_numbers(flow) for key, flow in self.model.flows.items()},
            counters,
            {n: (path.asked_j, path.last_tx_j, path.last_rx_j) for n, path in paths.items()},
            {n: dict(path.buckets) for n, path in paths.items()},
        )
