# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs, loaded once per loader for all packet tests, on a clock that the tests set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from omrfast.dataplane import bpffs
from omrfast.dataplane.loader import open_dataplane
from omrfast.dataplane.reader import DataPlane

from ..one_cpu import one_cpu  # noqa: F401 (a fixture of this folder)
from .machine import Machine

FLOWS = 64
"""Capacity of each flow table here."""


@pytest.fixture(scope="session", params=["prebuilt", "bcc"])
def plane(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DataPlane]:
    run_dir = str(tmp_path_factory.mktemp(request.param))
    with open_dataplane(run_dir, request.param, replay=True, flows=FLOWS) as opened:
        yield opened
    bpffs.remove_pins(bpffs.path(run_dir))
    bpffs.unmount(run_dir)


@pytest.fixture(params=["tc", "xdp"])
def machine(request: pytest.FixtureRequest, plane: DataPlane) -> Machine:
    return Machine(plane, request.param == "xdp")
