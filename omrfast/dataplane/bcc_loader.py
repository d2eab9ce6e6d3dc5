# SPDX-License-Identifier: GPL-2.0-or-later
"""The loader that compiles the sources for the running kernel, in a child process.

The child (bcc_child.py) pins everything and exits, so that LLVM's memory goes with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from omrfast.dataplane import headers
from omrfast.dataplane.names import DataPlaneError
from omrfast.dataplane.pins import Options, build_id
from omrfast.shim._shim import lib

SOURCE = Path(__file__).with_name("src")
MAIN = "omrfast.bcc.c"

_TIMEOUT_S = 120
_ERROR_LINES = 30


class Bcc:
    """Compiles and loads through bcc."""

    name = "bcc"
    number: int = lib.OMR_LOADER_BCC

    def __init__(self, run_dir: str, source: Path | None = None) -> None:
        self.run_dir = run_dir
        self.source = source or SOURCE

    def build_id(self, options: Options) -> bytes:
        """Identity of what load() would load; raises DataPlaneError if there are no sources."""
        files = [*sorted(self.source.glob("*.h")), self.source / MAIN]
        try:
            return build_id((path.read_bytes() for path in files), options)
        except OSError as error:
            raise DataPlaneError(f"no sources for bcc: {error}") from error

    def load(self, pin_dir: str, options: Options) -> None:
        """Compile, load and pin everything below pin_dir; raises DataPlaneError."""
        tree = headers.find(self.run_dir)
        order = {
            "source": str(self.source / MAIN),
            "pin_dir": pin_dir,
            "cflags": [
                f"-I{self.source}",
                f"-DOMR_HZ={options.hz}",
                f"-DOMR_REPLAY={int(options.replay)}",
                f"-DOMR_FLOWS={options.flows}",
            ],
        }
        environment = dict(os.environ)
        if tree is not None:
            environment["BCC_KERNEL_SOURCE"] = tree
        try:
            child = subprocess.run(
                [sys.executable, "-m", "omrfast.dataplane.bcc_child"],
                input=json.dumps(order),
                env=environment,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DataPlaneError(f"bcc did not finish within {_TIMEOUT_S} s") from error
        if child.returncode:
            tail = "\n  ".join(child.stderr.strip().splitlines()[-_ERROR_LINES:])
            raise DataPlaneError(f"bcc could not load {order['source']}:\n  {tail}")
