# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the fuzz target, and runs it for so many seconds."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .seeds import write_seeds

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOURCES = (
    HERE / "packets.c",
    *(ROOT / "omrfast/shim" / f"{name}.c" for name in ("native", "native_maps", "table")),
)
LONGEST_INPUT = 8192
_COMPILER = os.environ.get("CLANG", "clang")


class FuzzError(RuntimeError):
    """The target could not be built; the text says what to install."""


@dataclass(frozen=True)
class Run:
    finding: Path | None
    """An input that reproduces what was found."""
    executions: int
    edges: int
    """Edges of the control flow that were reached (libFuzzer's cov)."""
    log: str


def build(folder: Path) -> Path:
    """The target, built in folder. Raises FuzzError."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "packets"
    command = [
        _COMPILER,
        *("-g", "-O1", "-DOMR_NATIVE", "-D__SANE_USERSPACE_TYPES__"),
        "-fsanitize=fuzzer,address,undefined",
        "-fno-sanitize-recover=undefined",
        "-fno-omit-frame-pointer",
        *("-o", str(target)),
        *map(str, SOURCES),
    ]
    try:
        made = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    except OSError as error:
        raise FuzzError(f"{error}; make setup installs Debian's clang") from error
    if made.returncode:
        raise FuzzError(
            f"{made.stderr}\nbuilding {target} failed: with Debian's packages clang and "
            "libclang-rt-dev (make setup) it works"
        )
    return target


def run(folder: Path, seconds: int, progress: Callable[[str], None] = lambda line: None) -> Run:
    """Fuzz for so many seconds; what was learnt stays in folder/corpus. Raises FuzzError."""
    target = build(folder)
    write_seeds(folder / "seeds")
    corpus, found = folder / "corpus", folder / "findings"
    for path in (corpus, found):
        path.mkdir(exist_ok=True)
    old = set(found.iterdir())
    command = [
        str(target),
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST_INPUT}",
        f"-dict={HERE / 'options.dict'}",
        f"-artifact_prefix={found}/",
        "-timeout=10",
        "-print_final_stats=1",
        str(corpus),
        str(folder / "seeds"),
    ]
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=0"}
    lines: list[str] = []
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            progress(line.rstrip())
    new = sorted(set(found.iterdir()) - old)
    log = "".join(lines)
    if process.returncode and not new:
        raise FuzzError(f"{log[-4000:]}\n{target} ended with {process.returncode}")
    return Run(new[0] if new else None, _executions(log), _edges(log), log)


def _executions(log: str) -> int:
    match = re.search(r"number_of_executed_units:\s*(\d+)", log)
    return int(match.group(1)) if match else 0


def _edges(log: str) -> int:
    return max((int(number) for number in re.findall(r"cov: (\d+)", log)), default=0)
