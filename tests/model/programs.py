# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs under test: in the kernel, or built natively."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

from omrfast.shim import api
from omrfast.shim.api import ShimError, ffi, lib
from omrfast.shim.native import NativePlane
from omrfast.shim.read import Ring

from .numbers import REASONS, Rx
from .path import Event, Key
from .planes import LOOPBACK, PATHS, SOURCES, Left, Numbers, Shown, Step, key_of
from .wire import Given

_TX = [name for name, _ in ffi.typeof("struct omr_flow_tx").fields]
_RX = [name for name, _ in ffi.typeof("struct omr_flow_rx").fields]
COUNTERS = [
    name
    for name, _ in ffi.typeof("struct omr_path_counters").fields
    if name not in ("zero", "unparsed")
]


def entry_numbers(entry: Any) -> Numbers:
    tx, rx = entry.tx, entry.rx
    numbers: Numbers = {}
    for half, names in ((tx, _TX), (rx, _RX)):
        for name in names:
            if name == "connection":
                continue
            side = "tx" if half is tx else "rx"
            numbers[f"{side}_flags" if name == "flags" else name] = getattr(half, name)
    connection = bytes(ffi.buffer(ffi.addressof(tx, "connection")))
    if rx.flags & Rx.KEY:
        numbers["key"] = connection
    else:
        numbers["token"] = connection[:4]
        numbers["data_word"] = tx.connection.join.data_word
    return numbers


def _key_bytes(key: Key) -> bytes:
    ports = key.local_port.to_bytes(2, "big") + key.remote_port.to_bytes(2, "big")
    return key.local + key.remote + ports


def _key(data: bytes) -> Key:
    size = (len(data) - 4) // 2
    local, remote = data[:size], data[size : 2 * size]
    return Key(
        local,
        remote,
        int.from_bytes(data[-4:-2], "big"),
        int.from_bytes(data[-2:], "big"),
    )


def _event(record: Any) -> Event:
    if record.family == 0:
        key = None
    else:
        size = 4 if record.family == 4 else 16
        ports = (record.local_port_be, record.remote_port_be)
        key = Key(
            bytes(record.local_be)[:size],
            bytes(record.remote_be)[:size],
            *(int.from_bytes(port.to_bytes(2, "little"), "big") for port in ports),
        )

    def raw(name: str) -> bytes:
        return bytes(ffi.buffer(ffi.addressof(record, name)))

    return Event(
        record.at_ns,
        record.kind,
        record.path,
        record.direction,
        raw("key_be"),
        raw("token_be"),
        record.family,
        record.backup,
        record.tcp_flags,
        record.local_id,
        record.remote_id,
        record.mptcp,
        key,
    )


