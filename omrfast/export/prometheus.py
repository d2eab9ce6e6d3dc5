# SPDX-License-Identifier: GPL-2.0-or-later
"""The HTTP endpoint of the Prometheus metrics (which: see metrics.py)."""

from __future__ import annotations

import ipaddress
from threading import Thread
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from omrfast.export.metrics import SnapshotCollector, Source

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer


class MetricsError(Exception):
    """The metrics can't be served; the text names the key and what to write."""


def split_listen(listen: str) -> tuple[str, int]:
    """``"127.0.0.1:9477"`` or ``"[::1]:9477"`` → (address, port); MetricsError if neither."""
    host, colon, port = listen.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        address = ipaddress.ip_address(host)
        number = int(port) if colon else -1
    except ValueError:
        number = -1
    if not 0 <= number < 65536:
        raise MetricsError(
            f'[metrics] listen = "{listen}": write an address and a port, such as '
            '"127.0.0.1:9477" or "[::1]:9477", or "" for no metrics'
        )
    return str(address), number


class MetricsServer:
    """Serves ``source``'s metrics over HTTP, in a thread, from its own registry."""

    def __init__(self, source: Source, registry: CollectorRegistry | None = None) -> None:
        self._registry = registry or CollectorRegistry()
        self._registry.register(SnapshotCollector(source))
        ProcessCollector(namespace="omrfast", registry=self._registry)
        self._server: WSGIServer | None = None
        self._thread: Thread | None = None

    def start(self, listen: str) -> int:
        """Begin to serve on ``[metrics] listen``; the port taken (of use with port 0).

        Raises MetricsError if the address can't be bound: metrics that silently are not there
        would be found missing on the day they are needed.
        """
        address, port = split_listen(listen)
        try:
            self._server, self._thread = start_http_server(port, address, registry=self._registry)
        except OSError as error:
            raise MetricsError(
                f'[metrics] listen = "{listen}": {error.strerror or error}; '
                'write another address or port, or "" for no metrics'
            ) from error
        return self._server.server_port

    def close(self) -> None:
        """Stop serving and free the port."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = self._thread = None
