# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs, loaded once, beside the native build and the model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from omrfast.dataplane import bpffs
from omrfast.dataplane.loader import open_dataplane
from omrfast.dataplane.reader import DataPlane

from ..one_cpu import one_cpu  # noqa: F401 (a fixture of this folder)
from .subjects import CAPACITY, Subjects


@pytest.fixture(scope="session", params=["prebuilt", "bcc"])
def plane(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DataPlane]:
    run_dir = str(tmp_path_factory.mktemp(f"model-{request.param}"))
    with open_dataplane(run_dir, request.param, replay=True, flows=CAPACITY) as opened:
        yield opened
    bpffs.remove_pins(bpffs.path(run_dir))
    bpffs.unmount(run_dir)


@pytest.fixture(scope="session", params=["tc", "xdp"])
def subjects(request: pytest.FixtureRequest, plane: DataPlane) -> Iterator[Subjects]:
    made = Subjects(plane, request.param == "xdp")
    yield made
    made.kernel.close()
