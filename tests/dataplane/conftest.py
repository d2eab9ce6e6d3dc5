# SPDX-License-Identifier: GPL-2.0-or-later
"""Namespaces and data planes, removed after each test whatever happened."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyroute2 import netns

from omrfast.dataplane.attach import detach_all
from omrfast.dataplane.loader import open_dataplane
from omrfast.dataplane.reader import DataPlane

from .space import Space

_serial = itertools.count()


@pytest.fixture
def make_space() -> Iterator[Callable[[], Space]]:
    made: list[Space] = []

    def make() -> Space:
        space = Space(f"omr-shim-{os.getpid()}-{next(_serial)}")
        netns.create(space.name)
        made.append(space)
        return space

    yield make
    for space in made:
        netns.remove(space.name)


@pytest.fixture
def space(make_space: Callable[[], Space]) -> Iterator[Space]:
    """A namespace of its own, entered."""
    one = make_space()
    with one:
        yield one


@pytest.fixture
def run_dir(space: Space, tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path)
    detach_all(str(tmp_path))


@pytest.fixture(params=["prebuilt", "bcc"])
def loader(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def plane(run_dir: str) -> Iterator[DataPlane]:
    with open_dataplane(run_dir, "prebuilt") as opened:
        yield opened
