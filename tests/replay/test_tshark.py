# SPDX-License-Identifier: GPL-2.0-or-later
"""``omrfast replay`` against tshark, on captures of real traffic."""

from __future__ import annotations

import math
import statistics
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from tests.replay.captures import NAMES, PLAIN
from tests.replay.comparison import (
    Comparison,
    ages,
    cut,
    expected_samples,
    replay,
    revealed_spurious,
    sent_again,
    spans_an_echo,
)
from tests.replay.studio import Capture
from tests.replay.tshark import ACK, SYN

Compared = Callable[[str], Comparison]
HEADER_CHANGE = {"mptcp-client": -6, "mptcp-backup-client": -6}
"""What was captured on "any" has 20 bytes of SLL2 instead of 14 of Ethernet."""
FLOWS = 3 * len(PLAIN) + 1 + 2 * 2
"""Of a side: three of each plain capture, one idle, two subflows of each MPTCP one."""
STAMP_NS = 256
"""Unit of the data path's times."""

ECHOES = tuple(
    f"{name}-{side}" for name in PLAIN if name != "no-timestamps" for side in ("client", "server")
)
"""Where a flow mostly receives, with timestamps."""

STEADY = tuple(name for name in NAMES if not name.startswith(("bottleneck", "reordering", "mptcp")))
"""Where the round-trip time stays what it is."""

pytestmark = pytest.mark.timeout(240)  # the first test waits for all captures
every_capture = pytest.mark.parametrize("name", NAMES)


def spread_of_median(count: int) -> tuple[float, float]:
    """Shares of a distribution between which the median of ``count`` drawn from it lies."""
    error = min(1.5 / math.sqrt(count), 0.5)
    return 0.5 - error, 0.5 + error


def at_share(values: Iterable[int], share: float) -> float:
    """In microseconds, of nanoseconds."""
    ordered = sorted(values)
    return ordered[round(share * (len(ordered) - 1))] / 1000


@pytest.mark.parametrize("side", ["client", "server", "super"])
def test_kernel_and_native_give_the_same_answer(
    recorded: Mapping[str, Capture], scratch: Path, side: str
) -> None:
    """All captures of a side in one file: three kinds of link, and one start of the kernel's."""
    taken = [capture for name, capture in recorded.items() if name.endswith(side)]
    merged = scratch / f"{side}.pcapng"
    subprocess.run(["mergecap", "-w", merged, *(c.file for c in taken)], check=True)
    where = {capture.local for capture in taken}
    kernel, native = (replay(merged, where, plane) for plane in ("kernel", "native"))
    assert kernel.pop("run")["dataplane"] == "kernel"
    assert native.pop("run")["dataplane"] == "native"
    assert kernel == native
    assert len(native["flows"]) == (3 if side == "super" else FLOWS)
    assert native["packets"] == native["replayed"] + sum(native["left_out"].values())


@every_capture
def test_volume(compared: Compared, name: str) -> None:
    comparison = compared(name)
    extra = HEADER_CHANGE.get(name, 0)
    ends = [(c.local, c.remote) for c in comparison.connections]
    assert len(ends) == len(list(comparison.pairs())) == len(set(ends))
    for flow, connection in comparison.pairs():
        sent, arrived = list(connection.sent), list(connection.arrived)
        assert flow["first_packet"] == sent[0].number
        assert flow["tx_segments"] == sum(frame.length > 0 for frame in sent)
        assert flow["tx_bytes"] == sum(frame.bytes + extra for frame in sent)
        # Of no flow is what arrived before the first packet left, nor a repeated SYN, which has no
        # acknowledgement to prove that it is the peer's.
        arrived = [f for f in arrived if f.number > sent[0].number and f.flags & (SYN | ACK) != SYN]
        assert flow["rx_segments"] == sum(frame.length > 0 for frame in arrived)
        assert flow["rx_bytes"] == sum(frame.bytes + extra for frame in arrived)


@every_capture
def test_sent_again(compared: Compared, name: str) -> None:
    """What differs from tshark's flags, and why, is in `sent_again`."""
    comparison = compared(name)
    for flow, connection in comparison.pairs():
        again = sent_again(connection)
        assert flow["retransmitted_segments"] == len(again), [f.number for f in again]
    syn_again = sum(
        bool(frame.flags & SYN) and frame.flagged_again
        for connection in comparison.connections
        for frame in connection.sent
    )
    assert comparison.native["totals"]["syn_retransmissions"] == syn_again


@pytest.mark.parametrize("name", ["loss-client", "loss-server", "tun-client", "super"])
def test_there_is_something_sent_again(compared: Compared, name: str) -> None:
    """At 3 % and 1 % of 690 segments, or what the comparison above says would be little."""
    assert compared(name).native["totals"]["retransmitted_segments"] >= (5 if "loss" in name else 1)


