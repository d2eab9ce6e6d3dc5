# SPDX-License-Identifier: GPL-2.0-or-later
"""An agent that dies: records and applies, then stops at the named moment to be killed.

Usage: python crash_child.py STATE_DIR MOMENT [KIND…]; prints "here" when it has come there.
"""

from __future__ import annotations

import sys
import time

from omrfast.act.apply import apply, observe
from omrfast.core.operations import (
    AddEndpoint,
    CopyRoute,
    DeleteEndpoint,
    Endpoint,
    SetBackup,
    SetMetric,
    SetSetting,
)
from omrfast.core.settings import SUBFLOWS, TCP_WMEM
from omrfast.store.ledger import Ledger


def operations(seen, kinds):
    """The operations of the test, on the endpoints with ids 1 and 2 and the first route."""
    by_id = {endpoint.id: endpoint for endpoint in seen.endpoints}
    made = Endpoint(7, "fd77:2::2", by_id[2].ifindex, 0, frozenset({"subflow"}))
    known = {
        "delete": DeleteEndpoint(by_id[1]),
        "backup": SetBackup(by_id[2], True),
        "add": AddEndpoint(made),
        "metric": SetMetric(next(r for r in seen.routes if r.family == 4), 900),
        "limits": SetSetting(SUBFLOWS, "5"),
        "tuning": SetSetting(TCP_WMEM, "4096 16384 300000"),
        "copy": CopyRoute(next(r for r in seen.routes if r.family == 6), 50),
        "metric6": SetMetric(next(r for r in seen.routes if r.family == 6), 900),
    }
    return [known[kind] for kind in kinds]


def main() -> None:
    """Record all, then apply all; die before or after."""
    state_dir, moment, *kinds = sys.argv[1:]
    ledger = Ledger(state_dir)
    seen = observe(None, ())
    ops = operations(seen, kinds)
    for op in ops:
        ledger.record([op], seen)
        if moment == "after":
            apply(op)
            ledger.done(op)
            ledger.settle(observe(None, ()))
    print("here", flush=True)
    time.sleep(600)


main()
