# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel header tree for bcc.

Our programs touch only packets and UAPI structs, so the headers of another kernel do as well when
those of the running one cannot be had.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path

from omrfast.dataplane.names import DataPlaneError

SOURCES = Path("/usr/src")
MODULES = Path("/lib/modules")


def find(run_dir: str) -> str | None:
    """The tree for BCC_KERNEL_SOURCE; None: bcc finds that of the running kernel by itself.

    In this order: what BCC_KERNEL_SOURCE names, the running kernel's build tree, the newest pair
    of Debian header packages (merged below run_dir). Raises DataPlaneError if there is none.
    """
    named = os.environ.get("BCC_KERNEL_SOURCE")
    if named:
        if not os.path.isdir(named):
            raise DataPlaneError(f"BCC_KERNEL_SOURCE names {named}, which is not a directory")
        return named
    release = platform.release()
    if (MODULES / release / "build").is_dir():
        return None
    pair = debian_pair(SOURCES)
    if pair is None:
        raise DataPlaneError(
            f"the loader 'bcc' needs kernel headers and there are none for {release}: "
            "apt-get install linux-headers-amd64 (or your architecture's), or set "
            "BCC_KERNEL_SOURCE to a header tree"
        )
    return str(merged(pair, Path(run_dir) / "headers"))


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", name))


def debian_pair(sources: Path) -> tuple[Path, Path] | None:
    """The folders of the newest linux-headers-X-common with its plainest flavour."""
    for common in sorted(
        sources.glob("linux-headers-*-common"), key=lambda path: _version(path.name), reverse=True
    ):
        base = common.name.removesuffix("-common")
        flavours = [path for path in sources.glob(f"{base}-*") if path != common]
        if flavours:
            return common, min(flavours, key=lambda path: (len(path.name), path.name))
    return None


def merged(pair: tuple[Path, Path], target: Path) -> Path:
    """One tree of symbolic links over the two folders; made once per pair."""
    tree = target / pair[1].name
    if tree.is_dir():
        return tree
    partial = target / f"{pair[1].name}.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    _merge(list(pair), partial)
    try:
        os.rename(partial, tree)
    except OSError:
        shutil.rmtree(partial)
        if not tree.is_dir():
            raise
    return tree


def _merge(sources: list[Path], target: Path) -> None:
    """Folders that several sources have are merged, everything else is a link to the first."""
    target.mkdir(parents=True)
    for name in sorted({entry.name for source in sources for entry in source.iterdir()}):
        found = [source / name for source in sources if (source / name).exists()]
        if len(found) > 1 and all(path.is_dir() for path in found):
            _merge(found, target / name)
        elif found:
            (target / name).symlink_to(found[0].resolve())
