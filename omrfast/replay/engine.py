# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a capture through a data plane, batch by batch, and collects what the programs tell."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from omrfast.replay import frames
from omrfast.replay.capture import Capture, CaptureError, Packet
from omrfast.replay.outcome import Flow, Replay, Sample
from omrfast.replay.planes import Target
from omrfast.replay.sides import EGRESS, INGRESS, Given, Seen, Sides
from omrfast.shim import api
from omrfast.shim._shim import ffi, lib
from omrfast.shim.native import HZ

SURVEYED = 10_000
"""Packets from whose beginning the sides are guessed."""
BATCH = 4_096
KEPT = 512
"""Bytes of a packet that the programs get: more than any header they follow is long in practice."""
LEAST = {b"\x08\x00": 34, b"\x86\xdd": 54}
"""Bytes that BPF_PROG_TEST_RUN wants to see of what it takes for an IP packet, which without an
Ethernet header may be part of an address; of anything else LEAST_OTHER."""
LEAST_OTHER = 14
LONGEST_WIRE = (1 << 32) - 1
STEP_NS = 1_000_000_000
"""Packets that are earlier by less were captured out of order; by more, the clock was set."""
START_NS = 1_000_000_000
START_J = 1 << 32
"""The programs' clocks at the first packet; jiffies of 32 bits wrap soon after."""

_SOURCES = {
    lib.OMR_SAMPLE_HANDSHAKE: "handshake",
    lib.OMR_SAMPLE_DATA: "data",
    lib.OMR_SAMPLE_ECHO: "echo",
    lib.OMR_SAMPLE_SACK: "sack",
}
# struct omr_replay_item up to the members that omr_replay_look() fills in
_ITEM = struct.Struct("=QQIIIBB")
_SIZE = api.sizeof("omr_replay_item")


def _at(member: str) -> int:
    return int(ffi.offsetof("struct omr_replay_item", member))


_DIRECTION, _KNOWN, _ENDS, _FLAGS = (
    _at(name) for name in ("direction", "known", "family", "tcp_flags")
)
_ENDS_SIZE = 1 + 16 + 16 + 4
assert _ITEM.size == _KNOWN
assert _FLAGS == _ENDS + _ENDS_SIZE


Progress = Callable[[int, int], None]
"""Called after each batch with the packets and the bytes of the file read so far."""


def replay(
    capture: Capture, target: Target, given: Given, progress: Progress, *, each_sample: bool
) -> Replay:
    """Run all of a capture; raises CaptureError if nothing of it can be used.

    each_sample: the result has a list of all RTT samples.
    """
    run = _Run(capture, target, given, each_sample)
    for batch in _batches(iter(capture)):
        run.batch(batch)
        progress(run.result.packets, capture.position())
    return run.finish()


def _batches(packets: Iterator[Packet]) -> Iterator[list[Packet]]:
    size = SURVEYED
    while batch := list(islice(packets, size)):
        yield batch
        size = BATCH


