# SPDX-License-Identifier: GPL-2.0-or-later
"""What all parts of the matrix need of this machine: folders, commands with a log, packages."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

PROJECT = Path(__file__).resolve().parents[2]
BUILD = PROJECT / "build/matrix"
LOG = BUILD / "host.log"
NEED_BYTES = 8 << 30
"""The tree, its image, two kernels and their packages, rounded up."""

PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "debootstrap": "debootstrap",
    "mke2fs": "e2fsprogs",
    "dpkg-deb": "dpkg",
    "git": "git",
    "busybox": "busybox-static",
    "tar": "tar",
}
"""Command to the Debian package that has it."""

_begin = time.monotonic()


class MatrixError(Exception):
    """Something that must be put right before the matrix can run; the text says what."""


def say(text: str) -> None:
    """Progress, with the seconds since the start."""
    print(f"matrix {time.monotonic() - _begin:5.0f} s  {text}", flush=True)


def call(
    what: str,
    words: list[str],
    seconds: float,
    *,
    show: tuple[str, ...] = (),
    settings: Mapping[str, str] | None = None,
) -> str:
    """Run a command, its output to the log; what it printed. MatrixError if it fails or hangs.

    Lines that begin with one of ``show`` are progress; ``settings`` are added to the environment.
    What it started ends with it.
    """
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **(settings or {})}
    printed = []
    with LOG.open("a") as log:
        print(f"\n$ {' '.join(words)}", file=log, flush=True)
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            cwd=PROJECT,
            start_new_session=True,
        )
        assert process.stdout is not None
        hung = threading.Event()

        def give_up() -> None:
            hung.set()
            _end_all(process)

        alarm = threading.Timer(seconds, give_up)
        alarm.start()
        try:
            for line in process.stdout:
                printed.append(line)
                log.write(line)
                if show and line.startswith(show):
                    say(line.strip())
            code = process.wait()
        finally:
            alarm.cancel()
            _end_all(process)
    if hung.is_set():
        raise MatrixError(f"{what}: not done after {seconds:.0f} s ({LOG})")
    if code:
        raise MatrixError(f"{what}: failed with code {code} ({LOG})")
    return "".join(printed)


def _end_all(process: subprocess.Popen[str]) -> None:
    """The command and everything in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def digest(*parts: str | bytes | Path) -> str:
    """One hash of texts and of the contents of files."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            part = part.read_bytes()
        one = part.encode() if isinstance(part, str) else part
        total.update(hashlib.sha256(one).digest())
    return total.hexdigest()


def is_made(product: Path, key: str) -> bool:
    """Is it there, and made from what `key` stands for?"""
    stamp = product.with_name(f"{product.name}.key")
    return product.exists() and stamp.exists() and stamp.read_text() == key


def made(product: Path, key: str) -> None:
    product.with_name(f"{product.name}.key").write_text(key)


def unmake(product: Path) -> None:
    """Remove it and its stamp, on no other file system."""
    product.with_name(f"{product.name}.key").unlink(missing_ok=True)
    if product.exists():
        call(f"removing {product}", ["rm", "-rf", "--one-file-system", str(product)], 300)


def _is_static(busybox: str) -> bool:
    """Only the static one runs in an initramfs without libraries."""
    shown = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=False)
    with open(busybox, "rb") as file:
        dynamic = b"ld-linux" in file.read(4096)
    return "switch_root" in shown.stdout.split() and not dynamic


def _missing() -> list[str]:
    names = {package for command, package in PACKAGES.items() if shutil.which(command) is None}
    busybox = shutil.which("busybox")
    if busybox and not _is_static(busybox):
        names.add(PACKAGES["busybox"])
    return sorted(names)


_lock: list[IO[str]] = []


def _only_one() -> None:
    """Hold a lock on the folder until the process ends."""
    _lock.append((BUILD / "lock").open("w"))
    try:
        fcntl.flock(_lock[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise MatrixError(f"another make matrix works in {BUILD}: wait for its end") from error


def prepare() -> None:
    """Root, architecture, disk space and Debian packages; MatrixError if one is missing."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if os.geteuid() != 0:
        raise MatrixError("root is needed (debootstrap, chroot, packages): use sudo make matrix")
    if platform.machine() != "x86_64":
        raise MatrixError("the matrix emulates x86-64 with programs built on this machine: x86-64")
    if shutil.which("apt-get") is None:
        raise MatrixError("this is not Debian (no apt-get): run make matrix on Debian 12 or newer")
    BUILD.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(BUILD).free
    if free < NEED_BYTES and not (BUILD / "tree").exists():
        raise MatrixError(f"{BUILD} has {free >> 20} MiB free, {NEED_BYTES >> 20} are needed")
    _only_one()
    LOG.write_text("")
    missing = _missing()
    if missing:
        say(f"Debian packages: installing {' '.join(missing)}")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        call("apt-get update", ["apt-get", "update", "-q"], 600, settings=quiet)
        words = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing]
        call("installing packages", words, 1200, settings=quiet)
