# SPDX-License-Identifier: GPL-2.0-or-later
"""Network namespaces by name, without forking.

A namespace belongs to a thread, so work inside one is done by a short-lived thread that enters it
(`call`); a process started from there is born inside (`spawn`). Sockets keep the namespace they
were made in. Names live below /run/netns, where ``ip netns`` looks for them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path("/run/netns")
CLONE_NEWNET = 0x40000000
MS_BIND, MS_REC, MS_SHARED = 1 << 12, 1 << 14, 1 << 20
MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


class NamespaceError(OSError):
    """A namespace could not be made, entered or removed; the text names it."""


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise NamespaceError(number, f"{what}: {os.strerror(number)}")


def path(name: str) -> Path:
    return ROOT / name


def exists(name: str) -> bool:
    return path(name).exists()


def _in_thread(function: Callable[[], T]) -> T:
    """Run ``function`` in a fresh thread; its result or its exception is ours."""
    box: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            box.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=body, name="netns", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return box[0]


def _mount(source: str, target: str, flags: int) -> int:
    return int(_libc.mount(source.encode(), target.encode(), b"none", flags, None))


def _share_root() -> None:
    """Make /run/netns a shared mount, as ``ip netns add`` does, so that removal reaches all."""
    ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
    where = str(ROOT)
    if _mount("", where, MS_SHARED | MS_REC) == 0:
        return
    if ctypes.get_errno() != errno.EINVAL:
        _check(-1, f"sharing {where}")
    _check(_mount(where, where, MS_BIND | MS_REC), f"binding {where} on itself")
    _check(_mount("", where, MS_SHARED | MS_REC), f"sharing {where}")


def create(name: str) -> None:
    """Make a new namespace; FileExistsError if the name is taken."""
    _share_root()
    target = path(name)
    os.close(os.open(target, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0))

    def body() -> None:
        _check(_libc.unshare(CLONE_NEWNET), f"new namespace {name} (root needed)")
        own = f"/proc/self/task/{threading.get_native_id()}/ns/net"
        _check(_mount(own, str(target), MS_BIND), f"binding namespace {name}")

    try:
        _in_thread(body)
    except OSError:
        target.unlink()
        raise


def remove(name: str) -> None:
    """Forget a namespace; nothing happens if there is none of that name."""
    target = path(name)
    if target.exists():
        unmount(str(target))
        target.unlink(missing_ok=True)


def unmount(where: str) -> None:
    """Take a mount out of sight at once, whoever still uses it."""
    _libc.umount2(where.encode(), MNT_DETACH)


def call(name: str | None, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """``function(*args, **kwargs)`` inside the namespace (None: where the caller is)."""
    if name is None:
        return function(*args, **kwargs)

    def body() -> T:
        try:
            fd = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NamespaceError(errno.ENOENT, f"no network namespace {name}") from error
        try:
            _check(_libc.setns(fd, CLONE_NEWNET), f"entering namespace {name}")
        finally:
            os.close(fd)
        return function(*args, **kwargs)

    return _in_thread(body)


def spawn(name: str | None, command: Sequence[str], **popen: Any) -> subprocess.Popen[str]:
    """Start a process inside the namespace; ``popen`` as for subprocess.Popen.

    It gets a process group of its own, so that Ctrl-C reaches the starter alone, who ends it in
    order; ``process_group=None`` leaves it in the starter's.
    """
    popen.setdefault("process_group", 0)
    return call(name, subprocess.Popen, command, text=True, **popen)


def end(process: subprocess.Popen[str]) -> None:
    """A spawned process that ends with its standard input, a pipe; killed if it does not."""
    with process:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()


def sysctl(name: str, values: Mapping[str, object]) -> None:
    """Write ``{"net/ipv4/ip_forward": 1}`` and the like below /proc/sys."""

    def body() -> None:
        for key, value in values.items():
            Path("/proc/sys", key).write_text(f"{value}\n")

    call(name, body)


def processes(names: Sequence[str]) -> list[int]:
    """Ids of all processes that live in any of the namespaces."""
    inodes = {path(name).stat().st_ino for name in names if exists(name)}
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "ns/net").stat().st_ino in inodes:
                found.append(int(entry.name))
        except OSError:
            continue
    return found