class _Run:
    def __init__(self, capture: Capture, target: Target, given: Given, each_sample: bool) -> None:
        self.result = Replay()
        self._each_sample = each_sample
        self._capture = capture
        self._target = target
        self._sides = Sides(given)
        self._shift = 0
        """Nanoseconds by which the capture's clock was set back so far."""
        self._surveyed = bool(given)
        self._given = given
        self._unframe: dict[int, frames.Unframe | None] = {}
        self._directions: dict[bytes, int | str] = {}
        self._live: dict[bytes, int] = {}
        """Key to index of the flow that the table holds."""

    # --- one batch ----------------------------------------------------------------------------

    def batch(self, packets: list[Packet]) -> None:
        numbers: list[int] = []
        kept: list[frames.Frame] = []
        items = bytearray(len(packets) * _SIZE)
        offset = 0
        for packet in packets:
            frame = self._frame(packet)
            if frame is None:
                continue
            data = frame.data[:KEPT]
            wire_len = min(max(frame.wire_len, 1), LONGEST_WIRE)
            now, jiffies = self._clock(packet.at_ns or 0)
            _ITEM.pack_into(
                items, len(numbers) * _SIZE,
                now, jiffies, offset, len(data), wire_len, frame.l2, 0,
            )  # fmt: skip
            offset += len(data)
            numbers.append(packet.number)
            kept.append(frame)
        self.result.packets += len(packets)
        data = b"".join(frame.data[:KEPT] for frame in kept)
        found = ffi.from_buffer("struct omr_replay_item[]", items)
        lib.omr_replay_look(data, found, len(numbers))
        self._decide(items, kept)
        notes = ffi.new("struct omr_replay_note[]", max(len(numbers), 1))
        count = lib.omr_replay_pass(self._target.struct, data, found, len(numbers), notes)
        api.check(count, "running packets of the capture")
        for i in range(count):
            self._take(notes[i], numbers[notes[i].item], items)

    def _frame(self, packet: Packet) -> frames.Frame | None:
        """What the programs get of a packet; None, and counted, if nothing."""
        left_out = self.result.left_out
        if packet.link not in self._unframe:
            self._unframe[packet.link] = frames.LINKS.get(packet.link, ("", None))[1]
        unframe = self._unframe[packet.link]
        if unframe is None:
            left_out["link_type"] += 1
            return None
        self.result.links[frames.LINKS[packet.link][0]] += 1
        if packet.at_ns is None:
            left_out["without_time"] += 1
            return None
        frame = unframe(packet.data, packet.wire_len)
        if frame is None:
            left_out["not_ip"] += 1
            return None
        if packet.direction and frame.direction == frames.UNKNOWN:
            frame = frame._replace(direction=packet.direction)
        least = LEAST.get(frame.data[12:14], LEAST_OTHER)
        if len(frame.data) >= least:
            return frame
        if len(frame.data) >= frame.wire_len:  # all there: what is put behind it is padding
            return frame._replace(data=frame.data.ljust(least, b"\0"))
        self.result.too_short += 1
        return None

    def _clock(self, at_ns: int) -> tuple[int, int]:
        """The programs' clocks, which never go back."""
        result = self.result
        if result.first_ns is None:
            result.first_ns = at_ns
        passed = at_ns - result.first_ns + self._shift
        if passed < result.passed_ns:
            result.earlier += 1
            if result.passed_ns - passed > STEP_NS:
                self._shift += result.passed_ns - passed
            passed = result.passed_ns
        result.passed_ns = passed
        return (START_NS + passed) % (1 << 64), START_J + passed * HZ // 1_000_000_000

    # --- directions ---------------------------------------------------------------------------

    def _decide(self, items: bytearray, kept: list[frames.Frame]) -> None:
        view = memoryview(items)
        if not self._surveyed:
            self._sides.survey(
                _seen(view[i * _SIZE : (i + 1) * _SIZE], frame) for i, frame in enumerate(kept)
            )
            self._surveyed = True
        for i, frame in enumerate(kept):
            at = i * _SIZE
            direction = self._direction(view[at : at + _SIZE], frame)
            if isinstance(direction, str):
                self.result.left_out[direction] += 1
                direction = lib.OMR_REPLAY_LEAVE_OUT
            else:
                self.result.replayed += 1
            items[at + _DIRECTION] = direction

    def _direction(self, item: memoryview, frame: frames.Frame) -> int | str:
        if not item[_KNOWN]:
            return "not_ip"
        if not self._given and frame.direction != frames.UNKNOWN:
            if frame.direction == frames.ELSEWHERE:
                return "other_host"
            self._sides.told["the capture"] += 1
            return EGRESS if frame.direction == frames.OUTBOUND else INGRESS
        if self._given.macs:
            return self._sides.direction(_seen(item, frame))
        ends = bytes(item[_ENDS : _ENDS + _ENDS_SIZE])
        direction = self._directions.get(ends)
        if direction is None:
            direction = self._directions[ends] = self._sides.direction(_seen(item, frame))
        return direction

    # --- results ------------------------------------------------------------------------------

    def _take(self, note: Any, number: int, items: bytearray) -> None:
        at = note.item * _SIZE
        key = _key(memoryview(items)[at : at + _SIZE], items[at + _DIRECTION] == EGRESS)
        result = self.result
        if note.began:
            if note.replaced:
                result.flows[self._live[key]].entry = bytes(
                    ffi.buffer(ffi.addressof(note, "before"))
                )
            self._live[key] = len(result.flows)
            result.flows.append(Flow(key, number))
        if note.sample_source:
            index = self._live[key]
            result.flows[index].samples_us.append(note.sample_us)
            if self._each_sample:
                source = _SOURCES[note.sample_source]
                result.samples.append(Sample(number, index, note.sample_us, source))

    def finish(self) -> Replay:
        result, capture = self.result, self._capture
        if not result.links:
            self._explain_nothing()
        for key, entry in self._target.entries():
            result.flows[self._live[key]].entry = entry
        result.counters, result.unparsed = self._target.counters()
        result.told, result.local = self._sides.told, self._sides.local
        result.damage, result.resolution_ns = capture.damage, capture.resolution_ns
        return result

    def _explain_nothing(self) -> None:
        name = self._capture.name
        unknown = sorted(link for link, unframe in self._unframe.items() if unframe is None)
        if unknown:
            known = ", ".join(dict.fromkeys(text for text, _ in frames.LINKS.values()))
            raise CaptureError(
                f"{name}: packets of link type {unknown[0]} cannot be replayed; known: {known}"
            )
        raise CaptureError(self._capture.damage or f"{name}: there is no packet in it")


def _seen(item: memoryview, frame: frames.Frame) -> Seen:
    ends = bytes(item[_ENDS : _ENDS + _ENDS_SIZE])
    macs = (frame.data[6:12], frame.data[0:6]) if frame.l2 == frames.ETHERNET else None
    if macs and macs[1] == frames.NO_MAC:
        macs = None
    return Seen(
        ends[0],
        ends[1:17],
        ends[17:33],
        int.from_bytes(ends[33:35], "big"),
        int.from_bytes(ends[35:37], "big"),
        item[_FLAGS],
        macs,
    )


def _key(item: memoryview, leaves: bool) -> bytes:
    """The flow's key in its table."""
    ends = bytes(item[_ENDS : _ENDS + _ENDS_SIZE])
    size = 4 if ends[0] == 4 else 16
    source, destination = ends[1 : 1 + size], ends[17 : 17 + size]
    source_port, destination_port = ends[33:35], ends[35:37]
    if leaves:
        return source + destination + source_port + destination_port
    return destination + source + destination_port + source_port
