# SPDX-License-Identifier: GPL-2.0-or-later
"""SocketDiag and Actuator on real connections: aborted handshakes, subflows going and coming."""

from __future__ import annotations

import asyncio
import errno
import socket
import subprocess
import threading
import time
from contextlib import closing, contextmanager

import pytest

from omrfast.act.apply import Actuator, apply, observe
from omrfast.act.sockets import SocketDiag
from omrfast.core.operations import (
    AbortHandshakes,
    AddEndpoint,
    DeleteEndpoint,
    Endpoint,
    SetBackup,
    SetMetric,
)

from .conftest import SERVER4, SERVER6, poll

MPTCP = 262
SERVERS = {4: SERVER4, 6: SERVER6}
LOCALS = {4: ("10.77.1.2", "10.77.2.2"), 6: ("fd77:1::2", "fd77:2::2")}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def subflows(space):
    def body():
        with closing(SocketDiag()) as diag:
            return diag.subflows()

    return space.call(body)


def serve(listener, stop):
    """Echo what arrives, one connection."""
    connection, _ = listener.accept()
    with connection:
        while not stop.is_set():
            data = connection.recv(65536)
            if not data:
                return
            connection.sendall(data)


@contextmanager
def conversation(lab, family):
    """An MPTCP connection between the namespaces; yields its client socket."""
    server = SERVERS[family]

    def listen():
        listener = socket.socket(FAMILIES[family], socket.SOCK_STREAM, MPTCP)
        listener.bind((server, 5000))
        listener.listen()
        return listener

    def connect():
        client = socket.socket(FAMILIES[family], socket.SOCK_STREAM, MPTCP)
        client.settimeout(20)
        client.connect((server, 5000))
        return client

    stop = threading.Event()
    listener = lab.server.call(listen)
    thread = threading.Thread(target=serve, args=(listener, stop))
    thread.start()
    client = lab.router.call(connect)
    try:
        exchange(client, b"hello")
        yield client
    finally:
        stop.set()
        client.close()
        thread.join(20)
        listener.close()


def exchange(client, data):
    client.sendall(data)
    got = b""
    while len(got) < len(data):
        got += client.recv(65536)
    assert got == data


def established(lab, family):
    found = [flow for flow in subflows(lab.router) if flow.state == "established"]
    assert all(flow.family == family for flow in found)
    return {flow.local: flow for flow in found}


def prepare(lab, family):
    """Limits and endpoints at both ends; returns the router's endpoints."""
    for space in (lab.router, lab.server):
        space.ip("mptcp", "limits", "set", "subflows", "4", "add_addr_accepted", "4")
    endpoints = tuple(
        Endpoint(number, address, lab.index(f"wan{number}"), 0, frozenset({"subflow"}))
        for number, address in enumerate(LOCALS[family], 1)
    )
    for endpoint in endpoints:
        lab.router.call(apply, AddEndpoint(endpoint))
    return endpoints


@pytest.mark.parametrize("family", [4, 6])
def test_a_subflow_closes_with_its_endpoint_and_returns_with_it(lab, family):
    first, second = prepare(lab, family)
    with conversation(lab, family) as client:
        flows = poll("two subflows", lambda: _both(lab, family))
        assert {flow.token_local for flow in flows.values()} == {flows[first.address].token_local}
        assert flows[second.address].id_local == 2
        assert "join_loc" in flows[second.address].flags
        for endpoint in (second, first):
            lab.router.call(apply, DeleteEndpoint(endpoint))
            left = {first.address, second.address} - {endpoint.address}
            poll("subflow gone", lambda left=left: set(established(lab, family)) == left)
            exchange(client, b"x" * 100_000)
            lab.router.call(apply, AddEndpoint(endpoint))
            poll("subflow back", lambda: _both(lab, family))
            exchange(client, b"y" * 100_000)
        lab.router.call(apply, SetBackup(second, True))
        poll(
            "MP_PRIO at the server",
            lambda: any(
                "bkup_rem" in flow.flags and flow.remote == second.address
                for flow in subflows(lab.server)
            ),
        )


@pytest.mark.parametrize("family", [4, 6])
def test_an_initial_subflow_without_endpoint_is_closed_by_id_0(lab, family):
    first, second = prepare(lab, family)
    lab.router.call(apply, DeleteEndpoint(first))
    with conversation(lab, family) as client:
        flows = poll("two subflows", lambda: _both(lab, family))
        assert flows[first.address].id_local == 0
        lab.router.call(apply, DeleteEndpoint(Endpoint(0, first.address)))
        poll("initial one gone", lambda: set(established(lab, family)) == {second.address})
        exchange(client, b"x" * 100_000)
    assert lab.router.call(observe, [], ()).endpoints == (second,)


def _both(lab, family):
    flows = established(lab, family)
    return flows if set(flows) == set(LOCALS[family]) else None


def test_subflow_fields_are_those_of_the_kernel(lab):
    prepare(lab, 4)
    with conversation(lab, 4) as client:
        poll("two subflows", lambda: _both(lab, 4))
        for _ in range(50):
            exchange(client, b"z" * 2000)
        # Between the two readings a late ACK may arrive: until they agree.
        poll("the same as ss", lambda: _as_ss_says(lab, established(lab, 4)["10.77.1.2"]))


