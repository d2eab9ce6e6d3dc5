# SPDX-License-Identifier: GPL-2.0-or-later
"""One capture through both data planes, which must give one answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

from omrfast.cli.replay import run
from omrfast.replay.capture import open_capture
from omrfast.replay.planes import Target, open_target
from omrfast.replay.sides import parse_local

from .handmade import EN10MB, LOCAL, Framing, Segment, pcap, records, write

Json = dict[str, Any]

FLOWS = 256
"""Capacity of each flow table."""
_ZEROED = ("omr_path_counters", "omr_path_rtt", "omr_path_live", "omr_event_gate", "omr_knocks")


@cache
def _opened() -> tuple[AbstractContextManager[Target], Target]:
    """The kernel's programs take most of a second to verify: once is enough."""
    context = open_target("kernel", FLOWS)
    return context, context.__enter__()


def _kernel() -> Target:
    """Nothing in its tables."""
    maps: Any = _opened()[1].maps
    for table in ("omr_flows4", "omr_flows6"):
        for key in list(maps[table].keys()):
            maps[table].delete(key)
    for name in _ZEROED:
        info = maps[name].info
        for index in range(info.max_entries):
            maps[name].update(index, bytes(info.value_size))
    return _opened()[1]


def replay(path: Path, *local: str) -> Json:
    """The document of omrfast.replay without ``run``, samples included."""
    with open_capture(str(path)) as capture:
        kernel = run(capture, parse_local(local), _kernel(), samples=True)
    with open_capture(str(path)) as capture, open_target("native", FLOWS) as target:
        native = run(capture, parse_local(local), target, samples=True)
    assert kernel.pop("run")["dataplane"] == "kernel"
    assert native.pop("run")["dataplane"] == "native"
    assert native == kernel
    return native


def replay_segments(folder: Path, segments: Sequence[Segment], version: int = 4) -> Json:
    """As Ethernet frames; LOCAL and all of 10.0.0.0/8 are local."""
    packets = records(segments, Framing(EN10MB, version))
    found = replay(write(folder, pcap(packets, EN10MB)), LOCAL[4], "10.0.0.0/8", LOCAL[6])
    for index, flow in enumerate(found["flows"]):
        measured = [s for s in found["samples"] if s["flow"] == index]
        assert flow["rtt_ms"]["samples"] == len(measured)
    return found


def samples(document: Json) -> list[tuple[int, int, str]]:
    """(packet, microseconds, source) of all samples."""
    return [(s["packet"], s["rtt_us"], s["source"]) for s in document["samples"]]
