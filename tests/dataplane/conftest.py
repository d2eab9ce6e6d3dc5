# SPDX-License-Identifier: GPL-2.0-or-later
"""Namespaces and data planes, removed after each test whatever happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from omrfast.dataplane.attach import detach_all
from omrfast.dataplane.loader import open_dataplane
from omrfast.dataplane.reader import DataPlane

from .space import Space, temporary_space, usual_tc


@pytest.fixture(autouse=True)
def hook_is_there(request: pytest.FixtureRequest) -> None:
    """Kernels before 6.6 have no TCX: nothing to try there."""
    callspec = getattr(request.node, "callspec", None)
    if callspec and callspec.params.get("tc") == "tcx" and usual_tc() != "tcx":
        pytest.skip("this kernel has no TCX")


@pytest.fixture
def space() -> Iterator[Space]:
    """A namespace of its own, entered."""
    with temporary_space() as one:
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
