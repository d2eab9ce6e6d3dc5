# SPDX-License-Identifier: GPL-2.0-or-later
"""RTT samples where they are hard to come by: loss, small windows, senders that pause."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from omrfast.core.histogram import lower_bound
from omrfast.core.types import PathLink
from omrfast.dataplane.attach import attach, detach_all
from omrfast.dataplane.loader import open_dataplane
from omrfast.dataplane.reader import DataPlane
from omrfast.lab import netns
from omrfast.lab.addresses import uplink_address
from omrfast.lab.topology import Lab, TopologySpec, UplinkSpec
from omrfast.lab.traffic import Stream, StreamSpec
from tests.lab.conftest import eventually

ARPHRD_ETHER = 1
RTT = 0.04
PAUSE = 0.3
LONGEST_US = 150_000
"""More than a round trip with a delayed acknowledgement, less than one with half a pause."""


@contextmanager
def measured(lab: Lab) -> Iterator[DataPlane]:
    """The programs on all uplinks, without an agent; uplink n is path n - 1."""
    router, run_dir = lab.ns("router"), str(lab.directory / "run")
    plane = netns.call(router, open_dataplane, run_dir, flows=64)

    def attach_all() -> None:
        for path in range(len(lab.spec.uplinks)):
            name = f"wan{path + 1}"
            attach(plane, PathLink(path, socket.if_nametoindex(name), name, ARPHRD_ETHER))

    try:
        netns.call(router, attach_all)
        yield plane
    finally:
        plane.close()
        netns.call(router, detach_all, run_dir)


def topology(losses: Sequence[float]) -> TopologySpec:
    uplinks = tuple(UplinkSpec(rtt=RTT, rate=10e6, loss=loss) for loss in losses)
    return TopologySpec(uplinks=uplinks, endpoints=False)


def single(uplink: int, kind: str, **more: object) -> StreamSpec:
    """Plain TCP over one uplink."""
    source = uplink_address(uplink)
    return StreamSpec(f"s{uplink}", kind, source=source, mptcp=False, **more)


def test_a_sender_that_pauses_makes_no_long_samples() -> None:
    """Its data comes up to 300 ms after what it echoes; acknowledgements get lost on the way."""
    sizes = (20_000, 3_000, 20_000, 3_000)
    with Lab(topology((0.0, 0.0, 0.1, 0.1))) as lab, measured(lab) as plane, ExitStack() as stack:
        streams = [
            stack.enter_context(
                Stream(lab, single(uplink, "paced-down", interval=PAUSE, size=size))
            )
            for uplink, size in enumerate(sizes, 1)
        ]
        for stream, size in zip(streams, sizes, strict=True):
            eventually(lambda s=stream, n=size: s.delivered() >= 30 * n, "thirty messages", 60)
        histograms = plane.rtt_histograms()
    for path, size in enumerate(sizes):
        found = [lower_bound(bucket) for bucket, count in enumerate(histograms[path]) if count]
        print(f"path {path}, {size} B: {found} us")
        assert all(us < LONGEST_US for us in found)


@pytest.mark.parametrize(
    ("kind", "congestion", "loss"),
    [("bulk-up", None, 0.1), ("bulk-down", "cubic", 0.03)],
    ids=["upload that loses a tenth", "download of one burst a round trip"],
)
def test_there_are_samples(kind: str, congestion: str | None, loss: float) -> None:
    """A minute is more than a thousand round trips; there were less than twenty samples in it."""
    stream = single(1, kind, congestion=congestion)
    with Lab(topology((loss,))) as lab, measured(lab) as plane, Stream(lab, stream):
        eventually(lambda: sum(plane.rtt_histograms()[0]) >= 100, "a hundred samples", 60)
