# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP and MPTCP connections of a known amount of data between two namespaces.

Sockets keep the namespace they were made in, so both ends live in this process.
"""

from __future__ import annotations

import errno
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from omrfast.lab import netns
from tests.replay.waiting import eventually

IPPROTO_MPTCP = 262
BULK = 1_000_000
"""Bytes of an upload or download."""
QUESTIONS = 20
PATIENCE = 60.0
"""Seconds after which a call on a socket fails."""
CHUNK = 65536
SO_MAX_PACING_RATE = 47
TCP_CLOSE = 7
"""tcpi_state, the first byte of struct tcp_info."""


@dataclass(frozen=True)
class Ends:
    """Namespace and address of the two ends of connections."""

    client_namespace: str
    client: str
    server_namespace: str
    server: str


@dataclass(frozen=True)
class Pair:
    """The two sockets of one connection."""

    client: socket.socket
    server: socket.socket

    def upload(self, size: int) -> None:
        _transfer(self.client, self.server, size)

    def download(self, size: int) -> None:
        _transfer(self.server, self.client, size)

    def ask(self, count: int, size: int = 300) -> None:
        """Questions and answers of ``size`` bytes, one at a time."""
        for _ in range(count):
            _transfer(self.client, self.server, size)
            _transfer(self.server, self.client, size)

    @contextmanager
    def stuck_upload(self, size: int) -> Iterator[None]:
        """``size`` is more than the server has room for; it reads when the context ends."""
        with _sending(self.client, size):
            yield
            _receive(self.server, size)

    def keep_alive(self) -> None:
        """The client asks every second from now on whether the server is there."""
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
            self.client.setsockopt(socket.IPPROTO_TCP, option, 1)
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def finish(self) -> None:
        """Close both directions in order, the client first; all is said when this returns."""
        for sender, receiver in ((self.client, self.server), (self.server, self.client)):
            sender.shutdown(socket.SHUT_WR)
            assert receiver.recv(1) == b""
        if self.server.proto != IPPROTO_MPTCP:
            eventually(self._last_acknowledged, "acknowledgement of the server's FIN")

    def _last_acknowledged(self) -> bool:
        info = self.server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return info[0] == TCP_CLOSE


@contextmanager
def _sending(sender: socket.socket, size: int) -> Iterator[None]:
    failure: list[OSError] = []

    def send() -> None:
        try:
            sender.sendall(bytes(size))
        except OSError as error:
            failure.append(error)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    yield
    thread.join()
    if failure:
        raise failure[0]


def _transfer(sender: socket.socket, receiver: socket.socket, size: int) -> None:
    with _sending(sender, size):
        _receive(receiver, size)


def _receive(receiver: socket.socket, size: int) -> None:
    missing = size
    while missing:
        got = len(receiver.recv(min(missing, CHUNK)))
        assert got, f"the sender closed with {missing} bytes missing"
        missing -= got


def new_socket(namespace: str, address: str, protocol: int = 0) -> socket.socket:
    """A TCP (0) or MPTCP socket bound to ``address``, port chosen by the kernel."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = netns.call(namespace, socket.socket, family, socket.SOCK_STREAM, protocol)
    made.settimeout(PATIENCE)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.bind((address, 0))
    return made


def _connect(
    client: socket.socket, address: tuple[str, int], meanwhile: Callable[[], object]
) -> None:
    client.setblocking(False)
    assert client.connect_ex(address) == errno.EINPROGRESS
    meanwhile()
    assert select.select([], [client], [], PATIENCE)[1], "no connection"
    failed = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    assert not failed, errno.errorcode[failed]
    client.settimeout(PATIENCE)


def _nothing() -> None:
    pass


@contextmanager
def connection(
    ends: Ends,
    protocol: int = 0,
    meanwhile: Callable[[], object] = _nothing,
    room: int | None = None,
    pace: int | None = None,
) -> Iterator[Pair]:
    """One connection; what is left of it is closed at the end.

    ``meanwhile`` is called when the first SYN has left; ``room`` is the server's receive buffer in
    bytes, as the kernel tunes it if None; ``pace`` bounds what each end sends, in bytes per second.
    """
    with (
        new_socket(ends.server_namespace, ends.server, protocol) as listener,
        new_socket(ends.client_namespace, ends.client, protocol) as client,
    ):
        if room is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        listener.listen(1)
        _connect(client, listener.getsockname()[:2], meanwhile)
        server = listener.accept()[0]
        with server:
            server.settimeout(PATIENCE)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if pace is not None:
                client.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, pace)
                server.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, pace)
            yield Pair(client, server)
