# SPDX-License-Identifier: GPL-2.0-or-later
"""Streams are real MPTCP, their records true, and scenarios run."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest

from omrfast.lab import netns
from omrfast.lab.addresses import uplink_address
from omrfast.lab.diag import subflow_info
from omrfast.lab.links import UP
from omrfast.lab.picture import bands, draw
from omrfast.lab.result import PathSample, demoted_after
from omrfast.lab.runner import Live, run
from omrfast.lab.scenarios import SCENARIOS
from omrfast.lab.topology import Lab, TopologySpec
from omrfast.lab.traffic import Stream, StreamRecord, StreamSpec
from tests.lab.lab_helpers import eventually


def record(arrived: list[float], taken: float = 10.0) -> StreamRecord:
    return StreamRecord(
        name="x",
        kind="bulk-up",
        arrived=tuple(arrived),
        sizes=(1000,) * len(arrived),
        messages=tuple((at - 0.1, at) for at in arrived),
        attempts=(),
        errors=(),
        taken=taken,
    )


@pytest.mark.parametrize(
    ("begin", "end", "start", "length"),
    [
        (1.0, 2.0, 1.0, 1.0),  # from the arrival at 1 to the one at 2
        (1.5, 1.6, 1.0, 1.0),  # inside a gap: the whole gap counts
        (2.05, 2.5, 2.1, 3.9),  # began in the window and outlasts it
        (4.0, 5.0, 2.1, 3.9),  # began before and outlasts it
        (6.05, 7.0, 6.1, 3.9),  # still open when the record was taken
    ],
)
def test_longest_gap(begin: float, end: float, start: float, length: float) -> None:
    seen = record([0.9, 1.0, 2.0, 2.1, 6.0, 6.1]).gap_at(begin, end)
    assert seen == (pytest.approx(start), pytest.approx(length))


def test_gap_is_clipped_where_something_else_begins() -> None:
    seen = record([0.0, 1.0, 1.5, 1.9, 5.0])
    assert seen.gap_at(1.0, 2.0) == (pytest.approx(1.9), pytest.approx(3.1))
    assert seen.gap_at(1.0, 2.0, clip=2.0) == (pytest.approx(1.0), pytest.approx(0.5))


def test_gap_before_the_first_arrival() -> None:
    assert record([3.0, 3.1]).gap_at(1.0, 2.0) == (1.0, pytest.approx(2.0))


def test_gap_of_a_stream_that_never_delivered() -> None:
    assert record([]).longest_gap(4.0, 6.0) == pytest.approx(6.0)


def test_rate_and_latency() -> None:
    seen = record([1.0, 1.05, 1.15, 1.95])
    assert seen.rate(1.0, 2.0, 0.5) == [pytest.approx(48_000), pytest.approx(16_000)]
    assert seen.latency(0.0, 2.0, 0.5) == pytest.approx(0.1)
    assert seen.latency(5.0, 6.0, 0.5) is None


@pytest.mark.parametrize("kind", ["bulk-up", "bulk-down"])
def test_bulk_uses_both_uplinks(kind: str) -> None:
    with Lab(TopologySpec()) as lab, Stream(lab, StreamSpec("bulk", kind)) as stream:
        eventually(lambda: stream.delivered() > 4_000_000)
        way = kind.removeprefix("bulk-")
        shares = [lab.links[name].stats(way).bytes for name in ("wan1", "wan2")]
        infos = [i for i in subflow_info(lab.ns("router")) if i.remote_port == stream.port]
    assert min(shares) > 0.25 * sum(shares)
    assert {i.local for i in infos} == {uplink_address(1), uplink_address(2)}
    assert len({i.token_local for i in infos}) == 1
    assert [i.joined for i in sorted(infos, key=lambda i: i.local)] == [False, True]


def test_ipv6_uses_both_uplinks() -> None:
    spec = StreamSpec("six", "bulk-up", ipv6=True)
    with Lab(TopologySpec(ipv6=True)) as lab:
        began = time.monotonic()
        with Stream(lab, spec) as stream:
            eventually(lambda: stream.delivered() > 4_000_000)
            first = stream.record().arrived[0]
            infos = [i for i in subflow_info(lab.ns("router")) if i.remote_port == stream.port]
            shares = [lab.links[name].stats(UP).bytes for name in ("wan1", "wan2")]
    assert first - began < 0.9  # no SYN was lost to an address that is not usable yet
    assert min(shares) > 0.25 * sum(shares)
    assert {i.local for i in infos} == {uplink_address(1, 6), uplink_address(2, 6)}


def test_backup_uplink_stays_quiet() -> None:
    backup = SCENARIOS["backup"].topology
    with Lab(backup) as lab, Stream(lab, StreamSpec("bulk", "bulk-up")) as stream:
        eventually(lambda: len(subflow_info(lab.ns("router"))) == 2)
        eventually(lambda: stream.delivered() > 3_000_000)
        assert lab.links["wan2"].stats(UP).bytes < 0.02 * lab.links["wan1"].stats(UP).bytes
        roles = {i.local: i.backup for i in subflow_info(lab.ns("router"))}
    assert roles == {uplink_address(1): False, uplink_address(2): True}


def test_frames_on_the_wire_fit_the_mtu() -> None:
    def tap() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sock.bind(("c1", 3))
        sock.settimeout(10)
        return sock

    with (
        Lab(TopologySpec(backend="wire")) as lab,
        Stream(lab, StreamSpec("bulk", "bulk-down")),
        netns.call(lab.ns("wire"), tap) as sniffer,
    ):
        room = bytearray(70000)
        lengths = {sniffer.recv_into(room) for _ in range(2000)}
        assert lab.links["wan1"].stats("down").oversize == 0
    assert max(lengths) == 1514


def test_kernels_rtt_is_that_of_the_link() -> None:
    with Lab(TopologySpec()) as lab, Stream(lab, StreamSpec("small", "paced-up")) as stream:
        eventually(lambda: len(subflow_info(lab.ns("router"))) == 2)
        eventually(lambda: stream.delivered() > 10_000)
        least = {i.local: i.min_rtt for i in subflow_info(lab.ns("router"))}
    assert 0.0400 <= (least[uplink_address(1)] or 0) < 0.042
    assert 0.0800 <= (least[uplink_address(2)] or 0) < 0.082


@pytest.mark.parametrize("kind", ["paced-up", "paced-down"])
def test_messages_carry_their_send_time(kind: str) -> None:
    with Lab(TopologySpec()) as lab, Stream(lab, StreamSpec("small", kind)) as stream:
        eventually(lambda: stream.delivered() > 100 * 256)
        seen = stream.record()
    median = seen.latency(0.0, float("inf"), 0.5)
    assert median is not None
    assert 0.020 <= median < 0.080
    assert seen.total_bytes >= 100 * 256
    assert len(seen.messages) == seen.total_bytes // 256


def test_requests_and_connections_take_round_trips() -> None:
    with (
        Lab(TopologySpec()) as lab,
        Stream(lab, StreamSpec("ask", "request")) as ask,
        Stream(lab, StreamSpec("new", "connect", interval=0.05)) as new,
    ):
        eventually(lambda: ask.delivered() > 20 * 256 and new.delivered() > 20)
        asked, made = ask.record(), new.record()
    assert 0.040 <= min(got - sent for sent, got in asked.messages) < 0.045
    assert 0.080 <= min(got - sent for sent, got in made.messages) < 0.090
    done = [attempt for attempt in made.attempts if attempt.done is not None]
    assert all(attempt.mptcp for attempt in done)


def test_web_traffic_comes_in_bursts_of_all_sizes() -> None:
    spec = StreamSpec("web", "web", interval=0.2)
    with Lab(TopologySpec()) as lab, Stream(lab, spec) as stream:
        eventually(lambda: len(stream.record().messages) >= 40)
        seen = stream.record()
        ports = {info.local for info in subflow_info(lab.ns("router"))}
    assert not seen.errors
    assert ports == {uplink_address(1), uplink_address(2)}
    mean = seen.total_bytes / len(seen.messages)
    assert 50_000 < mean < 1_500_000


def test_plain_tcp_is_told_from_mptcp() -> None:
    spec = StreamSpec("new", "connect", interval=0.05, mptcp=False)
    with Lab(TopologySpec()) as lab, Stream(lab, spec) as stream:
        eventually(lambda: stream.delivered() > 5)
        done = [a for a in stream.record().attempts if a.done is not None]
    assert not any(attempt.mptcp for attempt in done)


def test_scenario_without_agent_shows_the_kernels_own_stall(tmp_path: Path) -> None:
    samples: list[Live] = []
    result = run(SCENARIOS["blackhole-small-up"], agent=False, observer=samples.append)
    (event,) = result.events
    assert abs(event.at - 2.0) < 0.05
    assert 0.3 < event.stalls["small-up"] < 2.0
    assert event.first_action is None
    assert result.links["wan1"]["up"]["blackholed"] > 0
    assert result.links["wan2"]["up"]["blackholed"] == 0
    assert len(samples) > 50
    assert {change.label for change in samples[-1].happened} == {"black hole"}
    assert json.loads(json.dumps(result.to_json()))["scenario"] == "blackhole-small-up"
    draw(result, None, SCENARIOS["blackhole-small-up"], tmp_path / "deep" / "run.png")
    assert (tmp_path / "deep" / "run.png").read_bytes().startswith(b"\x89PNG")


def shown(*states: str) -> tuple[PathSample, ...]:
    """One sample a second, from 0."""
    return tuple(PathSample(float(at), state, "", None, None) for at, state in enumerate(states))


@pytest.mark.parametrize(
    ("states", "after"),
    [
        (("up", "up", "suspect", "down"), 2.0),
        (("up", "degraded", "degraded"), 0.0),
        (("degraded", "degraded", "suspect", "down"), 2.0),  # not what it was before
        (("up", "up", "suspect", "up"), None),
        (("up", "up", "up", "up", "up", "up", "down"), None),  # after the next change
    ],
)
def test_time_to_demotion(states: tuple[str, ...], after: float | None) -> None:
    assert demoted_after(shown(*states), 1.0, 5.0) == after


def test_bands_of_states() -> None:
    assert bands(shown("up", "up", "down", "up"), 9.0) == [
        (0.0, 2.0, "up"),
        (2.0, 3.0, "down"),
        (3.0, 9.0, "up"),
    ]


def test_scenarios_are_consistent() -> None:
    for name, scenario in SCENARIOS.items():
        assert scenario.name == name
        times = [change.at for change in scenario.changes]
        assert times == sorted(times), name
        assert all(at < scenario.duration for at in times), name
        parts = {f"wan{n}" for n in range(1, len(scenario.topology.uplinks) + 1)}
        parts |= {f"vps{v}" for v in range(1, scenario.topology.servers + 1)}
        assert {change.where for change in scenario.changes} <= parts, name


def test_lab_at_rest_costs_nothing() -> None:
    with Lab(TopologySpec(backend="wire")) as lab:
        pid = netns.processes([lab.ns("wire")])[0]

        def cpu_ticks() -> int:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        before = cpu_ticks()
        time.sleep(1.0)
        assert cpu_ticks() - before <= 1
