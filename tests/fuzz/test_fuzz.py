# SPDX-License-Identifier: GPL-2.0-or-later
"""A minute of fuzzing with ASan and UBSan finds nothing (FUZZ_SECONDS for another time)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .fuzzer import ROOT, run

SECONDS = int(os.environ.get("FUZZ_SECONDS", "60"))
BUILD_SECONDS = 120
EDGES_OF_THE_SEEDS = 600


@pytest.mark.timeout(SECONDS + BUILD_SECONDS)
def test_nothing_is_found(tmp_path: Path) -> None:
    result = run(tmp_path, SECONDS)
    if result.finding:
        kept = ROOT / "build" / "fuzz-finding"
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(result.finding.read_bytes())
        pytest.fail(f"{result.log[-6000:]}\nthe input is kept in {kept}")
    assert result.executions > 10 * SECONDS
    assert result.edges > EDGES_OF_THE_SEEDS
