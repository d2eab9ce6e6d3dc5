# SPDX-License-Identifier: GPL-2.0-or-later
"""What was changed and how it was found, so that it can be put back, even after a crash.

``<state_dir>/changes.json`` is written before each first change of its kind and replaced by
rename, so a reader finds the old or the new one whole. Where it can't be written failover goes on
all the same, from memory: an uplink that stays dead is worse than what a crash would leave. There
is no fsync: the file is for the death of the process, and after a power cut the kernel's endpoints
and routes are gone with the boot id that they are recorded under. A flush to a flash card would
only delay failover.

The rules of putting back (plan_restore) are careful: something is touched only where the kernel
holds what we left there. What an operator has changed since is left and said.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omrfast.core.operations import (
    AbortHandshakes,
    AddEndpoint,
    CopyRoute,
    DeleteEndpoint,
    Endpoint,
    ForgetBlackhole,
    Observed,
    Operation,
    Route,
    SetBackup,
    SetMetric,
    SetSetting,
    SetWindow,
    WithdrawRoute,
    copied,
)
from omrfast.store.changes import (
    ABSENT,
    ACTIVE,
    BACKUP,
    Change,
    CopyChange,
    EndpointChange,
    RouteChange,
    SettingChange,
    WindowChange,
    as_found,
    endpoint_state,
    from_json,
    held_endpoint,
    interface_names,
    same_but_index,
    same_route,
    to_json,
)
from omrfast.store.haste import PATIENCE, HastyFile

VERSION = 3
FILE_NAME = "changes.json"
CLOSING = 5.0
"""Seconds that one who starts or stops waits for the disk."""

_log = logging.getLogger(__name__)


class LedgerError(Exception):
    """The state directory cannot be written; says which and what to do."""


def holder() -> dict[str, Any]:
    """Whose kernel state it is: this boot and this thread's network namespace."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {"boot_id": boot_id, "netns": os.stat("/proc/thread-self/ns/net").st_ino}


def _is_of(change: CopyChange | WindowChange, route: Route, names: dict[int, str]) -> bool:
    """Whether it is that route's, whatever its device's index."""
    interface = names.get(route.ifindex, "")
    return change.interface == interface and same_but_index(change.route, route)


