# SPDX-License-Identifier: GPL-2.0-or-later
"""Walks over the flow tables: inside the kernel, by batches, and reckoned by hand, all the same."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from omrfast.shim._shim import ffi, lib

from omrfast.core.config import MAX_SERVER_ADDRESSES
from omrfast.core.types import FlowSum
from omrfast.core.views import FlowView
from omrfast.dataplane import bpffs
from omrfast.dataplane.loader import open_dataplane
from omrfast.dataplane.names import SCAN_PROGRAM, SCAN_STATE, DataPlaneError
from omrfast.dataplane.reader import DataPlane
from omrfast.dataplane.scan import DENSE, Scan, Scanner
from omrfast.meter import Meter
from omrfast.shim import api, scan
from omrfast.shim.run import Program

from . import tables
from .tables import Entry, sum_of

FLOWS = 20_000
SERVERS = ["203.0.113.10", "203.0.113.20", "2001:db8:f::10", "198.51.100.7"]
OTHERS = ["192.0.2.9", "2001:db8:f::11", "10.113.0.203"]
WAYS = ("kernel", "batches")
BPF = Path(__file__).parents[2] / "bpf"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataPlane]:
    """One data plane with a clock of its own for this module: loading takes a while."""
    run_dir = str(tmp_path_factory.mktemp("scan"))
    with open_dataplane(run_dir, "prebuilt", replay=True, flows=FLOWS) as plane:
        yield plane
    bpffs.unmount(run_dir)


def compile_bpf(source: Path, target: Path) -> None:
    """As setup.py does."""
    include = [f"-I{BPF}", f"-I/usr/include/{sysconfig.get_config_var('MULTIARCH')}"]
    flags = ["-O2", "-g", "-Wno-unused-function", "-target", "bpf", "-mcpu=v3"]
    subprocess.run(["clang", *flags, *include, "-c", str(source), "-o", str(target)], check=True)


@pytest.fixture
def plane(loaded: DataPlane) -> DataPlane:
    tables.empty(loaded)
    return loaded


def remaining(plane: DataPlane) -> set[bytes]:
    return {key for name in ("omr_flows4", "omr_flows6") for key in list(plane.maps[name].keys())}


def keys(views: list[FlowView]) -> list[tuple[str, int, str, int]]:
    return [(view.local, view.local_port, view.remote, view.remote_port) for view in views]


def test_this_kernel_walks_by_itself(plane: DataPlane) -> None:
    assert plane.scan_ways == WAYS


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(6))
def test_sums_and_removals_are_those_reckoned_by_hand(
    plane: DataPlane, seed: int, way: str
) -> None:
    random = Random(seed)
    entries = tables.random_entries(random, random.choice((1, 100, 3000)), SERVERS + OTHERS)
    tables.put(plane, entries)
    limits = [random.randrange(800) for _ in range(3)]
    left = [entry for entry in entries if not entry.due(*(s * plane.hz for s in limits))]
    found = plane.scan(*limits, servers=SERVERS, way=way)
    assert (found.entries, found.collected) == (len(left), len(entries) - len(left))
    assert remaining(plane) == {entry.key for entry in left}
    for path, flow_sum in enumerate(found.paths):
        expected = sum_of((entry for entry in left if entry.path == path), plane.hz)
        assert flow_sum == expected, path
    assert list(found.servers) == SERVERS
    for server, flow_sum in found.servers.items():
        expected = sum_of((entry for entry in left if entry.remote == server), plane.hz)
        assert flow_sum == expected, server


@pytest.mark.parametrize("top", [1, 20, scan.MAX_ROWS])
@pytest.mark.parametrize("seed", range(4))
def test_the_longest_list_begins_as_the_short_ones(plane: DataPlane, seed: int, top: int) -> None:
    """Among flows of as many bytes, too, the same ones are picked, in the same order."""
    random = Random(seed)
    entries = tables.random_entries(random, random.choice((15, 400, 2000)), SERVERS + OTHERS)
    tables.put(plane, entries)
    everything = plane.flows({})
    assert {(view.local, view.local_port) for view in everything} == {
        (entry.local, entry.ports[0]) for entry in entries
    }
    sizes = [view.tx_bytes + view.rx_bytes for view in everything]
    assert sizes == sorted((entry.tx_bytes + entry.rx_bytes for entry in entries), reverse=True)
    for way in WAYS:
        assert plane.flows({}, top, way=way) == everything[:top]


def outcome(place: scan.Place, in_kernel: int, rows: int) -> tuple[bytes, bytes]:
    order = scan.order(tables.NOW_J, rows=rows, servers=SERVERS)
    order.in_kernel = in_kernel
    found = scan.walk(place, order)
    row_bytes = ffi.sizeof("struct omr_flow_row") * found.row_count
    return bytes(ffi.buffer(found.sums)), bytes(ffi.buffer(found.rows, row_bytes))


@pytest.mark.parametrize("rows", [0, 1, 20, scan.MAX_ROWS])
@pytest.mark.parametrize("seed", range(4))
def test_each_table_may_be_walked_either_way(plane: DataPlane, seed: int, rows: int) -> None:
    random = Random(100 + seed)
    tables.put(plane, tables.random_entries(random, random.choice((5, 70, 3000)), SERVERS + OTHERS))
    folder = bpffs.path(plane.run_dir)
    with (
        api.Map.open(os.path.join(folder, SCAN_STATE)) as state,
        closing(Program.open(os.path.join(folder, SCAN_PROGRAM))) as program,
    ):
        place = scan.Place(
            plane.maps["omr_flows4"].fd, plane.maps["omr_flows6"].fd, program.fd, state.fd
        )
        expected = outcome(place, 0, rows)
        for in_kernel in (scan.FLOWS4, scan.FLOWS6, scan.FLOWS4 | scan.FLOWS6):
            assert outcome(place, in_kernel, rows) == expected


def test_a_table_that_is_not_nearly_empty_is_walked_inside_the_kernel(plane: DataPlane) -> None:
    def walked(rows: int = 0) -> int:
        order = scan.order(tables.NOW_J, rows=rows)
        scanner.walk(order)
        return int(order.in_kernel)

    entries = [Entry("::1", SERVERS[2], (port, 443)) for port in range(FLOWS // DENSE)]
    maps = plane.maps["omr_flows4"], plane.maps["omr_flows6"]
    with closing(Scanner(bpffs.path(plane.run_dir), *maps)) as scanner:
        assert [walked(), walked()] == [0, 0]
        tables.put(plane, entries)
        assert [walked(), walked(), walked(scan.MAX_ROWS)] == [0, scan.FLOWS6, scan.FLOWS6]
        assert walked(scan.MAX_ROWS + 1) == 0
        plane.maps["omr_flows6"].delete(entries[0].key)
        assert [walked(), walked()] == [scan.FLOWS6, 0]


def test_flows_of_one_size_come_in_one_order(plane: DataPlane) -> None:
    entries = [Entry("10.0.0.1", OTHERS[0], (port, 443), tx_bytes=60) for port in range(1, 1001)]
    tables.put(plane, entries)
    everything = keys(plane.flows({}))
    for way in WAYS:
        assert keys(plane.flows({}, 20, way=way)) == everything[:20]
    # Another order in the table's chains changes nothing.
    tables.empty(plane)
    tables.put(plane, entries[::-1])
    for way in WAYS:
        assert keys(plane.flows({}, 20, way=way)) == everything[:20]


def test_a_list_that_is_too_long_for_the_kernel_is_made_by_batches(plane: DataPlane) -> None:
    entries = tables.random_entries(Random(1), 300, SERVERS)
    tables.put(plane, entries)
    assert len(plane.flows({}, scan.MAX_ROWS + 1)) == scan.MAX_ROWS + 1
    with pytest.raises(OSError, match="Argument list too long"):
        plane.flows({}, scan.MAX_ROWS + 1, way="kernel")


@pytest.mark.parametrize("way", WAYS)
def test_as_many_servers_as_there_is_room_for(plane: DataPlane, way: str) -> None:
    random = Random(7)
    servers = [f"203.0.113.{n}" for n in random.sample(range(1, 255), 16)]
    servers += [f"2001:db8::{random.getrandbits(48) >> 32:x}:{n:x}" for n in range(16)]
    assert len(servers) == scan.MAX_SERVERS == MAX_SERVER_ADDRESSES
    entries = [
        Entry("10.0.0.1" if "." in server else "::1", server, (port, 443), tx_bytes=number)
        for number, server in enumerate(servers, 1)
        for port in range(1, number + 1)
    ]
    tables.put(plane, entries)
    found = plane.scan(servers=servers, way=way).servers
    assert [one.open for one in found.values()] == list(range(1, scan.MAX_SERVERS + 1))
    assert [one.tx_bytes for one in found.values()] == [n * n for n in range(1, 33)]
    with pytest.raises(ValueError, match="at most 32"):
        plane.scan(servers=[*servers, "192.0.2.1"])


@pytest.mark.parametrize("way", WAYS)
def test_an_ipv6_server_is_not_taken_for_the_ipv4_one_in_its_first_word(
    plane: DataPlane, way: str
) -> None:
    pair = ["203.0.113.10", "cb00:710a::"]
    tables.put(plane, [Entry("10.0.0.1", pair[0], (1, 2)), Entry("::1", pair[1], (1, 2))])
    for servers in (pair, pair[::-1]):
        found = plane.scan(servers=servers, way=way).servers
        assert [found[server].open for server in servers] == [1, 1]
    assert plane.scan(servers=pair[1:], way=way).servers[pair[1]].open == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_closed_flow_proves_that_its_server_lives(plane: DataPlane, way: str) -> None:
    dead = Entry("10.0.0.1", SERVERS[0], (1, 2), rx_flags=lib.OMR_RX_RST, arrived=plane.hz)
    tables.put(plane, [dead, replace(dead, ports=(2, 2), arrived=3 * plane.hz)])
    arrived = tables.NOW_NS / 1e9 - 1
    found = plane.scan(servers=SERVERS, way=way).servers
    assert found[SERVERS[0]] == FlowSum(arrived=arrived)
    assert found[SERVERS[1]] == FlowSum()


def test_the_slow_tick_tells_of_configured_servers(plane: DataPlane) -> None:
    entry = Entry("10.0.0.1", SERVERS[0], (1, 443), srtt_us8=8 * 40_000, arrived=0)
    tables.put(plane, [entry, replace(entry, ports=(2, 443)), replace(entry, remote=OTHERS[0])])
    meter = Meter(plane, "tc")
    figures = meter.sum_up(0.0, SERVERS)
    assert figures.flows == 3
    assert figures.server_flows == {
        server: sum_of([entry] * 2 if server == SERVERS[0] else [], plane.hz) for server in SERVERS
    }
    assert meter.sum_up(1.0).server_flows == {}


def test_walks_at_the_same_time_do_not_disturb_each_other(plane: DataPlane) -> None:
    tables.put(plane, tables.random_entries(Random(3), 5000, SERVERS + OTHERS))
    orders = [[server] for server in SERVERS]
    expected = [plane.scan(1e6, 1e6, 1e6, servers=order, way="batches") for order in orders]

    def walk(servers: list[str]) -> list[Scan]:
        return [plane.scan(1e6, 1e6, 1e6, servers=servers, way="kernel") for _ in range(30)]

    with ThreadPoolExecutor(len(orders)) as threads:
        for found, one in zip(threads.map(walk, orders), expected, strict=True):
            assert found == [one] * 30


# --- where the kernel does not take the program ---------------------------------------------------

UNKNOWN_HELPER = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
static long (*omr_no_such_helper)(void *map, void *callback, void *ctx, __u64 flags) = (void *)9999;
#define bpf_for_each_map_elem omr_no_such_helper
#include "omrfast.bpf.c"
"""


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The object, but that omr_scan calls a helper unknown here, as its own is before 5.13."""
    source = tmp_path_factory.mktemp("refused") / "refused.c"
    source.write_text(UNKNOWN_HELPER)
    compile_bpf(source, source.with_suffix(".o"))
    return source.with_suffix(".o")


def test_a_kernel_that_refuses_the_walk_is_served_by_batches(tmp_path: Path, refused: Path) -> None:
    entries = tables.random_entries(Random(5), 100, SERVERS)
    run_dir = str(tmp_path)
    try:
        with open_dataplane(run_dir, "prebuilt", flows=1000) as plane:
            assert plane.scan_ways == WAYS
        # In the place of a set that had it: what is left of that would walk the old tables.
        with open_dataplane(run_dir, "prebuilt", flows=1000, object_path=refused) as plane:
            assert plane.scan_ways == ("batches",)
            assert not {SCAN_PROGRAM, SCAN_STATE} & set(os.listdir(bpffs.path(run_dir)))
            tables.put(plane, entries)
            assert plane.scan(1e6, 1e6, 1e6).entries == 100
            with pytest.raises(DataPlaneError, match="inside the kernel"):
                plane.scan(way="kernel")
        with open_dataplane(run_dir, "prebuilt", flows=1000, object_path=refused) as plane:
            assert plane.reused
    finally:
        bpffs.unmount(run_dir)


def test_bcc_walks_by_batches(tmp_path: Path) -> None:
    run_dir = str(tmp_path)
    try:
        with open_dataplane(run_dir, "prebuilt", flows=1000) as plane:
            assert plane.scan_ways == WAYS
        with open_dataplane(run_dir, "bcc", flows=1000) as plane:
            assert plane.scan_ways == ("batches",)
            tables.put(plane, tables.random_entries(Random(5), 100, SERVERS))
            assert plane.scan(1e6, 1e6, 1e6).entries == 100
    finally:
        bpffs.unmount(run_dir)
