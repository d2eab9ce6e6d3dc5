# SPDX-License-Identifier: GPL-2.0-or-later
"""The bpffs below the run directory: all pins live there, and die with it.

A file system of our own, because `ip netns exec` gives its command a fresh /sys without
/sys/fs/bpf. The shim mounts it so that it outlives the process even there.
"""

from __future__ import annotations

import os
import shutil

from omrfast.dataplane.names import DataPlaneError
from omrfast.shim import api
from omrfast.shim._shim import lib


def path(run_dir: str) -> str:
    """Where the bpffs of a run directory is mounted."""
    return os.path.join(os.path.abspath(run_dir), "bpf")


def is_mounted(run_dir: str) -> bool:
    return bool(lib.omr_is_bpffs(os.fsencode(path(run_dir))) == 1)


def mount(run_dir: str) -> str:
    """Mount it unless it is; returns its path. Raises DataPlaneError."""
    target = path(run_dir)
    try:
        os.makedirs(target, mode=0o700, exist_ok=True)
        if not is_mounted(run_dir):
            api.check(lib.omr_mount_bpffs(os.fsencode(target)), f"mounting a bpffs on {target}")
    except OSError as error:
        hint = "run as root (CAP_SYS_ADMIN), or mount it beforehand: mount -t bpf omrfast "
        raise DataPlaneError(f"{error}; {hint}{target}") from error
    return target


def remove_pins(folder: str) -> None:
    """Remove every pin below a folder of a bpffs, not the folder itself."""
    if not os.path.isdir(folder):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            elif not entry.name.endswith(".debug"):  # the kernel's own, and not removable
                os.unlink(entry.path)


def unmount(run_dir: str) -> None:
    """Remove all pins, unmount, and remove the empty mount point."""
    target = path(run_dir)
    while is_mounted(run_dir):
        # Pins go first: a copy of the mount in another mount namespace would keep them alive.
        remove_pins(target)
        api.check(lib.omr_unmount_bpffs(os.fsencode(target)), f"unmounting {target}")
    if os.path.isdir(target):
        os.rmdir(target)
