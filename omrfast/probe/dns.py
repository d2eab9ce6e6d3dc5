# SPDX-License-Identifier: GPL-2.0-or-later
"""Does a resolver answer? Questions in UDP (RFC 1035) over one path, without EDNS.

Messages are dnspython's; the sockets are ours, for dnspython's cannot be bound to a device, nor
tell when an answer arrived from when it was read.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
import time

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

from omrfast.core.types import Target
from omrfast.probe.base import ProbePath
from omrfast.probe.bound import (
    ANCILLARY,
    ProbeFailure,
    arrival,
    keep_errors,
    open_socket,
    readable,
    refusal,
    sockaddr,
    stamp_arrivals,
)
from omrfast.probe.service import Answer, Progress, ServiceProber

PORT = 53
AGAIN_AFTER = 1.0
"""Seconds until a question is asked again, as the kernel does with a SYN (RFC 6298)."""


def question(name: str, version: int) -> dns.message.Message:
    """For the NS records of the root, or a name's A (IPv4) or AAAA (IPv6) records.

    Raises ProbeFailure if it is no domain name.
    """
    kind = dns.rdatatype.A if version == 4 else dns.rdatatype.AAAA
    if name == ".":
        kind = dns.rdatatype.NS
    try:
        return dns.message.make_query(name, kind, use_edns=False)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise ProbeFailure(f"{name!r} is no domain name: {error}", alive=False) from None


async def ask(
    path: ProbePath, server: str, query: dns.message.Message
) -> tuple[dns.message.Message, Answer]:
    """The server's answer, with its RTT and when it arrived; asks again until it is cancelled.

    Raises OSError if nothing could be sent, ProbeFailure for an ICMP error or an answer that is
    none. Whether the answer is a good one is not looked at.
    """
    version = ipaddress.ip_address(server).version
    with open_socket(path, version, socket.SOCK_DGRAM) as opened:
        keep_errors(opened)
        stamp_arrivals(opened)
        opened.connect(sockaddr(server, path.interface, PORT))
        sent: dict[int, float] = {}
        while True:
            query.id = secrets.randbelow(0x10000)
            sent[query.id] = time.monotonic()
            try:
                opened.send(query.to_wire())
            except OSError as error:
                if len(sent) == 1:
                    raise
                raise refusal(opened, server, error.errno or 0) from None
            try:
                async with asyncio.timeout(AGAIN_AFTER):
                    return await _answer(opened, server, query, sent)
            except TimeoutError:
                continue


async def _answer(
    opened: socket.socket, server: str, query: dns.message.Message, sent: dict[int, float]
) -> tuple[dns.message.Message, Answer]:
    """The first answer to any of the questions sent: identifier to instant."""
    while True:
        await readable(opened)
        try:
            data, ancillary, _, _ = opened.recvmsg(4096, ANCILLARY)
        except BlockingIOError:  # the packet's checksum was wrong
            continue
        except OSError as error:
            raise refusal(opened, server, error.errno or 0) from None
        try:
            answer = dns.message.from_wire(data, ignore_trailing=True)
        except dns.exception.DNSException as error:
            raise ProbeFailure(f"answered what is no DNS: {error}", alive=True) from None
        query.id = answer.id
        if answer.id in sent and query.is_response(answer):
            at = max(arrival(ancillary), sent[answer.id])
            return answer, Answer(at - sent[answer.id], at)


class DnsProber(ServiceProber):
    """Target.address is a resolver's, Target.query what to ask it for; see Prober.

    It works if it answers NOERROR, with records or without: a name may well have no address of
    one family. A truncated answer is one.
    """

    async def ask(self, path: ProbePath, target: Target, progress: Progress) -> Answer:
        """See ServiceProber.ask()."""
        version = ipaddress.ip_address(target.address).version
        message, answer = await ask(path, target.address, question(target.query, version))
        if message.rcode() != dns.rcode.NOERROR:
            code = dns.rcode.to_text(message.rcode())
            raise ProbeFailure(f"answered {code} to {target.query!r}", alive=True)
        return answer
