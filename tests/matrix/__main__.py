# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots Debian's older kernels under emulation and runs there what depends on the kernel.

    python3 -m tests.matrix [--kernel 6.1] [--steps prog,abi,...] [--every 3]

Nothing but Python's standard library is needed: the rest is installed. Results are in
build/matrix/<kernel>/. Exit code 0: everything passed on every kernel; 1: something failed.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from tests.matrix import emulator, host, kernels, report, tree
from tests.matrix.host import MatrixError, say


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make matrix", description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", action="append", choices=tuple(kernels.SUITES))
    parser.add_argument("--steps", default=",".join(report.STEPS), help="default: %(default)s")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="N-th test of tests/prog")
    args = parser.parse_args()
    unknown = set(args.steps.split(",")) - set(report.STEPS)
    if unknown:
        parser.error(f"no such step: {', '.join(sorted(unknown))}")
    return args


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _matrix(args: argparse.Namespace) -> list[report.Row]:
    host.prepare()
    chosen = [kernels.fetch(series) for series in args.kernel or kernels.SUITES]
    root = tree.base()
    tree.install(root, chosen)
    key = host.digest(tree.sources_key(), *(kernel.release for kernel in chosen))
    image = tree.image(root, key)
    return [_kernel(kernel, root, image, args.steps.split(","), args.every) for kernel in chosen]


def _kernel(
    kernel: kernels.Kernel, root: Path, image: Path, steps: list[str], every: int
) -> report.Row:
    """Both machines of one kernel, one after the other."""
    initrd = emulator.initramfs(root, kernel)
    problems = []
    for machine in emulator.MACHINES:
        try:
            emulator.run(kernel, machine, image, initrd, steps, every)
        except MatrixError as error:
            problems.append(str(error))
    row = report.read(kernel, steps)
    row.problems += problems
    return row


def main() -> int:
    args = _arguments()
    signal.signal(signal.SIGTERM, _end)
    try:
        rows = _matrix(args)
    except MatrixError as error:
        print(f"matrix: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("matrix: interrupted; nothing is left running", file=sys.stderr)
        return 130
    print(report.table(rows, args.every))
    report.write(rows)
    failed = [problem for row in rows for problem in row.problems]
    for problem in failed:
        print(f"matrix: {problem}", file=sys.stderr)
    say("failed" if failed else "passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