def _as_ss_says(lab, flow):
    assert (flow.remote, flow.remote_port) == (SERVER4, 5000)
    (line,) = lab.router.call(
        _ss, "-tinHO", "state", "established", "src", "10.77.1.2", "sport", f"= :{flow.local_port}"
    )
    words = dict(word.split(":", 1) for word in line.split() if ":" in word)
    rtt, rttvar = words["rtt"].split("/")
    return (
        flow.rtt == pytest.approx(float(rtt) / 1e3)
        and flow.rttvar == pytest.approx(float(rttvar) / 1e3)
        and flow.min_rtt == pytest.approx(float(words["minrtt"]) / 1e3)
        and flow.bytes_acked == int(words["bytes_acked"]) > 0
        and flow.bytes_received == int(words["bytes_received"]) > 0
        and flow.data_segs_out == int(words["data_segs_out"]) > 0
        and flow.total_retrans == int(words.get("retrans", "0/0").split("/")[1])
    )


def _ss(*words):
    return subprocess.run(
        ["ss", *words], capture_output=True, text=True, check=True
    ).stdout.splitlines()


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("protocol", [socket.IPPROTO_TCP, MPTCP])
def test_a_stuck_handshake_is_aborted_and_no_other(lab, family, protocol):
    unanswered = {4: "10.77.1.77", 6: "fd77:1::77"}[family]
    elsewhere = {4: "10.77.2.77", 6: "fd77:2::77"}[family]
    lladdr = ("lladdr", "02:00:00:00:00:77", "dev")
    lab.router.ip("neigh", "add", unanswered, *lladdr, "wan1")
    lab.router.ip("neigh", "add", elsewhere, *lladdr, "wan2")
    outcome = {}

    def stuck(target):
        client = socket.socket(FAMILIES[family], socket.SOCK_STREAM, protocol)
        client.settimeout(30)
        with client:
            try:
                client.connect((target, 5000))
            except OSError as error:
                outcome[target] = (error.errno, time.monotonic())

    threads = [
        threading.Thread(target=lab.router.call, args=(stuck, target))
        for target in (unanswered, elsewhere)
    ]
    for thread in threads:
        thread.start()
    poll("both in SYN_SENT", lambda: len(_waiting(lab)) == 2)
    begun = time.monotonic()

    def abort(address):
        with closing(SocketDiag()) as diag:
            return diag.abort_handshakes(address)

    assert lab.router.call(abort, LOCALS[family][0]) == 1
    threads[0].join(10)
    code, at = outcome[unanswered]
    assert code == errno.ECONNABORTED
    assert at - begun < 1.0  # the SYN's own next repeat could not have done it: it is unanswered
    assert len(_waiting(lab)) == 1
    assert lab.router.call(abort, LOCALS[family][0]) == 0
    lab.router.call(apply, AbortHandshakes(LOCALS[family][1]))
    threads[1].join(10)
    assert outcome[elsewhere][0] == errno.ECONNABORTED


def _waiting(lab):
    return lab.router.call(_ss, "-tnH", "state", "syn-sent")


class Path:
    def __init__(self, interface):
        self.interface = interface


def test_the_actuator_observes_and_keeps_the_order_of_an_endpoint(lab):
    first, second = prepare(lab, 4)

    async def body():
        actuator = Actuator()
        try:
            seen = await actuator.observe([Path("wan1")])
            took = await asyncio.gather(
                *(
                    actuator.apply(op)
                    for _ in range(10)
                    for op in (DeleteEndpoint(first), AddEndpoint(first))
                ),
                actuator.apply(SetMetric(next(r for r in seen.routes if r.family == 4), 500)),
                actuator.apply(SetBackup(second, True)),
            )
            return seen, took, await actuator.observe(None, [SERVER4])
        finally:
            actuator.close()

    seen, took, after = lab.router.call(lambda: asyncio.run(body()))
    assert seen.endpoints == (first, second)
    assert {(r.family, r.metric) for r in seen.routes} == {(4, 100), (6, 100)}
    assert {entry.name for entry in seen.interfaces} >= {"lo", "wan1", "wan2"}
    assert len(took) == 22
    assert all(timing.took > 0 for timing in took)
    assert {e.id: e.flags for e in after.endpoints} == {
        1: frozenset({"subflow"}),
        2: frozenset({"subflow", "backup"}),
    }
    assert {(r.family, r.metric) for r in after.routes} == {(4, 500), (4, 200), (6, 100), (6, 200)}
    assert lab.router.call(observe, None, ()) == after


def test_a_cancelled_caller_does_not_reorder(lab):
    (first, _second) = prepare(lab, 4)

    async def body():
        actuator = Actuator()
        try:
            deleting = asyncio.ensure_future(actuator.apply(DeleteEndpoint(first)))
            await asyncio.sleep(0)
            deleting.cancel()
            await actuator.apply(AddEndpoint(first))
            return await actuator.observe([])
        finally:
            actuator.close()

    assert first in lab.router.call(lambda: asyncio.run(body())).endpoints
