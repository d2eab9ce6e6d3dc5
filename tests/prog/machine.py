# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs packets through the loaded programs and shows everything that they left behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from omrfast.shim._shim import ffi
from scapy.packet import Raw

from omrfast.dataplane.reader import DataPlane
from omrfast.shim import api
from omrfast.shim.run import TC_ACT_UNSPEC, XDP_PASS

from . import packets
from .packets import Layout, Options

PATH = 5
LOOPBACK = 1
"""BPF_PROG_TEST_RUN passes packets off as the loopback device's."""
START_J, START_NS = 4_300_000_000, 777_000_000_000
"""Beyond 32 bits of jiffies, so that a mistake of width shows."""

REASONS = ("truncated", "malformed", "fragment", "extensions", "vlans", "options")
Nonzero = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One packet: TCP as described, or whatever `build` makes of a layout."""

    egress: bool
    flags: str = "A"
    seq: int = 0
    ack: int = 0
    payload: int = 0
    options: Options = field(default_factory=list)
    window: int = 500
    after: float = 0
    """Milliseconds since the step before."""
    gso: tuple[int, int] = (0, 0)
    """gso_segs, gso_size."""
    counted: bool = True
    """The flow counts its bytes."""
    build: Callable[[Layout], bytes] | None = None
    _frames: dict[Layout, bytes] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def bytes_in(self, layout: Layout) -> bytes:
        """The frame; made once, because scapy takes longer than the programs."""
        if layout not in self._frames:
            self._frames[layout] = self._made(layout)
        return self._frames[layout]

    def _made(self, layout: Layout) -> bytes:
        if self.build:
            return self.build(layout)
        tcp = packets.transport(
            self.egress, self.flags, self.seq, self.ack, self.window, self.options
        )
        inner = packets.network(layout, self.egress) / tcp / Raw(bytes(self.payload))
        return packets.frame(layout, self.egress, inner)

    def wire_packets(self) -> int:
        return max(self.gso[0], 1)

    def segment_units(self) -> int:
        """Payload of one wire segment as omr_flow_tx.segment_64b has it."""
        return min(-(-min(self.payload, self.gso[1] or self.payload) // 64), 255)

    def wire_bytes(self, layout: Layout) -> int:
        data = self.bytes_in(layout)
        return len(data) + (self.wire_packets() - 1) * (len(data) - self.payload)


def out(flags: str, seq: int, ack: int = 0, payload: int = 0, **more: Any) -> Step:
    return Step(True, flags, seq, ack, payload, **more)


def into(flags: str, seq: int, ack: int = 0, payload: int = 0, **more: Any) -> Step:
    return Step(False, flags, seq, ack, payload, **more)


@dataclass(frozen=True)
class Outcome:
    """What a case expects, and what a run leaves; only what is not zero is listed."""

    flow: Nonzero | None = None
    """Members of tx and rx; instants as milliseconds since the start, echo_gap_j in
    milliseconds, hole_j only where a hole was seen, left_to_sack: 1 if sample_stamp is even; None:
    no entry."""
    counters: Nonzero = field(default_factory=dict)
    live: dict[str, float] = field(default_factory=dict)
    """asked, last_tx, last_rx: milliseconds since the start."""
    events: tuple[tuple[Any, ...], ...] = ()
    """(kind, egress) or (kind, egress, backup)."""


def _nonzero(value: Any) -> Nonzero:
    names = [name for name, _ in ffi.typeof(value[0]).fields if name != "zero"]
    members = {name: getattr(value, name) for name in names}
    return {name: number for name, number in members.items() if isinstance(number, int) and number}


class Machine:
    """The programs of one loader with one ingress hook, on a clock that stands still."""

    def __init__(self, plane: DataPlane, xdp: bool) -> None:
        self.plane = plane
        self.xdp = xdp
        self.ms = 0.0

    def reset(self, layout: Layout) -> None:
        maps = self.plane.maps
        for table in ("omr_flows4", "omr_flows6"):
            for key in list(maps[table].keys()):
                maps[table].delete(key)
        for name in ("omr_path_counters", "omr_path_rtt", "omr_path_live"):
            maps[name].update(PATH, bytes(maps[name].info.value_size))
        for slot in range(api.lib.OMR_KNOCKS):
            maps["omr_knocks"].update(slot, bytes(maps["omr_knocks"].info.value_size))
        for kind in range(api.lib.OMR_EVENT_KINDS):
            maps["omr_event_gate"].update(PATH * api.lib.OMR_EVENT_KINDS + kind, bytes(16))
        self.plane.events()
        self.plane.set_link(LOOPBACK, PATH, 1 if layout.bare else 0)
        self.ms = 0.0

    def _set_clock(self, wire_len: int = 0) -> None:
        jiffies = START_J + round(self.ms * self.plane.hz / 1000)
        now = {"now_j": jiffies, "now_ns": START_NS + round(self.ms * 1_000_000)}
        packet = api.struct("omr_replay", now=now, wire_len=wire_len)
        self.plane.maps["omr_replay_packet"].update(0, api.raw(packet))

    def wait(self, ms: float) -> None:
        self.ms += ms
        self._set_clock()

    def send(self, step: Step, layout: Layout, wire_len: int = 0) -> None:
        """Run one packet; the verdict and the packet must be as if we were not there.

        wire_len: its length, if what is handed in is only its beginning.
        """
        self.ms += step.after
        self._set_clock(wire_len)
        data = step.bytes_in(layout)
        if step.egress or not self.xdp:
            program = self.plane.programs["omr_egress" if step.egress else "omr_ingress"]
            run = program.run_skb(data, gso_segs=step.gso[0], gso_size=step.gso[1])
            assert run.verdict == TC_ACT_UNSPEC
        else:
            run = self.plane.programs["omr_xdp"].run_xdp(data)
            assert run.verdict == XDP_PASS
        assert run.packet == data

    def run(self, steps: Sequence[Step], layout: Layout) -> Outcome:
        self.reset(layout)
        for step in steps:
            self.send(step, layout)
        return self.outcome(layout)

    # --- what is left ------------------------------------------------------------------------

    def _since(self, jiffies: int, bits: int = 64) -> float:
        return ((jiffies - START_J) % 2**bits) * 1000 / self.plane.hz

    def _since_stamp(self, stamp: int) -> float:
        """The lowest bit is set in readings of the clock."""
        shift = api.lib.OMR_STAMP_SHIFT
        return (((stamp | 1) - (START_NS >> shift | 1)) % 2**32 << shift) / 1e6

    def flow(self, layout: Layout) -> Nonzero | None:
        table = self.plane.maps[f"omr_flows{layout.version}"]
        keys = list(table.keys())
        if not keys:
            return None
        assert len(keys) == 1
        value = table.lookup(keys[0])
        assert value is not None
        return self.flow_members(api.struct("omr_flow", value)[0])

    def flow_members(self, entry: Any) -> Nonzero:
        """What is not zero of a struct omr_flow."""
        members = _nonzero(ffi.addressof(entry, "tx"))
        members["tx_flags"] = members.pop("flags", 0)
        arrived = _nonzero(ffi.addressof(entry, "rx"))
        arrived["rx_flags"] = arrived.pop("flags", 0)
        members.update(arrived)
        connection = ffi.addressof(entry.tx, "connection")
        keyed = entry.rx.flags & api.lib.OMR_RX_KEY
        members.update(_nonzero(connection if keyed else ffi.addressof(connection[0], "join")))
        if members.get("sample_stamp", 1) % 2 == 0:
            members["left_to_sack"] = 1
        for name in ("sample_stamp", "tsecho_stamp"):
            if name in members:
                members[name] = self._since_stamp(members[name])
        for name in ("unacked_since_j", "last_rx_j"):
            if name in members:
                members[name] = self._since(members[name], 32)
        if members["rx_flags"] & api.lib.OMR_RX_HOLE:
            members["hole_j"] = self._since(entry.rx.hole_j, 16)
        if "echo_gap_j" in members:
            members["echo_gap_j"] *= 1000 / self.plane.hz
        return members

    def entries(self) -> dict[bytes, bytes]:
        """Both flow tables, byte for byte."""
        tables = [self.plane.maps[name] for name in ("omr_flows4", "omr_flows6")]
        keys = [(table, key) for table in tables for key in list(table.keys())]
        return {key: table.lookup(key) or b"" for table, key in keys}

    def replay(self) -> Any:
        """struct omr_replay after the last packet."""
        value = self.plane.maps["omr_replay_packet"].lookup(0)
        assert value is not None
        return api.struct("omr_replay", value)

    def knocks(self) -> list[bytes | None]:
        return [self.plane.maps["omr_knocks"].lookup(n) for n in range(api.lib.OMR_KNOCKS)]

    def counters(self) -> Nonzero:
        total: Nonzero = {}
        for value in self.plane.maps["omr_path_counters"].lookup_per_cpu(PATH):
            row = api.struct("omr_path_counters", value)
            found = _nonzero(row)
            found.pop("min_rtt_epoch", None)
            found.update(zip(REASONS, row.unparsed, strict=False))
            for name, number in found.items():
                total[name] = total.get(name, 0) + number
        return {name: number for name, number in total.items() if number}

    def live(self) -> dict[str, float]:
        value = self.plane.maps["omr_path_live"].lookup(PATH)
        row = api.struct("omr_path_live", value)
        found = {
            "asked": row.tx.asked_j,
            "last_tx": row.tx.last_tx_j,
            "last_rx": row.rx.last_rx_j,
        }
        return {name: self._since(number) for name, number in found.items() if number}

    def histogram_total(self) -> int:
        rows = self.plane.maps["omr_path_rtt"].lookup_per_cpu(PATH)
        return sum(sum(api.struct("omr_path_rtt", row).bucket) for row in rows)

    def outcome(self, layout: Layout) -> Outcome:
        events = tuple(
            (event.kind, event.egress, event.backup) if event.backup else (event.kind, event.egress)
            for event in self.plane.events()
        )
        return Outcome(self.flow(layout), self.counters(), self.live(), events)


def with_volume(expected: Outcome, steps: Sequence[Step], layout: Layout) -> Outcome:
    """The expectation, with the bytes, packets and sizes that follow from the steps themselves."""
    counters, flow = dict(expected.counters), dict(expected.flow or {})
    for step in steps:
        side = "tx" if step.egress else "rx"
        size, count = step.wire_bytes(layout), step.wire_packets()
        counters[f"{side}_bytes"] = counters.get(f"{side}_bytes", 0) + size
        counters[f"{side}_packets"] = counters.get(f"{side}_packets", 0) + count
        if step.counted:
            flow[f"{side}_bytes"] = flow.get(f"{side}_bytes", 0) + size
        if step.counted and step.egress and step.payload:
            flow["segment_64b"] = max(flow.get("segment_64b", 0), step.segment_units())
    return Outcome(
        None if expected.flow is None else flow, counters, expected.live, expected.events
    )


def flow_of(
    machine: Machine, steps: Sequence[Step], layout: Layout = packets.LAYOUTS[0]
) -> Nonzero:
    """The one flow that the steps leave."""
    found = machine.run(steps, layout).flow
    assert found is not None
    return found


def expect(found: Nonzero, **members: int | float) -> None:
    assert {name: found.get(name, 0) for name in members} == members
