# SPDX-License-Identifier: GPL-2.0-or-later
"""Open the data path: take over the pins of an earlier run, or load and pin anew.

Both loaders end in the same pins below ``<run_dir>/bpf``. A new set is made in a folder of its own
and then moved over the old one, omr_config last, so that whatever interrupts it, the next start
sees either a complete set or none.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path

from omrfast.dataplane import bpffs, pins
from omrfast.dataplane.attach import switch_programs
from omrfast.dataplane.bcc_loader import Bcc
from omrfast.dataplane.names import (
    LINKS,
    MAPS,
    PROGRAMS,
    SCAN_PROGRAM,
    SCAN_STATE,
    STAGING,
    DataPlaneError,
)
from omrfast.dataplane.prebuilt import Prebuilt
from omrfast.dataplane.reader import DataPlane
from omrfast.shim import api
from omrfast.shim.read import read_links

log = logging.getLogger(__name__)

Loader = Prebuilt | Bcc


def open_dataplane(
    run_dir: str,
    loader: str = "auto",
    *,
    replay: bool = False,
    flows: int = api.DEFAULT_FLOWS,
    hz: int | None = None,
    object_path: Path | None = None,
) -> DataPlane:
    """The data path of run_dir, loaded and pinned, in the caller's network namespace.

    loader is auto, prebuilt or bcc. Pins of the same ABI and build are taken over with all their
    counters; those of another build are replaced and what was attached is switched to the new
    programs. hz: jiffies per second, if not this kernel's (for a replay). Raises DataPlaneError.
    """
    options = pins.Options(hz or pins.jiffies_per_second(), replay, flows)
    candidates = _candidates(run_dir, loader, object_path)
    folder = bpffs.mount(run_dir)
    os.makedirs(os.path.join(folder, LINKS), mode=0o700, exist_ok=True)
    failures: list[str] = []
    for candidate in candidates:
        try:
            reused = _establish(run_dir, folder, candidate, options)
            pins.verify(folder)
            return DataPlane(run_dir, folder, candidate.name, options, reused)
        except (DataPlaneError, OSError) as error:
            failures.append(str(error))
            if candidate is not candidates[-1]:
                log.warning("loader %s failed, trying the next: %s", candidate.name, error)
    raise DataPlaneError("\n".join(failures))


def _candidates(run_dir: str, loader: str, object_path: Path | None) -> list[Loader]:
    known: dict[str, Loader] = {"prebuilt": Prebuilt(object_path), "bcc": Bcc(run_dir)}
    if loader == "auto":
        return list(known.values())
    if loader not in known:
        raise DataPlaneError(f"unknown loader {loader!r}: use auto, prebuilt or bcc")
    return [known[loader]]


def _establish(run_dir: str, folder: str, loader: Loader, options: pins.Options) -> bool:
    """Make the pins what the loader would make them; True if they were that already."""
    build = loader.build_id(options)
    if pins.loaded_by(folder, build) == loader.number:
        log.info("taking over the packet programs pinned below %s", folder)
        return True
    started = time.monotonic()
    staging = os.path.join(folder, STAGING)
    shutil.rmtree(staging, ignore_errors=True)
    os.mkdir(staging, 0o700)
    try:
        loader.load(staging, options)
        pins.write_config(staging, loader.number, build, options)
        replaced = os.path.exists(os.path.join(folder, "omr_links"))
        if replaced:
            _carry_links(folder, staging)
        _move(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    switch_programs(run_dir)
    log.info(
        "packet programs %s by %s in %.0f ms",
        "replaced" if replaced else "loaded",
        loader.name,
        (time.monotonic() - started) * 1000,
    )
    return False


def _carry_links(old: str, new: str) -> None:
    """Copy which device belongs to which path, so that measuring goes on."""
    with (
        api.Map.open(os.path.join(old, "omr_links")) as source,
        api.Map.open(os.path.join(new, "omr_links")) as target,
    ):
        if source.info.value_size != target.info.value_size:
            return
        for row in read_links(source.fd):
            target.update(row.ifindex, row.raw)


def _move(staging: str, folder: str) -> None:
    config = os.path.join(folder, "omr_config")
    if os.path.exists(config):
        os.unlink(config)
    for name in (SCAN_PROGRAM, SCAN_STATE):  # of the old set, whose tables they belong to
        if os.path.exists(os.path.join(folder, name)):
            os.unlink(os.path.join(folder, name))
    names = [name for name in (*MAPS, *PROGRAMS) if name != "omr_config"]
    if os.path.exists(os.path.join(staging, SCAN_PROGRAM)):
        names += [SCAN_STATE, SCAN_PROGRAM]
    elif os.path.exists(os.path.join(staging, SCAN_STATE)):
        log.info("the kernel refuses %s: flow tables are walked from userspace", SCAN_PROGRAM)
    for name in (*names, "omr_config"):
        os.rename(os.path.join(staging, name), os.path.join(folder, name))
