# SPDX-License-Identifier: GPL-2.0-or-later
"""The first inputs of the fuzzer: whole conversations, made when it is built."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

from tests.model.conversation import Conversation
from tests.model.ends import Setting
from tests.model.play import Action, Script, play
from tests.model.segments import Dss, Keys, Layout, given, option
from tests.model.wire import Given, read

LEAVES, SECOND, BARE, SUPER, CUT = 1, 4, 8, 16, 32

LAYOUTS = {
    "v4": Layout(4),
    "v6": Layout(6),
    "vlan": Layout(4, 1),
    "qinq": Layout(6, 2),
    "bare4": Layout(4, bare=True),
    "bare6": Layout(6, bare=True),
    "options": Layout(4, extra=b"\x94\x04\0\0"),
    "chain": Layout(6, extra=b"\x3c\0" + bytes(6) + b"\x06\0" + bytes(6), first=0),
}
HZ = 250
KEPT = 4
"""Bytes of payload; the rest is left to the length on the wire."""
KEYS = Keys(words=(7, 9))


def record(frame: Given, egress: bool, after_ms: int) -> bytes:
    """One frame in the format that packets.c reads."""
    data = frame.data[: read(frame).headers + KEPT]
    flags = (LEAVES if egress else 0) | (BARE if frame.bare else 0)
    flags |= SUPER if frame.gso[0] else 0
    beyond = frame.length - len(data)
    flags |= CUT if beyond else 0
    return struct.pack("<BBHHHH", flags, min(after_ms, 127), *frame.gso, beyond, len(data)) + data


def conversation(setting: Setting, layout: Layout) -> bytes:
    """A handshake, data both ways with loss and repeats, MPTCP's options, the end."""
    talk = Conversation(setting)
    out, before = b"", 0.0

    def write() -> None:
        nonlocal out, before
        for ms, segment in talk.passed:
            out += record(given(layout, segment), segment.egress, int(ms - before))
            before = ms
        talk.passed.clear()

    talk.opening(20.0)
    write()
    for local in (True, False):
        for _ in range(3):
            talk.data(local, 500)
        talk.deliver(local, 2)
        talk.send(not local, 16)
        talk.lose(local, 0)
        talk.again(local, -3, 0, 0)
        talk.deliver(local, 1)
        talk.deliver(local, 0)
        talk.send(not local, 16)
        talk.wait(30)
        while talk.wires[not local]:
            talk.deliver(not local)
        talk.data(local, 2900)
        talk.keep_alive(local, 0)
        if setting.mptcp != "none":
            talk.dss(local, Dss(5, True, 1, True), 100)
            talk.send(local, 16, more=option(30, b"\x51"))
            talk.send(local, 16, more=option(30, b"\x34\x05" + bytes(12)))
        while talk.wires[local]:
            talk.deliver(local)
        write()
    talk.shut(True)
    talk.deliver(True)
    talk.shut(False)
    talk.deliver(False)
    talk.send(True, 16)
    talk.reset(False, True)
    talk.deliver(False)
    write()
    return out


def script(flows: int, actions: list[tuple[int, Action]]) -> bytes:
    """So many handshakes, then what follows."""
    settings = tuple(Setting(flow=flow) for flow in range(flows))
    steps = play(Script(Layout(4), settings, (1.0,) * flows, (1, 1), tuple(actions)), HZ)
    times = [steps[0].jiffies, *(step.jiffies for step in steps)]
    return b"".join(
        record(step.given, step.egress, (step.jiffies - earlier) * 1000 // HZ)
        for step, earlier in zip(steps, times, strict=False)
    )


def write_seeds(folder: Path) -> int:
    """One file per kind of conversation; returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = itertools.product(
        LAYOUTS.items(),
        ("client", "server", "middle", "simultaneous"),
        ("none", "v1", "v0", "join"),
    )
    often: list[tuple[int, Action]] = [(0, ("say", True, 0, option(30, b"\x51")))] * 70
    (folder / "crowd").write_bytes(script(10, []))
    (folder / "often").write_bytes(script(1, often))
    count = 2
    for (name, layout), role, mptcp in kinds:
        for stamps in ("on", "off"):
            setting = Setting(role, stamps=stamps, mptcp=mptcp, keys=KEYS, syn_data=count % 3)
            path = folder / f"{name}-{role}-{mptcp}-{stamps}"
            path.write_bytes(conversation(setting, layout))
            count += 1
    return count
