# SPDX-License-Identifier: GPL-2.0-or-later
"""Operations in words."""

from __future__ import annotations

import pytest

from omrfast.act.words import describe
from omrfast.core.operations import DeleteEndpoint, Endpoint, Operation, Route, SetMetric

SUBFLOW = frozenset({"subflow"})


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (DeleteEndpoint(Endpoint(2, "10.0.0.1", flags=SUBFLOW)), "endpoint 10.0.0.1 removed"),
        (DeleteEndpoint(Endpoint(0, "10.0.0.1")), "initial subflows from 10.0.0.1 closed"),
        (
            SetMetric(Route(6, "default", 2, "fe80::1", 100, table=101), 40100),
            "route default (IPv6) of table 101 metric 100 -> 40100",
        ),
    ],
)
def test_what_is_said_of_an_operation(operation: Operation, text: str) -> None:
    assert describe(operation) == text
