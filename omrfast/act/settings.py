# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings of this thread's network namespace: sysctls, and MPTCP's black-hole conclusion.

/proc/sys/net is that of the reader's thread. The conclusion: a connection whose first SYNs with
MP_CAPABLE got no answer and whose plain SYN did makes the kernel open plain TCP only, for
net.mptcp.blackhole_timeout seconds and longer each time (net/mptcp/ctrl.c, from Linux 6.12).
Writing that timeout, whatever the value, forgets it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from omrfast.act.errors import ActionError

_SYSCTL = Path("/proc/sys")
_NETSTAT = Path("/proc/thread-self/net/netstat")
BLACKHOLE_TIMEOUT = "net.mptcp.blackhole_timeout"


def _file(name: str) -> Path:
    return _SYSCTL.joinpath(*name.split("."))


def read(names: Iterable[str]) -> dict[str, str]:
    """Values of those that this kernel has. Raises ActionError."""
    found = {}
    for name in names:
        try:
            found[name] = " ".join(_file(name).read_text().split())
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ActionError(f"reading {name}", errno=error.errno) from error
    return found


def write(name: str, value: str) -> None:
    """Raises ActionError."""
    try:
        _file(name).write_text(value)
    except OSError as error:
        raise ActionError(
            f"setting {name} to {value}",
            errno=error.errno,
            hint="CAP_NET_ADMIN and a writable /proc/sys/net are needed",
        ) from error


def blackholes() -> int:
    """How often the conclusion was drawn so far (MPTcpExtBlackhole); 0 where it never is."""
    try:
        lines = _NETSTAT.read_text().splitlines()
    except OSError as error:
        raise ActionError(f"reading {_NETSTAT}", errno=error.errno) from error
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        if names.startswith("MPTcpExt:"):
            found = dict(zip(names.split(), values.split(), strict=False))
            return int(found.get("Blackhole", 0))
    return 0


def forget_blackhole() -> None:
    """Use MPTCP again; the timeout stays as it is. Raises ActionError."""
    for name, value in read([BLACKHOLE_TIMEOUT]).items():
        write(name, value)
