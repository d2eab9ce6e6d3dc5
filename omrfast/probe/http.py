# SPDX-License-Identifier: GPL-2.0-or-later
"""Does a web server answer as it should? One GET over one path, without following redirects.

h11 reads and writes the messages; the sockets and TLS are ours. httpx can't do it: httpcore sets
socket options after connect(), when the SYN has already left by another uplink. aiohttp can, but
adds 8.6 MB to the agent's memory where h11 adds 0.2 (measured 2026-11-20, Python 3.11), and does
not tell whether it was the handshake or the answer that did not come.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, urlsplit

import h11

from omrfast.core.types import Target
from omrfast.probe.base import ProbeListener, ProbePath
from omrfast.probe.bound import (
    ProbeFailure,
    bytes_used,
    connect,
    handshake,
    readable,
    refusal,
    writable,
)
from omrfast.probe.resolve import Resolver
from omrfast.probe.service import Answer, Progress, ServiceProber

BODY_READ = 16_384
"""Bytes of the body in which Target.expect_text must be found."""
_RECEIVE_BUFFER = 16_384
"""Bytes: what a server can send us at most before it has to wait. Linux takes it twice."""
_SHOWN = 120
"""Characters of what a stranger says that get into a reason."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Place:
    """A URL taken apart."""

    host: str
    port: int
    header: str
    """For the field Host."""
    resource: str

    @classmethod
    def of(cls, url: str) -> _Place:
        """Raises ProbeFailure if it is no URL."""
        try:
            parts = urlsplit(url)
            name = parts.hostname or ""
            host = name if ":" in name else name.encode("idna").decode()
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise ProbeFailure(f"{url!r} is no URL: {error}", alive=False) from None
        header = f"[{host}]" if ":" in host else host
        resource = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
        if parts.query:
            resource += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?")
        return cls(host, port, f"{header}:{parts.port}" if parts.port else header, resource)


class HttpProber(ServiceProber):
    """Kind http; Target.address is a URL; see Prober.

    Works if the status is Target.expect_status (None: 200 to 299) and Target.expect_text (if any)
    stands in the first BODY_READ bytes of the body, in UTF-8. A name's first address is asked, of
    the path's IP version; see resolve.py.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: ProbeListener,
        resolver: Resolver | None = None,
    ) -> None:
        super().__init__(loop, listener)
        self._resolver = resolver or Resolver()

    def forget(self, path: str) -> None:
        """See Prober.forget()."""
        super().forget(path)
        self._resolver.forget(path)

    async def ask(self, path: ProbePath, target: Target, progress: Progress) -> Answer:
        """See ServiceProber.ask()."""
        place = _Place.of(target.address)
        progress.step = "to the question for its address"
        address = await self._resolver.address(path, place.host, target.timeout / 2)
        progress.step = f"to a SYN to {address}"
        try:
            connected = await connect(path, address, place.port, _RECEIVE_BUFFER)
        except BaseException:
            self._resolver.failed(path, place.host)
            raise
        rtt, _ = handshake(connected)
        try:
            with _told(connected, address):
                connected = await self._secure(connected, place.host, progress)
                progress.step = "to the request"
                await _converse(connected, place, target)
        finally:
            progress.cost = bytes_used(connected) if connected.fileno() >= 0 else None
            connected.close()
        return Answer(rtt, time.monotonic())

    async def _secure(
        self, connected: socket.socket, host: str, progress: Progress
    ) -> socket.socket:
        """What to speak HTTP over; the caller closes it, unless this raises."""
        return connected


class HttpsProber(HttpProber):
    """Kind https: as HttpProber, over TLS.

    Certificates are verified by the system's store (OpenSSL's: SSL_CERT_FILE and SSL_CERT_DIR
    count), as it was when the prober was made.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: ProbeListener,
        resolver: Resolver | None = None,
    ) -> None:
        super().__init__(loop, listener, resolver)
        self._context = ssl.create_default_context()

    async def _secure(
        self, connected: socket.socket, host: str, progress: Progress
    ) -> socket.socket:
        progress.step = "in the TLS handshake"
        secure = self._context.wrap_socket(
            connected, server_hostname=host, do_handshake_on_connect=False
        )
        try:
            await _patiently(secure, secure.do_handshake, readable)
        except BaseException:
            secure.close()
            raise
        return secure


@contextmanager
def _told(connected: socket.socket, address: str) -> Iterator[None]:
    """Whatever goes wrong on a connection is a ProbeFailure."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        reason = f"certificate refused: {error.verify_message}"
    except ssl.SSLError as error:
        reason = f"TLS failed: {error.reason or error}"
    except OSError as error:
        raise refusal(connected, address, error.errno or errno.EIO) from None
    except h11.RemoteProtocolError as error:
        reason = f"answered what is no HTTP: {str(error)[:_SHOWN]}"
    else:
        return
    raise ProbeFailure(reason, alive=True)


async def _patiently(
    opened: socket.socket, call: Callable[[], T], wait: Callable[[socket.socket], Awaitable[None]]
) -> T:
    """What ``call`` returns once it need not wait; ``wait`` is what a plain socket waits for."""
    while True:
        try:
            return call()
        except ssl.SSLWantReadError:
            await readable(opened)
        except ssl.SSLWantWriteError:
            await writable(opened)
        except BlockingIOError:
            await wait(opened)


async def _converse(opened: socket.socket, place: _Place, target: Target) -> None:
    """Raises ProbeFailure if the answer is another than expected; else what _told() tells."""
    http = h11.Connection(h11.CLIENT)
    headers = [("Host", place.header), ("User-Agent", "omrfast"), ("Connection", "close")]
    request = http.send(h11.Request(method="GET", target=place.resource, headers=headers)) or b""
    while request:
        sent = await _patiently(opened, functools.partial(opened.send, request), writable)
        request = request[sent:]
    wanted = (target.expect_text or "").encode()
    body = bytearray()
    while len(body) < BODY_READ:
        event = http.next_event()
        if event is h11.NEED_DATA:
            receive = functools.partial(opened.recv, 4096)
            data = await _patiently(opened, receive, readable)
            if not data and http.their_state is h11.SEND_RESPONSE:
                raise ProbeFailure("ended without an answer", alive=True)
            http.receive_data(data)
        elif isinstance(event, h11.Response):
            _judge(event, place, target)
        elif isinstance(event, h11.Data):
            body += event.data
        elif not isinstance(event, h11.InformationalResponse):
            break
        if isinstance(event, h11.Response | h11.Data) and wanted in body[:BODY_READ]:
            return
    raise ProbeFailure(
        f"{target.expect_text!r} is not in the first {BODY_READ >> 10} KiB of the page;"
        " a captive portal?",
        alive=True,
    )


def _judge(response: h11.Response, place: _Place, target: Target) -> None:
    """Raises ProbeFailure if the status is another than expected."""
    status = response.status_code
    if status == target.expect_status or (target.expect_status is None and 200 <= status < 300):
        return
    expected = "200 to 299" if target.expect_status is None else str(target.expect_status)
    reason = f"status {status} instead of {expected}"
    location = next((value for name, value in response.headers if name == b"location"), None)
    if 300 <= status < 400 and location is not None:
        text = location.decode("ascii", "backslashreplace")[:_SHOWN]
        reason += f", redirected to {text}"
        if _host(text) not in ("", place.host):
            reason += "; a captive portal?"
    raise ProbeFailure(reason, alive=True)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return url
