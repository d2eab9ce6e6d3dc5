# SPDX-License-Identifier: GPL-2.0-or-later
"""One header, read by clang for BPF, by the C compiler, by cffi and by bcc's clang: the same?"""

from __future__ import annotations

import json
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omrfast.shim._shim import ffi, lib

from omrfast.dataplane import bpffs
from omrfast.dataplane.loader import open_dataplane
from omrfast.dataplane.prebuilt import OBJECT
from omrfast.dataplane.reader import DataPlane
from omrfast.shim import api

HEADER = Path(__file__).parents[2] / "bpf/abi_types.h"
FLOWS = 128

Layout = dict[str, tuple[int, int]]
"""Member name to (offset in bits, size in bytes)."""

MAPS = {
    # name: (map type, key bytes, struct of the value, entries)
    "omr_links": (2, 4, "omr_link", 65536),
    "omr_config": (2, 4, "omr_config", 1),
    "omr_flows4": (1, 12, "omr_flow", FLOWS),
    "omr_flows6": (1, 36, "omr_flow", FLOWS),
    "omr_path_counters": (6, 4, "omr_path_counters", 32),
    "omr_path_rtt": (6, 4, "omr_path_rtt", 32),
    "omr_path_live": (2, 4, "omr_path_live", 32),
    "omr_events": (27, 0, None, 256 * 1024),
    "omr_event_gate": (2, 4, "omr_event_gate", 32 * 8),
    "omr_knocks": (2, 4, "omr_knock", 256),
    "omr_replay_packet": (2, 4, "omr_replay", 1),
}


class Btf:
    """The types of an object file, as bpftool shows them."""

    def __init__(self, path: Path) -> None:
        command = ["bpftool", "btf", "dump", "-j", "file", str(path)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        self.types: dict[int, dict[str, Any]] = {
            one["id"]: one for one in json.loads(output)["types"]
        }

    def struct(self, name: str) -> dict[str, Any] | None:
        found = [t for t in self.types.values() if t["kind"] == "STRUCT" and t["name"] == name]
        assert len(found) <= 1
        return found[0] if found else None

    def size(self, number: int) -> int:
        one = self.types[number]
        if one["kind"] == "ARRAY":
            return int(one["nr_elems"]) * self.size(one["type_id"])
        return int(one["size"]) if "size" in one else self.size(one["type_id"])

    def layout(self, struct: dict[str, Any]) -> Layout:
        return {
            member["name"]: (member["bits_offset"], self.size(member["type_id"]))
            for member in struct["members"]
        }


def cffi_layout(name: str) -> Layout:
    fields = ffi.typeof(f"struct {name}").fields
    return {member: (field.offset * 8, ffi.sizeof(field.type)) for member, field in fields}


def structs() -> list[str]:
    """Every struct that the header defines."""
    lines = HEADER.read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith("struct ") and line.endswith("{")]


@pytest.fixture(scope="module")
def btf(tmp_path_factory: pytest.TempPathFactory) -> Btf:
    """Every struct, as clang lays it out for BPF, whether a map has it as its value or not."""
    folder = tmp_path_factory.mktemp("btf")
    source = folder / "all.c"
    uses = "".join(f"struct {name} use_{name};\n" for name in structs())
    source.write_text(f'#include "abi.h"\n{uses}')
    target = source.with_suffix(".o")
    include = [f"-I{HEADER.parent}", f"-I/usr/include/{sysconfig.get_config_var('MULTIARCH')}"]
    command = ["clang", "-O2", "-g", "-target", "bpf", *include, "-c", str(source)]
    subprocess.run([*command, "-o", str(target)], check=True)
    return Btf(target)


def test_the_header_was_read() -> None:
    assert {"omr_flow", "omr_flow_key6", "omr_path_counters", "omr_event"} < set(structs())


@pytest.mark.parametrize("name", structs())
def test_clang_and_cffi_agree_on_a_struct(btf: Btf, name: str) -> None:
    found = btf.struct(name)
    assert found is not None
    assert found["size"] == ffi.sizeof(f"struct {name}")
    assert btf.layout(found) == cffi_layout(name)


def test_the_object_was_made_from_this_header() -> None:
    made = Btf(OBJECT)
    for name in {value for _, _, value, _ in MAPS.values() if value}:
        found = made.struct(name)
        assert found is not None
        assert made.layout(found) == cffi_layout(name)


@pytest.mark.parametrize("name", structs())
def test_no_hidden_padding(name: str) -> None:
    """Padding is written out, so that zeroed members are all there is."""
    members = cffi_layout(name)
    assert sum(size for _, size in members.values()) == ffi.sizeof(f"struct {name}")


def test_flow_halves_have_a_cache_line_each() -> None:
    assert ffi.sizeof("struct omr_flow_tx") == ffi.sizeof("struct omr_flow_rx") == 64
    assert ffi.offsetof("struct omr_flow", "rx") == 64


@pytest.fixture(scope="module", params=["prebuilt", "bcc"])
def plane(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DataPlane]:
    run_dir = str(tmp_path_factory.mktemp(f"abi-{request.param}"))
    with open_dataplane(run_dir, request.param, flows=FLOWS) as opened:
        yield opened
    bpffs.unmount(run_dir)


def test_maps_have_the_shape_of_the_abi(plane: DataPlane) -> None:
    assert plane.maps.keys() == MAPS.keys()
    for name, (kind, key_size, value, entries) in MAPS.items():
        info = plane.maps[name].info
        size = ffi.sizeof(f"struct {value}") if value else 0
        assert (name, info.type, info.key_size, info.value_size, info.max_entries) == (
            name, kind, key_size, size, entries,
        )  # fmt: skip


def test_programs_have_their_types(plane: DataPlane) -> None:
    kinds = {name: program.info.type for name, program in plane.programs.items()}
    assert kinds == {"omr_egress": 3, "omr_ingress": 3, "omr_xdp": 6, "omr_clock_read": 31}


def test_config_names_the_abi(plane: DataPlane) -> None:
    value = plane.maps["omr_config"].lookup(0)
    assert value is not None
    config = api.struct("omr_config", value)
    assert config.abi_version == lib.OMR_ABI_VERSION
    assert config.hz == plane.hz


def test_clock_program_reads_both_clocks(plane: DataPlane) -> None:
    before = time.monotonic_ns()
    jiffies, now = plane.clock()
    after = time.monotonic_ns()
    assert before <= now <= after
    later = plane.clock()
    assert later[0] >= jiffies > 0
    assert later[1] > now
