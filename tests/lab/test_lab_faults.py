# SPDX-License-Identifier: GPL-2.0-or-later
"""Every fault breaks what it says and nothing else, and is mended without a trace."""

from __future__ import annotations

import http.client
import select
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from omrfast.lab import faults, netns, responder
from omrfast.lab.addresses import server_address, server_gateway, uplink_address, uplink_gateway
from omrfast.lab.faults import Fault
from omrfast.lab.services import DNS_PORT, HTTP_PORT, Services
from omrfast.lab.topology import Lab, TopologySpec, UplinkSpec

PATIENCE = 0.4
"""Round trips of this lab take well below a millisecond."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two uplinks without delay, two servers, both families, services on the servers."""
    fast = UplinkSpec(rtt=0.0, rate=0.0)
    with (
        Lab(TopologySpec(uplinks=(fast, fast), servers=2, ipv6=True)) as running,
        Services(running.ns("vps1"), running.server_addresses(1)),
        Services(running.ns("vps2"), running.server_addresses(2)),
    ):
        netns.sysctl(running.ns("router"), {"net/ipv4/ping_group_range": "0 2147483647"})
        for part in ("carrier1", "inet"):
            limits = {"net/ipv4/icmp_ratelimit": 0, "net/ipv6/icmp/ratelimit": 0}
            netns.sysctl(running.ns(part), limits)
        yield running


def ping(lab: Lab, uplink: int, to: str) -> str:
    """ "answers", "silent", or the error by which the kernel tells what it heard."""
    version = 6 if ":" in to else 4
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if version == 6 else socket.IPPROTO_ICMP
    request = struct.pack("!BBHHH", 128 if version == 6 else 8, 0, 0, 0, 1)

    def body() -> str:
        with socket.socket(family, socket.SOCK_DGRAM, protocol) as sock:
            level, option = (41, 25) if version == 6 else (0, 11)  # IP_RECVERR
            sock.setsockopt(level, option, 1)
            sock.settimeout(PATIENCE)
            try:
                sock.bind((uplink_address(uplink, version), 0))
                sock.connect((to, 0))
                sock.send(request)
                sock.recv(100)
            except TimeoutError:
                return "silent"
            except OSError as error:
                return str(error.strerror)
        return "answers"

    return netns.call(lab.ns("router"), body)


def tcp(lab: Lab, uplink: int, to: str, port: int) -> str:
    """ "answers", "silent" or "refused"."""

    def body() -> str:
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        with socket.socket(family) as sock:
            sock.bind((uplink_address(uplink, 6 if ":" in to else 4), 0))
            sock.settimeout(PATIENCE)
            try:
                sock.connect((to, port))
            except TimeoutError:
                return "silent"
            except ConnectionRefusedError:
                return "refused"
        return "answers"

    return netns.call(lab.ns("router"), body)


def web(lab: Lab, uplink: int, path: str = "/") -> tuple[int, str]:
    """Status and body, or Location, of server 1."""

    def body() -> tuple[int, str]:
        connection = http.client.HTTPConnection(
            server_address(1), HTTP_PORT, 5, source_address=(uplink_address(uplink), 0)
        )
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, answer.getheader("Location") or text

    return netns.call(lab.ns("router"), body)


def view(lab: Lab, version: int) -> dict[str, str]:
    """How everything looks from the router."""
    server, other = server_address(1, version), server_address(2, version)
    asked = {
        "ping 1": (ping, 1, server),
        "ping 2": (ping, 2, server),
        "other 1": (ping, 1, other),
        "gateway 1": (ping, 1, uplink_gateway(1, version)),
        "web 1": (tcp, 1, server, HTTP_PORT),
        "web 2": (tcp, 2, server, HTTP_PORT),
        "dns 1": (tcp, 1, server, DNS_PORT),
    }
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = {name: pool.submit(ask, lab, *where) for name, (ask, *where) in asked.items()}
        return {name: answer.result() for name, answer in answers.items()}


FINE = dict.fromkeys(
    ("ping 1", "ping 2", "other 1", "gateway 1", "web 1", "web 2", "dns 1"), "answers"
)
NO_HOST, NO_NETWORK = "No route to host", "Network is unreachable"


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        (
            faults.SERVER_DEAD,
            dict.fromkeys(("ping 1", "ping 2", "web 1", "web 2", "dns 1"), "silent"),
        ),
        (faults.SERVICE_DEAD, dict.fromkeys(("web 1", "web 2", "dns 1"), "silent")),
        (faults.SERVICE_REFUSED, dict.fromkeys(("web 1", "web 2", "dns 1"), "refused")),
        (
            faults.CARRIER_CUT,
            dict.fromkeys(("ping 1", "other 1", "web 1", "dns 1"), "silent"),
        ),
        (faults.NO_TCP, dict.fromkeys(("web 1", "dns 1"), "silent")),
        (faults.no_port(DNS_PORT), {"dns 1": "silent"}),
        (faults.PORTAL, {}),
    ],
)
@pytest.mark.parametrize("version", [4, 6])
def test_filters(lab: Lab, fault: Fault, broken: dict[str, str], version: int) -> None:
    assert view(lab, version) == FINE
    fault.begin(lab, 1)
    try:
        assert view(lab, version) == FINE | broken
    finally:
        fault.end(lab, 1)
    assert view(lab, version) == FINE


