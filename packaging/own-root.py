#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a command so that `ip netns` works even in a chroot: own-root.py COMMAND...

`ip netns exec` changes the propagation of the mount at ``/``, which a chroot into a plain folder
does not have ("mount --make-rslave / failed: Invalid argument"). There, the command gets mount and
process namespaces of its own in which the folder is a mount point; they end with the command, and
nothing of it is seen outside. Elsewhere the command is just run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(source: str, target: str, kind: str | None, flags: int) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    check(libc.mount(*words, ctypes.c_ulong(flags), None), f"mounting {target}")


def root_is_mount_point() -> bool:
    """Whether mountinfo, which shows only what is below our root, has an entry for / itself."""
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        return any(line.split()[4] == "/" for line in lines)


def enter_own_root() -> None:
    """Make our root a mount point, in a mount namespace that is private."""
    work = os.getcwd()
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWPID), "unshare")
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    # Joining our own namespace leaves the chroot: only from there is the mount reachable.
    check(libc.setns(own, CLONE_NEWNS), "setns")
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    os.fchdir(root)
    folder = os.getcwd()
    mount(folder, folder, None, MS_BIND | MS_REC)
    os.chdir(folder)
    os.chroot(".")
    os.chdir(work)


def first_process(command: list[str]) -> None:
    """Process 1 of the new namespace: its own /proc, then the command."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    child = os.spawnvp(os.P_NOWAIT, command[0], command)
    while True:  # the orphans' parent, too
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def main(command: list[str]) -> int:
    if root_is_mount_point():
        os.execvp(command[0], command)
    enter_own_root()
    pid = os.fork()
    if pid == 0:
        first_process(command)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: os.kill(pid, signal.SIGKILL))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
