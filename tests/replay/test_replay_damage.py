# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures with wrong bytes anywhere: an answer, the same by both data planes, or a named error."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omrfast.replay.capture import CaptureError

from .both import replay
from .handmade import CONVERSATION, EN10MB, SLL2, Framing, Pcapng, pcap, records, write


def _captures() -> list[bytes]:
    ethernet = records(CONVERSATION, Framing(EN10MB))
    cooked = records(CONVERSATION, Framing(SLL2, 6))
    file = Pcapng().section().interface(EN10MB, 9).interface(SLL2)
    for one, other in zip(ethernet, cooked, strict=True):
        file.packet(one, flags=1).packet(other, interface=1)
    return [
        pcap(ethernet, EN10MB),
        pcap(cooked, SLL2, order=">", nanoseconds=True),
        file.data,
        gzip.compress(pcap(ethernet, EN10MB)),
    ]


CAPTURES = _captures()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    number=st.integers(0, len(CAPTURES) - 1),
    changes=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=8),
    end=st.integers(0, 2**16),
)
def test_any_damage(number: int, changes: list[tuple[int, int]], end: int, tmp_path: Path) -> None:
    data = bytearray(CAPTURES[number])
    for at, value in changes:
        data[at % len(data)] = value
    path = write(tmp_path, bytes(data[: end if end < len(data) else None]))
    said = ""
    try:
        found = replay(path)
    except CaptureError as error:
        said = str(error)
    if said:
        assert str(path) in said
    else:
        assert found["replayed"] + sum(found["left_out"].values()) <= found["packets"]


@pytest.mark.parametrize("capture", CAPTURES, ids=["pcap", "cooked", "pcapng", "gzip"])
def test_undamaged(capture: bytes, tmp_path: Path) -> None:
    assert replay(write(tmp_path, capture))["damage"] is None
