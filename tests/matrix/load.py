# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether this kernel takes the prebuilt object, and what it has; the verifier's words if not.

python -m tests.matrix.load        (one JSON line; exit code 1 and the reason if it is refused)
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import time

from omrfast.dataplane import bpffs, links
from omrfast.dataplane.loader import open_dataplane
from omrfast.dataplane.names import DataPlaneError


def _load(replay: bool) -> float:
    """Milliseconds that loading takes."""
    with tempfile.TemporaryDirectory() as run_dir:
        begin = time.monotonic()
        try:
            with open_dataplane(run_dir, "prebuilt", replay=replay):
                return (time.monotonic() - begin) * 1e3
        finally:
            bpffs.remove_pins(bpffs.path(run_dir))
            bpffs.unmount(run_dir)


def main() -> int:
    try:
        took = _load(replay=False)
        _load(replay=True)
    except DataPlaneError as error:
        print(error)
        return 1
    found = {"kernel": platform.release(), "load_ms": round(took), "tcx": links.has_tcx(1)}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
