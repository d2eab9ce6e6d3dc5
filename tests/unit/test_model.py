# SPDX-License-Identifier: GPL-2.0-or-later
"""The estimators: RFC 6298 on ticks, loss windows, inbound streams, histograms."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omrfast.core import histogram, model, streams
from omrfast.core.model import PathModel, observe, probe_answered, probe_sent
from omrfast.core.types import PathCounters


def samples(*rtts: float, every: float = 0.1) -> PathModel:
    """A model that saw one RTT sample per tick."""
    counters = PathCounters()
    state = observe(PathModel(), counters, 0.0)
    for number, rtt in enumerate(rtts, 1):
        counters = replace(
            counters, rtt_samples=counters.rtt_samples + 1, rtt_sum=counters.rtt_sum + rtt
        )
        state = observe(state, counters, number * every)
    return state


def test_smoothing_is_rfc_6298() -> None:
    state = samples(0.100, 0.140, 0.060)
    srtt, rttvar = 0.100, 0.050
    for rtt in (0.140, 0.060):
        rttvar = 0.75 * rttvar + 0.25 * abs(srtt - rtt)
        srtt = 0.875 * srtt + 0.125 * rtt
    assert state.srtt == pytest.approx(srtt)
    assert state.rttvar == pytest.approx(rttvar)


@given(st.lists(st.floats(1e-4, 2.0), min_size=1, max_size=50))
def test_smoothed_stays_within_what_was_seen(rtts: list[float]) -> None:
    state = samples(*rtts)
    assert state.srtt is not None
    assert min(rtts) - 1e-9 <= state.srtt <= max(rtts) + 1e-9
    assert state.rttvar >= 0


def test_recent_is_the_last_half_second() -> None:
    state = samples(*[0.04] * 10, *[0.34] * 6)
    assert state.recent_rtt(1.6) == pytest.approx(0.34)
    assert state.recent_rtt(1.6 + 5) is None, "too old to say anything"


def test_probes_count_only_where_traffic_is_silent() -> None:
    busy = samples(0.04)
    assert probe_answered(probe_sent(busy, 0.2), 0.5, 0.7, 0.7).srtt == busy.srtt
    idle = probe_answered(probe_sent(PathModel(), 1.0), 0.08, 1.08, 1.09)
    assert idle.srtt == 0.08
    assert idle.rtt_min == 0.08
    assert idle.outstanding == ()


def lossy(sent: int, again: int, seconds: float = 12.0) -> PathModel:
    state = observe(PathModel(), PathCounters(), 0.0)
    for number in range(1, 49):
        share = number / 48
        counters = PathCounters(
            tx_segments=round(sent * share), retransmitted_segments=round(again * share)
        )
        state = observe(state, counters, seconds * share)
    return state


def test_loss_is_what_was_sent_again() -> None:
    loss = lossy(4800, 480).loss
    assert loss is not None
    assert loss == pytest.approx(0.1, rel=0.1)
    assert lossy(4800, 0).loss == 0
    assert lossy(20, 2).loss is None, "too few to mean anything"


def test_spurious_repeats_are_not_loss() -> None:
    state = lossy(4800, 480)
    counters = state.counters
    assert counters is not None
    end = replace(counters, tx_segments=9600, retransmitted_segments=960, spurious_segments=480)
    after = observe(state, end, 24.0).loss
    assert after == pytest.approx(0.0, abs=1e-6)


def test_jitter_follows_successive_samples() -> None:
    state = observe(PathModel(), PathCounters(), 0.0)
    for number in range(1, 101):
        counters = PathCounters(
            rtt_samples=number, rtt_sum=0.04 * number, rtt_step_sum=0.003 * number
        )
        state = observe(state, counters, number * 0.1)
    assert state.jitter == pytest.approx(0.003, rel=0.01)
    quiet = replace(counters, rtt_samples=116, rtt_sum=0.04 * 116)
    later = observe(state, quiet, 20.0)
    assert later.jitter == pytest.approx(state.jitter * (15 / 16) ** 16)


def test_jitter_of_traffic_that_has_ended_is_forgotten_by_probes() -> None:
    state = replace(PathModel(), jitter=0.1)
    for number in range(40):
        at, whom = number * 0.5, ("near", "far")[number % 2]
        rtt = {"near": 0.04, "far": 0.06}[whom]
        state = probe_answered(state, rtt, at, at, whom, rtt)
    assert state.jitter < 0.01, "by each target's own RTT, whoever answers between"


def test_unanswered_probes_are_loss() -> None:
    state = probe_answered(PathModel(), 0.04, 0.0, 0.0)
    state = observe(state, PathCounters(), 0.0)
    for number in range(60):
        at = number * 0.25
        state = probe_sent(state, at)
        if number % 3:
            state = probe_answered(state, 0.04, at + 0.04, at + 0.045)
        state = observe(state, PathCounters(), at + 0.05)
    assert state.loss == pytest.approx(1 / 6, abs=0.05), "one of the two crossings"


def test_counters_that_start_anew_are_a_new_beginning() -> None:
    state = observe(samples(0.04, 0.05), PathCounters(), 9.0)
    assert state.counters == PathCounters()
    assert state.srtt is not None


def test_a_stream_is_steady_after_a_while_and_ends() -> None:
    counters = PathCounters()
    state = observe(PathModel(), counters, 0.0)
    at = 0.0
    for _ in range(20):
        at += 0.05
        counters = replace(
            counters,
            rx_segments=counters.rx_segments + 5,
            rx_packets=counters.rx_packets + 10,
            last_rx=at,
        )
        state = observe(state, counters, at)
    assert streams.steady(state.data) == pytest.approx(0.01)
    assert streams.steady(state.arrivals) == pytest.approx(0.005)
    assert streams.steady(observe(state, counters, at + 2).data) is None
    assert streams.steady(model.end_streams(state, at).arrivals) is None


# --- histogram ----------------------------------------------------------------------------------


@given(st.integers(0, 2**26))
def test_a_bucket_holds_its_samples_and_is_narrow(microseconds: int) -> None:
    bucket = histogram.bucket_of(microseconds)
    low = histogram.lower_bound(bucket)
    assert low <= microseconds
    if bucket < histogram.BUCKETS - 1:
        high = histogram.lower_bound(bucket + 1)
        assert microseconds < high
        assert high - low <= max(1, low / 16)


@given(st.lists(st.integers(16, 2**24), min_size=1, max_size=200), st.floats(0.01, 1))
def test_quantiles_are_within_a_sixteenth(values: list[int], share: float) -> None:
    counts = [0] * histogram.BUCKETS
    for value in values:
        counts[histogram.bucket_of(value)] += 1
    exact = sorted(values)[max(0, -(-int(share * len(values) * 1e9) // 10**9) - 1)]
    found = histogram.quantile(counts, share)
    assert found is not None
    near = [v for v in values if abs(found * 1e6 - v) <= v / 16]
    assert near, "the quantile lies at a sample"
    below = sum(v <= found * 1e6 * 17 / 16 for v in values)
    assert below >= share * len(values) - 1e-6, exact


def test_octaves_are_cumulative_and_complete() -> None:
    counts = [0] * histogram.BUCKETS
    for microseconds in (500, 1500, 40_000, 300_000, 10**9):
        counts[histogram.bucket_of(microseconds)] += 1
    octaves = histogram.octaves(counts)
    assert octaves[0] == (0.001024, 1)
    assert octaves[-1][1] == 5
    assert [count for _, count in octaves] == sorted(count for _, count in octaves)
    assert dict(octaves)[0.065536] == 3


def test_no_samples_no_quantile() -> None:
    assert histogram.quantile([0] * histogram.BUCKETS, 0.5) is None
