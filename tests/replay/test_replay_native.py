# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of the native data plane behave as the kernel's maps do."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omrfast.shim import api
from omrfast.shim.api import ShimError
from omrfast.shim.native import NativePlane

from .handmade import CONVERSATION, EN10MB, Framing, records

MOST = 100
PACKETS = records(CONVERSATION, Framing(EN10MB))


def _value(number: int) -> bytes:
    return struct.pack("<I", number) * 32


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["omr_flows4", "omr_flows6"]),
    st.lists(st.tuples(st.booleans(), st.integers(0, 150), st.integers(0, 9)), max_size=400),
)
def test_a_table_is_a_dictionary_with_a_limit(
    name: str, steps: list[tuple[bool, int, int]]
) -> None:
    table = NativePlane(flows=MOST).maps[name]
    model: dict[bytes, bytes] = {}
    for insert, number, content in steps:
        key = struct.pack("<I", number).rjust(table.info.key_size, b"k")
        if not insert:
            assert table.delete(key) is (model.pop(key, None) is not None)
        elif key in model or len(model) < MOST:
            table.update(key, _value(content))
            model[key] = _value(content)
        else:
            with pytest.raises(ShimError) as caught:
                table.update(key, _value(content))
            assert caught.value.errno == errno.E2BIG
    assert {key: table.lookup(key) for key in table.keys()} == model  # noqa: SIM118
    assert len(list(table.keys())) == len(model)


def test_a_large_table() -> None:
    table = NativePlane(flows=50_000).maps["omr_flows4"]
    keys = [struct.pack("<QI", number * 0x9E3779B97F4A7C15 % 2**64, 7) for number in range(50_000)]
    for number, key in enumerate(keys):
        table.update(key, _value(number))
    for key in keys[::2]:
        assert table.delete(key)
    assert sorted(table.keys()) == sorted(keys[1::2])
    assert all(table.lookup(key) == _value(number) for number, key in enumerate(keys) if number % 2)


def test_arrays_end_where_they_end() -> None:
    plane = NativePlane()
    for name in ("omr_links", "omr_path_counters", "omr_path_rtt", "omr_path_live", "omr_knocks"):
        table = plane.maps[name]
        last = table.info.max_entries - 1
        value = bytes([7]) * table.info.value_size
        table.update(last, value)
        assert table.lookup(last) == value
        assert table.lookup(last + 1) is None
        with pytest.raises(ShimError):
            table.update(last + 1, value)
        with pytest.raises(ValueError, match="has values of"):
            table.update(0, value + b"x")
        assert len(list(table.keys())) == table.info.max_entries


def _run(plane: NativePlane) -> bytes:
    """The flow entry that the conversation leaves."""
    for packet in PACKETS:
        now = {"now_j": packet.at_ns // 4_000_000, "now_ns": packet.at_ns}
        plane.maps["omr_replay_packet"].update(0, api.raw(api.struct("omr_replay", now=now)))
        plane.programs["omr_egress" if packet.leaves else "omr_xdp"].run_skb(packet.data)
    [key] = plane.maps["omr_flows4"].keys()
    entry = plane.maps["omr_flows4"].lookup(key)
    assert entry is not None
    return entry


def test_planes_share_nothing() -> None:
    one, other = NativePlane(), NativePlane()
    one.set_link(1, 3, 0)
    other.set_link(1, 3, 0)
    first = _run(one)
    assert list(other.maps["omr_flows4"].keys()) == []
    assert _run(other) == first
    assert len(one.events()) == len(other.events()) > 0
    assert one.events() == []


def test_reset_and_devices() -> None:
    plane = NativePlane()
    plane.programs["omr_egress"].run_skb(PACKETS[0].data)
    assert list(plane.maps["omr_flows4"].keys()) == []  # not our device
    plane.set_link(1, 0, 0)
    first = _run(plane)
    plane.reset()
    assert list(plane.maps["omr_flows4"].keys()) == []
    assert plane.maps["omr_path_counters"].lookup(0) == bytes(api.sizeof("omr_path_counters"))
    assert _run(plane) == first
    plane.clear_link(1)
    plane.reset()
    plane.programs["omr_egress"].run_skb(PACKETS[0].data)
    assert list(plane.maps["omr_flows4"].keys()) == []
