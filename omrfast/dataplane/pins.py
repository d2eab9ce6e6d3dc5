# SPDX-License-Identifier: GPL-2.0-or-later
"""A complete set of pinned maps and programs: which build it is, and whether it fits this code."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

from omrfast.dataplane.names import MAPS, PROGRAMS, SCAN_STATE, DataPlaneError
from omrfast.shim import api

CLOCK_MONOTONIC_COARSE = 6  # linux/time.h; the time module does not name it


@dataclass(frozen=True, slots=True)
class Options:
    """What is fixed when the programs are loaded."""

    hz: int
    """Jiffies per second."""
    replay: bool
    """Time comes from omr_replay_packet."""
    flows: int
    """Capacity of each flow table."""


def jiffies_per_second() -> int:
    """The kernel's HZ: the coarse clock advances once per jiffy."""
    return round(1 / time.clock_getres(CLOCK_MONOTONIC_COARSE))


def build_id(texts: Iterable[bytes], options: Options) -> bytes:
    """SHA-256 of what is loaded (object or sources) and of the options it is loaded with."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(hashlib.sha256(text).digest())
    digest.update(repr((options.hz, options.replay, options.flows)).encode())
    return digest.digest()


def write_config(pin_dir: str, loader: int, build: bytes, options: Options) -> None:
    """Note in omr_config who made the pins: the last step of loading."""
    config = api.struct(
        "omr_config", abi_version=api.ABI_VERSION, hz=options.hz, loader=loader, build_id=build
    )
    with api.Map.open(os.path.join(pin_dir, "omr_config")) as pinned:
        pinned.update(0, api.raw(config))


def loaded_by(pin_dir: str, build: bytes) -> int | None:
    """The loader (enum omr_loader) of a complete set of this ABI and build, else None."""
    present = set(os.listdir(pin_dir))
    if not present.issuperset((*MAPS, *PROGRAMS)):
        return None
    with api.Map.open(os.path.join(pin_dir, "omr_config")) as pinned:
        value = pinned.lookup(0)
    if value is None or len(value) != api.sizeof("omr_config"):
        return None
    config = api.struct("omr_config", value)
    if config.abi_version != api.ABI_VERSION or bytes(config.build_id) != build:
        return None
    return int(config.loader)


def verify(pin_dir: str) -> None:
    """Compare what is pinned with what this code was compiled for; raises DataPlaneError."""
    structs = dict(MAPS)
    if os.path.exists(os.path.join(pin_dir, SCAN_STATE)):
        structs[SCAN_STATE] = "omr_scan_state"
    for name, struct in structs.items():
        with api.Map.open(os.path.join(pin_dir, name)) as pinned:
            have = pinned.info.value_size
        want = api.sizeof(struct) if struct else have
        if have != want:
            raise DataPlaneError(
                f"map {name} has values of {have} bytes, this omrfast expects {want}: the packet "
                "programs and the shim were built from different sources; run 'make setup'"
            )
    for name, kind in PROGRAMS.items():
        fd = api.open_pin(os.path.join(pin_dir, name))
        try:
            info = api.prog_info(fd)
        finally:
            os.close(fd)
        if info.type != kind:
            raise DataPlaneError(f"program {name} has type {info.type}, expected {kind}")
