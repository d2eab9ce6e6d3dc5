# SPDX-License-Identifier: GPL-2.0-or-later
"""bpf_link: attaching to devices of the caller's network namespace, and asking what is attached."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass

from omrfast.shim import api
from omrfast.shim._shim import ffi, lib

XDP_FLAGS_SKB_MODE = 1 << 1
XDP_FLAGS_DRV_MODE = 1 << 2

_QUERY_ROOM = 64
_DRIVER_ROOM = 64


@dataclass(frozen=True, slots=True)
class Attached:
    """A program that is attached by TCX."""

    prog_id: int
    link_id: int
    """0: attached without a link."""


def create(prog_fd: int, ifindex: int, hook: int, flags: int = 0) -> int:
    """Attach a program to a device; returns the link's file descriptor, whose end detaches."""
    lib.omr_log_clear()
    fd = lib.omr_link_create(prog_fd, ifindex, hook, flags)
    return api.check(fd, f"attaching a program to device {ifindex}")


def update(link_fd: int, prog_fd: int) -> None:
    """Replace the program of a link without a gap."""
    api.check(lib.omr_link_update(link_fd, prog_fd), "replacing the program of a link")


def detach(link_fd: int) -> None:
    """Detach now, whoever still holds the link. A link whose device is gone is no error."""
    error = lib.bpf_link_detach(link_fd)
    if error not in (0, -errno.ENOLINK):
        api.check(error, "detaching a link")


def by_id(link_id: int) -> int | None:
    """File descriptor of the link with this id; None if it is gone."""
    fd = lib.bpf_link_get_fd_by_id(link_id)
    if fd == -errno.ENOENT:
        return None
    return api.check(fd, f"opening link {link_id}")


def info(link_fd: int) -> api.LinkInfo:
    out = ffi.new("struct omr_link_info *")
    api.check(lib.omr_link_info(link_fd, out), "asking about a link")
    return api.LinkInfo(out.type, out.id, out.prog_id, out.ifindex, out.attach_type)


def every() -> Iterator[api.LinkInfo]:
    """Every link of this machine, in all network namespaces."""
    number = ffi.new("unsigned int *", 0)
    while lib.bpf_link_get_next_id(number[0], number) == 0:
        fd = by_id(number[0])
        if fd is None:
            continue
        try:
            yield info(fd)
        finally:
            os.close(fd)


def tcx_query(ifindex: int, hook: int) -> tuple[Attached, ...] | None:
    """What is attached to a device by TCX, in order; None: this kernel has no TCX.

    Raises ShimError ENODEV if there is no such device in this network namespace.
    """
    out = ffi.new("struct omr_attached[]", _QUERY_ROOM)
    count = lib.omr_tcx_query(ifindex, hook, out, _QUERY_ROOM)
    if count == -errno.EINVAL:
        return None
    api.check(count, f"asking what is attached to device {ifindex}")
    return tuple(Attached(out[i].prog_id, out[i].link_id) for i in range(count))


def tcx_detach(ifindex: int, hook: int, prog_id: int) -> None:
    """Detach a program that was attached by TCX without a link."""
    api.check(
        lib.omr_tcx_detach(ifindex, hook, prog_id), f"detaching a program from device {ifindex}"
    )


def driver(ifname: str) -> str:
    """Name of the device's driver as ethtool tells it; empty if it tells none."""
    out = ffi.new("char[]", _DRIVER_ROOM)
    api.check(lib.omr_driver(ifname.encode(), out, _DRIVER_ROOM), f"asking {ifname} for its driver")
    return str(ffi.string(out).decode(errors="replace"))


def xdp_program(ifindex: int) -> int:
    """Id of the XDP program on a device of this network namespace; 0: none, or no such device."""
    prog_id = ffi.new("unsigned int *", 0)
    error = lib.bpf_xdp_query_id(ifindex, 0, prog_id)
    if error in (-errno.ENODEV, -errno.EINVAL, -errno.ENXIO):
        return 0
    api.check(error, f"asking device {ifindex} for its XDP program")
    return int(prog_id[0])
