# SPDX-License-Identifier: GPL-2.0-or-later
"""Putting endpoints and routes back as they were found, on a clean stop or after a crash."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from omrfast.act.errors import ActionError
from omrfast.act.mptcp import same_but_id
from omrfast.core.operations import (
    AddEndpoint,
    DeleteEndpoint,
    Endpoint,
    Observed,
    Operation,
    Route,
    SetBackup,
    SetMetric,
    SetSetting,
    SetWindow,
    WithdrawRoute,
)
from omrfast.store.changes import (
    Change,
    CopyChange,
    EndpointChange,
    RouteChange,
    SettingChange,
    WindowChange,
    endpoint_state,
    held_copy,
    held_endpoint,
    held_window,
    interface_names,
    same_route,
)
from omrfast.store.ledger import Ledger

_log = logging.getLogger(__name__)


class Acting(Protocol):
    """What restore() needs of an Actuator."""

    async def observe(self, paths: None, server_addresses: Iterable[str]) -> Observed:
        """Everything, and the routes to these destinations."""

    def apply(self, op: Operation) -> Awaitable[object]:
        """Carry out one operation."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What restore() did, left, and failed to do; sentences for the operator."""

    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    """Not as we left it (somebody changed it, or its interface is gone): not touched."""
    failed: tuple[str, ...] = ()
    """Refused by the kernel; still in the ledger, so that it can be tried again."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do about one change: an operation, or none with the reason in ``text``."""

    change: Change
    op: Operation | None
    text: str
    later: bool = False
    """Nothing can be done now, but when the interface is back: it stays in the ledger."""


def plan_restore(changes: Iterable[Change], observed: Observed) -> tuple[Step, ...]:
    """One step for each change that is not as it was found; routes first (pure).

    New connections follow routes, so those go back before the endpoints. Endpoints that the kernel
    shall choose an id for come last, so that they take none that another one had.
    """
    steps = [
        _step(change, observed)
        for change in sorted(changes, key=lambda change: isinstance(change, EndpointChange))
    ]
    return tuple(sorted((step for step in steps if step is not None), key=_any_id))


def _step(change: Change, observed: Observed) -> Step | None:
    match change:
        case RouteChange():
            return _restore_route(change, observed)
        case CopyChange():
            return _remove_copy(change, observed)
        case EndpointChange():
            return _restore_endpoint(change, observed)
        case SettingChange():
            return _restore_setting(change, observed)
        case WindowChange():
            return _restore_window(change, observed)


def _any_id(step: Step) -> bool:
    return isinstance(step.op, AddEndpoint) and step.op.endpoint.id == 0


def _restore_route(change: RouteChange, observed: Observed) -> Step | None:
    index = _index(change.interface, observed)
    original = change.original
    what = f"{_named(original, change.interface)} metric {original.metric}"
    if index is None:
        return Step(change, None, f"{what}: the interface is gone", later=True)
    wished = replace(original, ifindex=index)
    names = interface_names(observed)
    here = [r for r in observed.routes if same_route(change, r, names.get(r.ifindex))]
    ours = [r for r in here if r.metric in change.applied]
    if ours:
        return Step(change, SetMetric(ours[0], original.metric), f"{what} put back")
    if wished in here:
        return None
    return Step(change, None, f"{what}: removed or changed by someone else")


def _remove_copy(change: CopyChange, observed: Observed) -> Step | None:
    held = held_copy(change, observed)
    if held is None:
        return None
    what = f"{_named(held, change.interface)} metric {held.metric}"
    return Step(change, WithdrawRoute(held), f"{what}, which we had added, removed")


def _restore_setting(change: SettingChange, observed: Observed) -> Step | None:
    held = dict(observed.settings).get(change.name, change.original)
    if held == change.original:
        return None
    if held not in change.applied:
        return Step(change, None, f"{change.name}: is {held}, by someone else")
    text = f"{change.name} put back to {change.original}"
    return Step(change, SetSetting(change.name, change.original), text)


