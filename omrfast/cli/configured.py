# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast check`, third part: what the configuration asks for, and whether it can be had."""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from omrfast.cli.common import duration, size
from omrfast.cli.finding import Finding
from omrfast.core.config import Config, PathConfig, ProbeConfig, TuningConfig, probe_budget
from omrfast.core.types import ProbeKind, Role, Target

MONTH = 30 * 86_400.0
PACKAGES = {"dns": "dnspython"}
"""Modules whose package has another name."""
_KERNELS_OWN = "the kernel's own"


def paths(config: Config) -> tuple[PathConfig, ...]:
    """The configured ones, else those that the agent would find here; none without the right to
    look."""
    from omrfast.act.apply import observe
    from omrfast.act.errors import ActionError
    from omrfast.core.discover import discover

    if config.paths:
        return config.paths
    try:
        found = discover(observe(None, ()), config.quality, config.agent.objective)
    except ActionError:
        return ()
    return tuple(path for path, _ in found)


def _objective(config: Config, known: Sequence[PathConfig]) -> Finding:
    apart = [
        f"{path.name} {path.objective}"
        for path in known
        if path.objective is not config.agent.objective
    ]
    return Finding("objective", True, ", ".join([str(config.agent.objective), *apart]))


def _budgets(config: Config, known: Sequence[PathConfig]) -> Iterator[Finding]:
    """What the services, asked at their own intervals, would take of each path's budget."""
    for path in known:
        if path.role is Role.OFF:
            continue
        name = f"probe budget {path.name}"
        budget = probe_budget(path)
        services = _services(config, path)
        wanted = sum(target.cost * MONTH / interval for target, interval in services)
        text = "no bound" if budget is None else f"{size(budget)} in 30 days"
        if budget is None or wanted <= budget / 2:
            more = f"; the services asked take {size(wanted)} in 30 days" if services else ""
            yield Finding(name, True, text + more)
        else:
            every = sum(target.cost for target, _ in services) * MONTH / (budget / 2)
            yield Finding(
                name,
                None,
                f"{text}; at their intervals the services asked would take {size(wanted)}: they "
                "are asked less often here",
                f"intervals of {duration(every)} would fit half of it; or write a larger "
                "probe_budget into the [[path]]",
            )


def _services(config: Config, path: PathConfig) -> list[tuple[Target, float]]:
    """Targets of a path that cost more than a ping, with their intervals."""
    from omrfast.core.targets import available

    targets = available(config, path.address or "", (), ())
    return [
        (target, target.interval)
        for target in targets
        if target.kind is not ProbeKind.ICMP and target.interval is not None
    ]


def _probes(config: Config) -> Iterator[Finding]:
    for server in config.servers:
        if server.port is not None:
            yield Finding(f"server {server.name}", True, f"asked by TCP connect at {server.port}")
    for probe in config.probes:
        yield _probe(probe)
    if not config.servers and not config.probes:
        yield Finding(
            "probes",
            None,
            "no server and no probe configured: the ends of living subflows are asked, else only "
            "the gateways, which know nothing of what lies behind them",
            "name the VPS as [[server]], with its addresses",
        )


def _probe(probe: ProbeConfig) -> Finding:
    from omrfast.probing import PROBERS

    name = f"probe {probe.name}"
    module, _ = PROBERS[probe.kind]
    text = f"{probe.kind} {probe.target}, every {probe.interval:g} s"
    try:
        importlib.import_module(module)
    except ImportError as error:
        missing = (error.name or str(error)).partition(".")[0]
        library = PACKAGES.get(missing, missing)
        return Finding(name, None, f"{text}: left out, needs {library}", f"pip install {library}")
    return Finding(name, True, text)


def _journal(config: Config) -> Finding:
    from omrfast.store.journal import FOLDER

    if not config.journal.size:
        return Finding("journal", True, "off: size under [journal] is 0")
    folder = Path(config.agent.state_dir) / FOLDER
    used = sum(file.stat().st_size for file in folder.glob("*") if file.is_file())
    text = f"{folder}, {size(used)} of {size(config.journal.size)}"
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(place, os.W_OK):
        return Finding(
            "journal",
            None,
            f"{text}; {place} can't be written to",
            "write another state_dir under [agent], or run as root",
        )
    room = os.statvfs(place)
    free = room.f_bavail * room.f_frsize
    if free < config.journal.size - used:
        return Finding(
            "journal",
            None,
            f"{text}; only {size(free)} are free there",
            "write a smaller size under [journal], or make room",
        )
    return Finding("journal", True, text)


def _windows(config: Config, known: Sequence[PathConfig]) -> tuple[list[str], str]:
    """Initial windows of the paths' routes: what is to be changed, and what they are.

    Raises ActionError.
    """
    from omrfast.act.apply import observe
    from omrfast.core.settings import window_operations

    observed = observe(known, [a for server in config.servers for a in server.addresses])
    names = {path.interface for path in known}
    indexes = frozenset(entry.index for entry in observed.interfaces if entry.name in names)
    due = tuple(window_operations(config.tuning, indexes, {}, observed.windows))
    held = Counter(segments for _, segments in observed.windows)
    text = ", ".join(
        f"{segments or _KERNELS_OWN} on {count} route{'s' * (count > 1)}"
        for segments, count in sorted(held.items())
    )
    wished = [f"initial_window = {config.tuning.initial_window} on {len(due)} of them"]
    return wished if due else [], f"initial windows: {text or 'no routes'}"


def _tuning(config: Config, known: Sequence[PathConfig]) -> Finding:
    from omrfast.act.errors import ActionError
    from omrfast.act.settings import read
    from omrfast.core.settings import SYSCTLS, missing, setting_operations

    try:
        kernel = read(SYSCTLS)
        windows_due, windows = _windows(config, known)
    except ActionError as error:
        return Finding("tuning", None, str(error))
    now = ", ".join([*(f"{name} = {value}" for name, value in kernel.items()), windows])
    absent = missing(config.tuning, kernel)
    if absent:
        return Finding(
            "tuning",
            None,
            f"{', '.join(absent)}: asked for, but not in this kernel; in effect: {now}",
            "leave it out of [tuning]",
        )
    if config.tuning == TuningConfig():
        return Finding("tuning", True, f"none asked for; in effect: {now}")
    due = [f"{op.name} = {op.value}" for op in setting_operations(config.tuning, 0, {}, kernel)]
    due += windows_due
    if due:
        return Finding(
            "tuning",
            None,
            f"asked for: {', '.join(due)}; in effect: {now}",
            "the agent sets it while it runs: omrfast run",
        )
    return Finding("tuning", True, f"as asked for: {now}")


def findings(config: Config) -> Iterator[Finding]:
    """Objective, probe budgets, probes and what they need, journal, tuning."""
    known = paths(config)
    yield _objective(config, known)
    yield from _budgets(config, known)
    yield from _probes(config)
    yield _journal(config)
    yield _tuning(config, known)
