# SPDX-License-Identifier: GPL-2.0-or-later
"""The data path as the agent uses it: paths by name, attached where they are, and read."""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from omrfast.core import histogram
from omrfast.core.types import Glimpse, PathCounters, PathLink, RttTail
from omrfast.core.views import FlowView
from omrfast.dataplane.attach import attach, detach
from omrfast.dataplane.flows import PathEvent
from omrfast.dataplane.names import DataPlaneError
from omrfast.dataplane.reader import DataPlane
from omrfast.export.snapshot import Figures
from omrfast.shim import api

log = logging.getLogger(__name__)

RTT_STEP = 5.0
RTT_WINDOW = 60.0
"""p50 and p99 are of the last RTT_WINDOW seconds, cut to steps of RTT_STEP."""
TAIL_WINDOW = 10.0
"""The core hears of the p99 of so many seconds, cut likewise."""


class Meter:
    """Reading raises ShimError if the kernel won't."""

    def __init__(self, plane: DataPlane, ingress: str) -> None:
        self._plane = plane
        self._ingress = ingress
        self._indexes = self._load_indexes()
        self._attached: dict[str, PathLink] = {}
        self._places: list[int] = []
        """Their indexes."""
        self._histograms: deque[tuple[float, tuple[tuple[int, ...], ...]]] = deque()
        self.figures = Figures()
        self.tails: dict[str, RttTail] = {}

    # --- paths and their index ------------------------------------------------------------------

    def _index_file(self) -> Path:
        return Path(self._plane.run_dir) / "paths.json"

    def _load_indexes(self) -> dict[str, int]:
        """Which counters belong to which path; valid as long as the pins live."""
        try:
            data = json.loads(self._index_file().read_text()) if self._plane.reused else {}
        except (OSError, ValueError):
            data = {}
        valid = isinstance(data, dict) and all(isinstance(v, int) for v in data.values())
        return data if valid else {}

    def _index(self, name: str) -> int:
        if name not in self._indexes:
            taken = set(self._indexes.values())
            free = [i for i in range(api.MAX_PATHS) if i not in taken]
            if not free:
                raise DataPlaneError(f"path {name}: at most {api.MAX_PATHS} paths are measured")
            self._indexes[name] = free[0]
            file = self._index_file()
            new = file.with_suffix(".new")
            new.write_text(json.dumps(self._indexes))
            os.replace(new, file)
        return self._indexes[name]

    def bind(self, devices: Mapping[str, tuple[int, str, int]]) -> dict[str, str]:
        """Attach to the paths' devices (path: ifindex, name, ARPHRD), detach from all others.

        Returns, by path name, why some can't be measured; the rest is.
        """
        kept = {ifindex for ifindex, _, _ in devices.values()}
        for row in self._plane.links():
            if row.ifindex not in kept:
                detach(self._plane, row.ifindex)
        attached = {}
        failures = {}
        for name, device in devices.items():
            try:
                attached[name] = self._attach(name, PathLink(self._index(name), *device))
            except (DataPlaneError, OSError) as error:
                failures[name] = str(error)
        self._attached = attached
        self._places = [link.index for link in attached.values()]
        return failures

    def _attach(self, name: str, link: PathLink) -> PathLink:
        if self._attached.get(name) != link:
            hooks = attach(self._plane, link, self._ingress)
            words = ", ".join(f"{hook.direction} by {hook.kind}" for hook in hooks)
            log.info("path %s: measuring %s, %s", name, link.ifname, words)
        return link

    # --- reading --------------------------------------------------------------------------------

    def read(self) -> dict[str, PathCounters]:
        """The fast tick: every path's counters."""
        rows = self._plane.read()
        return {
            name: rows[link.index]
            for name, link in self._attached.items()
            if link.index < len(rows)
        }

    def glance(self) -> dict[str, Glimpse]:
        """The look between ticks."""
        return dict(zip(self._attached, self._plane.glance(self._places), strict=True))

    def flows(self, top: int) -> list[FlowView]:
        """The ``top`` flows by bytes."""
        names = {link.index: name for name, link in self._attached.items()}
        return self._plane.flows(names, top)

    def sum_up(self, now: float, servers: Sequence[str] = ()) -> Figures:
        """The slow tick: walk the flow tables, drop what is closed, take the RTT histograms.

        servers: different IP addresses to sum up flows by.
        """
        scan = self._plane.scan(servers=servers)
        histograms = self._plane.rtt_histograms()
        if not self._histograms or now - self._histograms[-1][0] >= RTT_STEP:
            self._histograms.append((now, histograms))
        while len(self._histograms) > 1 and now - self._histograms[0][0] > RTT_WINDOW:
            self._histograms.popleft()
        before = self._histograms[0][1]
        flows = {}
        recent = {}
        total = {}
        for name, link in self._attached.items():
            total[name] = histograms[link.index]
            old = before[link.index] if link.index < len(before) else (0,) * len(total[name])
            recent[name] = tuple(a - b for a, b in zip(total[name], old, strict=True))
            flows[name] = scan.paths[link.index]
        self.tails = self._tails(now, histograms)
        self.figures = Figures(
            flows, recent, total, scan.servers, scan.entries, self._plane.flow_capacity
        )
        return self.figures

    def _tails(self, now: float, histograms: tuple[tuple[int, ...], ...]) -> dict[str, RttTail]:
        """By path, of the samples of the last TAIL_WINDOW seconds; none without any."""
        old = next(counts for at, counts in self._histograms if now - at <= TAIL_WINDOW)
        tails = {}
        for name, link in self._attached.items():
            if link.index >= len(old):
                continue
            counts = [a - b for a, b in zip(histograms[link.index], old[link.index], strict=True)]
            p99 = histogram.quantile(counts, 0.99)
            if p99 is not None:
                tails[name] = RttTail(sum(counts), p99)
        return tails

    # --- events ---------------------------------------------------------------------------------

    @property
    def loader(self) -> str:
        return self._plane.loader

    @property
    def event_fd(self) -> int:
        return self._plane.event_fd

    def events(self) -> list[tuple[str, PathEvent]]:
        """(path name, PathEvent) of what the ring holds."""
        names = {link.index: name for name, link in self._attached.items()}
        return [(names.get(e.path, ""), e) for e in self._plane.events()]

    def close(self) -> None:
        """Everything stays attached and counting; `omrfast detach` takes it away."""
        self._plane.close()
