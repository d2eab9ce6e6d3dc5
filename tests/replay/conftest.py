# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures, and what omrfast and tshark make of each; made once per run of the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.replay.captures import make
from tests.replay.comparison import Comparison
from tests.replay.studio import Capture


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Capture]:
    """All captures of captures.py by their names."""
    return make(tmp_path_factory.mktemp("captures"))


@pytest.fixture(scope="session")
def compared(recorded: dict[str, Capture]) -> Callable[[str], Comparison]:
    """A capture's name to its Comparison."""
    made: dict[str, Comparison] = {}

    def compare(name: str) -> Comparison:
        if name not in made:
            made[name] = Comparison(recorded[name])
        return made[name]

    return compare


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cut")
