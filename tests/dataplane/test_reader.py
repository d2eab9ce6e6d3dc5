# SPDX-License-Identifier: GPL-2.0-or-later
"""What the reader makes of map contents, written here into the kernel's own maps."""

from __future__ import annotations

import hashlib
import os
import select
import socket
import struct
import time
from collections.abc import Iterator

import pytest
from omrfast.shim._shim import lib

from omrfast.core import histogram
from omrfast.dataplane.attach import attach, detach_all
from omrfast.dataplane.flows import PathEvent
from omrfast.dataplane.loader import open_dataplane
from omrfast.dataplane.reader import DataPlane
from omrfast.shim import api

from .space import Space, temporary_space, until

NOW_J = 10_000_000
NOW_NS = 5_000_000_000
WINDOW = NOW_J >> lib.OMR_MIN_RTT_WINDOW_SHIFT


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataPlane]:
    """One data plane with a clock of its own for this module: loading takes a while."""
    run_dir = str(tmp_path_factory.mktemp("replay"))
    with temporary_space(), open_dataplane(run_dir, "prebuilt", replay=True, flows=20_000) as plane:
        plane.set_link(7, 2, 0)
        yield plane
        detach_all(run_dir)


@pytest.fixture
def replay(loaded: DataPlane) -> DataPlane:
    """Empty maps, and a clock that stands at NOW_J and NOW_NS."""
    for name in ("omr_flows4", "omr_flows6"):
        for key in list(loaded.maps[name].keys()):
            loaded.maps[name].delete(key)
    for name in ("omr_path_counters", "omr_path_rtt", "omr_path_live"):
        for path in range(api.MAX_PATHS):
            loaded.maps[name].update(path, bytes(loaded.maps[name].info.value_size))
    now = api.struct("omr_replay", now={"now_j": NOW_J, "now_ns": NOW_NS})
    loaded.maps["omr_replay_packet"].update(0, api.raw(now))
    return loaded


def per_cpu(**first: int) -> list[bytes]:
    """Counters of CPU 0; the others have none."""
    empty = api.raw(api.struct("omr_path_counters"))
    return [api.raw(api.struct("omr_path_counters", **first)), *[empty] * (api.possible_cpus() - 1)]


def test_counters_are_summed_over_cpus(replay: DataPlane) -> None:
    cpus = api.possible_cpus()
    names = (
        *("tx_bytes", "tx_packets", "tx_segments", "retransmitted_segments"),
        *("syn_retransmissions", "flows_opened", "flows_refused", "events_suppressed"),
        *("rx_bytes", "rx_packets", "rx_segments", "spurious_segments", "refilled_segments"),
        *("reordered_segments", "icmp_errors"),
        "rtt_samples",
    )
    values = [
        api.raw(
            api.struct(
                "omr_path_counters",
                **{name: 1000 * place + cpu + 1 for place, name in enumerate(names)},
                rtt_sum_us=2_000_000,
                rtt_dev_sum_us=500_000,
                rtt_step_sum_us=250_000,
                unparsed=[cpu + 1, 20, 30, 40, 50, 60, 0, 0],
            )
        )
        for cpu in range(cpus)
    ]
    replay.maps["omr_path_counters"].update_per_cpu(2, values)
    found = replay.read()
    assert len(found) >= 3
    for place, name in enumerate(names):
        assert getattr(found[2], name) == sum(1000 * place + cpu + 1 for cpu in range(cpus)), name
        assert getattr(found[0], name) == 0
    assert found[2].rtt_sum == pytest.approx(2.0 * cpus)
    assert found[2].rtt_dev_sum == pytest.approx(0.5 * cpus)
    assert found[2].rtt_step_sum == pytest.approx(0.25 * cpus)
    assert dict(found[2].unparsed) == {
        "truncated": sum(range(1, cpus + 1)),
        "malformed": 20 * cpus,
        "fragment": 30 * cpus,
        "extensions": 40 * cpus,
        "vlans": 50 * cpus,
        "options": 60 * cpus,
    }


