# SPDX-License-Identifier: GPL-2.0-or-later
"""Names in URLs: asked over the path itself, so that a path stands or falls by its own answers.

Asked one after the other, until one knows the name:

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
import ipaddress
import os
import time
from dataclasses import dataclass
from pathlib import Path

import dns.rcode
import dns.rdatatype

from omrfast.probe.base import ProbePath
from omrfast.probe.bound import ProbeFailure
from omrfast.probe.dns import ask, question

LONGEST_TTL = 3600.0
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
        first: ProbeFailure | OSError | None = None
        for through, server in servers:
            try:
                async with asyncio.timeout(patience / len(servers)):
                    return await _look_up_at(through, server, host, path.version)
            except TimeoutError:
                failure: ProbeFailure | OSError = ProbeFailure(
                    f"name {host}: no answer from {server}", alive=False
                )
            except OSError as error:
                text = f"name {host}: {server}: {os.strerror(error.errno or 0)}"
                failure = ProbeFailure(text, alive=False) if through is _LOOPBACK else error
            except ProbeFailure as error:
                failure = error
            first = first or failure
        assert first is not None
        raise first

    def _servers(self, path: ProbePath) -> list[tuple[ProbePath, str]]:
        system = nameservers(self._resolv_conf)
        near = [server for server in system if ipaddress.ip_address(server).is_loopback]
        far = dict.fromkeys((*path.resolvers, *(s for s in system if s not in near)))
        same = (s for s in far if ipaddress.ip_address(s).version == path.version)
        return [*((path, server) for server in same), *((_LOOPBACK, server) for server in near)]


async def _look_up_at(through: ProbePath, server: str, host: str, version: int) -> _Found:
    """Raises ProbeFailure, which is silent about whether the path lives, or OSError."""
    try:
        answer, _ = await ask(through, server, question(host, version))
    except ProbeFailure as failure:
        text = f"name {host}: {server}: {failure}"
        raise ProbeFailure(text, alive=False) from None
    if answer.rcode() != dns.rcode.NOERROR:
        code = dns.rcode.to_text(answer.rcode())
        raise ProbeFailure(f"name {host}: {server} answered {code}", alive=False)
    kind = dns.rdatatype.A if version == 4 else dns.rdatatype.AAAA
    for rrset in answer.answer:
        for record in rrset if rrset.rdtype == kind else ():
            ttl = min(float(rrset.ttl), LONGEST_TTL)
            return _Found(record.to_text(), time.monotonic() + ttl)
    raise ProbeFailure(f"name {host}: {server} knows no IPv{version} address of it", alive=False)
