# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's settings that the agent may change, and what they should be; what the server's
should be, which it can't change. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from omrfast.core.config import TuningConfig
from omrfast.core.operations import Endpoint, Route, SetSetting, SetWindow

SUBFLOWS = "mptcp limits subflows"
"""``ip mptcp limits``: subflows of a connection besides the first."""
STALE_LOSS_CNT = "net.mptcp.stale_loss_cnt"
TCP_WMEM = "net.ipv4.tcp_wmem"
TCP_RTO_MIN = "net.ipv4.tcp_rto_min_us"
"""From Linux 6.11, for connections that are opened from then on."""
TCP_NOTSENT_LOWAT = "net.ipv4.tcp_notsent_lowat"
SYSCTLS = (STALE_LOSS_CNT, TCP_WMEM, TCP_RTO_MIN, TCP_NOTSENT_LOWAT)
SUBFLOWS_MOST = 8
"""More than this no kernel before Linux 7.2 takes."""


def setting_operations(
    tuning: TuningConfig, uplinks: int, found: Mapping[str, str], now: Mapping[str, str]
) -> Iterator[SetSetting]:
    """What makes up the difference.

    ``found``: what those had been that we changed; ``now``: what the kernel has. A former initial
    subflow comes back as a join and counts, so that each connection may need one per uplink. That
    limit is raised and never lowered.
    """
    wished = _tuned(tuning, {**now, **found})
    for name in SYSCTLS:
        if name in now:
            value = wished.get(name, found.get(name, now[name]))
            if value.split() != now[name].split():
                yield SetSetting(name, value)
    needed = min(uplinks, SUBFLOWS_MOST)
    if SUBFLOWS in now and int(now[SUBFLOWS]) < needed:
        yield SetSetting(SUBFLOWS, str(needed))


def window_operations(
    tuning: TuningConfig,
    ifindexes: frozenset[int],
    found: Mapping[Route, int],
    now: tuple[tuple[Route, int], ...],
) -> Iterator[SetWindow]:
    """What makes up the difference in the initial windows of the routes through these devices.

    ``found``: what those had been that we changed. A copy has that of its original; advertised
    routes are left alone, for they can't be changed without becoming others.
    """
    for route, segments in now:
        wished = tuning.initial_window
        if wished is None:
            wished = found.get(route, segments)
        own = route.ifindex in ifindexes and not (route.copy or route.advertised)
        if own and segments != wished:
            yield SetWindow(route, wished)


def missing(tuning: TuningConfig, now: Mapping[str, str]) -> tuple[str, ...]:
    """What is asked for and this kernel does not have."""
    asked = {
        STALE_LOSS_CNT: tuning.stale_loss_cnt,
        TCP_WMEM: tuning.send_buffer,
        TCP_RTO_MIN: tuning.rto_min,
        TCP_NOTSENT_LOWAT: tuning.unsent_limit,
    }
    return tuple(name for name, value in asked.items() if value is not None and name not in now)


def server_needs(uplinks: int, endpoints: tuple[Endpoint, ...]) -> str:
    """What can't be seen from here: the limits of the accepting side count as well.

    Endpoints with the signal flag are told to the server, which may then open subflows to them.
    """
    subflows = min(uplinks, SUBFLOWS_MOST)
    announced = sum("signal" in endpoint.flags for endpoint in endpoints)
    taken = "no announced addresses (none is announced from here)"
    command = f"ip mptcp limits set subflow {subflows}"
    if announced:
        taken = (
            f"{announced} announced addresses, one for each endpoint with the signal flag (behind "
            "NAT none can be reached: leave the flag out there)"
        )
        command += f" add_addr_accepted {announced}"
    return (
        f"needs net.mptcp.enabled=1, and in each connection room for {subflows} extra subflows, "
        f"one for each uplink (2 unless set), and {taken}; there: {command}"
    )


def _tuned(tuning: TuningConfig, found: Mapping[str, str]) -> dict[str, str]:
    wished = {}
    if tuning.stale_loss_cnt is not None:
        wished[STALE_LOSS_CNT] = str(tuning.stale_loss_cnt)
    if tuning.send_buffer is not None and TCP_WMEM in found:
        least, begin, _most = (int(word) for word in found[TCP_WMEM].split())
        most = tuning.send_buffer
        wished[TCP_WMEM] = f"{min(least, most)} {min(begin, most)} {most}"
    if tuning.rto_min is not None:
        wished[TCP_RTO_MIN] = str(round(tuning.rto_min * 1e6))
    if tuning.unsent_limit is not None:
        wished[TCP_NOTSENT_LOWAT] = str(tuning.unsent_limit)
    return wished
