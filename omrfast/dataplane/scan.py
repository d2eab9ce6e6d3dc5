# SPDX-License-Identifier: GPL-2.0-or-later
"""Walking the flow tables: inside the kernel where that is quicker and possible, else by batches.

Both give the same answer. Inside the kernel an entry costs about a third, but each hash bucket some
20 ns, used or not, that batches do not pay: it is for tables that are not nearly empty, and for
lists of up to shim.scan.MAX_ROWS flows.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from omrfast.core.types import FlowSum
from omrfast.dataplane.names import SCAN_PROGRAM, SCAN_STATE, DataPlaneError
from omrfast.shim import api, scan
from omrfast.shim.run import Program

DENSE = 16
"""A table is walked inside the kernel if the last walk found 1/DENSE of its capacity in it."""


@dataclass(frozen=True, slots=True)
class Scan:
    """The outcome of one walk over the flow tables."""

    entries: int
    """That remain."""
    collected: int
    paths: tuple[FlowSum, ...]
    """By path index."""
    servers: Mapping[str, FlowSum]
    """By remote address, as asked for."""


class Scanner:
    """Walks the tables pinned in a folder; closed by its owner. Raises ShimError."""

    def __init__(self, folder: str, flows4: api.Map, flows6: api.Map) -> None:
        self._folder = folder
        self._place = scan.Place(flows4.fd, flows6.fd)
        self._pins: tuple[Program, api.Map] | None = None
        self._dense = flows4.info.max_entries // DENSE
        self._entries = (0, 0)
        if os.path.exists(os.path.join(folder, SCAN_PROGRAM)):
            program = Program.open(os.path.join(folder, SCAN_PROGRAM))
            state = api.Map.open(os.path.join(folder, SCAN_STATE))
            self._pins = program, state
            self._place = scan.Place(flows4.fd, flows6.fd, program.fd, state.fd)

    def close(self) -> None:
        for pinned in self._pins or ():
            pinned.close()

    @property
    def ways(self) -> tuple[str, ...]:
        """kernel, where it can be had, and batches."""
        return ("batches",) if self._pins is None else ("kernel", "batches")

    def walk(self, order: Any, way: str | None = None) -> scan.ScanResult:
        """One walk as a struct omr_scan_order says; way: both tables by one of ways."""
        if way == "kernel" and self._pins is None:
            raise DataPlaneError("this kernel or loader cannot walk flow tables inside the kernel")
        order.in_kernel = self._tables(order.rows, way)
        with self._alone() if order.in_kernel else nullcontext():
            found = scan.walk(self._place, order)
        self._entries = tuple(found.sums.entries)
        return found

    def _tables(self, rows: int, way: str | None) -> int:
        """Which tables to walk inside the kernel."""
        if way is not None:
            return scan.FLOWS4 | scan.FLOWS6 if way == "kernel" else 0
        if self._pins is None or rows > scan.MAX_ROWS:
            return 0
        flows4, flows6 = (entries >= self._dense for entries in self._entries)
        return scan.FLOWS4 * flows4 | scan.FLOWS6 * flows6

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The program has one place to work in, for every thread and process."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def sums_of(sums: Any, servers: Sequence[str], now: tuple[int, int], hz: int) -> Scan:
    """A struct omr_scan_result as a Scan; now: what DataPlane.clock() said before the walk."""

    def flow_sum(row: Any) -> FlowSum:
        arrived = None
        if row.arrived_j:
            age_j = (now[0] - row.arrived_j + 2**31) % 2**32 - 2**31
            arrived = now[1] / 1e9 - age_j / hz
        return FlowSum(
            open=row.open,
            subflows=row.subflows,
            handshakes=row.handshakes,
            tx_bytes=row.tx_bytes,
            rx_bytes=row.rx_bytes,
            retransmitted_segments=row.retransmitted_segments,
            spurious_segments=row.spurious_segments,
            rtt_mean=row.srtt_us8 / row.sampled / 8e6 if row.sampled else None,
            rtt_min=row.srtt_us8_min / 8e6 if row.sampled else None,
            arrived=arrived,
        )

    return Scan(
        sum(sums.entries),
        sums.collected,
        tuple(flow_sum(row) for row in sums.path),
        {server: flow_sum(sums.server[i]) for i, server in enumerate(servers)},
    )
