# SPDX-License-Identifier: GPL-2.0-or-later
"""The packet programs outside the kernel, in the shape of the kernel's data path in replay mode.

:class:`NativePlane` has what a :class:`omrfast.dataplane.reader.DataPlane` that was opened with
``replay=True`` has and a replay needs: ``maps`` and ``programs`` by their names, ``hz``,
``set_link`` and ``events``. It is the same C (bpf/datapath.h) on tables in memory, so it runs
without privileges and without BPF. A plane is for one thread at a time; planes share nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from omrfast.dataplane.flows import PathEvent, event_of
from omrfast.shim import api
from omrfast.shim._shim import ffi, lib
from omrfast.shim.run import TC_ACT_UNSPEC, XDP_PASS, RunResult

HZ = 250
_EVENT_ROOM = 1024

_MAPS: dict[str, int] = {
    "omr_links": lib.OMR_NATIVE_LINKS,
    "omr_flows4": lib.OMR_NATIVE_FLOWS4,
    "omr_flows6": lib.OMR_NATIVE_FLOWS6,
    "omr_path_counters": lib.OMR_NATIVE_COUNTERS,
    "omr_path_rtt": lib.OMR_NATIVE_RTT,
    "omr_path_live": lib.OMR_NATIVE_LIVE,
    "omr_event_gate": lib.OMR_NATIVE_GATES,
    "omr_knocks": lib.OMR_NATIVE_KNOCKS,
    "omr_replay_packet": lib.OMR_NATIVE_REPLAY,
}
_HOOKS: dict[str, int] = {
    "omr_egress": lib.OMR_NATIVE_EGRESS,
    "omr_ingress": lib.OMR_NATIVE_INGRESS,
    "omr_xdp": lib.OMR_NATIVE_XDP,
}


class NativeMap:
    """One table of a plane, as :class:`omrfast.shim.api.Map`. Keys and values are bytes."""

    def __init__(self, plane: Any, name: str) -> None:
        self._plane, self._number = plane, _MAPS[name]
        info = ffi.new("struct omr_map_info *")
        api.check(lib.omr_plane_sizes(plane, self._number, info), f"asking about {name}")
        self.info = api.MapInfo(
            0, self._number, info.key_size, info.value_size, info.max_entries, name
        )

    def _key(self, key: bytes | int) -> bytes:
        data = key.to_bytes(4, sys.byteorder) if isinstance(key, int) else key
        if len(data) != self.info.key_size:
            raise ValueError(f"{self.info.name} has keys of {self.info.key_size} bytes")
        return data

    def lookup(self, key: bytes | int) -> bytes | None:
        """The value, or None. Integers are array indices."""
        room = ffi.new("char[]", self.info.value_size)
        if lib.omr_plane_lookup(self._plane, self._number, self._key(key), room):
            return None
        return bytes(ffi.buffer(room))

    def lookup_per_cpu(self, key: bytes | int) -> list[bytes]:
        """As on a machine with one CPU; empty if there is no such key."""
        value = self.lookup(key)
        return [] if value is None else [value]

    def update(self, key: bytes | int, value: bytes) -> None:
        """Write a value; raises ShimError if there is no room (E2BIG)."""
        if len(value) != self.info.value_size:
            raise ValueError(f"{self.info.name} has values of {self.info.value_size} bytes")
        error = lib.omr_plane_update(self._plane, self._number, self._key(key), value)
        api.check(error, f"writing {self.info.name}")

    def delete(self, key: bytes | int) -> bool:
        """Delete an entry; False if there was none."""
        error = lib.omr_plane_delete(self._plane, self._number, self._key(key))
        if error == -2:  # ENOENT
            return False
        api.check(error, f"deleting from {self.info.name}")
        return True

    def keys(self) -> Iterator[bytes]:
        """Every key; whoever deletes meanwhile may miss some."""
        following = ffi.new("char[]", self.info.key_size)
        previous: Any = ffi.NULL
        while lib.omr_plane_next_key(self._plane, self._number, previous, following) == 0:
            previous = bytes(ffi.buffer(following))
            yield previous


class NativeProgram:
    """One hook of a plane, as :class:`omrfast.shim.run.Program`."""

    def __init__(self, plane: Any, name: str) -> None:
        self._plane, self._hook = plane, _HOOKS[name]
        self._run = ffi.new("struct omr_run *")

    def _pass(self, packet: bytes, ifindex: int, gso_segs: int = 0, gso_size: int = 0) -> None:
        run = self._run
        data = ffi.from_buffer(packet)
        run.data, run.data_len, run.ifindex = data, len(packet), ifindex
        run.gso_segs, run.gso_size = gso_segs, gso_size
        api.check(lib.omr_plane_run(self._plane, self._hook, run), "running a packet")

    def run_skb(
        self, packet: bytes, *, ifindex: int = 1, gso_segs: int = 0, gso_size: int = 0
    ) -> RunResult:
        """A packet of device ifindex (1: lo) passes. Of any length, and without a link header too,
        where that is how the device frames them."""
        self._pass(packet, ifindex, gso_segs, gso_size)
        return RunResult(TC_ACT_UNSPEC, 0, packet)

    def run_xdp(self, packet: bytes, *, ifindex: int = 1) -> RunResult:
        """A frame arrives on ifindex."""
        self._pass(packet, ifindex)
        return RunResult(XDP_PASS, 0, packet)


class NativePlane:
    """Tables and hooks; see the module's text. flows: capacity of each flow table."""

    def __init__(self, flows: int = api.DEFAULT_FLOWS, hz: int = HZ) -> None:
        plane = lib.omr_plane_new(flows, hz)
        if plane == ffi.NULL:
            raise MemoryError("no memory for the tables of a data path")
        self.handle = ffi.gc(plane, lib.omr_plane_free)
        """struct omr_plane, for calls of the shim."""
        self._events = ffi.new("struct omr_event[]", _EVENT_ROOM)
        self.hz = hz
        self.flow_capacity = flows
        self.maps = {name: NativeMap(self.handle, name) for name in _MAPS}
        self.programs = {name: NativeProgram(self.handle, name) for name in _HOOKS}

    def set_link(self, ifindex: int, path: int, l2: int) -> None:
        """Count device ifindex as path (index), framed as l2 (enum omr_l2)."""
        if not 0 < ifindex < api.MAX_IFINDEX or not 0 <= path < api.MAX_PATHS:
            raise ValueError(f"no device {ifindex} or no path {path}")
        link = api.struct("omr_link", path=path + 1, l2=l2)
        self.maps["omr_links"].update(ifindex, api.raw(link))

    def clear_link(self, ifindex: int) -> None:
        """No longer count device ifindex."""
        self.maps["omr_links"].update(ifindex, bytes(api.sizeof("omr_link")))

    def events(self) -> list[PathEvent]:
        """What was emitted since the last call, oldest first; at most 1,024 at a time."""
        count = lib.omr_plane_events(self.handle, self._events, _EVENT_ROOM)
        return [event_of(self._events[i]) for i in range(count)]

    def reset(self) -> None:
        """Forget all but the devices."""
        lib.omr_plane_reset(self.handle)

    def close(self) -> None:
        """Give the memory back now; the plane must not be used again."""
        ffi.release(self.handle)