@pytest.mark.parametrize(
    ("epoch", "now_us", "before_us", "expected"),
    [
        (WINDOW, 40_000, 30_000, 0.030),
        (WINDOW, 20_000, 30_000, 0.020),
        (WINDOW, 0, 30_000, 0.030),
        (WINDOW, 20_000, 0, 0.020),
        (WINDOW - 1, 20_000, 10_000, 0.020),
        (WINDOW - 2, 20_000, 10_000, None),
        (WINDOW, 0, 0, None),
    ],
)
def test_minimum_rtt_comes_from_the_last_two_windows(
    replay: DataPlane, epoch: int, now_us: int, before_us: int, expected: float | None
) -> None:
    values = per_cpu(min_rtt_epoch=epoch, min_rtt_us=now_us, min_rtt_prev_us=before_us)
    replay.maps["omr_path_counters"].update_per_cpu(0, values)
    assert replay.read()[0].rtt_min == expected


def test_a_stale_cpu_does_not_hide_a_newer_minimum(replay: DataPlane) -> None:
    values = per_cpu(min_rtt_epoch=WINDOW - 3, min_rtt_us=1)
    assert len(values) > 1, "needs two CPUs"
    values[1] = api.raw(api.struct("omr_path_counters", min_rtt_epoch=WINDOW, min_rtt_us=9000))
    replay.maps["omr_path_counters"].update_per_cpu(0, values)
    assert replay.read()[0].rtt_min == 0.009


def test_liveness_is_in_monotonic_seconds(replay: DataPlane) -> None:
    live = api.struct("omr_path_live")
    live.tx.asked_j = NOW_J - replay.hz
    live.tx.last_tx_j = NOW_J
    live.rx.last_rx_j = NOW_J - 2 * replay.hz
    replay.maps["omr_path_live"].update(2, api.raw(live))
    found = replay.read()
    assert found[2].asked == pytest.approx(4.0)
    assert found[2].last_tx == pytest.approx(5.0)
    assert found[2].last_rx == pytest.approx(3.0)
    assert (found[0].asked, found[0].last_tx, found[0].last_rx) == (None, None, None)


def test_histograms_are_summed_and_fit_the_core(replay: DataPlane) -> None:
    buckets = [0] * api.HIST_BUCKETS
    buckets[histogram.bucket_of(40_000)] = 5
    buckets[-1] = 1
    value = api.raw(api.struct("omr_path_rtt", bucket=buckets))
    replay.maps["omr_path_rtt"].update(2, value)
    found = replay.rtt_histograms()
    assert histogram.BUCKETS == api.HIST_BUCKETS
    assert found[2] == tuple(count * api.possible_cpus() for count in buckets)
    assert sum(found[0]) == 0


def put_flow(plane: DataPlane, port: int, **members: int) -> None:
    """A flow from 10.0.0.1:port to 192.0.2.9:443; members as tx__flags."""
    key = api.struct(
        "omr_flow_key4",
        local_be=struct.unpack("=I", socket.inet_aton("10.0.0.1"))[0],
        remote_be=struct.unpack("=I", socket.inet_aton("192.0.2.9"))[0],
        local_port_be=socket.htons(port),
        remote_port_be=socket.htons(443),
    )
    flow = api.struct("omr_flow")
    flow.tx.path = 3
    flow.rx.last_rx_j = NOW_J & 0xFFFFFFFF
    for name, value in members.items():
        owner = flow
        *parents, member = name.split("__")
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, member, value)
    plane.maps["omr_flows4"].update(api.raw(key), api.raw(flow))


def test_a_flow_is_shown_as_it_is(replay: DataPlane) -> None:
    key = bytes(range(8))
    put_flow(
        replay,
        5000,
        tx__flags=lib.OMR_TX_SYN | lib.OMR_TX_MPTCP,
        tx__tx_bytes=1000,
        tx__tx_segments=9,
        tx__retransmitted_segments=2,
        tx__local_id=1,
        rx__flags=lib.OMR_RX_MPTCP | lib.OMR_RX_KEY | lib.OMR_RX_ACK | lib.OMR_RX_BACKUP,
        tx__connection__key_be=int.from_bytes(key, "little"),
        rx__rx_bytes=500,
        rx__srtt_us8=8 * 40_000,
        rx__rttvar_us4=4 * 3_000,
        rx__min_rtt_us=39_000,
        rx__rtt_samples=7,
        rx__last_rx_j=NOW_J - 2 * replay.hz,
        tx__remote_id=4,
    )
    (flow,) = replay.flows({2: "lte"})
    assert (flow.path, flow.family, flow.state) == ("lte", 4, "established")
    assert (flow.local, flow.local_port) == ("10.0.0.1", 5000)
    assert (flow.remote, flow.remote_port) == ("192.0.2.9", 443)
    assert (flow.mptcp, flow.joined, flow.backup) == (True, False, True)
    assert flow.token == int.from_bytes(hashlib.sha256(key).digest()[:4], "big")
    assert (flow.local_id, flow.remote_id) == (1, 4)
    assert (flow.tx_bytes, flow.rx_bytes) == (1000, 500)
    assert (flow.tx_segments, flow.retransmitted_segments) == (9, 2)
    assert flow.rtt_smoothed == pytest.approx(0.040)
    assert flow.rtt_variation == pytest.approx(0.003)
    assert flow.rtt_min == pytest.approx(0.039)
    assert flow.idle == pytest.approx(2.0)


