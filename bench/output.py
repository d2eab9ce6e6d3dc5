# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks share: where results go, and what machine they came from."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Kernel, processor and date, so that a figure can be told from another machine's."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "date": time.strftime("%F"),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "cpu": model,
    }


def write_json(path: Path, figures: dict[str, Any]) -> None:
    """``figures`` beside the machine, readable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), **figures}, indent=1) + "\n")
