# SPDX-License-Identifier: GPL-2.0-or-later
"""The control socket: real server, real socket, clients that behave and clients that don't."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from snapshots import EVENT, FLOW, snapshot

from omrfast.core.views import Snapshot
from omrfast.export import control
from omrfast.export.client import NoAgentError, agent_answers, request, stream
from omrfast.export.control import ControlError, ControlServer, Handler, peer_pid, socket_path
from omrfast.export.events import EventLog
from omrfast.export.handlers import control_handlers
from omrfast.export.status import status_json


async def now() -> Snapshot:
    return snapshot()


class Server:
    """A ControlServer on its own loop and thread."""

    def __init__(self, run_dir: str, handlers: dict[str, Handler]) -> None:
        self.loop = asyncio.new_event_loop()
        self.server = ControlServer(run_dir, handlers)
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def call(self, function: Callable[[], Any]) -> Any:
        async def called() -> Any:
            result = function()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(called(), self.loop).result(10)

    def stop(self) -> None:
        self.call(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@contextmanager
def serving(run_dir: str, handlers: dict[str, Handler]) -> Iterator[Server]:
    server = Server(run_dir, handlers)
    try:
        server.call(server.server.start)
        yield server
    finally:
        server.stop()


async def echo(params: Any) -> Any:
    return dict(params)


async def crash(params: Any) -> Any:
    raise KeyError("inside")


async def refuse(params: Any) -> Any:
    raise ValueError("top must be a number")


async def count(params: Any) -> AsyncGenerator[int, None]:
    for number in range(params["to"]):
        yield number


HANDLERS: dict[str, Handler] = {"echo": echo, "crash": crash, "refuse": refuse, "count": count}


@pytest.fixture
def run_dir(tmp_path: Path) -> str:
    return str(tmp_path / "run")


def raw(run_dir: str, data: bytes) -> dict[str, Any]:
    """Send bytes as they are; the one answer line."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(socket_path(run_dir))
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as lines:
            answer: dict[str, Any] = json.loads(lines.readline())
            assert lines.readline() == b""
    return answer


def test_answers_and_streams(run_dir: str) -> None:
    with serving(run_dir, HANDLERS):
        assert request(run_dir, "echo", top=3) == {"top": 3}
        assert list(stream(run_dir, "count", to=4)) == [0, 1, 2, 3]
        assert list(stream(run_dir, "count", to=0)) == []


def test_only_root_may_connect_and_the_socket_goes_with_the_agent(run_dir: str) -> None:
    path = socket_path(run_dir)
    with serving(run_dir, HANDLERS):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert peer_pid(run_dir) == os.getpid()
        assert agent_answers(run_dir)
    assert not os.path.exists(path)
    assert not agent_answers(run_dir)
    with pytest.raises(NoAgentError, match=r"no agent answers at .*control\.sock; start it with"):
        request(run_dir, "echo")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\n", "not JSON"),
        (b"{nonsense\n", "not JSON"),
        (b"\xff\xfe\n", "not JSON"),
        (b"[" * 5000 + b"\n", "not JSON"),
        (b"[1]\n", "must be"),
        (b"{}\n", "must be"),
        (b'{"command": 1}\n', "must be"),
        (b'{"command": "echo", "params": [1]}\n', "params must be an object"),
        (b'{"command": "format"}\n', "unknown command 'format'; known: count, crash, echo, refuse"),
        (b'{"command": "echo"}', "no end of line"),
        (b"", "no end of line"),
        (b"x" * (control.MAX_REQUEST + 1) + b"\n", "longer than"),
        (b'{"command": "crash"}\n', "the agent failed; see its log"),
        (b'{"command": "refuse"}\n', "top must be a number"),
    ],
)
def test_bad_input_is_answered_and_harms_nothing(run_dir: str, data: bytes, error: str) -> None:
    with serving(run_dir, HANDLERS):
        answer = raw(run_dir, data)
        assert answer["ok"] is False
        assert error in answer["error"]
        assert request(run_dir, "echo", alive=True) == {"alive": True}


def test_errors_reach_the_caller(run_dir: str) -> None:
    with serving(run_dir, HANDLERS), pytest.raises(ControlError, match="top must be a number"):
        request(run_dir, "refuse")


def test_a_silent_client_is_told_and_dropped(run_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "REQUEST_TIMEOUT", 0.05)
    with serving(run_dir, HANDLERS), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(socket_path(run_dir))
        assert b"no request within" in client.recv(4096)
        assert client.recv(1) == b""


