# SPDX-License-Identifier: GPL-2.0-or-later
"""Attach the packet programs to a path's device, and take them off again.

Everything acts on the network namespace of the caller, is idempotent, and repairs what it finds:
a link whose device vanished, a program of an earlier build, a hook that is no longer wanted.
All of it blocks, for some tens of milliseconds at most.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
from dataclasses import dataclass

from omrfast.core.types import PathLink
from omrfast.dataplane import bpffs, clsact, links
from omrfast.dataplane.device import framing, has_cheap_xdp
from omrfast.dataplane.names import DataPlaneError
from omrfast.dataplane.reader import DataPlane
from omrfast.shim import api
from omrfast.shim._shim import lib
from omrfast.shim.link import XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE
from omrfast.shim.read import read_links

log = logging.getLogger(__name__)

_DIRECTIONS = {"ingress": "omr_ingress", "egress": "omr_egress"}
INGRESS = ("auto", "tc", "xdp")
TC = ("auto", "tcx", "clsact")


@dataclass(frozen=True, slots=True)
class Attachment:
    """One program on one hook of one device."""

    ifindex: int
    direction: str
    """ingress or egress."""
    kind: str
    """tcx, clsact or xdp."""


def attach(
    plane: DataPlane, link: PathLink, ingress: str = "auto", *, tc: str = "auto"
) -> tuple[Attachment, ...]:
    """Measure a path on its device; returns what is attached there now.

    ingress: xdp also takes the generic mode if the driver has no native one; auto takes XDP only on
    physical devices with native XDP. tc: which kind of TC hook, auto takes TCX where the kernel has
    it. Raises DataPlaneError (unknown framing, hook taken by somebody else, no such device).
    """
    if ingress not in INGRESS or tc not in TC:
        raise DataPlaneError(f"ingress is one of {INGRESS}, tc one of {TC}")
    l2 = framing(link)
    links.prune(plane.run_dir)
    for row in plane.links():
        if row.path == link.index and row.ifindex != link.ifindex:
            log.info("path %d moves from device %d to %s", link.index, row.ifindex, link.ifname)
            detach(plane, row.ifindex)
    try:
        plane.set_link(link.ifindex, link.index, l2)
        kind = _tc_kind(link, tc)
        filters = clsact.find().get(link.ifindex, frozenset())
        _attach_tc(plane, link.ifindex, "egress", kind, filters)
        if not (_wants_xdp(link, ingress, l2) and _attach_xdp(plane, link, ingress, filters)):
            _drop_pin(plane.run_dir, "xdp", link.ifindex)
            _attach_tc(plane, link.ifindex, "ingress", kind, filters)
    except (DataPlaneError, OSError) as error:
        raise DataPlaneError(f"{link.ifname}: {error}") from error
    return tuple(entry for entry in attached(plane.run_dir) if entry.ifindex == link.ifindex)


def _tc_kind(link: PathLink, tc: str) -> str:
    has_tcx = links.has_tcx(link.ifindex)
    if tc == "auto":
        return "tcx" if has_tcx else "clsact"
    if tc == "tcx" and not has_tcx:
        raise DataPlaneError("this kernel has no TCX (6.6 and later have): use clsact")
    return tc


def _wants_xdp(link: PathLink, ingress: str, l2: int) -> bool:
    if l2 != lib.OMR_L2_ETHERNET:
        if ingress == "xdp":
            log.info("%s has no Ethernet header: TC instead of XDP", link.ifname)
        return False
    return ingress == "xdp" or (ingress == "auto" and has_cheap_xdp(link.ifname))


def _attach_xdp(plane: DataPlane, link: PathLink, ingress: str, filters: frozenset[str]) -> bool:
    """False: no XDP here, and auto may do without."""
    program = plane.programs["omr_xdp"].fd
    # One packet must not be counted twice.
    _drop_tc(plane.run_dir, link.ifindex, "ingress", "", filters)
    try:
        links.ensure(plane.run_dir, "xdp", link.ifindex, program, XDP_FLAGS_DRV_MODE)
        return True
    except api.ShimError as error:
        log.info("%s: no native XDP: %s", link.ifname, error)
        if ingress == "auto":
            return False
    try:
        links.ensure(plane.run_dir, "xdp", link.ifindex, program, XDP_FLAGS_SKB_MODE)
    except api.ShimError as error:
        raise DataPlaneError(
            f"XDP refused: {error}; is another XDP program attached? "
            "(ip link show); ingress = 'tc' does without"
        ) from error
    return True


def _attach_tc(
    plane: DataPlane, ifindex: int, direction: str, kind: str, filters: frozenset[str]
) -> None:
    name = _DIRECTIONS[direction]
    program = plane.programs[name].fd
    _drop_tc(plane.run_dir, ifindex, direction, kind, filters)
    if kind == "tcx":
        links.ensure(plane.run_dir, f"tcx_{direction}", ifindex, program)
    else:
        clsact.ensure(plane.run_dir, ifindex, direction, program, name)


def _drop_pin(run_dir: str, hook: str, ifindex: int) -> None:
    for entry in links.pinned(run_dir):
        if entry.hook == hook and entry.named == ifindex:
            links.drop(entry)


def _drop_tc(
    run_dir: str, ifindex: int, direction: str, keep: str, filters: frozenset[str]
) -> None:
    """Remove our TC program of one direction, except of the kind to keep."""
    if keep != "tcx":
        _drop_pin(run_dir, f"tcx_{direction}", ifindex)
    if keep != "clsact" and direction in filters:
        clsact.remove(run_dir, ifindex, frozenset({direction}))


def detach(plane: DataPlane, ifindex: int) -> None:
    """Take the programs off a device and stop counting it; no error if it is gone."""
    plane.clear_link(ifindex)
    _detach_device(plane.run_dir, ifindex)


def _detach_device(run_dir: str, ifindex: int) -> None:
    for entry in links.pinned(run_dir):
        if entry.named == ifindex:
            links.drop(entry)
    clsact.remove(run_dir, ifindex)


def attached(run_dir: str) -> list[Attachment]:
    """What of this run directory is attached in the caller's network namespace."""
    result = []
    for entry in links.pinned(run_dir):
        if entry.ifindex == entry.named:
            kind, _, direction = entry.hook.partition("_")
            result.append(Attachment(entry.ifindex, direction or "ingress", kind))
    for ifindex, sides in clsact.find().items():
        result += [Attachment(ifindex, side, "clsact") for side in sorted(sides)]
    return result


