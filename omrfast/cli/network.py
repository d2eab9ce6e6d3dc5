# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast check`, second half: MPTCP, uplinks, and who else manages them.

Everything is read in the network namespace of the command.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from omrfast.cli import offload
from omrfast.cli.finding import Finding
from omrfast.core.config import Config
from omrfast.core.discover import discover
from omrfast.core.operations import Endpoint, Interface, Observed
from omrfast.core.settings import SUBFLOWS_MOST, server_needs

MPTCP_ENABLED = Path("/proc/sys/net/mptcp/enabled")
PM_TYPE = Path("/proc/sys/net/mptcp/pm_type")  # 0: in the kernel, 1: userspace
MANAGERS = {
    "NetworkManager": "it sets endpoints of its own (1.40 and newer): write "
    "connection.mptcp-flags=0x1 (disabled) into the uplinks' connections",
    "mptcpd": "it sets endpoints of its own: systemctl disable --now mptcp",
    "omr-tracker": "it sets endpoints and routes of its own: stop it while omrfast runs",
    "mwan3track": "it moves routes by rules of its own: stop mwan3 while omrfast runs",
}
_SHORT_QUEUES = frozenset({"fq", "fq_codel", "fq_pie", "cake"})
_QUEUELESS = frozenset({"noqueue", "clsact", "ingress"})
_COMM_MAX = 15  # TASK_COMM_LEN - 1


def uplinks(config: Config, observed: Observed) -> tuple[Interface, ...]:
    """The interfaces of the paths that the agent would take."""
    paths = config.paths or tuple(path for path, _ in discover(observed, config.quality))
    names = {path.interface for path in paths}
    return tuple(entry for entry in observed.interfaces if entry.name in names)


def _mptcp_enabled() -> Finding:
    try:
        enabled = MPTCP_ENABLED.read_text().strip() != "0"
    except FileNotFoundError:
        return Finding("MPTCP", False, "not in this kernel", "boot a kernel with CONFIG_MPTCP=y")
    if not enabled:
        return Finding("MPTCP", False, "switched off", "sysctl -w net.mptcp.enabled=1")
    if PM_TYPE.exists() and PM_TYPE.read_text().strip() != "0":
        return Finding(
            "MPTCP",
            False,
            "on, but paths are managed in userspace: the kernel ignores endpoints",
            "sysctl -w net.mptcp.pm_type=0",
        )
    return Finding("MPTCP", True, "on, endpoints managed by the kernel")


def _limits(count: int) -> Finding:
    from omrfast.act.errors import ActionError
    from omrfast.act.mptcp import EndpointManager

    try:
        with EndpointManager() as manager:
            limits = manager.limits()
    except ActionError as error:
        return Finding("MPTCP limits", False, str(error), "run as root (CAP_NET_ADMIN)")
    text = f"{limits.subflows} extra subflows, {limits.add_addr_accepted} announced addresses taken"
    if limits.subflows < count:
        return Finding(
            "MPTCP limits",
            None,
            f"{text}; {count} uplinks: one that comes back may find no room; the agent raises it "
            "while it runs",
            f"ip mptcp limits set subflow {count}",
        )
    return Finding("MPTCP limits", True, text)


def _endpoint(endpoint: Endpoint) -> str:
    flags = " ".join(sorted(endpoint.flags)) or "no flags"
    return f"{endpoint.address} (id {endpoint.id}, {flags})"


def _endpoints(observed: Observed) -> Finding:
    if not any("subflow" in entry.flags for entry in observed.endpoints):
        return Finding(
            "MPTCP endpoints",
            None,
            "no subflow endpoint: connections stay on one uplink",
            "ip mptcp endpoint add ADDRESS dev INTERFACE subflow, for each uplink",
        )
    return Finding("MPTCP endpoints", True, ", ".join(map(_endpoint, observed.endpoints)))