def _restore_window(change: WindowChange, observed: Observed) -> Step | None:
    held = held_window(change, observed)
    if held is None or held[1] == change.original:
        return None
    what = f"initial window of {_named(change.route, change.interface)}"
    if held[1] not in change.applied:
        return Step(change, None, f"{what}: is {held[1]}, by someone else")
    return Step(change, SetWindow(held[0], change.original), f"{what} put back")


def _restore_endpoint(change: EndpointChange, observed: Observed) -> Step | None:
    what = f"MPTCP endpoint {change.address}"
    held = held_endpoint(observed, change.address, change.port)
    original = change.original
    if original is not None and original.ifindex:
        index = _index(change.interface, observed)
        original = replace(original, ifindex=index or original.ifindex)
    if held == original or (held and original and same_but_id(held, original)):
        return None  # another id: it was taken when the endpoint was added again
    if endpoint_state(held) not in change.applied:
        return Step(change, None, f"{what}: is {endpoint_state(held)}, by someone else")
    if held is None and original is not None:
        if "implicit" in original.flags:
            return None  # the kernel makes those itself when it needs them
        return _add_again(change, original, observed)
    if held is not None and original is None:
        return Step(change, DeleteEndpoint(held), f"{what}, which we had added, removed")
    if held is not None and original is not None and _differ_in_backup_only(held, original):
        return Step(change, SetBackup(held, original.backup), f"{what}: priority put back")
    return Step(change, None, f"{what}: has another device or flags, by someone else")


def _add_again(change: EndpointChange, original: Endpoint, observed: Observed) -> Step:
    what = f"MPTCP endpoint {change.address} (id {original.id})"
    if not any(change.address in entry.addresses for entry in observed.interfaces):
        return Step(change, None, f"{what}: no interface has its address now", later=True)
    if original.ifindex and _index(change.interface, observed) is None:
        return Step(change, None, f"{what}: its interface {change.interface} is gone", later=True)
    owner = next((e.address for e in observed.endpoints if e.id == original.id), None)
    if owner is not None:
        text = f"{what} added again, with another id: {owner} has its own now"
        return Step(change, AddEndpoint(replace(original, id=0)), text)
    return Step(change, AddEndpoint(original), f"{what} added again")


def _differ_in_backup_only(one: Endpoint, other: Endpoint) -> bool:
    """Or in their ids."""
    return same_but_id(
        replace(one, flags=one.flags - {"backup"}), replace(other, flags=other.flags - {"backup"})
    )


def _named(route: Route, interface: str) -> str:
    table = "" if route.main else f" table {route.table}"
    return f"route {route.destination} dev {interface}{table}"


def _index(name: str | None, observed: Observed) -> int | None:
    return next((entry.index for entry in observed.interfaces if entry.name == name), None)


async def restore(
    ledger: Ledger, actuator: Acting, *, keep: Callable[[Change], bool] = lambda change: False
) -> Restored:
    """Put everything in the ledger back and empty it, but for what is to be kept; idempotent.

    What the kernel refuses, and what waits for its interface, stays in the ledger. Raises
    ActionError if nothing can be observed and LedgerError if the file cannot be written.
    """
    done: list[str] = []
    left: list[str] = []
    failed: list[str] = []
    kept = [change for change in ledger.changes if keep(change)]
    due = [change for change in ledger.changes if not keep(change)]
    changed = {
        c.original if isinstance(c, RouteChange) else c.route
        for c in ledger.changes
        if isinstance(c, RouteChange | CopyChange | WindowChange)
    }
    destinations = {route.destination for route in changed}
    observed = await actuator.observe(None, sorted(destinations))
    for step in plan_restore(due, observed):
        if step.op is None:
            _log.warning("left as it is: %s", step.text)
            left.append(step.text)
            kept += [step.change] if step.later else []
            continue
        try:
            await actuator.apply(step.op)
        except ActionError as error:
            _log.error("not put back: %s", error)
            failed.append(str(error))
            kept.append(step.change)
        else:
            _log.info("restored: %s", step.text)
            done.append(step.text)
    ledger.keep(kept)
    return Restored(tuple(done), tuple(left), tuple(failed))
