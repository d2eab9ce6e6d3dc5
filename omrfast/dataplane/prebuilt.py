# SPDX-License-Identifier: GPL-2.0-or-later
"""The loader for the object that the build made: no compiler needed, some tens of milliseconds."""

from __future__ import annotations

from pathlib import Path

from omrfast.dataplane.names import SCAN_PROGRAM, DataPlaneError
from omrfast.dataplane.pins import Options, build_id
from omrfast.shim import api
from omrfast.shim._shim import lib

OBJECT = Path(__file__).with_name("omrfast.bpf.o")


class Prebuilt:
    """Loads an ELF object through libbpf."""

    name = "prebuilt"
    number: int = lib.OMR_LOADER_PREBUILT

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or OBJECT

    def build_id(self, options: Options) -> bytes:
        """Identity of what load() would load; raises DataPlaneError if there is no object."""
        try:
            return build_id((self.path.read_bytes(),), options)
        except OSError as error:
            raise DataPlaneError(
                f"no packet programs at {self.path}: {error.strerror}; build them with "
                "'make setup', or take the loader 'bcc'"
            ) from error

    def load(self, pin_dir: str, options: Options) -> None:
        """Load and pin everything below pin_dir; raises DataPlaneError."""
        try:
            api.load_object(
                str(self.path),
                pin_dir,
                hz=options.hz,
                replay=options.replay,
                flows=options.flows,
                optional=SCAN_PROGRAM,
            )
        except OSError as error:
            raise DataPlaneError(f"{error}\n(loader 'prebuilt'; 'bcc' may do better)") from error
