# SPDX-License-Identifier: GPL-2.0-or-later
"""Every value of the core comes back from JSON as it was; anything else is refused in words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omrfast.core.codec import CodecError, decode, encode
from omrfast.core.config import Config, PathConfig, Quality
from omrfast.core.differences import Differences
from omrfast.core.events import Event, ProbeReply, Tick
from omrfast.core.outcome import Decision, Outcome
from omrfast.core.state import NEVER, CoreState, Evidence, PathRecord
from omrfast.core.types import PathCounters, PathState, Role, ServerState

st.register_type_strategy(float, st.floats(allow_nan=False))


def through_json(data: Any) -> Any:
    """As a file holds it: standard JSON only, in one line."""
    text = json.dumps(data, allow_nan=False)
    assert "\n" not in text
    return json.loads(text)


def again(kind: Any, value: Any) -> Any:
    return decode(kind, through_json(encode(kind, value)))


@pytest.mark.parametrize("kind", [*Event.__args__, Event, Decision, Config], ids=str)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_comes_back_is_what_went_in(kind: Any, data: st.DataObject) -> None:
    value = data.draw(st.from_type(kind))
    assert again(kind, value) == value


@settings(max_examples=25, deadline=None)
@given(st.from_type(CoreState))
def test_a_whole_state_comes_back_equal(state: CoreState) -> None:
    assert again(CoreState, state) == state


@settings(max_examples=25, deadline=None)
@given(st.from_type(Outcome))
def test_an_outcome_comes_back_equal(outcome: Outcome) -> None:
    assert again(Outcome, outcome) == outcome


def test_names_that_two_enums_share_are_told_apart() -> None:
    decisions = [
        Decision(1.0, "wan1", PathState.UP, PathState.DOWN, "silent"),
        Decision(1.0, "", ServerState.UP, ServerState.DOWN, "silent", server="vps"),
    ]
    for decision in decisions:
        found = again(Decision, decision)
        assert type(found.state) is type(decision.state)
        assert found == decision


def test_members_at_their_defaults_take_no_room_but_the_configuration_is_whole() -> None:
    record = PathRecord(PathConfig("wan1", "eth1"))
    written = encode(PathRecord, record)
    assert list(written) == ["config"]
    assert set(written["config"]["quality"]) == set(Quality.__dataclass_fields__)


def test_never_and_none_are_kept() -> None:
    record = PathRecord(PathConfig("wan1", "eth1"), late_at=3.0, good_since=NEVER, next_probe=5.0)
    written = through_json(encode(PathRecord, record))
    assert written["good_since"] == "-inf"
    assert decode(PathRecord, written) == record
    evidence = Evidence("silence", None, 0.25, 0.0)
    assert again(Evidence, evidence) == evidence


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        (PathConfig, {"name": "a", "interface": "b", "colour": 1}, "PathConfig has no member"),
        (PathConfig, {"name": "a"}, "lacks its member 'interface'"),
        (PathConfig, {"name": "a", "interface": "b", "role": "boss"}, "'boss' is no Role"),
        (PathConfig, {"name": 1, "interface": "b"}, "PathConfig.name: '1' is not a text"),
        (PathConfig, [], "is not an object (PathConfig)"),
        (Quality, {"hold": "soon"}, "Quality.hold: 'soon' is not a number"),
        (Quality, {"hold": True}, "is not a number"),
        (Event, {"Rain": {}}, "'Rain' is none of Tick, "),
        (Event, {}, "is none of"),
        (Event, 3, "names its class"),
        (tuple[str, int], ["a"], "1 entries instead of 2"),
        (Role, {"a": 1}, "is no Role"),
    ],
)
def test_what_is_wrong_is_said(kind: Any, data: Any, words: str) -> None:
    with pytest.raises(CodecError) as refused:
        decode(kind, data)
    assert words in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["paths", "config", "Tick", "counters", "started", "model", "wan1"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from([Event, CoreState, Decision, Config]), data=JSON)
def test_any_json_is_read_or_refused(kind: Any, data: Any) -> None:
    try:
        value = decode(kind, data)
    except CodecError:
        return
    assert again(kind, value) == value


def test_a_hint_that_is_not_known_is_a_defect() -> None:
    with pytest.raises(TypeError, match="no way to write"):
        encode(set[int], {1})


# --- differences ------------------------------------------------------------------------------


READS = st.lists(
    st.dictionaries(st.sampled_from(["wan1", "wan2", "lte"]), st.from_type(PathCounters)),
    max_size=6,
)


@settings(max_examples=100, deadline=None)
@given(READS)
def test_counters_come_back_from_their_differences(reads: list[dict[str, PathCounters]]) -> None:
    writer = Differences(PathCounters)
    reader = Differences(PathCounters, writer.members)
    for values in reads:
        assert reader.read(through_json(writer.write(values))) == values


def test_a_tick_takes_few_bytes() -> None:
    writer = Differences(PathCounters)
    first = PathCounters(tx_bytes=10**12, rx_packets=10**9, rtt_sum=98765.4321, last_rx=12345.678)
    writer.write({"wan1": first, "wan2": first})
    second = PathCounters(
        tx_bytes=10**12 + 1500, rx_packets=10**9 + 2, rtt_sum=98765.4731, last_rx=12345.698
    )
    rows = json.dumps(writer.write({"wan1": second, "wan2": first}), separators=(",", ":"))
    assert len(rows) < 60, rows
    assert "wan2" not in rows, "what has not changed takes none"


def test_the_order_of_members_may_change_but_not_their_names() -> None:
    turned = tuple(reversed(Differences(PathCounters).members))
    counters = PathCounters(tx_bytes=5, last_rx=2.5)
    rows = Differences(PathCounters, turned).write({"a": counters})
    assert Differences(PathCounters, turned).read(rows) == {"a": counters}
    with pytest.raises(CodecError, match="no member 'colour'"):
        Differences(PathCounters, ("colour",))


@settings(max_examples=200, deadline=None)
@given(JSON | st.dictionaries(st.just("wan1"), st.lists(st.integers(-2, 30) | JSON)))
def test_any_rows_are_read_or_refused(rows: Any) -> None:
    try:
        found = Differences(PathCounters).read(rows)
    except CodecError:
        return
    assert all(isinstance(counters, PathCounters) for counters in found.values())
    tick = Tick(found)
    assert again(Event, tick) == tick


def test_a_reply_is_short() -> None:
    reply = ProbeReply("wan1", "icmp 203.0.113.10", 0.0401234567, 12345.678901234)
    assert len(json.dumps(encode(Event, reply), separators=(",", ":"))) < 110
