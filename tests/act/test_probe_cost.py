# SPDX-License-Identifier: GPL-2.0-or-later
"""What a probe costs: the IP packets that really pass, against core/targets.py."""

from __future__ import annotations

import functools
import ipaddress
import math
import select
import socket
import struct

import pytest

from omrfast.core.targets import cost
from omrfast.core.types import Origin, ProbeKind, Target
from omrfast.probe.dns import DnsProber
from omrfast.probe.http import HttpProber, HttpsProber
from omrfast.probe.icmp import IcmpProber
from omrfast.probe.resolve import Resolver
from omrfast.probe.tcp import TcpProber

from .conftest import SERVER4, SERVER6
from .probes import WAN1, only, outcome, place, service
from .web import HOST, WORDS, authority, nameserver, records, server_context, web

SERVER = {4: SERVER4, 6: SERVER6}
ALL = 3
"""ETH_P_ALL."""
QUIET = 0.3
"""Seconds without a packet after which a probe has said farewell."""


def ip_bytes(frame, address):
    """IP bytes of a frame to or from the address, in segments as a real link has them; else 0."""
    data = frame[14:]
    if data[0] >> 4 == 4:
        header, protocol, total = 20, data[9], struct.unpack_from("!H", data, 2)[0]
        ends = data[12:16], data[16:20]
    else:
        header, protocol, total = 40, data[6], 40 + struct.unpack_from("!H", data, 4)[0]
        ends = data[8:24], data[24:40]
    if ipaddress.ip_address(address).packed not in ends:
        return 0
    if protocol == socket.IPPROTO_ICMPV6 and data[header] not in (128, 129):
        return 0  # neighbours
    if protocol != socket.IPPROTO_TCP:
        return total
    header += (data[header + 12] >> 4) * 4
    payload = total - header
    return payload + max(1, math.ceil(payload / (1500 - header))) * header


def counted(lab, make, family, target, costs=None):
    """IP bytes, both ways, of a probe: the least of two, for on a busy machine TCP sends a packet
    again now and then. One before them finds the neighbours."""
    path = only(WAN1, family)
    assert outcome(lab, make, path, target)[0] == "reply"
    tap = lab.server.call(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
    with tap:
        tap.bind(("up1", ALL))
        found = []
        for _ in range(2):
            collect(tap)
            assert outcome(lab, make, path, target, costs)[0] == "reply"
            found.append(sum(ip_bytes(frame, SERVER[family]) for frame in collect(tap)))
        return min(found)


def collect(tap):
    """IP frames, until it is quiet."""
    frames = []
    while select.select([tap], [], [], QUIET)[0]:
        frame = tap.recv(65_536)
        if frame[12:14] in (b"\x08\x00", b"\x86\xdd"):
            frames.append(frame)
    return frames


def fits(measured, estimate):
    """The budget may be a little too careful, never too generous."""
    print(f"measured {measured} bytes, counted as {estimate}")
    return measured <= estimate <= 1.5 * measured


@pytest.mark.parametrize("family", [4, 6])
def test_icmp(lab, family):
    address = SERVER[family]
    ping = Target(f"icmp {address}", ProbeKind.ICMP, address, Origin.WITNESS, address)
    measured = counted(lab, IcmpProber, family, ping)
    assert measured == cost(ProbeKind.ICMP, family == 6)


@pytest.mark.parametrize("family", [4, 6])
def test_tcp(lab, family):
    with web(lab.server, 80):
        target = service("tcp", place(SERVER[family], 80))
        measured = counted(lab, TcpProber, family, target)
    assert fits(measured, cost(ProbeKind.TCP, family == 6))


@pytest.mark.parametrize("family", [4, 6])
def test_dns(lab, family):
    """The root's thirteen name servers, as any resolver has them."""
    root = records(
        ". 60 NS " + " ".join(f"{letter}.root-servers.net." for letter in "abcdefghijklm")
    )
    with nameserver(lab.server, SERVER[family], root):
        target = service("dns", SERVER[family], query=".")
        measured = counted(lab, DnsProber, family, target)
    assert fits(measured, cost(ProbeKind.DNS, family == 6))


@pytest.mark.parametrize("family", [4, 6])
def test_http(lab, tmp_path, family):
    """With the question for its name."""
    target = service("http", f"http://{HOST}/status/204")
    with web(lab.server, 80), names(lab, family):
        measured = counted(lab, resolving(HttpProber, tmp_path, family), family, target)
    assert fits(measured, cost(ProbeKind.HTTP, family == 6))


@pytest.mark.parametrize("family", [4, 6])
def test_https(lab, tmp_path, monkeypatch, family):
    """As http, with a certificate and that of its issuer, as public servers have them."""
    authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    target = service("https", f"https://{HOST}/status/204")
    context = server_context(tmp_path, "chain")
    with web(lab.server, 443, context), names(lab, family):
        measured = counted(lab, resolving(HttpsProber, tmp_path, family), family, target)
    assert fits(measured, cost(ProbeKind.HTTPS, family == 6))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("page", ["status/503", "page/3000/", "page/16300/"])
def test_what_a_server_chose_is_told(lab, family, page):
    costs = []
    literal = SERVER4 if family == 4 else f"[{SERVER6}]"
    text, status = (WORDS, 200) if "page" in page else (None, 503)
    url = f"http://{literal}/{page}"
    target = service("http", url, expect_text=text, expect_status=status)
    with web(lab.server, 80):
        measured = counted(lab, HttpProber, family, target, costs)
    assert len(costs) == 2, "one for each probe that was counted"
    told = min(costs)
    print(f"measured {measured} bytes, told {told}")
    # What the farewell is made of can't be known before it: two or three packets, or resets.
    assert abs(told - measured) <= 250


def names(lab, family):
    answer = records(f"{HOST}. 60 A {SERVER4}", f"{HOST}. 60 AAAA {SERVER6}")
    return nameserver(lab.server, SERVER[family], answer)


def resolving(make, folder, family):
    conf = folder / "resolv.conf"
    conf.write_text(f"nameserver {SERVER[family]}\n")
    return functools.partial(make, resolver=Resolver(conf))
