# SPDX-License-Identifier: GPL-2.0-or-later
"""Attachments that are pinned bpf_links (TCX and XDP), one pin per hook and device.

A link knows the index of its device but not the network namespace, so what is pinned is compared
with what the device of this namespace really has.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass

from omrfast.dataplane import bpffs
from omrfast.dataplane.names import LINKS, PROGRAMS
from omrfast.shim import api, link

log = logging.getLogger(__name__)

HOOKS: dict[str, int] = {
    "tcx_ingress": api.HOOK_TCX_INGRESS,
    "tcx_egress": api.HOOK_TCX_EGRESS,
    "xdp": api.HOOK_XDP,
}
"""First part of a pin's name to the hook."""


@dataclass(frozen=True, slots=True)
class PinnedLink:
    hook: str
    """Key of HOOKS."""
    named: int
    """Index of the device it was made for."""
    ifindex: int
    """Index of the device it is on; 0: the device is gone."""
    id: int
    prog_id: int
    path: str


def has_tcx(ifindex: int) -> bool:
    """Does this kernel attach by TCX (6.6 and later)?"""
    return link.tcx_query(ifindex, api.HOOK_TCX_INGRESS) is not None


def pinned(run_dir: str) -> Iterator[PinnedLink]:
    """The links pinned below the run directory."""
    folder = os.path.join(bpffs.path(run_dir), LINKS)
    if not os.path.isdir(folder):
        return
    for name in sorted(os.listdir(folder)):
        hook, _, number = name.rpartition("_")
        path = os.path.join(folder, name)
        fd = api.open_pin(path)
        try:
            info = link.info(fd)
        finally:
            os.close(fd)
        yield PinnedLink(hook, int(number), info.ifindex, info.id, info.prog_id, path)


def _is_on(entry: PinnedLink) -> bool:
    """Is the link on the device of that index in this network namespace?"""
    if entry.ifindex != entry.named:
        return False
    if entry.hook == "xdp":
        return link.xdp_program(entry.ifindex) == entry.prog_id
    try:
        there = link.tcx_query(entry.ifindex, HOOKS[entry.hook]) or ()
    except api.ShimError as error:
        if error.errno == errno.ENODEV:
            return False
        raise
    return any(attached.link_id == entry.id for attached in there)


def drop(entry: PinnedLink) -> None:
    """Detach now and remove the pin."""
    fd = api.open_pin(entry.path)
    try:
        link.detach(fd)
    finally:
        os.close(fd)
    os.unlink(entry.path)


def prune(run_dir: str) -> list[PinnedLink]:
    """Remove the pins of links whose device is gone."""
    stale = [entry for entry in pinned(run_dir) if not _is_on(entry)]
    for entry in stale:
        log.info("the device of %s is gone", os.path.basename(entry.path))
        drop(entry)
    return stale


def ensure(run_dir: str, hook: str, ifindex: int, prog_fd: int, flags: int = 0) -> None:
    """Have exactly this program at the hook by a pinned link; raises ShimError."""
    prog_id = api.prog_info(prog_fd).id
    mine = next(
        (entry for entry in pinned(run_dir) if entry.hook == hook and entry.named == ifindex), None
    )
    if mine is not None and not _is_on(mine):
        drop(mine)
        mine = None
    if mine is None:
        sweep(ifindex, hook)
        fd = link.create(prog_fd, ifindex, HOOKS[hook], flags)
        try:
            folder = os.path.join(bpffs.path(run_dir), LINKS)
            os.makedirs(folder, mode=0o700, exist_ok=True)
            api.pin(fd, os.path.join(folder, f"{hook}_{ifindex}"))
        finally:
            os.close(fd)
    elif mine.prog_id != prog_id:
        switch(mine, prog_fd)


def switch(entry: PinnedLink, prog_fd: int) -> None:
    """Put another program in the place of the link's, without a gap."""
    fd = api.open_pin(entry.path)
    try:
        link.update(fd, prog_fd)
    finally:
        os.close(fd)


def sweep(ifindex: int, hook: str) -> int:
    """Detach programs with our names that no pin of ours holds; returns how many."""
    return _sweep_xdp(ifindex) if hook == "xdp" else _sweep_tcx(ifindex, HOOKS[hook])


def _is_our_name(prog_id: int) -> bool:
    info = api.prog_info_by_id(prog_id)
    return info is not None and info.name in PROGRAMS


def _sweep_tcx(ifindex: int, hook: int) -> int:
    count = 0
    for attached in link.tcx_query(ifindex, hook) or ():
        if not _is_our_name(attached.prog_id):
            continue
        log.warning("removing a left-over attachment from device %d", ifindex)
        if attached.link_id:
            _detach_id(attached.link_id)
        else:
            link.tcx_detach(ifindex, hook, attached.prog_id)
        count += 1
    return count


def _sweep_xdp(ifindex: int) -> int:
    count = 0
    wanted = link.xdp_program(ifindex)
    if not wanted or not _is_our_name(wanted):
        return 0
    for entry in link.every():
        if entry.type == api.LINK_TYPE_XDP and entry.ifindex == ifindex and entry.prog_id == wanted:
            log.warning("removing a left-over XDP program from device %d", ifindex)
            _detach_id(entry.id)
            count += 1
    return count


def _detach_id(link_id: int) -> None:
    fd = link.by_id(link_id)
    if fd is not None:
        try:
            link.detach(fd)
        finally:
            os.close(fd)
