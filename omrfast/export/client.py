# SPDX-License-Identifier: GPL-2.0-or-later
"""The other end of the control socket, blocking, for commands (protocol: see control.py)."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

from omrfast.export.control import ControlError, socket_path

TIMEOUT = 10.0
"""Seconds to wait for an answer."""


class NoAgentError(ControlError):
    """Nobody listens on the control socket."""


def _connect(run_dir: str, timeout: float) -> socket.socket:
    path = socket_path(run_dir)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.settimeout(timeout)
        client.connect(path)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        client.close()
        raise NoAgentError(
            f"no agent answers at {path}; start it with `omrfast run`, or name its "
            "configuration with --config"
        ) from None
    except PermissionError:
        client.close()
        raise ControlError(f"{path}: permission denied; run as root") from None
    except OSError as error:
        client.close()
        raise ControlError(f"{path}: {error.strerror or error}") from error
    return client


def _answers(
    run_dir: str, command: str, params: dict[str, Any], timeout: float, wait: float | None
) -> Iterator[dict[str, Any]]:
    """Answer lines, checked; ``wait``: seconds between lines, None for ever."""
    request = json.dumps({"command": command, "params": params}).encode() + b"\n"
    with _connect(run_dir, timeout) as client:
        refused: ConnectionError | None = None
        try:
            try:
                client.sendall(request)
            except ConnectionError as error:  # it may have said why before
                refused = error
            client.settimeout(wait)
            with client.makefile("rb") as lines:
                for line in lines:
                    if not line.endswith(b"\n"):
                        raise ConnectionResetError
                    answer: dict[str, Any] = json.loads(line)
                    if not answer["ok"]:
                        raise ControlError(answer["error"])
                    yield answer
            if refused:
                raise refused
        except TimeoutError:
            raise ControlError(
                f"the agent at {socket_path(run_dir)} does not answer within {timeout:.0f} s"
            ) from None
        except ConnectionError:
            raise ControlError(f"the agent at {socket_path(run_dir)} went away") from None


def request(run_dir: str, command: str, *, timeout: float = TIMEOUT, **params: Any) -> Any:
    """Ask the agent of ``run_dir``; the result of its handler.

    Raises NoAgentError if there is none, ControlError if it refuses or does not answer in time.
    """
    for answer in _answers(run_dir, command, params, timeout, timeout):
        return answer["result"]
    raise ControlError(f"the agent at {socket_path(run_dir)} closed the connection")


def stream(run_dir: str, command: str, *, timeout: float = TIMEOUT, **params: Any) -> Iterator[Any]:
    """Items of a streaming command, as they come, until it ends or the agent stops.

    Raises what ``request`` raises.
    """
    for answer in _answers(run_dir, command, params, timeout, None):
        if "end" in answer:
            return
        yield answer["item"]


def agent_answers(run_dir: str) -> bool:
    """Whether an agent listens on the control socket of ``run_dir``."""
    try:
        _connect(run_dir, TIMEOUT).close()
    except NoAgentError:
        return False
    return True