def test_what_asks_is_not_sent_again(compared: Compared) -> None:
    """A keep-alive and two window probes, which tshark calls keep-alives too, and a SYN."""
    comparison = compared("idle-client")
    (connection,) = comparison.connections
    asking = [f for f in connection.sent if f.text("tcp.analysis.keep_alive")]
    assert len(asking) >= 3
    assert not any(frame.length for frame in asking)
    totals = comparison.native["totals"]
    assert (totals["retransmitted_segments"], totals["syn_retransmissions"]) == (0, 1)


@every_capture
def test_inbound(compared: Compared, name: str) -> None:
    """What arrives below the newest that has arrived: refilled or, if overtaken, reordered.

    tshark tells the two apart in another way (see tshark.py), so that only the sum is compared.
    """
    comparison = compared(name)
    for flow, connection in comparison.pairs():
        late = [
            frame.number for frame in connection.arrived if frame.flagged_again and frame.length
        ]
        assert flow["refilled_segments"] + flow["reordered_segments"] == len(late), late


def test_overtaken_packets_are_not_taken_for_loss(compared: Compared) -> None:
    """1 % of 690 segments were held back for 6 ms and none was lost."""
    totals = compared("reordering-client").native["totals"]
    assert totals["reordered_segments"] > totals["refilled_segments"]


@every_capture
def test_spurious(compared: Compared, name: str) -> None:
    """Against the D-SACK blocks that tshark finds.

    Its own *spurious retransmission* is another thing: what was acknowledged already when it was
    sent, which says nothing of what was under way.
    """
    for flow, connection in compared(name).pairs():
        revealed = min(revealed_spurious(connection), flow["retransmitted_segments"])
        assert flow["spurious_retransmissions"] == revealed


@every_capture
def test_samples_by_sequence_number(compared: Compared, name: str) -> None:
    """Every sample, none missing, none too many, to the microsecond of the capture."""
    comparison = compared(name)
    slack_ns = 0 if comparison.capture.precision == "micro" else 500 + STAMP_NS
    for flow, connection in comparison.pairs():
        expected = expected_samples(connection)
        found = comparison.samples(flow, "handshake", "data")
        assert [frame for frame, _ in found] == [sample.ended.number for sample in expected]
        for (_, rtt_us), sample in zip(found, expected, strict=True):
            assert abs(1000 * rtt_us - sample.rtt_ns) <= slack_ns


@pytest.mark.parametrize("name", ["loss-client", "loss-server", "ipv6-client", "super"])
def test_a_flow_met_in_mid_life(compared: Compared, scratch: Path, name: str) -> None:
    """The same without the first quarter of the capture; both know nothing of what was before."""
    frames = len(compared(name).frames)
    late = cut(compared(name).capture, scratch, f"{frames // 4}-{frames}")
    assert [flow["role"] for flow in late.native["flows"]].count("midlife") == 1

    def compare(_: str) -> Comparison:
        return late

    for comparison in (
        test_volume,
        test_sent_again,
        test_inbound,
        test_spurious,
        test_samples_by_sequence_number,
    ):
        comparison(compare, name)


@every_capture
def test_samples_by_sack(compared: Compared, name: str) -> None:
    """Every sample that ended beyond a hole, to the microsecond of the capture.

    tshark's ack_rtt has none: the acknowledgement number stands still. A sample is the age of a
    segment whose last byte a SACK block of the frame covers, and which was sent only once.
    """
    comparison = compared(name)
    slack_ns = 0 if comparison.capture.precision == "micro" else 500 + STAMP_NS
    count = 0
    for flow, connection in comparison.pairs():
        expected = expected_samples(connection, by_sack=True)
        found = comparison.samples(flow, "sack")
        assert [frame for frame, _ in found] == [sample.ended.number for sample in expected]
        for (_, rtt_us), (ended, began, _) in zip(found, expected, strict=True):
            assert ended.ack_rtt_ns is None or ended.ack < began.end
            assert abs(1000 * rtt_us - (ended.at_ns - began.at_ns)) <= slack_ns
            assert any(left < began.end <= right for left, right in ended.blocks)
            with_last_byte = [
                frame.number
                for frame in connection.sent
                if frame.seq < began.end <= frame.end and frame.number < ended.number
            ]
            assert with_last_byte == [began.number]
        count += len(found)
    assert count or name not in ("loss-client", "loss-server")  # how many is up to chance