def _found(config: Config, found: tuple[Interface, ...]) -> Iterator[Finding]:
    missing = {path.interface for path in config.paths} - {entry.name for entry in found}
    for name in sorted(missing):
        yield Finding(
            f"uplink {name}",
            None,
            f"{config.source} names it, but there is no such interface",
            "correct the name, or plug it in: the agent waits for it",
        )
    if not found:
        yield Finding(
            "uplinks",
            None,
            "none found: no default route and no subflow endpoint",
            "configure the uplinks, or name them as [[path]]",
        )
    for entry in found:
        state = "up" if entry.up else "down"
        yield Finding(
            f"uplink {entry.name}", True, f"{state}, {', '.join(entry.addresses) or 'no address'}"
        )


def _qdiscs(index: int) -> list[str]:
    from pyroute2 import IPRoute

    with IPRoute() as route:
        return [entry.get_attr("TCA_KIND") for entry in route.get_qdiscs(index)]


def _queue(entry: Interface) -> Finding:
    name = f"qdisc {entry.name}"
    kinds = _qdiscs(entry.index)
    queues = [kind for kind in kinds if kind not in _QUEUELESS]
    text = ", ".join(dict.fromkeys(kinds)) or "none"
    if not queues or _SHORT_QUEUES & set(queues):
        return Finding(name, True, text)
    return Finding(
        name,
        None,
        f"{text}: a long queue here shows as a slow path",
        f"tc qdisc replace dev {entry.name} root fq_codel",
    )


def _offloads(entry: Interface) -> Finding:
    name = f"offloads {entry.name}"
    try:
        state = offload.read(entry.name)
    except OSError as error:
        return Finding(name, None, f"can't be read: {error.strerror}")
    text = " ".join(f"{key} {'on' if on else 'off'}" for key, on in state.items())
    if state.get("lro"):
        return Finding(
            name,
            None,
            f"{text}: LRO must not be used on a router",
            f"ethtool -K {entry.name} lro off",
        )
    if not state.get("gro", True):
        return Finding(
            name, None, f"{text}: more packets to look at", f"ethtool -K {entry.name} gro on"
        )
    return Finding(name, True, text)


def _own_processes() -> Iterator[str]:
    """Names of the processes in this network namespace."""
    own = os.stat("/proc/self/ns/net").st_ino
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.stat(process / "ns/net").st_ino == own:
                yield (process / "comm").read_text().strip()


def _version(name: str) -> str:
    binary = shutil.which(name)
    if binary is None:
        return ""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=5, check=False
        )
        if match := re.search(r"\d+(\.\d+)+", done.stdout):
            return f" {match[0]}"
    return ""


def _managers() -> Finding:
    running = set(_own_processes())
    found = [name for name in MANAGERS if name[:_COMM_MAX] in running]
    if not found:
        return Finding("other managers", True, "none of " + ", ".join(MANAGERS))
    names = ", ".join(name + _version(name) for name in found)
    todo = "; ".join(MANAGERS[name] for name in found)
    return Finding("other managers", None, f"running: {names}", todo)


def findings(config: Config) -> Iterator[Finding]:
    """MPTCP, endpoints, uplinks with their offloads and queues, other managers."""
    from omrfast.act.apply import observe
    from omrfast.act.errors import ActionError

    enabled = _mptcp_enabled()
    yield enabled
    try:
        observed = observe(None, ())
    except ActionError as error:
        yield Finding("uplinks", False, str(error), "run as root (CAP_NET_ADMIN)")
        return
    found = uplinks(config, observed)
    count = max(len(found), len({path.interface for path in config.paths}))
    yield _limits(min(count, SUBFLOWS_MOST))
    if count:
        yield Finding("the VPS", True, server_needs(count, observed.endpoints))
    yield _endpoints(observed)
    yield from _found(config, found)
    for entry in found:
        yield _offloads(entry)
        yield _queue(entry)
    yield _managers()
