# SPDX-License-Identifier: GPL-2.0-or-later
"""Walking the flow tables: inside the kernel where it takes our program, else by batches.

Both give the same answer. A walk inside the kernel takes about half the time and lists up to
shim.scan.MAX_ROWS flows; longer lists are made by batches.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from omrfast.core.types import FlowSum
from omrfast.dataplane.names import SCAN_PROGRAM, SCAN_STATE, DataPlaneError
from omrfast.shim import api, scan
from omrfast.shim.run import Program


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
    """Both ways over the tables pinned in a folder; closed by its owner. Raises ShimError."""

    def __init__(self, folder: str, flows4: api.Map, flows6: api.Map) -> None:
        self._folder = folder
        self._flows4, self._flows6 = flows4, flows6
        self._program: Program | None = None
        self._state: api.Map | None = None
        if os.path.exists(os.path.join(folder, SCAN_PROGRAM)):
            self._program = Program.open(os.path.join(folder, SCAN_PROGRAM))
            self._state = api.Map.open(os.path.join(folder, SCAN_STATE))

    def close(self) -> None:
        for opened in (self._program, self._state):
            if opened is not None:
                opened.close()

    @property
    def ways(self) -> tuple[str, ...]:
        """kernel, where it can be had, and batches."""
        return ("batches",) if self._program is None else ("kernel", "batches")

    def walk(self, order: Any, way: str | None = None) -> scan.ScanResult:
        """One walk as a struct omr_scan_order says, by the best way unless told."""
        if way is None:
            way = self.ways[0] if order.rows <= scan.MAX_ROWS else "batches"
        if way == "batches":
            return scan.by_batches(self._flows4.fd, self._flows6.fd, order)
        if self._program is None or self._state is None:
            raise DataPlaneError("this kernel or loader cannot walk flow tables inside the kernel")
        with self._alone():
            return scan.in_kernel(self._program.fd, self._state.fd, order)

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
        sums.entries,
        sums.collected,
        tuple(flow_sum(row) for row in sums.path),
        {server: flow_sum(sums.server[i]) for i, server in enumerate(servers)},
    )
