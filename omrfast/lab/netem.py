# SPDX-License-Identifier: GPL-2.0-or-later
"""Links by the kernel's netem, behind the interface of links.py.

By tc(8): pyroute2 (0.9) sends netem's rate as the qdisc's rate estimator too, which the kernel
refuses.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from pyroute2 import IPRoute

from omrfast.lab import netns
from omrfast.lab.links import DOWN, UP, LinkError, LinkPair, LinkSettings, LinkStats

FRAME = 1500
"""Bytes of the frames that a queue is counted in."""
NO_QUEUE_LIMIT = 100_000


def _tc(namespace: str, *words: str) -> str:
    """Output of tc; LinkError with its complaint."""
    done = netns.call(
        namespace, subprocess.run, ["tc", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LinkError(f"tc {' '.join(words)}: {done.stderr.strip()}")
    return str(done.stdout)


def netem_words(settings: LinkSettings) -> list[str]:
    """The settings of one direction as tc takes them after ``netem``; LinkError for ``reorder``."""
    if settings.reorder:
        raise LinkError("netem can send a share early, but not hold it back: take backend wire")
    packets = settings.rate * (settings.queue + settings.delay) / 8 / FRAME
    limit = max(int(packets), 10) if settings.rate and settings.queue else NO_QUEUE_LIMIT
    words = ["limit", str(limit), "delay", f"{round(settings.delay * 1e6)}us"]
    if settings.jitter:
        words.append(f"{round(settings.jitter * 1e6)}us")
    if settings.blackhole or settings.loss:
        words += ["loss", f"{100 if settings.blackhole else settings.loss * 100:g}%"]
    if settings.rate:
        words += ["rate", f"{round(settings.rate)}bit"]
    return words


class NetemBackend:
    """The two devices of each link in a bridge, a netem qdisc on the way out of each.

    Differs from wire: the queue is counted in packets of 1,500 bytes and includes what is on the
    delay line; jitter may reorder, ``reorder`` is refused; the seed has no effect.
    """

    name = "netem"

    def __init__(
        self, namespace: str, pairs: tuple[LinkPair, ...], directory: Path, seed: int = 1
    ) -> None:
        self._namespace = namespace
        self._egress: dict[tuple[str, str], str] = {}
        for pair in pairs:
            netns.call(namespace, self._bridge, pair)
            self._egress[pair.name, UP] = pair.b
            self._egress[pair.name, DOWN] = pair.a

    @staticmethod
    def _bridge(pair: LinkPair) -> None:
        with IPRoute() as ip:
            ip.link("add", ifname=f"br-{pair.name}", kind="bridge")
            bridge = ip.link_lookup(ifname=f"br-{pair.name}")[0]
            for port in (pair.a, pair.b):
                ip.link("set", index=ip.link_lookup(ifname=port)[0], master=bridge)
            ip.link("set", index=bridge, state="up")

    def apply(self, link: str, direction: str, settings: LinkSettings) -> None:
        where = ("dev", self._egress[link, direction], "root")
        netem = ("handle", "1:", "netem", *netem_words(settings))
        if settings.blackhole:
            # A queue of another kind in between: what was under way goes with the old one.
            _tc(self._namespace, "qdisc", "replace", *where, "pfifo")
        _tc(self._namespace, "qdisc", "replace", *where, *netem)

    def stats(self, link: str, direction: str) -> LinkStats:
        device = self._egress[link, direction]
        for qdisc in json.loads(_tc(self._namespace, "-s", "-j", "qdisc", "show", "dev", device)):
            if qdisc["kind"] == "netem":
                return LinkStats(
                    forwarded=qdisc["packets"], bytes=qdisc["bytes"], lost=qdisc["drops"]
                )
        return LinkStats()

    def close(self) -> None:
        """Nothing to end: bridges and qdiscs go with the namespace."""


def has_netem(namespace: str) -> bool:
    """Whether the kernel lets a netem qdisc be added; tried on lo of ``namespace``."""
    try:
        _tc(namespace, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1us")
    except (LinkError, FileNotFoundError):
        return False
    _tc(namespace, "qdisc", "del", "dev", "lo", "root")
    return True
