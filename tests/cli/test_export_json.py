# SPDX-License-Identifier: GPL-2.0-or-later
"""The JSON interface, key by key, as the issue fixes it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from snapshots import EVENT, FLOW, path, snapshot, unmeasured

from omrfast.core.views import OverrideView
from omrfast.export.status import event_json, flow_json, status_json, usable

INTERFACE = {
    "version": "0.1.0",
    "uptime_s": 99.5,
    "loader": "prebuilt",
    "paths": [
        {
            "name": "fibre",
            "interface": "wan0",
            "address": "192.0.2.10",
            "role": "active",
            "state": "up",
            "since_s": 12.5,
            "reason": "answers",
            "rtt_ms": {
                "smoothed": 41.2,
                "min": 40.0,
                "variation": 1.5,
                "jitter": 1.1,
                "p50": 41.0,
                "p99": 55.0,
            },
            "loss_ratio": 0.01,
            "tx_bytes": 1000,
            "rx_bytes": 2000,
            "tx_segments": 10,
            "retransmitted_segments": 1,
            "subflows": 3,
            "objective": "latency",
            "override": {"role": "backup", "left_s": 590.0},
            "penalty": 1.25,
            "endpoint": "active",
            "routes_behind": False,
            "probe_bytes": 72000,
            "probe_budget": None,
            "probes_saving": False,
            "services_failing": ["web: status 302, redirected; a captive portal?"],
            "evidence": {"what": "good", "measured": 5012.0, "limit": 5000.0, "unit": "ms"},
        }
    ],
    "servers": [
        {
            "name": "vps",
            "state": "up",
            "since_s": 60.0,
            "reason": "answers",
            "unreachable_on": ["lte"],
            "addresses": ["203.0.113.1", "2001:db8::1"],
            "address": "203.0.113.1",
            "flows": 4,
            "subflows": 3,
            "handshakes": 1,
            "rtt_mean_ms": 41.2,
            "rtt_min_ms": 40.0,
            "silent_s": 0.25,
            "evidence": {"what": "answers", "measured": 41.5, "limit": None, "unit": "ms"},
        }
    ],
    "actions": [
        {
            "at": 1.7e9,
            "path": "fibre",
            "kind": "backup",
            "reason": "rtt 341 ms > 250 ms",
            "took_ms": 0.3,
            "decision_ms": 1.5,
            "sign_ms": 801.5,
        }
    ],
    "trouble": {"reason": "all paths silent at once", "since_s": 4.5},
    "dry_run": False,
    "unrecorded": None,
}


def test_status_is_exactly_the_interface() -> None:
    shown = path(override=OverrideView("backup", 590.0))
    assert json.loads(json.dumps(status_json(snapshot(shown)))) == INTERFACE


def test_unknown_values_are_null() -> None:
    (lte,) = json.loads(json.dumps(status_json(snapshot(unmeasured()))))["paths"]
    assert lte["rtt_ms"] == dict.fromkeys(("smoothed", "min", "variation", "jitter", "p50", "p99"))
    assert lte["loss_ratio"] is None
    assert lte["override"] is None
    assert lte["endpoint"] is None
    assert lte["routes_behind"] is None
    assert lte["evidence"] is None


@pytest.mark.parametrize(
    ("state", "role", "expected"),
    [
        ("up", "active", True),
        ("up", "backup", True),
        ("up", "off", False),
        ("suspect", "active", True),
        ("degraded", "active", True),
        ("down", "active", False),
        ("probation", "active", False),
        ("unknown", "active", False),
        ("failing", "active", False),
        ("unreachable", "active", False),
    ],
)
def test_usable(state: str, role: str, expected: bool) -> None:
    bad = path("other", state="down")
    assert usable(status_json(snapshot(bad, path(state=state, role=role)))) is expected


@pytest.mark.parametrize(
    ("role", "word", "endpoint", "expected"),
    [
        ("active", "off", "absent", False),
        ("active", "off", "active", True),  # no other is left
        ("off", "active", "active", True),
        ("off", "backup", "backup", True),
    ],
)
def test_the_operators_word_comes_before_the_configuration(
    role: str, word: str, endpoint: str, expected: bool
) -> None:
    shown = replace(path(role=role, override=OverrideView(word, None)), endpoint=endpoint)
    assert usable(status_json(snapshot(shown))) is expected


def test_no_path_is_not_usable() -> None:
    assert not usable({"paths": []})


def test_flow_units() -> None:
    shown = flow_json(FLOW)
    assert shown["rtt_ms"] == {
        "smoothed": 41.2,
        "variation": 1.5,
        "jitter": 1.1,
        "min": 40.0,
        "samples": 9,
    }
    assert shown["idle_s"] == 1.25
    assert not {"rtt_smoothed", "rtt_min", "rtt_variation", "rtt_samples", "idle"} & shown.keys()


def test_event_details_are_an_object() -> None:
    assert event_json(EVENT) == {
        "at": 1.7e9,
        "kind": "decision",
        "path": "fibre",
        "message": "fibre: up → degraded",
        "details": {"rtt_ms": 341.0},
        "server": None,
    }
