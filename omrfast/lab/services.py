# SPDX-License-Identifier: GPL-2.0-or-later
"""Web and name service inside a part of a lab (responder.py is the process)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from omrfast.lab import netns
from omrfast.lab.devices import LabError

RESPONDER = Path(__file__).with_name("responder.py")
HTTP_PORT = 80
DNS_PORT = 53


class Services:
    """HTTP and DNS at ``addresses`` of a namespace; a context manager that ends them.

    With ``portal`` (a URL) every web request is answered with 302 to it. LabError if they cannot
    listen.
    """

    def __init__(
        self,
        namespace: str,
        addresses: Sequence[str],
        http: int = HTTP_PORT,
        dns: int | None = DNS_PORT,
        portal: str | None = None,
    ) -> None:
        argument = {"addresses": list(addresses), "http": http, "dns": dns, "portal": portal}
        self._process = netns.spawn(
            namespace,
            [sys.executable, "-I", "-S", str(RESPONDER), json.dumps(argument)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            code = self._process.wait(5)
            raise LabError(f"the services in {namespace} ended with {code}")

    def __enter__(self) -> Services:
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()

    def close(self) -> None:
        """End them: their ports refuse from now on."""
        netns.end(self._process)
