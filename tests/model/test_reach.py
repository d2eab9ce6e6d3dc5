# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts written by hand reach all that can be counted, so that agreeing means something."""

from __future__ import annotations

import itertools
from dataclasses import replace

from .ends import Setting
from .entry import MEMBERS
from .numbers import EVENTS, REASONS, Echo, Rx, Seen, Tx
from .planes import PATHS, SOURCES, Left, Shown
from .play import Action, Script, play
from .programs import COUNTERS
from .segments import Dss, Keys, Layout, option, sack
from .subjects import CAPACITY, Subjects
from .wire import ACK, FIN, RST

KEYS = Keys(words=(7, 9))
START = (4_300_000_000, 777_000_000_000)
OPTIONS = [
    option(30, b"\x34\x05" + bytes(12)),
    option(30, b"\x40\x05"),
    option(30, b"\x51"),
    option(30, b"\x60" + bytes(9)),
    option(30, b"\x70" + bytes(9)),
    option(30, b"\x51") + option(30, b"\x80\0") + option(30, b"\x90"),
    option(30, b"\x90"),
    b"\x08\x08\0\0\0\0\0\0",
]
DSS = [Dss(None, True, 1), Dss(5, True, 1), Dss(5, False, 1, False, length=0)]
TALK: list[Action] = [
    ("turn", False, [1000, 1000, 1000], ["", "late", ""], 5.0, [True]),
    ("deliver", False, 0),
    ("stream", False, 4, 1000, 4.0),
    ("turn", True, [1000, 2500], ["", "lost"], 41.0, [True]),
    ("repair", True, 40.0),
    ("turn", True, [1000], ["lost"], 0.0, []),
    ("repair", True, 40.0),
    ("beyond_a_hole", True, [1000], 1000, 40.0),
    ("repair", True, 40.0),
    ("stream", False, 3, 1000, 4.0),
    ("wait", 100.0),
    ("stream", False, 3, 1000, 4.0),
    ("turn", False, [1000, 1000], ["lost", ""], 50.0, [True]),
    ("again", False, -2, 0, 0),
    ("deliver", False, 0),
    ("again", True, -1, 0, 0),
    ("deliver", True, 0),
    ("send", False, ACK),
    ("deliver", False, 0),
    ("set_window", False, 0),
    ("deliver", False, 0),
    ("keep_alive", True, 1),
    ("again", True, -1, 0, 1),
    ("set_window", False, 500),
    ("deliver", False, 0),
    *[("say", local, 100, more) for local in (True, False) for more in OPTIONS],
    *[("dss", local, dss, 100) for local in (True, False) for dss in DSS],
    *[("deliver", local, 0) for local in (True, False) for _ in DSS],
    ("path", PATHS[1]),
    ("repair", True, 40.0),
    ("turn", True, [190_000], [""], 60.0, [True]),
    ("wait", 33_000.0),
    ("turn", True, [100], [""], 60.0, [True]),
    ("say", True, 0, b"", FIN | ACK),
    ("say", False, 0, b"", FIN | ACK),
    ("again", True, -1, 0, 0),
    ("reset", True, True),
    ("say", False, 0, b"", RST),
]
STRANGE: list[Action] = [
    ("mutant", False, [("cut", 40)]),
    ("mutant", False, [("set", 46, 0x10)]),
    ("fragment", True, 0x2000),
    ("chain", False, [0, 60, 60, 43, 60], 0, 0),
    ("tagged", False, [0x8100, 0x8100, 0x8100]),
    ("icmp", False, 3, ""),
    ("knock", 1, 2, True),
]


def everything() -> list[Script]:
    roles, kinds = ("client", "server", "middle", "simultaneous"), ("none", "v1", "v0", "join")
    layouts = itertools.cycle([Layout(4), Layout(6, 1), Layout(4, 2), Layout(6, bare=True)])
    scripts = []
    for role, mptcp in itertools.product(roles, kinds):
        setting = Setting(role, mptcp=mptcp, keys=KEYS, backup=(True, True))
        actions = [(0, action) for action in TALK + STRANGE]
        scripts.append(Script(next(layouts), (setting,), (40.0,), START, tuple(actions)))
    crowd = tuple(replace(Setting(), flow=flow) for flow in range(CAPACITY + 6))
    scripts.append(Script(Layout(4), crowd, (0.5,) * len(crowd), START, ()))
    often = tuple((0, ("say", True, 0, option(30, b"\x51"))) for _ in range(70))
    scripts.append(Script(Layout(4), (Setting(),), (40.0,), START, often))
    return scripts


def reached(shown: list[Shown], left: Left) -> set[str]:
    found = {f"counter {name}" for numbers in left.counters.values() for name in numbers}
    for one in shown:
        found |= {f"reason {one.reason}", f"source {one.sample[1] if one.sample else ''}"}
        found |= {"replaced"} if one.replaced else set()
        for event in one.events:
            found.add(f"event {event.kind}")
            found |= {f"seen {bit.name}" for bit in Seen if event.mptcp & bit}
        if one.flow:
            found |= {f"member {name}" for name, number in one.flow.items() if number}
            found |= {f"tx {bit.name}" for bit in Tx if one.flow["tx_flags"] & bit}
            found |= {f"rx {bit.name}" for bit in Rx if one.flow["rx_flags"] & bit}
            found |= {"echo PASSED"} if one.flow["tsecho_no"] & Echo.PASSED else set()
            found |= {"echo LATE"} if one.flow["tsecho_done"] & Echo.LATE else set()
    return found


def test_everything_is_reached(subjects: Subjects) -> None:
    found: set[str] = set()
    for script in everything():
        found |= reached(*subjects.run(play(script, subjects.hz)))
    wanted = {f"counter {name}" for name in (*COUNTERS, *REASONS)}
    wanted |= {f"reason {name}" for name in REASONS} | {f"source {name}" for name in SOURCES}
    wanted |= {f"event {kind}" for name, kind in EVENTS.items() if name != "KINDS"}
    wanted |= {f"member {name}" for name in (*MEMBERS, "key", "token", "data_word")}
    wanted |= {f"tx {bit.name}" for bit in Tx} | {f"rx {bit.name}" for bit in Rx}
    wanted |= {f"seen {bit.name}" for bit in Seen} | {"echo PASSED", "echo LATE"}
    assert sorted(wanted - found) == []


def test_a_sack_block_that_acknowledges_is_no_duplicate(subjects: Subjects) -> None:
    """RFC 2018 blocks beyond the acknowledgement say nothing of spurious repeats."""
    actions: list[Action] = [
        ("turn", True, [1000], ["lost"], 40.0, []),
        ("again", True, -1, 0, 0),
        ("say", False, 0, sack([(2001, 3001)])),
    ]
    script = Script(
        Layout(4), (Setting(),), (40.0,), START, tuple((0, action) for action in actions)
    )
    _, left = subjects.run(play(script, subjects.hz))
    assert left.counters[PATHS[0]]["retransmitted_segments"] == 1
    assert "spurious_segments" not in left.counters[PATHS[0]]
