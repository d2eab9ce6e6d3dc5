# SPDX-License-Identifier: GPL-2.0-or-later
"""Emulated links: what a link does to packets, and two ways to make it do so.

A *backend* owns the links of one lab. Each link has the ends A and B, two devices of one
namespace; ``up`` is A to B. `WireBackend` is the emulator of this project (wire.c); `NetemBackend`
(netem.py) is the kernel's netem, used where the kernel has it. Both are driven through `Link`.
"""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from omrfast.lab import netns

WIRE = Path(__file__).with_name("wire")
UP, DOWN, BOTH = "up", "down", "both"


class LinkError(RuntimeError):
    """The emulator refused a command or is gone; the text says which and why."""


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """What one direction of a link does to packets."""

    delay: float = 0.0
    """Seconds, one way."""
    jitter: float = 0.0
    """Seconds, plus or minus, uniform; never reorders."""
    loss: float = 0.0
    """Ratio of packets, independent of each other."""
    reorder: float = 0.0
    """Ratio of packets, independent of each other, that are held back by ``hold`` and overtaken."""
    hold: float = 0.0
    """Seconds."""
    rate: float = 0.0
    """Bit/s of whole Ethernet frames; 0 is unlimited (and then there is no queue)."""
    queue: float = 0.0
    """Seconds that a packet waits at most before it is sent at ``rate``; 0 is unlimited."""
    blackhole: bool = False
    """Everything vanishes, what is queued or under way too; the devices stay up."""


@dataclass(frozen=True, slots=True)
class LinkStats:
    """Counters of one direction since the link was made, in packets unless named."""

    forwarded: int = 0
    bytes: int = 0
    lost: int = 0
    held_back: int = 0
    overflow: int = 0
    blackholed: int = 0
    oversize: int = 0
    refused: int = 0
    nomem: int = 0
    under_way: int = 0
    backlog_bytes: int = 0


@dataclass(frozen=True, slots=True)
class LinkPair:
    """Names of a link and of its two devices."""

    name: str
    a: str
    b: str


class Backend(Protocol):
    """Owner of the links of one namespace."""

    name: str

    def apply(self, link: str, direction: str, settings: LinkSettings) -> None: ...

    def stats(self, link: str, direction: str) -> LinkStats: ...

    def close(self) -> None: ...


class Link:
    """One link of a lab; settings are kept per direction and changed piecemeal."""

    def __init__(self, backend: Backend, name: str, settings: LinkSettings) -> None:
        self.name = name
        self._backend = backend
        self._now = {UP: settings, DOWN: settings}
        for direction in (UP, DOWN):
            backend.apply(name, direction, settings)

    def settings(self, direction: str) -> LinkSettings:
        return self._now[direction]

    def change(self, direction: str = BOTH, **changes: Any) -> None:
        """Change members of `LinkSettings` while the link runs; TypeError for unknown ones."""
        for way in (UP, DOWN) if direction == BOTH else (direction,):
            settings = replace(self._now[way], **changes)
            self._backend.apply(self.name, way, settings)
            self._now[way] = settings

    def stats(self, direction: str) -> LinkStats:
        return self._backend.stats(self.name, direction)


WIRE_SOCKET = "wire.sock"
_WIRE_KEYS = {
    "delay": ("delay_us", 1e6),
    "jitter": ("jitter_us", 1e6),
    "loss": ("loss_ppm", 1e6),
    "reorder": ("reorder_ppm", 1e6),
    "hold": ("reorder_us", 1e6),
    "rate": ("rate_bps", 1),
    "queue": ("queue_us", 1e6),
    "blackhole": ("blackhole", 1),
}


class WireControl:
    """The control socket of a running emulator (protocol: wire_control.h)."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(5)
        self._socket.connect(str(path))
        self._answers = self._socket.makefile("r")

    def command(self, line: str) -> dict[str, int]:
        """Send one command; its answer's numbers. LinkError if refused or gone."""
        try:
            with self._lock:
                self._socket.sendall(f"{line}\n".encode())
                answer = self._answers.readline().split()
        except OSError as error:
            raise LinkError(f"the link emulator is gone: {error}") from error
        if not answer:
            raise LinkError("the link emulator is gone")
        if answer[0] != "ok":
            raise LinkError(f"{line}: {' '.join(answer[1:])}")
        return {key: int(value) for key, value in (word.split("=") for word in answer[1:])}

    def change(self, link: str, direction: str, changes: Mapping[str, Any]) -> None:
        """Change some members of LinkSettings of a link; the rest stays."""
        words = []
        for member, value in changes.items():
            key, scale = _WIRE_KEYS[member]
            words.append(f"{key}={round(value * scale)}")
        self.command(f"set {link} {direction} {' '.join(words)}")

    def stats(self, link: str, direction: str) -> LinkStats:
        return LinkStats(**self.command(f"stats {link} {direction}"))

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


class WireBackend:
    """The emulator in userspace: one process for all links of a lab."""

    name = "wire"

    def __init__(
        self, namespace: str, pairs: tuple[LinkPair, ...], directory: Path, seed: int = 1
    ) -> None:
        if not WIRE.exists():
            raise LinkError(f"{WIRE} is missing: build it with `make setup`")
        path = directory / WIRE_SOCKET
        with (directory / "wire.log").open("w+") as log:
            self._process = netns.spawn(
                namespace,
                [str(WIRE), str(path), str(seed), *(f"{p.name}:{p.a}:{p.b}" for p in pairs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
            assert self._process.stdout is not None
            if self._process.stdout.readline() != "ready\n":
                self._process.wait(5)
                log.seek(0)
                raise LinkError(f"the link emulator did not start: {log.read().strip()}")
        self._control = WireControl(path)

    @property
    def pid(self) -> int:
        return self._process.pid

    def apply(self, link: str, direction: str, settings: LinkSettings) -> None:
        self._control.change(link, direction, asdict(settings))

    def stats(self, link: str, direction: str) -> LinkStats:
        return self._control.stats(link, direction)

    def close(self) -> None:
        self._control.close()
        netns.end(self._process)


def open_backend(
    namespace: str, pairs: tuple[LinkPair, ...], directory: Path, seed: int, kind: str = "auto"
) -> Backend:
    """``kind``: wire, netem, or auto (netem where the kernel has it)."""
    from omrfast.lab.netem import NetemBackend, has_netem

    if kind not in ("auto", "wire", "netem"):
        raise ValueError(f"unknown link backend {kind!r}: write auto, wire or netem")
    if kind == "netem" or (kind == "auto" and has_netem(namespace)):
        return NetemBackend(namespace, pairs, directory, seed)
    return WireBackend(namespace, pairs, directory, seed)
