# SPDX-License-Identifier: GPL-2.0-or-later
"""When a change that the ledger holds is over."""

from __future__ import annotations

import pytest

from omrfast.core.operations import Endpoint, Interface, Observed
from omrfast.store.changes import ABSENT, EndpointChange, as_found

OLD, NEW = "10.1.0.2", "10.1.0.9"
FOUND = Endpoint(1, OLD, 2, 0, frozenset({"subflow"}))
REMOVED = EndpointChange(OLD, 0, "wan1", FOUND, [ABSENT])


def endpoint(address: str) -> Endpoint:
    return Endpoint(2, address, 2, 0, frozenset({"subflow"}))


def device(*addresses: str, up: bool = True, name: str = "wan1") -> Interface:
    return Interface(2, name, up, 1, addresses)


@pytest.mark.parametrize(
    ("devices", "endpoints", "over"),
    [
        ((device(OLD),), (), False),
        ((device(),), (), False),
        ((device(NEW),), (), False),
        ((device(NEW),), (endpoint(NEW),), True),
        ((device(NEW, up=False),), (endpoint(NEW),), False),
        ((device(NEW, OLD),), (endpoint(NEW),), False),
        ((device("2001:db8::9"),), (endpoint("2001:db8::9"),), False),
        ((device(NEW, name="wan2"),), (endpoint(NEW),), False),
        ((device(NEW), device(OLD, name="wan2")), (endpoint(NEW),), False),
    ],
)
def test_a_removed_endpoint_is_remembered_until_another_address_has_its_place(
    devices: tuple[Interface, ...], endpoints: tuple[Endpoint, ...], over: bool
) -> None:
    observed = Observed(endpoints, (), interfaces=devices)
    assert as_found(REMOVED, observed) is over
