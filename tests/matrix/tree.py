# SPDX-License-Identifier: GPL-2.0-or-later
"""The root file system of the emulated machines: a fresh Debian 12 with the project in it.

`tests/fresh/debian12.sh` makes the tree as it is for a newcomer, with everything that `make setup`
installs; the work tree's own files, committed or not, are laid over it and built there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.matrix.host import BUILD, PROJECT, call, digest, is_made, made, say, unmake
from tests.matrix.kernels import Kernel

FRESH = PROJECT / "tests/fresh/debian12.sh"
INSIDE = "omrfast"
"""Folder of the project in the tree."""
KEPT = (".venv", "build", ".git")
"""Of that folder, what is not the project's files."""
MADE = (".so", ".o", ".pyc", "/wire")
EXTRA = ("kmod",)
"""Debian packages beyond those of packaging/debian-packages.txt."""
SPARE_BYTES = 1 << 30
"""Free in the image."""


def _sources() -> list[str]:
    """The work tree's files that are not ignored."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = call("listing the project's files", words, 60).split("\0")
    return sorted(name for name in set(names) if name and (PROJECT / name).is_file())


def sources_key() -> str:
    names = _sources()
    return digest("\0".join(names), *(PROJECT / name for name in names))


def base() -> Path:
    """The tree with all packages and a virtual environment; made again if those change."""
    tree = BUILD / "tree"
    inputs = ("packaging/debian-packages.txt", "packaging/setup.sh", "pyproject.toml")
    key = digest(" ".join(EXTRA), FRESH, *(PROJECT / name for name in inputs))
    if is_made(tree, key):
        say("Debian 12 tree: there")
        return tree
    say("Debian 12 tree: making it (debootstrap, make setup; some minutes)")
    unmake(tree)
    saved = os.environ.get("OMR_FRESH_BASE", str(BUILD / "debian12.tar"))
    words = [str(FRESH), "-k", "-d", str(tree), "setup"]
    settings = {"OMR_FRESH_BASE": saved}
    call("the Debian 12 tree", words, 3600, show=("fresh: ", "setup: "), settings=settings)
    install = "apt-get install -q -y --no-install-recommends"
    script = f"{install} {' '.join(EXTRA)} && apt-get clean"
    words = ["chroot", str(tree), "env", "DEBIAN_FRONTEND=noninteractive", "sh", "-ec", script]
    call("extra packages", words, 600)
    made(tree, key)
    return tree


def _lay_over(tree: Path) -> None:
    """Make the project in the tree that of the work tree; files that are the same stay untouched.

    A changed file is newer than what was built from the old one, whatever its time here.
    """
    target = tree / INSIDE
    wanted = set(_sources())
    for folder, folders, files in os.walk(target):
        here = Path(folder).relative_to(target)
        if here == Path():
            folders[:] = [name for name in folders if name not in KEPT]
        folders[:] = [name for name in folders if not name.endswith(".egg-info")]
        for name in files:
            path = str(here / name)
            if path not in wanted and not path.endswith(MADE):
                (target / path).unlink()
    for name in wanted:
        source, copy = PROJECT / name, target / name
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
        shutil.copymode(source, copy)


def _build(tree: Path) -> None:
    """`make setup` in the tree, in name spaces of its own, and byte code, slow to make emulated."""
    words = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    words += [str(FRESH), "--inside", str(tree), "setup"]
    call("make setup in the tree", words, 1200)
    folders = [f"/{INSIDE}/{name}" for name in ("omrfast", "tests")]
    python = f"/{INSIDE}/.venv/bin/python"
    call("byte code", ["chroot", str(tree), python, "-m", "compileall", "-q", *folders], 300)


def _modules(tree: Path, kernels: list[Kernel]) -> None:
    folder = tree / "usr/lib/modules"
    if folder.exists():
        shutil.rmtree(folder)
    for kernel in kernels:
        shutil.copytree(kernel.modules, folder / kernel.release, symlinks=True)
        call("depmod", ["chroot", str(tree), "depmod", kernel.release], 120)


def install(tree: Path, kernels: list[Kernel]) -> None:
    """The project as it is now, built, and the kernels' modules."""
    say("the project: copying it into the tree and building it there")
    _lay_over(tree)
    _build(tree)
    _modules(tree, kernels)


def image(tree: Path, key: str) -> Path:
    """The tree as an ext4 file system in a file."""
    target = BUILD / "root.ext4"
    if is_made(target, key):
        say("disk image: there")
        return target
    unmake(target)
    say("disk image: making it")
    words = ["du", "-s", "--block-size=1", "--one-file-system", str(tree)]
    used = int(call("size of the tree", words, 120).split()[0])
    size = (used * 11 // 10 + SPARE_BYTES) >> 20
    words = ["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-d", str(tree), str(target)]
    call("disk image", [*words, f"{size}M"], 900)
    made(target, key)
    return target
