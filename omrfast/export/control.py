# SPDX-License-Identifier: GPL-2.0-or-later
"""The control socket: how commands talk to the agent of their ``run_dir``.

Protocol: ``<run_dir>/control.sock`` (Unix stream, mode 0600), one request per connection, JSON
objects of one line each::

    > {"command": "flows", "params": {"top": 10}}
    < {"ok": true, "result": …}                     a handler's answer
    < {"ok": true, "item": …}   (any number)        a stream's items …
    < {"ok": true, "end": true}                     … and its end
    < {"ok": false, "error": "what is wrong"}       in place of any of these

The server knows no command itself: it is given ``name → handler``. The handlers' names and
parameters that the CLI uses are in ``handlers.py``; the client is in ``client.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

Params = Mapping[str, Any]
Handler = Callable[[Params], Awaitable[Any] | AsyncGenerator[Any, None]]
"""Called with the request's params; an async function answers, an async generator streams.
ValueError's text goes to the client; any other exception is logged and answered as a failure."""

MAX_REQUEST = 16 * 1024
"""Bytes of a request, newline included."""
MAX_CLIENTS = 32
REQUEST_TIMEOUT = 5.0
"""Seconds that a client may take to send its request, or to read an answer."""
_PATH_MAX = 107  # sizeof(sockaddr_un.sun_path) - 1


class ControlError(Exception):
    """The control socket can't be opened or used; the text says why and what to do."""


def socket_path(run_dir: str) -> str:
    return f"{run_dir}/control.sock"


def peer_pid(run_dir: str) -> int | None:
    """Process that listens on the control socket of ``run_dir`` (unix(7), SO_PEERCRED)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.settimeout(REQUEST_TIMEOUT)
            client.connect(socket_path(run_dir))
            cred = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return None
    pid: int = struct.unpack("3i", cred)[0]
    return pid


def _listen(path: str) -> socket.socket:
    """A listening socket at ``path`` that nobody but its owner could ever connect to."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        server.bind(path)
        os.chmod(path, 0o600)  # before listen(): nobody can connect earlier
        server.listen(MAX_CLIENTS)
    except OSError:
        server.close()
        raise
    return server


class ControlServer:
    """Serves the control socket of ``run_dir`` on the running event loop.

    One agent per ``run_dir``: a lock on the folder is held from ``start`` to ``close``, and the
    kernel drops it with the process, so that a dead agent's socket is simply replaced.
    """

    def __init__(self, run_dir: str, handlers: Mapping[str, Handler]) -> None:
        self._run_dir = run_dir
        self._handlers = dict(handlers)
        self._lock = -1
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the socket; ControlError if another agent lives there or it can't be made."""
        path = socket_path(self._run_dir)
        if len(os.fsencode(path)) > _PATH_MAX:
            raise ControlError(
                f"{path}: longer than the {_PATH_MAX} bytes of a socket's name; "
                "write a shorter run_dir under [agent]"
            )
        try:
            Path(self._run_dir).mkdir(mode=0o755, parents=True, exist_ok=True)
            self._take_lock()
            self._server = await asyncio.start_unix_server(
                self._connected, sock=_listen(path), limit=MAX_REQUEST
            )
        except OSError as error:
            self._drop_lock()
            raise ControlError(f"{path}: {error.strerror or error}; run as root") from error

    async def close(self) -> None:
        """Stop serving, end the streams, remove the socket."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(socket_path(self._run_dir))
        self._drop_lock()

    def _take_lock(self) -> None:
        self._lock = os.open(self._run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._drop_lock()
            pid = peer_pid(self._run_dir)
            who = f"pid {pid}" if pid else "starting or stopping"
            raise ControlError(
                f"another agent ({who}) uses {self._run_dir}; "
                "stop it, or write another run_dir under [agent]"
            ) from None

    def _drop_lock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            if len(self._clients) > MAX_CLIENTS:
                raise ValueError(f"more than {MAX_CLIENTS} clients; try again later")
            await self._serve(reader, writer)
        except ValueError as error:
            await _send(writer, {"ok": False, "error": str(error)})
        except (ConnectionError, TimeoutError):
            pass  # the client went away or does not read
        except asyncio.CancelledError:
            pass  # close(): streams just end
        except Exception:
            log.exception("control request failed")
            await _send(writer, {"ok": False, "error": "the agent failed; see its log"})
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler, params = self._parse(await _read_request(reader))
        answer = handler(params)
        if isinstance(answer, AsyncGenerator):
            await _stream(answer, reader, writer)
        else:
            await _write(writer, {"ok": True, "result": await answer})

    def _parse(self, line: bytes) -> tuple[Handler, Params]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the request is not JSON: {error}") from None
        if not isinstance(request, dict) or not isinstance(request.get("command"), str):
            raise ValueError('the request must be {"command": name, "params": {…}}')
        params = request.get("params", {})
        if not isinstance(params, dict):
            raise ValueError("params must be an object")
        handler = self._handlers.get(request["command"])
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            raise ValueError(f"unknown command {request['command'][:40]!r}; known: {known}")
        return handler, params


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT):
            line = await reader.readuntil(b"\n")
    except TimeoutError:
        raise ValueError(f"no request within {REQUEST_TIMEOUT:.0f} s") from None
    except asyncio.LimitOverrunError:
        raise ValueError(f"the request is longer than {MAX_REQUEST} bytes") from None
    except asyncio.IncompleteReadError:
        raise ValueError("the request has no end of line") from None
    return line


async def _write(writer: asyncio.StreamWriter, answer: Mapping[str, Any]) -> None:
    writer.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
    async with asyncio.timeout(REQUEST_TIMEOUT):
        await writer.drain()


async def _send(writer: asyncio.StreamWriter, answer: Mapping[str, Any]) -> None:
    """Like _write, for a client that may be gone."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        await _write(writer, answer)


async def _stream(
    items: AsyncGenerator[Any, None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Send items until they end or the client hangs up; a client sends nothing more."""

    async def forward() -> None:
        async with contextlib.aclosing(items):
            async for item in items:
                await _write(writer, {"ok": True, "item": item})
        await _write(writer, {"ok": True, "end": True})

    tasks = {asyncio.ensure_future(forward()), asyncio.ensure_future(reader.read(1))}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
