# SPDX-License-Identifier: GPL-2.0-or-later
"""The log-linear RTT histogram of bpf/abi_types.h: bucket bounds and quantiles."""

from __future__ import annotations

from collections.abc import Sequence

SUB_BITS = 4
BUCKETS = 352
"""OMR_HIST_SUB_BITS and OMR_HIST_BUCKETS; a test holds them to the ABI."""


def bucket_of(microseconds: int) -> int:
    """Index of the bucket that counts a sample of this many microseconds."""
    if microseconds < 1 << SUB_BITS:
        return max(0, microseconds)
    octave = microseconds.bit_length() - 1 - SUB_BITS
    return min(BUCKETS - 1, (octave << SUB_BITS) + (microseconds >> octave))


def lower_bound(bucket: int) -> int:
    """Least number of microseconds that falls into the bucket."""
    if bucket < 2 << SUB_BITS:
        return bucket
    octave = (bucket >> SUB_BITS) - 1
    return ((1 << SUB_BITS) + (bucket & ((1 << SUB_BITS) - 1))) << octave


def quantile(counts: Sequence[int], share: float) -> float | None:
    """RTT in seconds below which ``share`` of the samples lie (middle of its bucket)."""
    total = sum(counts)
    if total == 0:
        return None
    rank = share * total
    seen = 0
    for bucket, count in enumerate(counts):
        seen += count
        if count and seen >= rank:
            return (lower_bound(bucket) + lower_bound(bucket + 1)) / 2e6
    return None


def octaves(counts: Sequence[int]) -> tuple[tuple[float, int], ...]:
    """(upper bound in seconds, cumulative count) per octave from 1 ms to 33 s."""
    result = []
    seen = 0
    start = 0
    for exponent in range(10, 26):
        end = min(BUCKETS, bucket_of(1 << exponent)) if exponent < 25 else BUCKETS
        seen += sum(counts[start:end])
        start = end
        result.append(((1 << exponent) / 1e6, seen))
    return tuple(result)
