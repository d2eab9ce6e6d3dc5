# SPDX-License-Identifier: GPL-2.0-or-later
"""The two data planes that a capture can be run through, behind one face."""

from __future__ import annotations

import logging
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from omrfast.dataplane import bpffs
from omrfast.dataplane.loader import open_dataplane
from omrfast.dataplane.names import DataPlaneError
from omrfast.dataplane.reader import DataPlane
from omrfast.shim import api
from omrfast.shim._shim import ffi, lib
from omrfast.shim.native import HZ, NativePlane

log = logging.getLogger(__name__)

PATH = 0
"""All packets of a capture are of one path."""
FLOW_TABLES = ("omr_flows4", "omr_flows6")
_NO_FRAMING = 255


class _Table(Protocol):
    def lookup(self, key: bytes | int) -> bytes | None: ...
    def lookup_per_cpu(self, key: bytes | int) -> list[bytes]: ...
    def keys(self) -> Iterator[bytes]: ...


class Target:
    """An open data plane with empty tables, as omr_replay_pass() takes it."""

    def __init__(self, name: str, maps: Mapping[str, _Table], struct: Any, owner: object) -> None:
        self.name = name
        """native or kernel."""
        self.struct = struct
        """struct omr_replay_target."""
        self.maps = maps
        self._owner = owner  # keeps what struct points to

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Every flow as (key, struct omr_flow)."""
        for name in FLOW_TABLES:
            table = self.maps[name]
            for key in list(table.keys()):
                value = table.lookup(key)
                if value is not None:
                    yield key, value

    def counters(self) -> tuple[Counter[str], list[int]]:
        """(the path's counters by their names, unparsed packets by enum omr_unparsed)."""
        total: Counter[str] = Counter()
        unparsed = [0] * lib.OMR_UNPARSED_REASONS
        for value in self.maps["omr_path_counters"].lookup_per_cpu(PATH):
            row = api.struct("omr_path_counters", value)
            for name, kind in ffi.typeof(row[0]).fields:
                if kind.type.kind == "primitive" and not name.startswith("min_rtt"):
                    total[name] += getattr(row, name)
            unparsed = [one + more for one, more in zip(unparsed, row.unparsed, strict=True)]
        del total["zero"], total["events_suppressed"]  # nobody reads events
        return total, unparsed


def _native(flows: int) -> Target:
    plane = NativePlane(flows, HZ)
    struct = ffi.new("struct omr_replay_target *", {"plane": plane.handle, "l2": _NO_FRAMING})
    return Target("native", plane.maps, struct, plane)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Those that end a process are delivered when this is over."""
    ending = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _load(flows: int) -> DataPlane:
    """The programs, held by file descriptors alone: nothing of them outlives this process. The
    mount that they are loaded through would, hence no signal may come before it is gone."""
    with _signals_wait():
        run_dir = tempfile.mkdtemp(prefix="omrfast-replay-")
        try:
            return open_dataplane(run_dir, replay=True, flows=flows, hz=HZ)
        finally:
            bpffs.unmount(run_dir)
            shutil.rmtree(run_dir, ignore_errors=True)


@contextmanager
def _kernel(flows: int) -> Iterator[Target]:
    with _load(flows) as plane:
        struct = ffi.new("struct omr_replay_target *", {"l2": _NO_FRAMING})
        struct.links_fd = plane.maps["omr_links"].fd
        struct.replay_fd = plane.maps["omr_replay_packet"].fd
        struct.egress_fd = plane.programs["omr_egress"].fd
        struct.ingress_fd = plane.programs["omr_ingress"].fd
        yield Target("kernel", plane.maps, struct, plane)


@contextmanager
def open_target(dataplane: str | None, flows: int) -> Iterator[Target]:
    """A target of the kind asked for: native, kernel, or None: kernel if it can be had.

    flows: capacity of each flow table. Raises DataPlaneError.
    """
    with ExitStack() as stack:
        if dataplane != "native":
            try:
                target = stack.enter_context(_kernel(flows))
            except (DataPlaneError, OSError) as error:
                if dataplane == "kernel":
                    raise DataPlaneError(
                        f"{error}\n(--dataplane native gives the same answer without the kernel)"
                    ) from error
                log.info("the kernel's data plane cannot be had (%s), native is taken", error)
                target = _native(flows)
        else:
            target = _native(flows)
        yield target
