# SPDX-License-Identifier: GPL-2.0-or-later
"""One capture as ``omrfast replay`` and as tshark see it, flow by flow."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
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
    by_sack: bool = False
    """Beyond a hole: not by the acknowledgement number."""

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
        """(frame, rtt_us) of the flow's samples of these sources (none: of all), in order."""
        index = self.native["flows"].index(flow)
        return [
            (sample["packet"], sample["rtt_us"])
            for sample in self.native["samples"]
            if sample["flow"] == index and (not sources or sample["source"] in sources)
        ]


def cut(capture: Capture, into: Path, frames: str) -> Comparison:
    """The capture with nothing but ``frames`` (FIRST-LAST)."""
    file = into / f"{capture.file.stem}-{frames}.pcapng"
    subprocess.run(["editcap", "-r", capture.file, file, frames], check=True)
    return Comparison(replace(capture, file=file))


class Open:
    """What begins a sample, and what Karn's rule has left of it."""

    def __init__(self, began: Frame) -> None:
        self.began = began
        self.cancelled = self.left_to_sack = False

    def repeat(self, frame: Frame) -> None:
        if frame.seq < self.began.end:
            self.left_to_sack |= frame.end < self.began.end
            self.cancelled |= frame.end >= self.began.end

    def is_sacked(self, frame: Frame, newest: int) -> bool:
        return any(
            frame.ack < left < self.began.end <= right <= newest for left, right in frame.blocks
        )


def expected_samples(connection: Connection, by_sack: bool = False) -> list[Sample]:
    """The samples by acknowledgement of bpf/MEASUREMENT.md section 3, from tshark's fields alone.

    One at a time, begun by the first new data (SYN, FIN), but not by the first packet of a flow
    that is met in mid-life; ended by whatever acknowledges it or, beyond a hole, by a SACK block;
    Karn's rule where tshark calls something sent again. Those by number, or those by SACK.
    """
    found: list[Sample] = []
    first = next(connection.sent)
    waiting: Open | None = None
    acknowledged = newest = -(2**31)
    for frame in connection.frames:
        if connection.leaves(frame):
            if frame.flagged_again and waiting:
                waiting.repeat(frame)
            elif frame is first and not frame.flags & SYN:
                pass
            elif frame.end > frame.seq and not waiting and not frame.flagged_again:
                waiting = Open(frame)
            newest = max(newest, frame.end)
        elif frame.flags & tshark.ACK:
            if waiting and frame.ack >= waiting.began.end:
                if not (waiting.cancelled or waiting.left_to_sack):
                    found.append(Sample(frame, waiting.began))
                waiting = None
            elif waiting and frame.ack >= acknowledged and waiting.is_sacked(frame, newest):
                if not waiting.cancelled:
                    found.append(Sample(frame, waiting.began, by_sack=True))
                waiting = None
            acknowledged = max(acknowledged, frame.ack)
    return [sample for sample in found if sample.by_sack == by_sack]


class Ages(NamedTuple):
    """Of the segments that one frame acknowledges."""

    newest_ns: int
    """tshark's ack_rtt."""
    oldest_ns: int
    """What Linux measures (tcp_clean_rtx_queue, first_ackt)."""
    count: int


def ages(connection: Connection) -> dict[int, Ages]:
    """By the acknowledging frame's number; tshark's alone if something of it was sent again."""
    repeated = [frame for frame in connection.sent if frame.flagged_again]
    fresh = deque(frame for frame in connection.sent if not frame.flagged_again)
    found = {}
    for frame in connection.arrived:
        covered = []
        while fresh and fresh[0].end <= frame.ack and fresh[0].number < frame.number:
            covered.append(fresh.popleft())
        if frame.ack_rtt_ns is None or not covered:
            continue
        first = covered[0]
        oldest = frame.at_ns - first.at_ns
        if any(again.seq < frame.ack and again.end > first.seq for again in repeated):
            oldest = frame.ack_rtt_ns
        found[frame.number] = Ages(frame.ack_rtt_ns, oldest, len(covered))
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


def overtaken(connection: Connection) -> list[Frame]:
    """New data that a bare acknowledgement of the same end, sent after it, has overtaken.

    Sequence numbers that such a packet has passed count as sent, for omrfast as for tshark, which
    flags these frames; tcptrace remembers what data it has seen.
    """
    found = []
    data_end = newest = -(2**31)
    for frame in connection.sent:
        if frame.end > frame.seq and data_end <= frame.seq < newest and frame.flagged_again:
            found.append(frame)
        if frame.end > frame.seq:
            data_end = max(data_end, frame.end)
        newest = max(newest, frame.end)
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