@every_capture
def test_samples_equal_ack_rtt(compared: Compared, name: str) -> None:
    """tshark's tcp.analysis.ack_rtt of the same frame.

    It is the age of the segment that ends where the acknowledgement does: the *last* one that it
    covers. A sample is the age of the first segment of what was then sent, so they are one where an
    acknowledgement covers one segment; where it covers several (delayed acknowledgements, GRO), the
    sample is older by the time between the two segments, which tshark tells too
    (tcp.analysis.acks_frame). No ack_rtt has an acknowledgement that ends inside of a segment: that
    is so only where super-packets are captured.
    """
    comparison = compared(name)
    slack_ns = 0 if comparison.capture.precision == "micro" else 500 + STAMP_NS
    at_ns = {frame.number: frame.at_ns for frame in comparison.frames}
    same = 0
    for flow, connection in comparison.pairs():
        found = comparison.samples(flow, "handshake", "data")
        for (_, rtt_us), sample in zip(found, expected_samples(connection), strict=True):
            last = sample.ended.acks_frame
            if sample.ended.ack_rtt_ns is None or last is None:
                assert name == "super"
                continue
            between_ns = at_ns[last] - sample.began.at_ns
            assert abs(1000 * rtt_us - sample.ended.ack_rtt_ns - between_ns) <= slack_ns
            assert (last == sample.began.number) == (sample.began.end == sample.ended.ack)
            same += last == sample.began.number
    assert same >= len(comparison.connections)


def assert_between(ours: float, low: float, high: float) -> None:
    """Within 2 % or 0.1 ms."""
    assert min(0.98 * low, low - 100) <= ours <= max(1.02 * high, high + 100)


@every_capture
def test_medians_of_the_same_acknowledgements(compared: Compared, name: str) -> None:
    """Between those of the newest and of the oldest segment that each acknowledges."""
    for flow, connection in compared(name).pairs():
        of = ages(connection)
        found = compared(name).samples(flow, "handshake", "data")
        taken = [(rtt_us, of[number]) for number, rtt_us in found if number in of]
        if taken:
            low = statistics.median(age.newest_ns / 1000 for _, age in taken)
            high = statistics.median(age.oldest_ns / 1000 for _, age in taken)
            assert_between(statistics.median(rtt_us for rtt_us, _ in taken), low, high)


@pytest.mark.parametrize("name", STEADY)
def test_medians_of_all_acknowledgements(compared: Compared, name: str) -> None:
    """Within 2 % or 0.1 ms of the median over all acknowledged segments, as far as that can be.

    Of an acknowledgement that covers several segments (delayed, or of what GRO has put together)
    tshark's ack_rtt is the age of the newest, the kernel's that of the oldest; a sample, between
    the two, is the age of a segment, so that each acknowledgement has the weight of its segments.

    We take n samples, one a round trip. If the round-trip time varies by more than 2 %, as on a
    busy machine it does, the median of n drawn from it lies between quantiles of it: its rank has a
    standard error of 1/2 over the square root of n, of which three are allowed.

    Not where a median over round trips is another thing than one over acknowledgements, though
    each single sample is right, as is shown above: *bottleneck*, whose queue triples the round-trip
    time within a few round trips (the long ones have most acknowledgements); *reordering*, where
    one round trip in eight waits for a packet held back (tshark has one short ack_rtt for all that
    the hole delayed: that of the last segment); *mptcp*, whose flows carry bulk and questions by
    turns (questions have one acknowledgement a round trip).
    """
    for flow, connection in compared(name).pairs():
        newest, oldest = [], []
        for age in ages(connection).values():
            newest += [age.newest_ns] * age.count
            oldest += [age.oldest_ns] * age.count
        ours = [rtt_us for _, rtt_us in compared(name).samples(flow, "handshake", "data")]
        assert bool(ours) == bool(newest)
        if ours:
            low, high = spread_of_median(len(ours))
            assert_between(statistics.median(ours), at_share(newest, low), at_share(oldest, high))


@every_capture
def test_summary_is_of_the_samples(compared: Compared, name: str) -> None:
    comparison = compared(name)
    for flow, _ in comparison.pairs():
        every = [rtt_us for _, rtt_us in comparison.samples(flow)]
        rtt_ms = flow["rtt_ms"]
        assert rtt_ms["samples"] == len(every)
        assert rtt_ms["min"] == (min(every) / 1000 if every else None)
        assert rtt_ms["p50"] == (statistics.median_low(every) / 1000 if every else None)


@every_capture
def test_samples_by_echo(compared: Compared, name: str) -> None:
    """Each one spans from the first packet with a TSval to the first one whose TSecr reached it."""
    comparison = compared(name)
    found = 0
    for flow, connection in comparison.pairs():
        by_number = {frame.number: frame for frame in connection.frames}
        for number, rtt_us in comparison.samples(flow, "echo"):
            end = by_number[number]
            assert end.length
            begun = [
                frame
                for frame in connection.sent
                if abs(end.at_ns - frame.at_ns - 1000 * rtt_us) <= 500 + STAMP_NS
            ]
            assert any(spans_an_echo(connection, begin, end) for begin in begun)
            found += 1
    assert found or name not in ECHOES
    assert not (found and name.startswith("no-timestamps"))
