# SPDX-License-Identifier: GPL-2.0-or-later
"""Bulk reading: paths, histograms, device table, event ring; scan.py walks the flow tables.

Rows are cffi structs (see shim_api.h) in buffers that are used again by the next call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omrfast.shim import api
from omrfast.shim._shim import ffi, lib

_EVENT_ROOM = 1024
_raw_new = ffi.new_allocator(should_clear_after_alloc=False)


@dataclass(frozen=True, slots=True)
class LinkRow:
    """A used entry of omr_links."""

    ifindex: int
    path: int
    """Path index (the map holds index + 1)."""
    l2: int
    """enum omr_l2."""
    raw: bytes


def read_links(links_fd: int) -> list[LinkRow]:
    """The devices that belong to a path."""
    room = api.MAX_IFINDEX
    rows = _raw_new("struct omr_link_row[]", room)
    count = api.check(lib.omr_read_links(links_fd, rows, room), "reading omr_links")
    return [
        LinkRow(
            row.ifindex, row.link.path - 1, row.link.l2, bytes(ffi.buffer(ffi.addressof(row.link)))
        )
        for row in (rows[i] for i in range(count))
    ]


class PathReader:
    """Reads all paths' counters in one call."""

    def __init__(self, clock_fd: int, replay_fd: int, counters_fd: int, live_fd: int) -> None:
        """clock_fd: the program omr_clock_read; replay_fd: omr_replay_packet, or -1."""
        self._source = ffi.new("struct omr_clock_source *", {})
        self._source.program_fd, self._source.replay_fd = clock_fd, replay_fd
        self._counters, self._live = counters_fd, live_fd
        self._rows = ffi.new("struct omr_path_row[]", api.MAX_PATHS)
        self._now = ffi.new("struct omr_clock *")
        self._bytes = ffi.buffer(self._rows)

    def clock(self) -> tuple[int, int]:
        """(jiffies64, CLOCK_MONOTONIC ns) at one moment, of the clock the programs use."""
        api.check(lib.omr_clock_now(self._source, self._now), "reading the clock")
        return int(self._now.now_j), int(self._now.now_ns)

    def read(self, count: int) -> tuple[Any, int, int]:
        """(rows as a buffer, now in jiffies, now in ns) for paths 0..count-1."""
        error = lib.omr_read_paths(
            self._source, self._counters, self._live, count, self._rows, self._now
        )
        if error:
            api.check(error, "reading path counters")
        return self._bytes, self._now.now_j, self._now.now_ns


def read_rtt(rtt_fd: int, count: int) -> tuple[tuple[int, ...], ...]:
    """Histograms of paths 0..count-1, OMR_HIST_BUCKETS counts each."""
    buckets = ffi.new("unsigned long long[]", max(count, 1) * api.HIST_BUCKETS)
    api.check(lib.omr_read_rtt(rtt_fd, count, buckets), "reading RTT histograms")
    counts = ffi.unpack(buckets, count * api.HIST_BUCKETS) if count else []
    return tuple(
        tuple(counts[at : at + api.HIST_BUCKETS]) for at in range(0, len(counts), api.HIST_BUCKETS)
    )


class Ring:
    """The consumer of the event ring; there may be one at a time."""

    def __init__(self, map_fd: int) -> None:
        error = ffi.new("int *")
        self._ring = lib.omr_ring_open(map_fd, error)
        api.check(error[0], "opening the event ring")
        self._room = ffi.new("struct omr_event[]", _EVENT_ROOM)

    def fileno(self) -> int:
        """Readable when there are events; for asyncio's add_reader."""
        return int(lib.omr_ring_fd(self._ring))

    def read(self) -> tuple[Any, int]:
        """(struct omr_event[], how many): what is there, up to 1,024; valid until the next call."""
        count = lib.omr_ring_read(self._ring, self._room, _EVENT_ROOM)
        return self._room, api.check(count, "reading the event ring")

    def close(self) -> None:
        if self._ring != ffi.NULL:
            lib.omr_ring_close(self._ring)
            self._ring = ffi.NULL
