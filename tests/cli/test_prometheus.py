# SPDX-License-Identifier: GPL-2.0-or-later
"""The metrics, scraped over real HTTP and read back with the client library's own parser."""

from __future__ import annotations

import re
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from snapshots import path, snapshot, unmeasured

from omrfast.core.types import PathState
from omrfast.core.views import OverrideView
from omrfast.export.prometheus import MetricsError, MetricsServer, split_listen

REMOVAL = {"path": "fibre", "reason": "delete"}
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@contextmanager
def served(listen: str) -> Iterator[str]:
    shown = snapshot(path(), path("dsl", override=OverrideView("backup", 590.0)), unmeasured())
    server = MetricsServer(lambda: shown)
    port = server.start(listen)
    try:
        yield f"http://{listen.rpartition(':')[0]}:{port}/metrics"
    finally:
        server.close()


def scrape(url: str) -> list[Metric]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return list(text_string_to_metric_families(answer.read().decode()))


@pytest.fixture(scope="module")
def families() -> list[Metric]:
    with served("127.0.0.1:0") as url:
        return scrape(url)


@pytest.fixture
def samples(families: list[Metric]) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("omrfast_build_info", {"version": "0.1.0", "loader": "prebuilt"}, 1),
        ("omrfast_path_bytes_total", {"path": "fibre", "direction": "tx"}, 1000),
        ("omrfast_path_bytes_total", {"path": "fibre", "direction": "rx"}, 2000),
        ("omrfast_path_packets_total", {"path": "fibre", "direction": "rx"}, 21),
        ("omrfast_path_segments_total", {"path": "fibre", "direction": "tx"}, 10),
        ("omrfast_path_retransmitted_segments_total", {"path": "fibre"}, 1),
        ("omrfast_path_spurious_segments_total", {"path": "lte"}, 0),
        ("omrfast_flows_refused_total", {"path": "fibre"}, 4),
        ("omrfast_unparsed_packets_total", {"path": "fibre", "reason": "truncated"}, 2),
        ("omrfast_path_smoothed_rtt_seconds", {"path": "fibre"}, 0.0412),
        ("omrfast_path_rtt_jitter_seconds", {"path": "fibre"}, 0.0011),
        ("omrfast_path_reordered_segments_total", {"path": "fibre"}, 0),
        ("omrfast_path_icmp_errors_total", {"path": "fibre"}, 0),
        ("omrfast_path_loss_ratio", {"path": "fibre"}, 0.01),
        ("omrfast_path_subflows", {"path": "fibre"}, 3),
        ("omrfast_path_rtt_seconds_bucket", {"path": "fibre", "le": "0.032768"}, 1),
        ("omrfast_path_rtt_seconds_bucket", {"path": "fibre", "le": "0.065536"}, 6),
        ("omrfast_path_rtt_seconds_bucket", {"path": "fibre", "le": "+Inf"}, 7),
        ("omrfast_path_rtt_seconds_count", {"path": "fibre"}, 7),
        ("omrfast_path_rtt_seconds_sum", {"path": "fibre"}, 0.287),
        ("omrfast_path_rtt_seconds_count", {"path": "lte"}, 0),
        ("omrfast_path_transitions_total", {"path": "fibre", "state": "degraded"}, 1),
        ("omrfast_actions_total", {"path": "fibre", "reason": "backup"}, 1),
        ("omrfast_path_penalty", {"path": "fibre"}, 1.25),
        ("omrfast_path_routes_behind", {"path": "fibre"}, 0),
        ("omrfast_path_probe_budget_bytes", {"path": "lte"}, 5_000_000),
        ("omrfast_path_probe_bytes_total", {"path": "fibre"}, 72_000),
        ("omrfast_path_probes_saving", {"path": "fibre"}, 0),
        ("omrfast_path_probes_saving", {"path": "lte"}, 1),
        ("omrfast_path_services_failing", {"path": "fibre"}, 1),
        ("omrfast_path_services_failing", {"path": "lte"}, 0),
        ("omrfast_path_endpoint", {"path": "fibre", "state": "active"}, 1),
        ("omrfast_path_endpoint", {"path": "fibre", "state": "absent"}, 0),
        ("omrfast_path_endpoint", {"path": "lte", "state": "active"}, 0),
        ("omrfast_path_override", {"path": "dsl", "state": "backup"}, 1),
        ("omrfast_path_override", {"path": "dsl", "state": "off"}, 0),
        ("omrfast_path_override", {"path": "fibre", "state": "backup"}, 0),
        ("omrfast_servers", {"state": "up"}, 1),
        ("omrfast_servers", {"state": "down"}, 0),
        ("omrfast_path_unreachable_servers", {"path": "lte"}, 1),
        ("omrfast_path_unreachable_servers", {"path": "fibre"}, 0),
        ("omrfast_local_trouble", {}, 1),
        ("omrfast_action_decision_delay_seconds_count", REMOVAL, 4),
        ("omrfast_action_decision_delay_seconds_sum", REMOVAL, 0.52),
        (
            "omrfast_action_sign_delay_seconds_bucket",
            REMOVAL | {"le": "0.1"},
            2,
        ),
        (
            "omrfast_action_sign_delay_seconds_bucket",
            REMOVAL | {"le": "+Inf"},
            4,
        ),
        ("omrfast_flows", {}, 12),
        ("omrfast_flow_capacity", {}, 65536),
        ("omrfast_uptime_seconds", {}, 99.5),
        ("omrfast_tick_seconds", {}, 0.0004),
    ],
)
def test_values(samples: Samples, name: str, labels: dict[str, str], value: float) -> None:
    assert samples[name, tuple(sorted(labels.items()))] == pytest.approx(value)