def test_subflows_of_one_connection_are_shown_together(replay: DataPlane) -> None:
    """By the key and its token, and those met in mid-life by their data sequence numbers."""
    key = bytes(range(8))
    digest = hashlib.sha256(key).digest()
    both = {"tx__flags": lib.OMR_TX_SYN | lib.OMR_TX_MPTCP, "rx__flags": lib.OMR_RX_MPTCP}
    midlife = {"tx__flags": lib.OMR_TX_MPTCP, "rx__flags": lib.OMR_RX_MPTCP}
    put_flow(
        replay,
        1,
        **{**both, "rx__flags": lib.OMR_RX_MPTCP | lib.OMR_RX_KEY},
        tx__connection__key_be=int.from_bytes(key, "little"),
        tx__tx_bytes=6,
    )
    token_be = int.from_bytes(digest[:4], "little")
    put_flow(replay, 2, **both, tx__connection__join__token_be=token_be, tx__tx_bytes=5)
    word = int.from_bytes(digest[-8:-4], "big")
    put_flow(replay, 3, **midlife, tx__connection__join__data_word=word, tx__tx_bytes=4)
    put_flow(replay, 4, **midlife, tx__connection__join__data_word=word + 9, tx__tx_bytes=3)
    put_flow(replay, 5, tx__flags=lib.OMR_TX_SYN, tx__tx_bytes=2)
    flows = replay.flows({})
    assert [flow.connection for flow in flows] == [0, 0, 0, 1, None]
    token = int.from_bytes(digest[:4], "big")
    assert [flow.token for flow in flows] == [token, token, token, None, None]


def test_an_ipv6_join_shows_its_token(replay: DataPlane) -> None:
    local, remote = (socket.inet_pton(socket.AF_INET6, text) for text in ("2001:db8::1", "::2"))
    flow = api.struct("omr_flow")
    flow.tx.path, flow.tx.connection.join.token_be = 3, socket.htonl(0xA1B2C3D4)
    flow.tx.flags = lib.OMR_TX_SYN | lib.OMR_TX_MPTCP | lib.OMR_TX_JOIN
    replay.maps["omr_flows6"].update(local + remote + bytes((1, 2, 3, 4)), api.raw(flow))
    (found,) = replay.flows({})
    assert (found.path, found.family, found.state) == ("2", 6, "handshake")
    assert (found.local, found.local_port) == ("2001:db8::1", 0x0102)
    assert (found.remote, found.remote_port) == ("::2", 0x0304)
    assert found.token == 0xA1B2C3D4
    assert found.joined


SYN, ACK = lib.OMR_TX_SYN, lib.OMR_RX_ACK


@pytest.mark.parametrize(
    ("tx", "rx", "state"),
    [
        (SYN, 0, "handshake"),
        (SYN, ACK, "established"),
        (0, 0, "established"),
        (SYN | lib.OMR_TX_FIN, ACK, "closing"),
        (SYN, ACK | lib.OMR_RX_FIN, "closing"),
        (SYN | lib.OMR_TX_FIN, ACK | lib.OMR_RX_FIN, "closed"),
        (SYN | lib.OMR_TX_RST, ACK, "closed"),
        (SYN, lib.OMR_RX_RST, "closed"),
        (SYN | lib.OMR_TX_FASTCLOSE, ACK, "closed"),
        (SYN, ACK | lib.OMR_RX_FASTCLOSE, "closed"),
    ],
)
def test_flow_states(replay: DataPlane, tx: int, rx: int, state: str) -> None:
    put_flow(replay, 1, tx__flags=tx, rx__flags=rx)
    (flow,) = replay.flows({})
    assert flow.state == state
    assert replay.scan().paths[2].open == int(state != "closed")


