# SPDX-License-Identifier: GPL-2.0-or-later
"""What the data path is made of: names as pinned, value sizes, program types."""

from __future__ import annotations

from omrfast.shim import api


class DataPlaneError(RuntimeError):
    """The data path cannot be loaded or attached; the text says why and what to do."""


MAPS: dict[str, str | None] = {
    "omr_links": "omr_link",
    "omr_config": "omr_config",
    "omr_flows4": "omr_flow",
    "omr_flows6": "omr_flow",
    "omr_path_counters": "omr_path_counters",
    "omr_path_rtt": "omr_path_rtt",
    "omr_path_live": "omr_path_live",
    "omr_events": None,
    "omr_event_gate": "omr_event_gate",
    "omr_knocks": "omr_knock",
    "omr_replay_packet": "omr_replay",
}
"""Map name to the struct of its values (None: a ring)."""

PROGRAMS: dict[str, int] = {
    "omr_egress": api.PROG_TYPE_SCHED_CLS,
    "omr_ingress": api.PROG_TYPE_SCHED_CLS,
    "omr_xdp": api.PROG_TYPE_XDP,
    "omr_clock_read": api.PROG_TYPE_SYSCALL,
}
"""Program name to its type."""

SCAN_PROGRAM, SCAN_STATE = "omr_scan", "omr_scan_state"
"""The walk over the flow tables inside the kernel, and the map that it works in: pinned only where
the loader has it (bcc has not) and the kernel takes it."""

LINKS = "links"
"""Folder of pinned links in our bpffs."""
STAGING = "new"
"""Folder where a new set of pins is made before it takes the place of the old."""
