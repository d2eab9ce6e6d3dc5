# SPDX-License-Identifier: GPL-2.0-or-later
"""Compile with bcc, load, pin, exit: run by bcc_loader as a process of its own.

Reads one JSON object from standard input: source, pin_dir, cflags. Exit status 0, or 1 with the
reason on standard error.
"""

from __future__ import annotations

import json
import os
import sys

from omrfast.dataplane.names import MAPS, PROGRAMS
from omrfast.shim import api


def compile_and_pin(source: str, pin_dir: str, cflags: list[str]) -> None:
    """Raises OSError from the kernel, or bcc's plain Exception if it cannot compile."""
    from bcc import BPF, lib

    module = BPF(src_file=source.encode(), cflags=cflags)
    for name in MAPS:
        fd = lib.bpf_table_fd(module.module, name.encode())
        if fd < 0:
            raise LookupError(f"{source} has no map {name}")
        api.pin(fd, os.path.join(pin_dir, name))
    for name, kind in PROGRAMS.items():
        # Not by bcc's load_func(): it has no flag for sleepable programs.
        fd = api.load_program(kind, name, module.dump_func(name.encode()))
        api.pin(fd, os.path.join(pin_dir, name))


def main() -> int:
    order = json.load(sys.stdin)
    try:
        compile_and_pin(order["source"], order["pin_dir"], order["cflags"])
    except ImportError as error:
        print(f"{error}: apt-get install python3-bpfcc", file=sys.stderr)
        return 1
    except Exception as error:  # bcc raises nothing more precise
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
