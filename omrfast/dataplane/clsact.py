# SPDX-License-Identifier: GPL-2.0-or-later
"""TC filters on clsact, for kernels without TCX (before 6.6).

Our filters have a priority, a handle and names of their own, so that they are found again whatever
happened to the process that made them, and replaced in place. The qdisc may be somebody else's: we
note below the run directory when we create it, before we do, and remove it only then and only when
no filter is left.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from omrfast.dataplane.names import DataPlaneError

PRIORITY = 5
HANDLE = 0x4F4D52  # "OMR"
PARENTS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
"""Direction to the parent of its filters (TC_H_MIN_INGRESS, TC_H_MIN_EGRESS)."""

P = ParamSpec("P")
R = TypeVar("R")

_GONE = (errno.ENOENT, errno.ENODEV, errno.EINVAL)


def _beside_a_loop(function: Callable[P, R]) -> Callable[P, R]:
    """pyroute2 runs an event loop of its own, which cannot be inside another one: use a thread.

    A new thread is in the network namespace of the one that makes it.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return function(*args, **kwargs)
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(function, *args, **kwargs).result()

    return call


@contextmanager
def _netlink() -> Iterator[Any]:
    with IPRoute() as route:
        yield route


def _marker(run_dir: str, ifindex: int) -> str:
    return os.path.join(run_dir, f"clsact-{ifindex}")


def marked(run_dir: str) -> list[int]:
    """Indices of the devices on which we created the qdisc."""
    if not os.path.isdir(run_dir):
        return []
    names = (name.removeprefix("clsact-") for name in os.listdir(run_dir))
    return [int(name) for name in names if name.isdigit()]


def forget(run_dir: str, ifindex: int) -> None:
    """The device is gone and its qdisc with it."""
    if os.path.exists(_marker(run_dir, ifindex)):
        os.unlink(_marker(run_dir, ifindex))


def _ingress_kind(route: Any, ifindex: int) -> str | None:
    """Kind of the qdisc at the ingress hook: clsact, ingress, or None."""
    for qdisc in route.get_qdiscs(index=ifindex):
        kind = qdisc.get_attr("TCA_KIND")
        if kind in ("clsact", "ingress"):
            return str(kind)
    return None


def _filters(route: Any, ifindex: int, direction: str) -> list[tuple[int, int, str | None]]:
    """(priority, handle, name) of the filters in one direction, those of anybody."""
    result = []
    for entry in route.get_filters(index=ifindex, parent=PARENTS[direction]):
        options = entry.get_attr("TCA_OPTIONS")
        if not entry["handle"]:  # announces a priority, not a filter
            continue
        name = options.get_attr("TCA_BPF_NAME") if options is not None else None
        result.append((entry["info"] >> 16, entry["handle"], name))
    return result


def _is_ours(entry: tuple[int, int, str | None]) -> bool:
    priority, handle, name = entry
    return priority == PRIORITY and handle == HANDLE and str(name).startswith("omr_")


@_beside_a_loop
def find() -> dict[int, frozenset[str]]:
    """The directions in which our filter is, per device of this network namespace that has one."""
    result = {}
    with _netlink() as route:
        for qdisc in route.get_qdiscs():
            if qdisc.get_attr("TCA_KIND") != "clsact":
                continue
            found = frozenset(
                direction
                for direction in PARENTS
                if any(_is_ours(entry) for entry in _filters(route, qdisc["index"], direction))
            )
            if found:
                result[qdisc["index"]] = found
    return result


@_beside_a_loop
def ensure(run_dir: str, ifindex: int, direction: str, prog_fd: int, name: str) -> None:
    """Have exactly this program as our filter; raises DataPlaneError."""
    with _netlink() as route:
        try:
            _ensure_qdisc(route, run_dir, ifindex)
            route.tc(
                "replace-filter",
                "bpf",
                ifindex,
                HANDLE,
                fd=prog_fd,
                name=name,
                parent=PARENTS[direction],
                prio=PRIORITY,
                classid=1,
                direct_action=True,
            )
        except NetlinkError as error:
            raise DataPlaneError(
                f"TC {direction} filter on device {ifindex} (priority {PRIORITY}): {error}; "
                f"look at 'tc filter show {direction}' there"
            ) from error


def _ensure_qdisc(route: Any, run_dir: str, ifindex: int) -> None:
    kind = _ingress_kind(route, ifindex)
    if kind == "clsact":
        return
    if kind == "ingress":
        raise DataPlaneError(
            f"device {ifindex} has an 'ingress' qdisc, and clsact, which we need, cannot be beside "
            "it: replace it (tc qdisc replace dev … clsact takes the same ingress filters)"
        )
    with open(_marker(run_dir, ifindex), "w", encoding="ascii"):
        pass
    route.tc("add", "clsact", ifindex)


@_beside_a_loop
def remove(run_dir: str, ifindex: int, directions: frozenset[str] = frozenset(PARENTS)) -> bool:
    """Remove our filters, and the qdisc if it is ours and empty; True if there was a filter."""
    removed = False
    with _netlink() as route:
        try:
            if _ingress_kind(route, ifindex) != "clsact":
                forget(run_dir, ifindex)
                return False
            for direction in directions:
                if any(_is_ours(entry) for entry in _filters(route, ifindex, direction)):
                    parent = PARENTS[direction]
                    route.tc("del-filter", "bpf", ifindex, HANDLE, parent=parent, prio=PRIORITY)
                    removed = True
            left = any(_filters(route, ifindex, direction) for direction in PARENTS)
            if not left and os.path.exists(_marker(run_dir, ifindex)):
                route.tc("del", "clsact", ifindex)
                forget(run_dir, ifindex)
        except NetlinkError as error:
            if error.code not in _GONE:
                raise DataPlaneError(
                    f"removing our filters of device {ifindex}: {error}"
                ) from error
            forget(run_dir, ifindex)
    return removed
