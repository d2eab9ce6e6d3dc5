# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes wrong with a netlink socket itself is an ActionError, and passes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket

import pytest

from omrfast.act.apply import Actuator
from omrfast.act.errors import ActionError
from omrfast.act.interfaces import InterfaceManager
from omrfast.act.mptcp import EndpointManager, Limits
from omrfast.act.netlink import Netlink, NetlinkError
from omrfast.act.route_message import RTM_GETROUTE
from omrfast.act.routes import RouteManager
from omrfast.act.sockets import SocketDiag
from omrfast.core.operations import Endpoint

SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_IPV4_ROUTE = 270, 1, 7
ENDPOINT = Endpoint(1, "10.77.1.2", 0, 0, frozenset({"subflow"}))

USES = {
    "endpoints": (EndpointManager, lambda m: m.list()),
    "add": (EndpointManager, lambda m: m.add(ENDPOINT)),
    "delete": (EndpointManager, lambda m: m.delete(ENDPOINT)),
    "backup": (EndpointManager, lambda m: m.set_backup(ENDPOINT, True)),
    "limits": (EndpointManager, lambda m: m.limits()),
    "set limits": (EndpointManager, lambda m: m.set_limits(Limits(2, 0))),
    "routes": (RouteManager, lambda m: m.observe(None, ())),
    "interfaces": (InterfaceManager, lambda m: m.observe()),
    "subflows": (SocketDiag, lambda m: m.subflows()),
    "handshakes": (SocketDiag, lambda m: m.abort_handshakes("10.77.1.2")),
}


@contextlib.contextmanager
def no_more_files():
    """The kernel refuses every new file descriptor of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("name", USES)
def test_a_socket_that_fails_is_an_action_error(lab, name):
    make, use = USES[name]

    def body():
        manager = make()
        manager.close()
        with pytest.raises(ActionError) as raised:
            use(manager)
        return raised.value.errno

    assert lab.router.call(body) == errno.EBADF


@pytest.mark.parametrize("make", [EndpointManager, RouteManager, InterfaceManager, SocketDiag])
def test_no_socket_to_be_had(lab, make):
    def body():
        with no_more_files(), pytest.raises(ActionError, match="netlink socket") as raised:
            make()
        make().close()
        return raised.value.errno

    assert lab.router.call(body) == errno.EMFILE


def test_the_actuator_survives_what_its_workers_meet(lab):
    async def body():
        actuator = Actuator()
        try:
            with no_more_files(), pytest.raises(ActionError, match="Too many open files"):
                await actuator.observe(None)
            return await actuator.observe(None)
        finally:
            actuator.close()

    seen = lab.router.call(lambda: asyncio.run(body()))
    assert {"wan1", "wan2"} <= {entry.name for entry in seen.interfaces}


def test_an_overrun_spoils_one_request_only(lab):
    """ENOBUFS while a dump is under way, and the next request is served at once."""
    manager = lab.router.call(RouteManager)
    crowded = manager._netlink._socket
    crowded.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel's least
    crowded.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_IPV4_ROUTE)
    for number in range(100):
        lab.router.ip("route", "add", f"192.0.2.{number}", "dev", "wan1")
    with pytest.raises(ActionError, match="reading the routes: No buffer space") as raised:
        lab.router.call(manager.observe, None, ())
    assert raised.value.errno == errno.ENOBUFS
    for _ in range(2):
        table = lab.router.call(manager.observe, None, ())
        assert {(r.family, r.metric) for r in table.routes} == {
            (4, 100), (4, 200), (6, 100), (6, 200),
        }  # fmt: skip
    assert crowded.fileno() < 0
    manager.close()


def test_a_request_that_cannot_be_sent(lab):
    def body():
        with Netlink(socket.NETLINK_ROUTE) as netlink:
            with pytest.raises(NetlinkError) as raised:
                netlink.request(RTM_GETROUTE, 0, bytes(1 << 24))
            assert netlink.snapshot(RTM_GETROUTE, bytes([socket.AF_INET]) + bytes(11))
            return raised.value.errno

    assert lab.router.call(body) == errno.EMSGSIZE
