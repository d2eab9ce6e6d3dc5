# SPDX-License-Identifier: GPL-2.0-or-later
"""The core's replace() is dataclasses.replace()."""

from __future__ import annotations

import dataclasses

import pytest
from world import SimPath, World

from omrfast.core import replacing
from omrfast.core.events import ProbeReply
from omrfast.core.state import CoreState, PathRecord
from omrfast.core.types import PathCounters


@dataclasses.dataclass(frozen=True)
class Loose:
    one: int = 1
    two: int = 2


def records() -> list[object]:
    world = World(SimPath("one", upload=0.02), SimPath("two"))
    world.run(2.0)
    record = world.state.path("one")
    return [world.state, record, record.model, record.config, record.targets[0], PathCounters()]


def test_it_is_the_same() -> None:
    for record in records():
        for field in dataclasses.fields(record):  # type: ignore[arg-type]
            value = object()
            ours = replacing.replace(record, **{field.name: value})
            assert ours == dataclasses.replace(record, **{field.name: value})  # type: ignore[type-var]
            assert type(ours) is type(record)
            assert getattr(ours, field.name) is value
            assert getattr(record, field.name) is not value
        assert replacing.replace(record) == record


def test_what_it_can_not_copy_is_named() -> None:
    with pytest.raises(TypeError, match="no member 'speed'"):
        replacing.replace(ProbeReply("one", "icmp 192.0.2.1", 0.1, 1.0), speed=1)
    with pytest.raises(TypeError, match="Loose"):
        replacing.replace(Loose(), one=3)


def test_copies_stay_frozen() -> None:
    record = replacing.replace(CoreState((), 0.0), started=1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.started = 2.0  # type: ignore[misc]
    assert PathRecord.__slots__
