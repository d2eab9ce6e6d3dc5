# SPDX-License-Identifier: GPL-2.0-or-later
"""What the service manager is told (sd_notify(3)): datagrams to the socket that it names."""

from __future__ import annotations

import contextlib
import os
import socket

VARIABLE = "NOTIFY_SOCKET"


def notify(text: str) -> None:
    """Such as ``READY=1``; nothing happens if nobody has asked for it, or hears it."""
    name = os.environ.get(VARIABLE)
    if not name:
        return
    address = "\0" + name[1:] if name.startswith("@") else name
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.sendto(text.encode(), address)