def test_many_clients_at_once(run_dir: str) -> None:
    """Twenty wait in one handler at the same time, so none waits for another."""
    together = 20
    meeting = asyncio.Event()
    arrived: set[int] = set()

    async def meet(params: Any) -> int:
        arrived.add(params["who"])
        if len(arrived) == together:
            meeting.set()
        await meeting.wait()
        return len(arrived)

    results: list[int] = []
    with serving(run_dir, {"meet": meet}):
        threads = [
            threading.Thread(
                target=lambda who=who: results.append(request(run_dir, "meet", who=who))
            )
            for who in range(together)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [together] * together


def test_a_refusal_is_read_by_whom_was_still_asking(run_dir: str) -> None:
    """The request does not fit into the socket, and the other end closes it without reading."""
    Path(run_dir).mkdir(exist_ok=True)

    def refuse(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            client.sendall(b'{"ok": false, "error": "no more of you"}\n')

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(socket_path(run_dir))
        listener.listen(1)
        thread = threading.Thread(target=refuse, args=(listener,))
        thread.start()
        with pytest.raises(ControlError, match="no more of you"):
            request(run_dir, "echo", padding="x" * (1 << 22))
        thread.join()


def test_too_many_clients_are_refused_and_the_rest_go_on(run_dir: str) -> None:
    idle = []
    with serving(run_dir, HANDLERS) as server:
        for _ in range(control.MAX_CLIENTS):
            idle.append(socket.socket(socket.AF_UNIX))
            idle[-1].connect(socket_path(run_dir))
        with pytest.raises(ControlError, match="more than 32 clients"):
            request(run_dir, "echo")
        for client in idle:
            client.close()
        while server.call(lambda: len(server.server._clients)):
            pass  # the test's time limit ends this
        assert request(run_dir, "echo") == {}


def test_a_live_agent_is_not_replaced(run_dir: str) -> None:
    with serving(run_dir, HANDLERS):
        second = Server(run_dir, {})
        try:
            with pytest.raises(ControlError, match=rf"another agent \(pid {os.getpid()}\) uses"):
                second.call(second.server.start)
        finally:
            second.stop()
        assert request(run_dir, "echo", still="here") == {"still": "here"}


def test_a_killed_agents_socket_is_replaced(run_dir: str) -> None:
    code = """
import asyncio, os, signal, sys
from omrfast.export.control import ControlServer
async def main():
    await ControlServer(sys.argv[1], {}).start()
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", code, run_dir], check=False)
    assert os.path.exists(socket_path(run_dir))
    with pytest.raises(NoAgentError):
        request(run_dir, "echo")
    with serving(run_dir, HANDLERS):
        assert request(run_dir, "echo") == {}


def test_a_run_dir_that_is_too_long_is_named(tmp_path: Path) -> None:
    server = ControlServer(str(tmp_path / ("x" * 120)), {})
    with pytest.raises(ControlError, match="write a shorter run_dir"):
        asyncio.run(server.start())


def test_a_follower_that_leaves_is_forgotten(run_dir: str) -> None:
    log = EventLog()

    async def flows(top: int) -> list[Any]:
        return [FLOW][:top]

    handlers = control_handlers(now, flows, log)
    with serving(run_dir, handlers) as server:
        server.call(lambda: log.append(EVENT))
        items = stream(run_dir, "follow")
        assert next(items)["message"] == EVENT.message
        server.call(lambda: log.append(EVENT))
        assert next(items)["details"] == {"rtt_ms": 341.0}
        items.close()  # type: ignore[attr-defined]
        while server.call(lambda: len(log._followers)):
            pass  # the test's time limit ends this
        assert request(run_dir, "status") == json.loads(json.dumps(status_json(snapshot())))
        assert request(run_dir, "health")["flows_refused"] == {"fibre": 4, "lte": 0}
        assert [flow["token"] for flow in request(run_dir, "flows", top=1)] == [0xDEADBEEF]
        for top in (0, -1, True, "5", 10**9):
            with pytest.raises(ControlError, match="top must be a number from 1"):
                request(run_dir, "flows", top=top)
        assert len(request(run_dir, "events")) == 2


def test_streams_end_when_the_agent_stops(run_dir: str) -> None:
    log = EventLog()

    async def flows(top: int) -> list[Any]:
        return []

    seen: list[Any] = []
    with serving(run_dir, control_handlers(now, flows, log)) as server:
        follower = threading.Thread(target=lambda: seen.extend(stream(run_dir, "follow")))
        follower.start()
        while not server.call(lambda: len(log._followers)):
            pass  # the test's time limit ends this
        server.call(lambda: log.append(EVENT))
        server.call(lambda: asyncio.sleep(0))
    follower.join(10)
    assert not follower.is_alive()
    assert len(seen) <= 1


def test_a_slow_follower_loses_the_oldest() -> None:
    async def main() -> None:
        log = EventLog(kept=2)
        followed = log.follow()
        for _ in range(3):
            log.append(EVENT)
        assert len(log.recent()) == 2
        await anext(followed)
        for _ in range(300):
            log.append(EVENT)
        (queue,) = log._followers
        assert queue.qsize() == 256
        await followed.aclose()
        assert not log._followers

    asyncio.run(main())
