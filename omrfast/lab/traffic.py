# SPDX-License-Identifier: GPL-2.0-or-later
"""Real MPTCP streams between namespaces, and what their receivers saw.

Instants are CLOCK_MONOTONIC seconds; a stream is recorded where its data arrives.
"""

from __future__ import annotations

import bisect
import json
import math
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from omrfast.lab import netns
from omrfast.lab.addresses import server_address
from omrfast.lab.devices import LabError
from omrfast.lab.topology import Lab

PEER = Path(__file__).with_name("peer.py")
KINDS = ("bulk-up", "bulk-down", "paced-up", "paced-down", "request", "connect", "web")
AT_SERVER = ("bulk-up", "paced-up")


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One stream; "up" is from the router (or LAN client) to the server."""

    name: str
    kind: str
    """bulk-up, bulk-down: as fast as it goes; paced-up, paced-down: a message per interval;
    request: question and answer, one at a time; connect: a new connection per interval, up to its
    first byte; web: ``connections`` that fetch 1 kB to 2 MB each time, now and then send some,
    and pause for ``interval`` on average, mostly less, sometimes very much longer."""
    interval: float = 0.02
    """Seconds."""
    size: int = 256
    """Bytes of a message, at least 16."""
    server: int = 1
    client: str = "router"
    """Part of the lab that connects: router or lan."""
    source: str | None = None
    """Local address of the client; None: as the route says."""
    ipv6: bool = False
    mptcp: bool = True
    congestion: str | None = None
    """Congestion control; None: the kernel's default."""
    connections: int = 4
    """Of a web stream, at a time."""
    seed: int = 1
    """Of a web stream's random numbers."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"stream kind {self.kind!r}: write one of {', '.join(KINDS)}")
        if self.size < 16:
            raise ValueError("a message has at least 16 bytes")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One new connection."""

    began: float
    done: float | None
    """When its first byte arrived; None: not before the record was taken."""
    errors: tuple[str, ...]
    mptcp: bool


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """What the receiver of a stream saw."""

    name: str
    kind: str
    arrived: tuple[float, ...]
    sizes: tuple[int, ...]
    messages: tuple[tuple[float, float], ...]
    """(sent, received) of each message, question or new connection."""
    attempts: tuple[Attempt, ...]
    errors: tuple[tuple[float, str], ...]
    taken: float
    """When the record ends."""

    @property
    def total_bytes(self) -> int:
        return sum(self.sizes)

    def longest_gap(self, begin: float, end: float, clip: float = math.inf) -> float:
        """Seconds of the longest time without delivered data; see `gap_at`."""
        return self.gap_at(begin, end, clip)[1]

    def gap_at(self, begin: float, end: float, clip: float = math.inf) -> tuple[float, float]:
        """(start, length) of the longest time without delivered data that touches [begin, end].

        A gap counts whole if it began before ``end`` and lasted beyond ``begin``, except for what
        lies beyond ``clip``; one that is still open lasts until the record was taken.
        """
        first = max(bisect.bisect_right(self.arrived, begin) - 1, 0)
        last = bisect.bisect_right(self.arrived, end)
        times = [*self.arrived[first : last + 1]]
        if not times or times[0] > begin:
            times.insert(0, begin)
        if last >= len(self.arrived):
            times.append(self.taken)
        gaps = [(a, max(min(b, clip) - a, 0.0)) for a, b in pairwise(times)]
        return max(gaps, key=lambda gap: gap[1])

    def delivered(self, begin: float, end: float) -> int:
        """Bytes that arrived in [begin, end)."""
        lo, hi = (bisect.bisect_left(self.arrived, t) for t in (begin, end))
        return sum(self.sizes[lo:hi])

    def rate(self, begin: float, end: float, step: float = 0.1) -> list[float]:
        """Delivered bit/s in consecutive steps."""
        count = max(round((end - begin) / step), 0)
        edges = [begin + i * step for i in range(count + 1)]
        return [8 * self.delivered(a, b) / step for a, b in pairwise(edges)]

    def latency(self, begin: float, end: float, quantile: float) -> float | None:
        """Seconds from sent to received, of messages sent in [begin, end)."""
        times = sorted(got - sent for sent, got in self.messages if begin <= sent < end)
        if not times:
            return None
        return times[min(int(quantile * len(times)), len(times) - 1)]

    def latencies(self, begin: float, end: float, step: float = 0.1) -> list[float | None]:
        """The slowest of the messages sent in each of consecutive steps; None: none sent."""
        slowest: list[float | None] = [None] * max(round((end - begin) / step), 0)
        for sent, got in self.messages:
            index = int((sent - begin) / step)
            if begin <= sent and index < len(slowest):
                slowest[index] = max(slowest[index] or 0.0, got - sent)
        return slowest


class _End:
    """One peer process."""

    def __init__(self, namespace: str, argument: dict[str, Any]) -> None:
        self._process = netns.spawn(
            namespace,
            [sys.executable, "-I", "-S", str(PEER), json.dumps(argument)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.ready = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LabError(f"a traffic process ended with {self._process.wait(5)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def command(self, word: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        netns.end(self._process)


class Stream:
    """A running stream; a context manager that ends both its processes."""

    def __init__(self, lab: Lab, spec: StreamSpec) -> None:
        self.spec = spec
        self._result = lab.directory / f"stream-{spec.name}.json"
        argument: dict[str, Any] = {
            "kind": spec.kind,
            "address": server_address(spec.server, 6 if spec.ipv6 else 4),
            "source": spec.source,
            "size": spec.size,
            "interval": spec.interval,
            "mptcp": spec.mptcp,
            "congestion": spec.congestion,
            "connections": spec.connections,
            "seed": spec.seed,
            "result": str(self._result),
        }
        self._server = _End(lab.ns(f"vps{spec.server}"), argument | {"end": "server"})
        port = self._server.ready["port"]
        try:
            client = argument | {"end": "client", "port": port}
            self._client = _End(lab.ns(spec.client), client)
        except BaseException:
            self._server.close()
            raise
        self.port: int = port

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()

    @property
    def _recorder(self) -> _End:
        return self._server if self.spec.kind in AT_SERVER else self._client

    def delivered(self) -> int:
        """Bytes that have arrived so far."""
        return int(self._recorder.command("poll")["bytes"])

    def record(self) -> StreamRecord:
        """What the receiver has seen up to now; the stream goes on."""
        taken = time.monotonic()
        self._recorder.command("save")
        data = json.loads(self._result.read_text())
        return StreamRecord(
            name=self.spec.name,
            kind=self.spec.kind,
            arrived=tuple(data["arrived"]),
            sizes=tuple(data["sizes"]),
            messages=tuple(zip(data["sent"], data["received"], strict=True)),
            attempts=tuple(
                Attempt(a["began"], a["done"], tuple(a["errors"]), a.get("mptcp", False))
                for a in data["attempts"]
            ),
            errors=tuple((at, text) for at, text in data["errors"]),
            taken=taken,
        )

    def close(self) -> None:
        self._client.close()
        self._server.close()