class Ledger:
    """The changes of one agent. To be used by one thread, in the agent's network namespace.

    For each operation: record() before, done() after, whether it worked or not; settle() with
    what was observed then forgets what is as it was found.

    A file that can't be used here, being corrupt or of another network namespace, makes room for
    a new agent's; with ``make_room`` false it stays where it is and is a LedgerError.
    """

    def __init__(self, state_dir: str | os.PathLike[str], *, make_room: bool = True) -> None:
        self.path = Path(state_dir) / FILE_NAME
        self._file = HastyFile(self.path)
        self._make_room = make_room
        self._holder = holder()
        self._under_way: list[Operation] = []
        self._saved: str | None = ""
        self.changes: list[Change] = []
        self._load()

    # --- file ---------------------------------------------------------------------------------

    def _load(self) -> None:
        try:
            data = json.loads(self.path.read_bytes())
            if data["version"] != VERSION:
                raise ValueError(f"version {data['version']}, this program writes {VERSION}")
            held_by = {key: data[key] for key in self._holder}
            changes = from_json(data)
        except FileNotFoundError:
            return
        except OSError as error:
            raise LedgerError(
                f"{self.path}: {error.strerror}; make it readable or set agent.state_dir"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._set_aside("corrupt", f"it cannot be used ({error!r})")
            return
        if held_by["boot_id"] != self._holder["boot_id"]:
            _log.info("%s is from before a reboot, which undid the changes: dropped", self.path)
        elif held_by != self._holder:
            self._set_aside(
                f"netns-{held_by['netns']}",
                "it belongs to an agent in another network namespace "
                "(run `omrfast restore` there, or remove the file if that namespace is gone; "
                "give each agent its own agent.state_dir)",
            )
        else:
            self.changes = changes
            self._saved = self._text()

    def _set_aside(self, suffix: str, why: str) -> None:
        if not self._make_room:
            raise LedgerError(f"{self.path}: {why}")
        aside = self.path.with_name(f"{self.path.name}.{suffix}")
        try:
            os.replace(self.path, aside)
        except OSError as error:
            raise LedgerError(
                f"{self.path}: {why}, and cannot be renamed: {error.strerror}; remove it"
            ) from error
        _log.warning("%s: %s; kept as %s", self.path, why, aside.name)

    def _text(self) -> str:
        data = {"version": VERSION, **self._holder, **to_json(self.changes)}
        return json.dumps(data, indent=1) + "\n" if self.changes else ""

    def _save(self, patience: float) -> None:
        text = self._text()
        if text == self._saved:
            return
        try:
            self._file.put(text, patience)
        except OSError as error:
            if isinstance(error, TimeoutError):
                self._saved = None  # it may come to be written yet
            raise LedgerError(
                f"{self.path}: {error.strerror}; make room or set agent.state_dir"
            ) from error
        self._saved = text

    # --- recording ------------------------------------------------------------------------------

    def record(self, ops: Sequence[Operation], observed: Observed) -> None:
        """Write down what ``ops`` are about to change, as ``observed`` before; the first one wins.

        Raises LedgerError if the file cannot be written, or not within PATIENCE: they are noted all
        the same, and are in the file as soon as it can, so that only a crash before that loses
        them.
        """
        names = interface_names(observed)
        for op in ops:
            self._note(op, observed, names)
        self._under_way += ops
        self._save(PATIENCE)

    def _note(self, op: Operation, observed: Observed, names: dict[int, str]) -> None:
        match op:
            case SetMetric(route, metric):
                self._record_route(route, metric, names)
            case CopyRoute():
                self._record_copy(copied(op), names)
            case WithdrawRoute(route):
                self._record_copy(route, names)
            case SetBackup(endpoint, backup):
                self._record_endpoint(endpoint, BACKUP if backup else ACTIVE, observed, names)
            case DeleteEndpoint(endpoint):
                self._record_endpoint(endpoint, ABSENT, observed, names)
            case AddEndpoint(endpoint):
                self._record_endpoint(endpoint, endpoint_state(endpoint), observed, names)
            case SetSetting(name, value):
                self._record_setting(name, value, dict(observed.settings)[name])
            case SetWindow(route, segments):
                self._record_window(route, segments, observed, names)

    def _record_window(
        self, route: Route, segments: int, observed: Observed, names: dict[int, str]
    ) -> None:
        change = self._window_change(route, names)
        if change is None:
            held = dict(observed.windows)[route]
            change = WindowChange(names.get(route.ifindex, ""), route, held)
            self.changes.append(change)
        if segments not in change.applied:
            change.applied.append(segments)

    def _window_change(self, route: Route, names: dict[int, str]) -> WindowChange | None:
        for change in self.changes:
            if isinstance(change, WindowChange) and _is_of(change, route, names):
                return change
        return None

    def _record_setting(self, name: str, value: str, held: str) -> None:
        change = self._setting_change(name)
        if change is None:
            change = SettingChange(name, held)
            self.changes.append(change)
        if value not in change.applied:
            change.applied.append(value)

    def _setting_change(self, name: str) -> SettingChange | None:
        for change in self.changes:
            if isinstance(change, SettingChange) and change.name == name:
                return change
        return None

    def _record_copy(self, route: Route, names: dict[int, str]) -> None:
        if self._copy_change(route, names) is None:
            self.changes.append(CopyChange(names.get(route.ifindex, ""), route))

    def _record_route(self, route: Route, metric: int, names: dict[int, str]) -> None:
        change = self._route_change(route, names)
        if change is None:
            change = RouteChange(names.get(route.ifindex, ""), route)
            self.changes.append(change)
        if metric not in change.applied and metric != change.original.metric:
            change.applied.append(metric)

    def _route_change(self, route: Route, names: dict[int, str]) -> RouteChange | None:
        for change in self.changes:
            if (
                isinstance(change, RouteChange)
                and same_route(change, route, names.get(route.ifindex, ""))
                and route.metric in (change.original.metric, *change.applied)
            ):
                return change
        return None

    def _record_endpoint(
        self, endpoint: Endpoint, state: str, observed: Observed, names: dict[int, str]
    ) -> None:
        change = self._endpoint_change(endpoint)
        if change is None:
            held = held_endpoint(observed, endpoint.address, endpoint.port)
            device = names.get((held or endpoint).ifindex)
            change = EndpointChange(endpoint.address, endpoint.port, device, held)
            self.changes.append(change)
        if state not in change.applied:
            change.applied.append(state)

    def _endpoint_change(self, endpoint: Endpoint) -> EndpointChange | None:
        for change in self.changes:
            if isinstance(change, EndpointChange) and (change.address, change.port) == (
                endpoint.address,
                endpoint.port,
            ):
                return change
        return None

    def done(self, op: Operation) -> None:
        """``op`` was applied, or failed: settle() may look at it again."""
        if op in self._under_way:
            self._under_way.remove(op)

    def settle(self, observed: Observed) -> None:
        """Forget what is as it was found, unless an operation on it is under way.

        Raises LedgerError, as record().
        """
        names = interface_names(observed)
        busy = [self._change_of(op, names) for op in self._under_way]
        self._keep(
            [
                change
                for change in self.changes
                if any(change is other for other in busy) or not as_found(change, observed)
            ],
            PATIENCE,
        )

    def _change_of(self, op: Operation, names: dict[int, str]) -> Change | None:
        """The record of ``op``."""
        match op:
            case SetMetric(route):
                return self._route_change(route, names)
            case CopyRoute():
                return self._copy_change(copied(op), names)
            case WithdrawRoute(route):
                return self._copy_change(route, names)
            case SetBackup(endpoint) | DeleteEndpoint(endpoint) | AddEndpoint(endpoint):
                return self._endpoint_change(endpoint)
            case SetSetting(name):
                return self._setting_change(name)
            case SetWindow(route):
                return self._window_change(route, names)
            case AbortHandshakes() | ForgetBlackhole():
                return None

    def _copy_change(self, route: Route, names: dict[int, str]) -> CopyChange | None:
        for change in self.changes:
            if isinstance(change, CopyChange) and _is_of(change, route, names):
                return change
        return None

    def keep(self, changes: list[Change]) -> None:
        """Forget all but these. Raises LedgerError, as record(), but after CLOSING."""
        self._keep(changes, CLOSING)

    def _keep(self, changes: list[Change], patience: float) -> None:
        self.changes = changes
        self._save(patience)
