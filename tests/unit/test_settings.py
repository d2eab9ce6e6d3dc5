# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of the kernel's settings are changed, and to what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from omrfast.core.config import TuningConfig
from omrfast.core.operations import Endpoint, SetSetting
from omrfast.core.settings import (
    STALE_LOSS_CNT,
    SUBFLOWS,
    TCP_NOTSENT_LOWAT,
    TCP_RTO_MIN,
    TCP_WMEM,
    missing,
    server_needs,
    setting_operations,
)

ENDPOINT = Endpoint(1, "10.1.0.2", flags=frozenset({"subflow"}))
NOW = {
    SUBFLOWS: "2",
    STALE_LOSS_CNT: "4",
    TCP_WMEM: "4096 16384 4194304",
    TCP_RTO_MIN: "200000",
    TCP_NOTSENT_LOWAT: "4294967295",
}
NONE = TuningConfig()


def operations(
    tuning: TuningConfig = NONE,
    uplinks: int = 2,
    *,
    found: Mapping[str, str] | None = None,
    now: Mapping[str, str] = NOW,
) -> set[SetSetting]:
    return set(setting_operations(tuning, uplinks, found or {}, now))


@pytest.mark.parametrize(
    ("uplinks", "now", "wished"),
    [(2, "2", None), (3, "2", "3"), (3, "8", None), (1, "0", "1"), (12, "2", "8")],
)
def test_the_limit_is_raised_only_if_it_is_too_small(
    uplinks: int, now: str, wished: str | None
) -> None:
    expected = set() if wished is None else {SetSetting(SUBFLOWS, wished)}
    assert operations(uplinks=uplinks, now={**NOW, SUBFLOWS: now}) == expected


def test_the_limit_is_not_lowered_again_while_the_agent_runs() -> None:
    assert operations(uplinks=2, found={SUBFLOWS: "1"}, now={**NOW, SUBFLOWS: "3"}) == set()


def test_nothing_is_tuned_unasked() -> None:
    assert operations() == set()


def test_what_is_asked_for_is_set_once() -> None:
    tuning = TuningConfig(stale_loss_cnt=1, rto_min=0.02, send_buffer=524_288, unsent_limit=32_768)
    wished = {
        SetSetting(STALE_LOSS_CNT, "1"),
        SetSetting(TCP_RTO_MIN, "20000"),
        SetSetting(TCP_NOTSENT_LOWAT, "32768"),
        SetSetting(TCP_WMEM, "4096 16384 524288"),
    }
    assert operations(tuning) == wished
    done = {**NOW, **{op.name: op.value.replace(" ", "\t") for op in wished}}
    assert operations(tuning, found=NOW, now=done) == set()


def test_a_small_send_buffer_bounds_all_three_values() -> None:
    assert operations(TuningConfig(send_buffer=8192)) == {SetSetting(TCP_WMEM, "4096 8192 8192")}
    small = {**NOW, TCP_WMEM: "4096 8192 8192"}
    assert operations(TuningConfig(send_buffer=65536), found=NOW, now=small) == {
        SetSetting(TCP_WMEM, "4096 16384 65536")
    }, "the others come back to what was found"


def test_what_is_no_longer_asked_for_goes_back() -> None:
    now = {**NOW, STALE_LOSS_CNT: "1"}
    assert operations(found={STALE_LOSS_CNT: "4"}, now=now) == {SetSetting(STALE_LOSS_CNT, "4")}
    assert operations(now=now) == set(), "somebody else's"


def test_what_a_kernel_lacks_is_named_and_left_out() -> None:
    tuning = TuningConfig(stale_loss_cnt=1, rto_min=0.02)
    old = {name: value for name, value in NOW.items() if name != TCP_RTO_MIN}
    assert operations(tuning, now=old) == {SetSetting(STALE_LOSS_CNT, "1")}
    assert missing(tuning, old) == (TCP_RTO_MIN,)
    assert missing(tuning, NOW) == ()


@pytest.mark.parametrize(
    ("uplinks", "flags", "command"),
    [
        (2, {"subflow"}, "ip mptcp limits set subflow 2"),
        (3, {"subflow", "signal"}, "ip mptcp limits set subflow 3 add_addr_accepted 1"),
        (9, {"subflow"}, "ip mptcp limits set subflow 8"),
    ],
)
def test_what_the_server_needs(uplinks: int, flags: set[str], command: str) -> None:
    endpoints = (ENDPOINT, replace(ENDPOINT, flags=frozenset(flags)))
    words = server_needs(uplinks, endpoints)
    assert words.startswith("needs net.mptcp.enabled=1, and in each connection room for ")
    assert words.endswith(f"; there: {command}")
