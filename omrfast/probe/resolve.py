# SPDX-License-Identifier: GPL-2.0-or-later
"""Names in URLs: asked over the path itself, so that a path stands or falls by its own answers.

Asked in this order until one knows the name, the next as soon as one fails or is silent for a while
(what it says later still counts):

1. the resolvers of ProbePath.resolvers (the agent gives those that are probes of kind dns), and
   then the nameservers of /etc/resolv.conf, each of the path's IP version, through the path;
2. nameservers of /etc/resolv.conf on a loopback address, through lo: which uplink such a one
   asks is its own affair.

Names are taken as complete: no search list, and no /etc/hosts. What was found is kept per path for
its TTL, and used for longer if nobody answers any more (RFC 8767): whether names can be resolved
is for probes of kind dns to say.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import time
from asyncio import FIRST_COMPLETED
from dataclasses import dataclass
from pathlib import Path

import dns.rcode
import dns.rdatatype

from omrfast.probe.base import ProbePath
from omrfast.probe.bound import ProbeFailure
from omrfast.probe.dns import ask, question

LONGEST_TTL = 3600.0
NEXT_AFTER = 0.3
"""Seconds of silence after which the next resolver is asked as well, if none has failed before."""
STALE = 86_400.0
"""Seconds after the end of its TTL for which an address may still be used."""
_LOOPBACK = ProbePath("", "lo")


@dataclass(frozen=True, slots=True)
class _Found:
    address: str
    until: float
    """CLOCK_MONOTONIC seconds."""


def nameservers(resolv_conf: Path) -> tuple[str, ...]:
    """Addresses in the order of the file; none if it can't be read."""
    try:
        lines = resolv_conf.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    words = (line.split() for line in lines)
    return tuple(
        line[1] for line in words if len(line) > 1 and line[0] == "nameserver" and _is(line[1])
    )


def _is(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


class Resolver:
    """Addresses of hosts, by path."""

    def __init__(self, resolv_conf: Path = Path("/etc/resolv.conf")) -> None:
        self._resolv_conf = resolv_conf
        self._found: dict[tuple[str, int, str], _Found] = {}

    async def address(self, path: ProbePath, host: str, patience: float) -> str:
        """An address of the host, of the path's IP version; the host itself if it is one.

        ``patience``, seconds, is for all resolvers together. Raises ProbeFailure if nobody knows
        the name, OSError if nobody can be asked through the path and nothing else can.
        """
        if _is(host):
            return host
        key = (path.name, path.version, host)
        found, now = self._found.get(key), time.monotonic()
        if found is None or now > found.until:
            try:
                found = await self._look_up(path, host, patience)
            except (ProbeFailure, OSError):
                if found is None or now > found.until + STALE:
                    raise
            self._found[key] = found
        return found.address

    def failed(self, path: ProbePath, host: str) -> None:
        """The address did not work: ask again before it is used again, if anybody answers."""
        key = (path.name, path.version, host)
        if key in self._found:
            self._found[key] = _Found(self._found[key].address, time.monotonic())

    def forget(self, path: str) -> None:
        """Drop what was found over the path of that name."""
        for key in [key for key in self._found if key[0] == path]:
            del self._found[key]

    async def _look_up(self, path: ProbePath, host: str, patience: float) -> _Found:
        servers = self._servers(path)
        if not servers:
            raise ProbeFailure(
                f"name {host}: there is no resolver for it, neither in {self._resolv_conf} nor as"
                " a [[probe]] of kind dns",
                alive=False,
            )
        asked: set[asyncio.Task[_Found | ProbeFailure | OSError]] = set()
        failures: list[ProbeFailure | OSError] = []
        end = time.monotonic() + patience
        left = list(reversed(servers))
        try:
            while (left or asked) and (now := time.monotonic()) < end:
                if left:
                    asked.add(asyncio.create_task(_outcome(*left.pop(), host, path.version)))
                wait = min(NEXT_AFTER, end - now) if left else end - now
                done, asked = await asyncio.wait(asked, timeout=wait, return_when=FIRST_COMPLETED)
                for outcome in [task.result() for task in done]:
                    if isinstance(outcome, _Found):
                        return outcome
                    failures.append(outcome)
        finally:
            for task in asked:
                task.cancel()
        if failures:
            raise failures[0]
        silent = ", ".join(server for _, server in servers)
        raise ProbeFailure(f"name {host}: no answer from {silent}", alive=False)

    def _servers(self, path: ProbePath) -> list[tuple[ProbePath, str]]:
        system = nameservers(self._resolv_conf)
        near = [server for server in system if ipaddress.ip_address(server).is_loopback]
        far = dict.fromkeys((*path.resolvers, *(s for s in system if s not in near)))
        same = (s for s in far if ipaddress.ip_address(s).version == path.version)
        return [*((path, server) for server in same), *((_LOOPBACK, server) for server in near)]


async def _outcome(
    through: ProbePath, server: str, host: str, version: int
) -> _Found | ProbeFailure | OSError:
    """What asking one resolver came to; a failure is silent about whether the path lives."""
    try:
        return await _look_up_at(through, server, host, version)
    except OSError as error:
        if through is not _LOOPBACK:
            return error
        reason = os.strerror(error.errno or errno.EIO)
    except ProbeFailure as failure:
        reason = str(failure)
    return ProbeFailure(f"name {host}: {server}: {reason}", alive=False)


async def _look_up_at(through: ProbePath, server: str, host: str, version: int) -> _Found:
    """Raises ProbeFailure or OSError."""
    answer, _ = await ask(through, server, question(host, version))
    if answer.rcode() != dns.rcode.NOERROR:
        raise ProbeFailure(f"answered {dns.rcode.to_text(answer.rcode())}", alive=True)
    kind = dns.rdatatype.A if version == 4 else dns.rdatatype.AAAA
    for rrset in answer.answer:
        for record in rrset if rrset.rdtype == kind else ():
            ttl = min(float(rrset.ttl), LONGEST_TTL)
            return _Found(record.to_text(), time.monotonic() + ttl)
    raise ProbeFailure(f"knows no IPv{version} address of it", alive=True)