class Programs:
    """A data path of either kind, with one of the ingress hooks."""

    def __init__(self, name: str, plane: Any, xdp: bool) -> None:
        self.name, self.plane, self.xdp = name, plane, xdp
        self._replay = ffi.new("struct omr_replay *")
        self._link: tuple[int, bool] | None = None
        native = isinstance(plane, NativePlane)
        self._records: Any = ffi.new("struct omr_event[]", 1024) if native else None
        self._ring = None if native else Ring(plane.maps["omr_events"].fd)

    def close(self) -> None:
        if self._ring:
            self._ring.close()

    def reset(self) -> None:
        maps = self.plane.maps
        for table in ("omr_flows4", "omr_flows6"):
            for key in list(maps[table].keys()):
                maps[table].delete(key)
        for path in PATHS:
            for name in ("omr_path_counters", "omr_path_rtt", "omr_path_live"):
                maps[name].update(path, bytes(maps[name].info.value_size))
            for kind in range(lib.OMR_EVENT_KINDS):
                maps["omr_event_gate"].update(path * lib.OMR_EVENT_KINDS + kind, bytes(16))
        knock = bytes(maps["omr_knocks"].info.value_size)
        for slot in range(lib.OMR_KNOCKS):
            maps["omr_knocks"].update(slot, knock)
        self._events()

    def _events(self) -> Iterable[Event]:
        if self._ring is None:
            count = lib.omr_plane_events(self.plane.handle, self._records, 1024)
            return [_event(self._records[i]) for i in range(count)]
        records, count = self._ring.read()
        return [_event(records[i]) for i in range(count)]

    def pass_(self, step: Step) -> Shown | None:
        """None: the kernel refuses to run such a frame."""
        maps, replay, given = self.plane.maps, self._replay, step.given
        if self._link != (step.path, given.bare):
            l2 = lib.OMR_L2_NONE if given.bare else lib.OMR_L2_ETHERNET
            self.plane.set_link(LOOPBACK, step.path, l2)
            self._link = (step.path, given.bare)
        replay.now.now_j, replay.now.now_ns = step.jiffies, step.ns
        replay.wire_len = given.wire_len
        maps["omr_replay_packet"].update(0, api.raw(replay))
        try:
            self._run(given, step.egress)
        except ShimError as error:
            if error.errno == errno.EINVAL and len(given.data) < 54:
                return None
            raise
        result = api.struct("omr_replay", maps["omr_replay_packet"].lookup(0))
        key = key_of(given, step.egress)
        return Shown(
            (result.sample_us, SOURCES[result.sample_source]) if result.sample_source else None,
            bool(result.began),
            bool(result.replaced),
            entry_numbers(result.before) if result.replaced else None,
            REASONS[result.unparsed - 1] if result.unparsed else "",
            self._entry(key) if key else None,
            tuple(sorted(self._events(), key=repr)),
        )

    def _run(self, given: Given, egress: bool) -> None:
        programs = self.plane.programs
        if self.xdp and not egress:
            programs["omr_xdp"].run_xdp(given.data)
            return
        program = programs["omr_egress" if egress else "omr_ingress"]
        program.run_skb(given.data, gso_segs=given.gso[0], gso_size=given.gso[1])

    def _entry(self, key: Key) -> Numbers | None:
        table = "omr_flows4" if len(key.local) == 4 else "omr_flows6"
        value = self.plane.maps[table].lookup(_key_bytes(key))
        return None if value is None else entry_numbers(api.struct("omr_flow", value)[0])

    def left(self) -> Left:
        maps = self.plane.maps
        flows = {}
        for table in ("omr_flows4", "omr_flows6"):
            for data in list(maps[table].keys()):
                entry = self._entry(_key(data))
                assert entry is not None
                flows[_key(data)] = entry
        return Left(
            flows,
            {path: self._counters(path) for path in PATHS},
            {path: self._live(path) for path in PATHS},
            {path: self._histogram(path) for path in PATHS},
        )

    def _counters(self, path: int) -> Numbers:
        total: Numbers = {}
        for value in self.plane.maps["omr_path_counters"].lookup_per_cpu(path):
            row = api.struct("omr_path_counters", value)
            found = {name: getattr(row, name) for name in COUNTERS}
            found.update(zip(REASONS, row.unparsed, strict=False))
            for name, number in found.items():
                total[name] = total.get(name, 0) + number
        return {name: number for name, number in total.items() if number}

    def _live(self, path: int) -> tuple[int, int, int]:
        row = api.struct("omr_path_live", self.plane.maps["omr_path_live"].lookup(path))
        return row.tx.asked_j, row.tx.last_tx_j, row.rx.last_rx_j

    def _histogram(self, path: int) -> dict[int, int]:
        total: dict[int, int] = {}
        for value in self.plane.maps["omr_path_rtt"].lookup_per_cpu(path):
            for number, count in enumerate(api.struct("omr_path_rtt", value).bucket):
                if count:
                    total[number] = total.get(number, 0) + count
        return total


def for_xdp(step: Step) -> Step:
    """What arrives at XDP has no skb that tells of segments."""
    if step.egress or step.given.gso == (0, 0):
        return step
    given = step.given
    return Step(
        Given(given.data, given.bare, (0, 0), given.wire_len),
        step.egress,
        step.path,
        step.jiffies,
        step.ns,
    )
