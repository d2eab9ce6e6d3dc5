# SPDX-License-Identifier: GPL-2.0-or-later
"""The picture of the failover benchmark: every run a dot, the targets drawn in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def draw(cases: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    pass
