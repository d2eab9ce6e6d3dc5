# SPDX-License-Identifier: GPL-2.0-or-later
"""What probes may cost on a path with a budget: a token bucket, in bytes of IP packets. Pure.

However a month goes, no 30 days take more than the limit: what flows in (RATE), what may have been
saved up before (CAPACITY) and what may be owed (DEBT) make one together. Beside that, traffic pays
a little for being watched (TRAFFIC): a path in use must not become one whose silence is no sign.

- A burst that a suspicion needs, a question to compare paths, and a path on probation may owe;
  questions to services, which cost more, half as much.
- While there is little left, a suspicion asks one first, and sends its burst if that is in vain.
- Regular probes, and those of a path that is gone, are stretched while there is little left, so
  that half of what flows in is saved.
- All the rest waits until START has been saved up again.
"""

from __future__ import annotations

from omrfast.core.config import PathConfig, probe_budget
from omrfast.core.replacing import replace
from omrfast.core.state import NEVER, PathRecord, Purse

MONTH = 30 * 86_400.0
CAPACITY = 1 / 30
DEBT = 1 / 60
RATE = 1 - CAPACITY - DEBT
START = CAPACITY / 24
"""Had at the start, so that a router that restarts again and again keeps within bounds too."""
LOW = START / 4
"""Shares of the limit; below LOW, saving begins."""
TRAFFIC = 1 / 1000
"""Share of what the path carries that flows in, too."""


def limit(path: PathConfig) -> int | None:
    """Bytes in 30 days; None: no bound."""
    return probe_budget(path)


def level(record: PathRecord, now: float) -> float:
    """Bytes that are there; without a bound, infinite."""
    most = limit(record.config)
    if most is None:
        return float("inf")
    purse = record.purse
    if purse is None:
        return most * START
    inflow = (now - purse.at) * most * RATE / MONTH
    inflow += max(0, carried(record) - purse.traffic) * TRAFFIC
    return min(most * CAPACITY, purse.level + inflow)


def carried(record: PathRecord) -> int:
    """Bytes that the path has carried, both ways, as the data path counts: they may begin anew."""
    counters = record.model.counters
    return 0 if counters is None else counters.tx_bytes + counters.rx_bytes


def spend(record: PathRecord, cost: int, now: float) -> PathRecord:
    """So many bytes are on their way."""
    record = replace(record, probe_bytes=record.probe_bytes + cost)
    most = limit(record.config)
    if most is None:
        return record if record.purse is None else replace(record, purse=None)
    left = level(record, now) - cost
    was_saving = record.purse is not None and record.purse.saving
    saving = left < most * (START if was_saving else LOW)
    return replace(record, purse=Purse(left, now, saving, carried(record)))


def is_saving(record: PathRecord, now: float) -> bool:
    """There is little left, and START has not been saved up yet."""
    most = limit(record.config)
    purse = record.purse
    return (
        most is not None
        and purse is not None
        and purse.saving
        and level(record, now) < most * START
    )


def stretch(record: PathRecord, interval: float, cost: int, now: float) -> float:
    """The interval of probes that must go on, while little is left."""
    most = limit(record.config)
    if most is None or not is_saving(record, now):
        return interval
    return max(interval, 2 * cost * MONTH / (most * RATE))


def affordable_at(record: PathRecord, cost: int, now: float, *, floor: float = 0.0) -> float:
    """From when on so many bytes are there; ``floor``: share of the limit that must be left."""
    most = limit(record.config)
    missing = 0.0 if most is None else most * floor + cost - level(record, now)
    if most is None or missing <= 0:
        return NEVER
    return now + missing * MONTH / (most * RATE)


def may_owe(record: PathRecord, cost: int, now: float) -> bool:
    """Whether what can't wait may be sent."""
    return affordable_at(record, cost, now, floor=-DEBT) <= now


def saved_up_at(record: PathRecord, now: float) -> float:
    """From when on what can wait may be sent."""
    most = limit(record.config)
    if most is None or not is_saving(record, now):
        return NEVER
    return affordable_at(record, 0, now, floor=START)