def switch_programs(run_dir: str) -> None:
    """Give every attachment the programs that are pinned now (after a new build was loaded)."""
    folder = bpffs.path(run_dir)
    names = {"tcx_ingress": "omr_ingress", "tcx_egress": "omr_egress", "xdp": "omr_xdp"}
    links.prune(run_dir)
    fds = {name: api.open_pin(os.path.join(folder, name)) for name in names.values()}
    try:
        for entry in links.pinned(run_dir):
            links.switch(entry, fds[names[entry.hook]])
        with api.Map.open(os.path.join(folder, "omr_links")) as table:
            measured = {row.ifindex for row in read_links(table.fd)}
        for ifindex, directions in clsact.find().items():
            for direction in directions if ifindex in measured else ():
                name = _DIRECTIONS[direction]
                clsact.ensure(run_dir, ifindex, direction, fds[name], name)
    finally:
        for fd in fds.values():
            os.close(fd)


def detach_all(run_dir: str) -> int:
    """Remove every attachment, every pin and the bpffs; returns how many attachments there were.

    Needs nothing of the process that attached. Also finds what has our program names on a device
    of this network namespace although its pins are gone.
    """
    count = 0
    for entry in list(links.pinned(run_dir)):
        links.drop(entry)
        count += 1
    for ifindex, _ in socket.if_nameindex():
        count += sum(links.sweep(ifindex, hook) for hook in links.HOOKS)
    filters = clsact.find()
    count += sum(len(directions) for directions in filters.values())
    for ifindex in {*filters, *clsact.marked(run_dir)}:
        clsact.remove(run_dir, ifindex)
    for ifindex in clsact.marked(run_dir):
        clsact.forget(run_dir, ifindex)
    bpffs.unmount(run_dir)
    shutil.rmtree(os.path.join(run_dir, "headers"), ignore_errors=True)
    return count
