# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m tests.fuzz``: ten minutes, or FUZZ_SECONDS; exit code 1 on a finding."""

from __future__ import annotations

import os
import sys

from .fuzzer import ROOT, FuzzError, run


def main() -> int:
    text = os.environ.get("FUZZ_SECONDS", "600")
    if not text.isdecimal() or int(text) < 1:
        print(f"fuzz: FUZZ_SECONDS={text}: write a whole number from 1", file=sys.stderr)
        return 2
    seconds = int(text)
    folder = ROOT / "build" / "fuzz"
    print(f"fuzz: {seconds} s, corpus and findings in {folder.relative_to(ROOT)}", flush=True)
    try:
        result = run(folder, seconds, lambda line: print(line, flush=True))
    except FuzzError as error:
        print(f"fuzz: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fuzz: interrupted; what was learnt is kept", file=sys.stderr)
        return 130
    print(f"fuzz: {result.executions} inputs, {result.edges} edges reached")
    if result.finding:
        name = result.finding.relative_to(ROOT)
        print(f"fuzz: found {name}; build/fuzz/packets {name} shows it again", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
