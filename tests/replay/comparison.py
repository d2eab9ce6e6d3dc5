# SPDX-License-Identifier: GPL-2.0-or-later
"""One capture as ``omrfast replay`` and as tshark see it, flow by flow."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from tests.replay import tshark
from tests.replay.studio import Capture
from tests.replay.tshark import FIN, SYN, Connection, Frame


class Sample(NamedTuple):
    """One RTT sample: the frame that ended it, and the one that began it."""

    ended: Frame
    began: Frame

    @property
    def rtt_ns(self) -> int:
        return self.ended.at_ns - self.began.at_ns


def replay(file: Path, locals_: Iterable[str], dataplane: str) -> dict[str, Any]:
    """The JSON of ``omrfast replay --json --samples``."""
    command = [sys.executable, "-m", "omrfast.cli.main", "replay", str(file)]
    command += ["--json", "--samples", "--dataplane", dataplane]
    for local in locals_:
        command += ["--local", local]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


class Comparison:
    """Both views of a capture; what takes time is done when it is first asked for."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture

    @cached_property
    def native(self) -> dict[str, Any]:
        return replay(self.capture.file, [self.capture.local], "native")

    @cached_property
    def frames(self) -> list[Frame]:
        return tshark.frames(self.capture.file)

    @cached_property
    def connections(self) -> list[Connection]:
        return tshark.connections(self.frames, self.capture.local)

    def pairs(self) -> Iterator[tuple[dict[str, Any], Connection]]:
        """Every flow of omrfast with tshark's connection of the same ends."""
        known = {(c.local, c.remote): c for c in self.connections}
        for flow in self.native["flows"]:
            local = (flow["local_address"], flow["local_port"])
            yield flow, known[local, (flow["remote_address"], flow["remote_port"])]

    def samples(self, flow: dict[str, Any], *sources: str) -> list[tuple[int, int]]:
        """(frame, rtt_us) of the flow's samples of these sources, in order."""
        index = self.native["flows"].index(flow)
        return [
            (sample["packet"], sample["rtt_us"])
            for sample in self.native["samples"]
            if sample["flow"] == index and sample["source"] in sources
        ]


def cut(capture: Capture, into: Path, frames: str) -> Comparison:
    """The capture with nothing but ``frames`` (FIRST-LAST)."""
    file = into / f"{capture.file.stem}-{frames}.pcapng"
    subprocess.run(["editcap", "-r", capture.file, file, frames], check=True)
    return Comparison(replace(capture, file=file))


def expected_samples(connection: Connection) -> list[Sample]:
    """The samples by acknowledgement of bpf/MEASUREMENT.md section 3, from tshark's fields alone.

    One at a time, begun by the first new data (SYN, FIN), but not by the first packet of a flow
    that is met in mid-life; ended by whatever acknowledges it; Karn's rule where tshark calls
    something sent again.
    """
    found: list[Sample] = []
    first = next(connection.sent)
    began: Frame | None = None
    barrier: int | None = None
    acknowledged = -(2**31)
    for frame in connection.frames:
        if connection.leaves(frame):
            if frame.flagged_again:
                if began is not None and frame.seq < began.end:
                    barrier, began = began.end, None
            elif frame is first and not frame.flags & SYN:
                continue
            elif frame.end > frame.seq and began is None and barrier is None:
                began = frame
        elif frame.flags & tshark.ACK:
            if barrier is not None and frame.ack >= barrier:
                barrier = None
            if began is not None and frame.ack >= began.end > acknowledged:
                found.append(Sample(frame, began))
                began = None
            acknowledged = max(acknowledged, frame.ack)
    return found


def sent_again(connection: Connection) -> list[Frame]:
    """What omrfast counts of what tshark flags, among the packets of the local end.

    - A local end cannot be overtaken where the capture is taken: *out-of-order* there is a repeat
      within the first round-trip time after the newest data.
    - Repeats of SYN and SYN-ACK have a counter of their own.
    - A bare FIN that is repeated after the other end's FIN has come is no loss (section 4: both
      ends closed at once, and each waits for the acknowledgement that crossed its own FIN).
    """
    found = []
    peer_finished = False
    for frame in connection.frames:
        if not connection.leaves(frame):
            peer_finished |= bool(frame.flags & FIN)
        elif frame.flagged_again and not frame.flags & SYN and (frame.length or not peer_finished):
            found.append(frame)
    return found


def revealed_spurious(connection: Connection) -> int:
    """Segments that the peer's D-SACK blocks cover (RFC 2883), as section 4 counts them.

    Not those in an acknowledgement that a newer one has overtaken: it is old, and nothing that old
    ones say is used.
    """
    largest = segments = 0
    acknowledged = -(2**31)
    for frame in connection.frames:
        if connection.leaves(frame):
            largest = max(largest, -(-frame.length // 64) * 64)
            continue
        left = frame.number_of("tcp.options.sack.dsack_le")
        right = frame.number_of("tcp.options.sack.dsack_re")
        if left is not None and right is not None and frame.ack >= acknowledged:
            segments += -(-(right - left) // max(largest, 64))
        acknowledged = max(acknowledged, frame.ack)
    return segments


def spans_an_echo(connection: Connection, begin: Frame, end: Frame) -> bool:
    """Whether begin was the first to leave with its TSval and end the first to bring it back."""
    value = begin.tsval
    if value is None:
        return False
    earlier = (f.tsval for f in connection.sent if f.number < begin.number)
    between = (f for f in connection.arrived if begin.number < f.number < end.number)
    return (
        all(tsval is None or tsval < value for tsval in earlier)
        and all(frame.tsecr is None or frame.tsecr < value for frame in between)
        and end.tsecr is not None
        and end.tsecr >= value
    )
