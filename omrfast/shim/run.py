# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs, and running them on crafted packets (BPF_PROG_TEST_RUN)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from omrfast.shim import api
from omrfast.shim._shim import ffi, lib

_ROOM_BEYOND = 256
TC_ACT_UNSPEC = -1
XDP_PASS = 2


@dataclass(frozen=True, slots=True)
class RunResult:
    verdict: int
    """TC_ACT_* (signed) or XDP_*."""
    duration_ns: int
    """Mean of one run."""
    packet: bytes
    """The packet as the program left it."""


class Program:
    """A program by its file descriptor, which it owns."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.info = api.prog_info(fd)

    @classmethod
    def open(cls, path: str) -> Program:
        return cls(api.open_pin(path))

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def run_skb(
        self,
        packet: bytes,
        *,
        ifindex: int = 0,
        gso_segs: int = 0,
        gso_size: int = 0,
        tstamp: int = 0,
        mark: int = 0,
        repeat: int = 1,
    ) -> RunResult:
        """Run a TC program on an Ethernet frame, as a packet of device ifindex (0: lo).

        tstamp is the skb's timestamp in ns. Raises ShimError (ENODEV: no such device in this
        network namespace; EINVAL: the frame is shorter than an Ethernet header).
        """
        run = ffi.new("struct omr_run *")
        run.gso_segs, run.gso_size, run.tstamp, run.mark = gso_segs, gso_size, tstamp, mark
        return self._run(lib.omr_run_skb, run, packet, ifindex, repeat)

    def run_xdp(self, packet: bytes, *, ifindex: int = 0, repeat: int = 1) -> RunResult:
        """Run an XDP program on a frame that arrives on ifindex.

        The kernel accepts only a device with a registered XDP receive queue (EINVAL otherwise): a
        veth has one while a native XDP program is attached to it.
        """
        return self._run(lib.omr_run_xdp, ffi.new("struct omr_run *"), packet, ifindex, repeat)

    def _run(self, call: Any, run: Any, packet: bytes, ifindex: int, repeat: int) -> RunResult:
        data = ffi.from_buffer(packet)
        out = ffi.new("char[]", len(packet) + _ROOM_BEYOND)
        run.prog_fd, run.repeat, run.ifindex = self.fd, repeat, ifindex
        run.data, run.data_len = data, len(packet)
        run.data_out, run.data_out_len = out, len(out)
        api.check(call(run), f"running {self.info.name} on a packet of {len(packet)} bytes")
        verdict = run.verdict - (1 << 32 if run.verdict >> 31 else 0)
        return RunResult(verdict, run.duration_ns, bytes(ffi.buffer(out, run.data_out_len)))

    def run_syscall(self, ctx: Any) -> int:
        """Run a syscall program on a struct made by api.struct(), which it may change."""
        retval = ffi.new("unsigned int *")
        size = ffi.sizeof(ctx[0])
        api.check(lib.omr_run_syscall(self.fd, ctx, size, retval), f"running {self.info.name}")
        return int(retval[0])