@pytest.mark.parametrize("version", [4, 6])
def test_one_address_over_one_uplink(lab: Lab, version: int) -> None:
    fault = faults.no_host(server_address(1, version))
    fault.begin(lab, 1)
    try:
        broken = dict.fromkeys(("ping 1", "web 1", "dns 1"), "silent")
        assert view(lab, version) == FINE | broken
        assert view(lab, 10 - version) == FINE
    finally:
        fault.end(lab, 1)
    assert view(lab, version) == FINE


def test_unreachable_is_told_by_the_gateway_or_by_the_servers_router(lab: Lab) -> None:
    for version in (4, 6):
        faults.CARRIER_UNREACHABLE.begin(lab, 1)
        assert ping(lab, 1, server_address(1, version)) == NO_HOST
        assert ping(lab, 2, server_address(1, version)) == "answers"
        faults.CARRIER_UNREACHABLE.end(lab, 1)
        faults.SERVER_OFF.begin(lab, 1)
        assert ping(lab, 1, server_address(1, version)) == NO_NETWORK
        assert ping(lab, 1, server_address(2, version)) == "answers"
        faults.SERVER_OFF.end(lab, 1)
        assert view(lab, version) == FINE


def test_a_server_that_stands_still_loses_nothing(lab: Lab) -> None:
    def socket_at(part: str, at: str, port: int) -> socket.socket:
        sock = netns.call(lab.ns(part), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind((at, port))
        sock.setblocking(False)
        return sock

    with (
        socket_at("router", uplink_address(1), 0) as near,
        socket_at("vps1", server_address(1), 4000) as far,
    ):
        faults.SERVER_HELD.begin(lab, 1)
        for number in range(100):
            near.sendto(bytes([number]) + bytes(200), (server_address(1), 4000))
        early = len(drain(far, PATIENCE))
        faults.SERVER_HELD.end(lab, 1)
        arrived = drain(far, 2.0, 100 - early)
    assert early <= 5, "few may slip through before the bucket is empty"
    assert early + len(arrived) == 100
    assert ping(lab, 1, server_address(1)) == "answers"


def drain(sock: socket.socket, patience: float, most: int = 1000) -> list[bytes]:
    """What arrives until ``patience`` seconds pass without anything, or ``most`` have."""
    found: list[bytes] = []
    while len(found) < most and select.select([sock], [], [], patience)[0]:
        found.append(sock.recv(2000))
    return found


@pytest.mark.parametrize("fault", [faults.NO_ADDRESS, faults.NO_ROUTE, faults.NO_INTERFACE])
def test_what_is_unplugged_is_plugged_in_as_it_was(lab: Lab, fault: Fault) -> None:
    def configuration() -> list[str]:
        router = lab.ns("router")
        words = (["-4", "route", "show", "table", "all"], ["-6", "route", "show", "table", "all"])
        more = (["address", "show", "dev", "wan1"], ["neigh", "show", "dev", "wan1", "nud", "all"])
        found = [faults.output(router, "ip", *each) for each in (*words, *more)]
        lines = [line for text in found for line in text.splitlines()]
        return sorted(line for line in lines if "NOARP" not in line)

    before = configuration()
    fault.begin(lab, 1)
    assert configuration() != before
    fault.end(lab, 1)
    assert configuration() == before
    assert view(lab, 4) == view(lab, 6) == FINE


def test_web_and_portal(lab: Lab) -> None:
    assert web(lab, 1) == (200, responder.WORDS)
    assert web(lab, 1, "/status/503") == (503, responder.WORDS)
    faults.PORTAL.begin(lab, 1)
    assert web(lab, 1) == (302, faults.PORTAL.url)
    assert web(lab, 2) == (200, responder.WORDS)
    faults.PORTAL.end(lab, 1)
    assert web(lab, 1) == (200, responder.WORDS)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("name", "kind", "data"),
    [
        (b"\x03any\x04name\x00", 1, socket.inet_aton(server_address(1))),
        (b"\x00", 28, socket.inet_pton(socket.AF_INET6, server_address(1, 6))),
        (b"\x00", 2, responder.NAME_SERVER),
        (b"\x00", 16, None),
    ],
)
def test_names(lab: Lab, stream: bool, name: bytes, kind: int, data: bytes | None) -> None:
    question = name + struct.pack("!HH", kind, 1)
    message = struct.pack("!6H", 77, 0x0100, 1, 0, 0, 0) + question

    def body() -> bytes:
        with socket.socket(type=socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect((server_address(1), DNS_PORT))
            if stream:
                sock.sendall(len(message).to_bytes(2, "big") + message)
                return sock.recv(1000)[2:]
            sock.send(message)
            return sock.recv(1000)

    answer = netns.call(lab.ns("router"), body)
    assert answer[:2] == message[:2]
    assert answer[12 : 12 + len(question)] == question
    assert answer.endswith(data if data is not None else question)
    assert int.from_bytes(answer[6:8], "big") == int(data is not None)


def test_a_server_has_its_gateway(lab: Lab) -> None:
    assert ping(lab, 1, server_gateway(2)) == "answers"
