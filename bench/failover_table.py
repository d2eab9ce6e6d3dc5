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
        shown = " · ".join(c.shown if c.good else f"**{c.shown}**" for c in row.checks)
        targets = " · ".join(check.target for check in row.checks)
        verdict = "reached" if row.good else "**MISSED**"
        lines.append(f"| {row.what} | {row.without} | {shown} | {targets} | {verdict} |")
    checks = [check for row in rows for check in row.checks]
    missed = sum(not check.good for check in checks)
    lines += ["", f"{len(checks) - missed} of {len(checks)} targets reached."]
    return "\n".join(lines)