def test_scan_collects_closed_half_open_and_idle(replay: DataPlane) -> None:
    hz = replay.hz
    put_flow(replay, 1, tx__flags=SYN | lib.OMR_TX_RST, rx__last_rx_j=NOW_J - 6 * hz)
    put_flow(replay, 2, tx__flags=SYN | lib.OMR_TX_RST, rx__last_rx_j=NOW_J - 4 * hz)
    put_flow(replay, 3, tx__flags=SYN, rx__flags=ACK, rx__last_rx_j=NOW_J - 101 * hz)
    put_flow(replay, 4, tx__flags=SYN, rx__flags=ACK, rx__last_rx_j=NOW_J - 99 * hz)
    # Never answered: counts from when the SYN left.
    put_flow(
        replay, 5, tx__flags=SYN, rx__last_rx_j=0, tx__unacked_since_j=(NOW_J - 101 * hz) % 2**32
    )
    put_flow(replay, 7, tx__flags=SYN, rx__last_rx_j=NOW_J - 31 * hz)
    put_flow(replay, 8, tx__flags=SYN, rx__last_rx_j=NOW_J - 29 * hz)
    put_flow(replay, 9, tx__flags=0, rx__last_rx_j=NOW_J - 31 * hz)
    mptcp = {"tx__flags": SYN | lib.OMR_TX_MPTCP, "rx__flags": ACK | lib.OMR_RX_MPTCP}
    put_flow(replay, 6, **mptcp)
    found = replay.scan(closed_after=5.0, half_open_after=30.0, idle_after=100.0)
    assert (found.entries, found.collected) == (5, 4)
    assert found.paths[2].open == 4
    assert found.paths[2].subflows == 1
    assert {flow.local_port for flow in replay.flows({})} == {2, 4, 6, 8, 9}


def test_top_flows_are_those_with_most_bytes(replay: DataPlane) -> None:
    count = 12_000
    for port in range(1, count + 1):
        # 7919 is prime to the number of flows: every size once, in no order.
        put_flow(replay, port, tx__tx_bytes=port * 7919 % (count + 1), rx__rx_bytes=1)
    top = replay.flows({}, top=10)
    assert [flow.tx_bytes for flow in top] == list(range(count, count - 10, -1))
    sizes = [flow.tx_bytes for flow in replay.flows({})]
    assert sizes == list(range(count, 0, -1))
    assert replay.scan().entries == count


def test_the_fast_tick_is_fast(replay: DataPlane) -> None:
    replay.set_link(8, 7, 0)

    def tick() -> float:
        started = time.perf_counter()
        assert len(replay.read()) == 8
        return time.perf_counter() - started

    # The best of many: what it costs, not what else the machine does.
    assert min(tick() for _ in range(500)) < 100e-6


def test_events_arrive(space: Space, plane: DataPlane) -> None:
    link = space.veth("wan", "10.9.0.1")
    attach(plane, link)
    assert plane.events() == []
    poller = select.poll()
    poller.register(plane.event_fd, select.POLLIN)
    with socket.socket() as client:
        client.setblocking(False)
        client.connect_ex(("10.9.0.2", 443))
        until(lambda: bool(poller.poll(100)), "the ring is readable")
        opened: list[PathEvent] = []

        def look() -> bool:
            opened.extend(event for event in plane.events() if event.kind == "flow_open")
            return bool(opened)

        until(look, "the SYN's event")
        assert (opened[0].path, opened[0].egress) == (0, True)
        assert (opened[0].local, opened[0].remote) == ("10.9.0.1", "10.9.0.2")
        assert (opened[0].local_port, opened[0].remote_port) == (client.getsockname()[1], 443)
        assert abs(time.monotonic() - opened[0].at) < 60


def test_descriptors_are_closed(run_dir: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with open_dataplane(run_dir, "prebuilt", flows=100) as plane:
        plane.events()
    assert len(os.listdir("/proc/self/fd")) == before
