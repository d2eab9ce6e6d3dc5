# SPDX-License-Identifier: GPL-2.0-or-later
"""The open data path: its maps and programs, and what they have measured."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType

from omrfast.core.types import Glimpse, PathCounters
from omrfast.core.views import FlowView
from omrfast.dataplane.flows import PathEvent, event_of, flow_views
from omrfast.dataplane.names import MAPS, PROGRAMS, DataPlaneError
from omrfast.dataplane.pins import Options
from omrfast.dataplane.scan import Scan, Scanner, sums_of
from omrfast.shim import api, scan
from omrfast.shim.read import LinkRow, PathReader, Ring, read_links, read_rtt
from omrfast.shim.run import Program

CLOSED_AGE = 5.0
HALF_OPEN_AGE = 15.0
IDLE_AGE = 3600.0
"""Seconds after which scan() drops flows that are closed, whose handshake was not completed, and
that are silent, unless told otherwise. Half-open ones are dropped soon because strangers can cause
them: every SYN that a listening host answers makes an entry."""

_REASONS = ("truncated", "malformed", "fragment", "extensions", "vlans", "options")
# struct omr_path_row: 19 counters, 3 words of minimum RTT after their epoch, 8 reasons, 3 jiffies
_ROW = struct.Struct("=19Q4I8Q3Q")
_GLANCE = struct.Struct("=16x3Q32x2Q8xQ8x2Q104x3Q")
"""Of the same row: segments, those and SYNs sent again; packets and segments that arrived, those
refilled, ICMP errors, RTT samples; the jiffies."""
assert _ROW.size == _GLANCE.size == api.sizeof("omr_path_row")


class DataPlane:
    """Maps and programs of one run directory; made by loader.open_dataplane().

    Closing it leaves everything pinned and attached. Methods raise ShimError (an OSError).
    """

    def __init__(
        self, run_dir: str, folder: str, loader: str, options: Options, reused: bool
    ) -> None:
        self.run_dir = run_dir
        self.folder = folder
        """Where the pins are."""
        self.loader = loader
        self.reused = reused
        """The pins of an earlier run were taken over."""
        self.hz = options.hz
        self.flow_capacity = options.flows
        self.maps = {name: api.Map.open(os.path.join(folder, name)) for name in MAPS}
        self.programs = {name: Program.open(os.path.join(folder, name)) for name in PROGRAMS}
        self._jiffy = 1 / options.hz
        self._reader = PathReader(
            self.programs["omr_clock_read"].fd,
            self.maps["omr_replay_packet"].fd if options.replay else -1,
            self.maps["omr_path_counters"].fd,
            self.maps["omr_path_live"].fd,
        )
        self._scanner = Scanner(folder, self.maps["omr_flows4"], self.maps["omr_flows6"])
        self._ring: Ring | None = None
        self._unparsed: dict[tuple[int, ...], tuple[tuple[str, int], ...]] = {}
        self._paths = 1 + max((row.path for row in self.links()), default=-1)

    def __enter__(self) -> DataPlane:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the file descriptors."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        self._scanner.close()
        for pinned in self.maps.values():
            pinned.close()
        for program in self.programs.values():
            program.close()

    # --- which device is which path ---------------------------------------------------------

    def links(self) -> list[LinkRow]:
        """The devices that are measured, with their path index."""
        return read_links(self.maps["omr_links"].fd)

    def set_link(self, ifindex: int, path: int, l2: int) -> None:
        """Count device ifindex as path (index), framed as l2 (enum omr_l2)."""
        if not 0 < ifindex < api.MAX_IFINDEX:
            raise DataPlaneError(
                f"interface index {ifindex} is beyond {api.MAX_IFINDEX - 1} and cannot be measured"
            )
        if not 0 <= path < api.MAX_PATHS:
            raise DataPlaneError(f"path index {path}: at most {api.MAX_PATHS} paths are measured")
        value = api.raw(api.struct("omr_link", path=path + 1, l2=l2))
        self.maps["omr_links"].update(ifindex, value)
        self._paths = max(self._paths, path + 1)

    def clear_link(self, ifindex: int) -> None:
        """No longer count device ifindex."""
        self.maps["omr_links"].update(ifindex, bytes(api.sizeof("omr_link")))

    # --- measurements -----------------------------------------------------------------------

    def clock(self) -> tuple[int, int]:
        """(jiffies64, CLOCK_MONOTONIC ns) at one moment, of the clock the programs use."""
        return self._reader.clock()

    def glance(self, paths: Iterable[int]) -> list[Glimpse]:
        """What may not wait of these paths' counters, by their index: the look between ticks."""
        rows, now_j, now_ns = self._reader.read(self._paths)
        jiffy = self._jiffy
        offset = now_ns / 1e9 - now_j * jiffy
        found = []
        for path in paths:
            (
                tx_segments, again, syn_again, rx_packets, rx_segments, refilled, icmp_errors,
                samples, asked, last_tx, last_rx,
            ) = _GLANCE.unpack_from(rows, path * _ROW.size)  # fmt: skip
            found.append(
                Glimpse(
                    offset + last_rx * jiffy if last_rx else None,
                    offset + last_tx * jiffy if last_tx else None,
                    offset + asked * jiffy if asked else None,
                    rx_packets,
                    rx_segments,
                    tx_segments,
                    samples,
                    again + syn_again + refilled + icmp_errors,
                )
            )
        return found

    def read(self) -> tuple[PathCounters, ...]:
        """Counters of every path up to the highest index in use: the fast tick."""
        rows, now_j, now_ns = self._reader.read(self._paths)
        jiffy = self._jiffy
        # Jiffies of the kernel do not start at zero: what a jiffy means in CLOCK_MONOTONIC.
        offset = now_ns / 1e9 - now_j * jiffy
        result = []
        for path in range(self._paths):
            (
                tx_bytes, tx_packets, tx_segments, retransmitted, syn_again, opened, refused,
                suppressed, rx_bytes, rx_packets, rx_segments, spurious, refilled,
                reordered, icmp_errors, samples, rtt_sum, dev_sum, step_sum,
                _epoch, min_now, min_before, _zero,
                truncated, malformed, fragment, extensions, vlans, options, _, _,
                asked, last_tx, last_rx,
            ) = _ROW.unpack_from(rows, path * _ROW.size)  # fmt: skip
            least = min(min_now, min_before) or max(min_now, min_before)
            result.append(
                PathCounters(
                    tx_bytes, rx_bytes, tx_packets, rx_packets, tx_segments, rx_segments,
                    retransmitted, spurious, refilled, reordered, icmp_errors,
                    syn_again, opened, refused, suppressed,
                    samples, rtt_sum / 1e6, dev_sum / 1e6, step_sum / 1e6,
                    least / 1e6 if least else None,
                    offset + last_rx * jiffy if last_rx else None,
                    offset + last_tx * jiffy if last_tx else None,
                    offset + asked * jiffy if asked else None,
                    self._reasons(truncated, malformed, fragment, extensions, vlans, options),
                )
            )  # fmt: skip
        return tuple(result)

    def _reasons(self, *packets: int) -> tuple[tuple[str, int], ...]:
        """PathCounters.unparsed; the same object as long as nothing changes, which it seldom does:
        the journal keeps thousands."""
        known = self._unparsed.get(packets)
        if known is None:
            if len(self._unparsed) > self._paths:
                self._unparsed.clear()
            known = self._unparsed[packets] = tuple(zip(_REASONS, packets, strict=True))
        return known

    def rtt_histograms(self) -> tuple[tuple[int, ...], ...]:
        """Per path OMR_HIST_BUCKETS counts; bounds as in omrfast.core.histogram."""
        return read_rtt(self.maps["omr_path_rtt"].fd, self._paths)

    # --- flows ------------------------------------------------------------------------------

    @property
    def scan_ways(self) -> tuple[str, ...]:
        """How flow tables can be walked here, the best way first: kernel, batches."""
        return self._scanner.ways

    def scan(
        self,
        closed_after: float = CLOSED_AGE,
        half_open_after: float = HALF_OPEN_AGE,
        idle_after: float = IDLE_AGE,
        *,
        servers: Sequence[str] = (),
        way: str | None = None,
    ) -> Scan:
        """Sum up flows per path and per server; drop those closed, half open, or silent, for so
        many seconds.

        servers: at most shim.scan.MAX_SERVERS different IP addresses. way: one of scan_ways, if not
        the best.
        """
        now = self.clock()
        order = scan.order(
            now[0],
            servers=servers,
            collect=True,
            closed_age_j=int(closed_after * self.hz),
            half_open_age_j=int(half_open_after * self.hz),
            idle_age_j=int(idle_after * self.hz),
        )
        return sums_of(self._scanner.walk(order, way).sums, servers, now, self.hz)

    def flows(
        self, names: Mapping[int, str], top: int | None = None, *, way: str | None = None
    ) -> list[FlowView]:
        """Flows with the most bytes first (all, or top); names: path index to name."""
        room = 2 * self.flow_capacity if top is None else top
        found = self._scanner.walk(scan.order(self.clock()[0], rows=room), way)
        return flow_views(found, names, self._jiffy)

    # --- events -----------------------------------------------------------------------------

    @property
    def event_fd(self) -> int:
        """Becomes readable when there are events; for asyncio's add_reader."""
        return self._open_ring().fileno()

    def events(self) -> list[PathEvent]:
        """What the ring holds, without waiting; at most 1,024 at a time."""
        records, count = self._open_ring().read()
        return [event_of(records[i]) for i in range(count)]

    def _open_ring(self) -> Ring:
        if self._ring is None:
            self._ring = Ring(self.maps["omr_events"].fd)
        return self._ring
