# SPDX-License-Identifier: GPL-2.0-or-later
"""The figures of the failover benchmark as the README has them."""

from __future__ import annotations

from collections.abc import Sequence

from bench.failover_case import Row


def markdown(rows: Sequence[Row]) -> str:
    lines = [
        "| case | without: median (range) | with omrfast: median (range) | to reach | |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        verdict = "reached" if row.good else "**MISSED**"
        lines.append(f"| {row.what} | {row.without} | {row.reached} | {row.target} | {verdict} |")
    missed = sum(not row.good for row in rows)
    lines += ["", f"{len(rows) - missed} of {len(rows)} targets reached."]
    return "\n".join(lines)