def test_exactly_one_state_is_set(samples: Samples) -> None:
    states = {
        dict(labels)["state"]: value
        for (name, labels), value in samples.items()
        if name == "omrfast_path_state" and ("path", "fibre") in labels
    }
    assert states == {state.value: float(state is PathState.UP) for state in PathState}


def test_what_is_unknown_is_absent(samples: Samples) -> None:
    known = {name for name, labels in samples if ("path", "lte") in labels}
    assert "omrfast_path_subflows" in known
    unknown = {"path_smoothed_rtt_seconds", "path_loss_ratio", "path_routes_behind"}
    assert not {f"omrfast_{name}" for name in unknown} & known
    assert ("omrfast_path_probe_budget_bytes", (("path", "fibre"),)) not in samples


def test_names_labels_and_help_follow_the_rules(families: list[Metric]) -> None:
    allowed = {"path", "direction", "state", "reason"}
    assert families
    for family in families:
        assert re.fullmatch(r"omrfast_[a-z][a-z0-9_]*", family.name)
        assert family.documentation
        assert not re.search(r"_(ms|us|milliseconds|percent|kb)\b", family.name)
        for sample in family.samples:
            labels = set(sample.labels) - ({"le"} if family.type == "histogram" else set())
            extra = {"version", "loader"} if family.name == "omrfast_build_info" else set()
            assert labels <= allowed | extra, sample
            if family.type == "counter":
                assert sample.name.endswith("_total")


def test_ipv6_listens_too() -> None:
    with served("[::1]:0") as url:
        assert scrape(url)


def test_closing_frees_the_port() -> None:
    first = MetricsServer(snapshot)
    port = first.start("127.0.0.1:0")
    first.close()
    second = MetricsServer(lambda: snapshot(path()))
    assert second.start(f"127.0.0.1:{port}") == port
    second.close()


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(MetricsError, match=r"\[metrics\] listen = .*Address already in use"):
            MetricsServer(snapshot).start(listen)


@pytest.mark.parametrize("listen", ["9477", "localhost:9477", "127.0.0.1:", "::1", "1.2.3.4:99999"])
def test_bad_listen_is_refused(listen: str) -> None:
    with pytest.raises(MetricsError, match="write an address and a port"):
        split_listen(listen)
