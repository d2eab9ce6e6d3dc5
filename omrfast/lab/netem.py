# SPDX-License-Identifier: GPL-2.0-or-later
"""Links by the kernel's netem, behind the interface of links.py.

By tc(8): pyroute2 (0.9) sends netem's rate as the qdisc's rate estimator too, which the kernel
refuses.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
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
    """The settings of one direction as tc takes them after ``netem``, but for the black hole.

    LinkError for ``reorder``.
    """
    if settings.reorder:
        raise LinkError("netem can send a share early, but not hold it back: take backend wire")
    packets = settings.rate * (settings.queue + settings.delay) / 8 / FRAME
    limit = max(int(packets), 10) if settings.rate and settings.queue else NO_QUEUE_LIMIT
    words = ["limit", str(limit), "delay", f"{round(settings.delay * 1e6)}us"]
    if settings.jitter:
        words.append(f"{round(settings.jitter * 1e6)}us")
    if settings.loss:
        words += ["loss", f"{settings.loss * 100:g}%"]
    if settings.rate:
        words += ["rate", f"{round(settings.rate)}bit"]
    return words


class NetemBackend:
    """The two devices of each link in a bridge, a netem qdisc on the way out of each.

    A black hole is the qdisc of that name in the place of netem, so that what is queued or under
    way goes with the old one, and not a packet gets through in between.

    Differs from wire: the queue is counted in packets of 1,500 bytes and includes what is on the
    delay line; jitter may reorder, ``reorder`` is refused; the seed has no effect.
    """

    name = "netem"

    def __init__(
        self, namespace: str, pairs: tuple[LinkPair, ...], directory: Path, seed: int = 1
    ) -> None:
        self._namespace = namespace
        self._egress: dict[tuple[str, str], str] = {}
        self._silent: dict[tuple[str, str], bool] = {}
        self._past: dict[tuple[str, str], LinkStats] = {}
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
        kind = ("handle", "2:", "blackhole") if settings.blackhole else ("handle", "1:", "netem")
        words = () if settings.blackhole else netem_words(settings)
        if settings.blackhole != self._silent.get((link, direction), settings.blackhole):
            self._past[link, direction] = self.stats(link, direction)
        device = self._egress[link, direction]
        _tc(self._namespace, "qdisc", "replace", "dev", device, "root", *kind, *words)
        self._silent[link, direction] = settings.blackhole

    def stats(self, link: str, direction: str) -> LinkStats:
        """With what the qdiscs before the present one counted."""
        device = self._egress[link, direction]
        past = self._past.get((link, direction), LinkStats())
        for qdisc in json.loads(_tc(self._namespace, "-s", "-j", "qdisc", "show", "dev", device)):
            if qdisc["kind"] == "netem":
                return replace(
                    past,
                    forwarded=past.forwarded + qdisc["packets"],
                    bytes=past.bytes + qdisc["bytes"],
                    lost=past.lost + qdisc["drops"],
                )
            if qdisc["kind"] == "blackhole":
                return replace(past, blackholed=past.blackholed + qdisc["drops"])
        return past

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
