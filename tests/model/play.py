# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts, and what the hooks see when one is played.

An action is a method of Play without its underscore, or else of Conversation, with its arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from . import segments
from .conversation import Conversation
from .ends import Setting
from .planes import PATHS, Step
from .segments import Layout, Segment, option
from .wire import ACK, SYN, Given

Action = tuple[Any, ...]


@dataclass(frozen=True)
class Script:
    layout: Layout
    settings: tuple[Setting, ...]
    openings: tuple[float | None, ...]
    """Round trip of each handshake, ms; None: no handshake."""
    start: tuple[int, int]
    """Jiffies and ns."""
    actions: tuple[Action, ...]


class Play:
    """Plays a script; `steps` is what the hooks saw."""

    def __init__(self, script: Script, hz: int) -> None:
        self.script, self.hz = script, hz
        self.layout, self.path = script.layout, PATHS[0]
        self.flows = [Conversation(setting) for setting in script.settings]
        self.ms = 0.0
        self.steps: list[Step] = []
        for conversation, rtt in zip(self.flows, script.openings, strict=True):
            if rtt is not None:
                self._act(conversation, "opening", rtt)
        for number, action in script.actions:
            conversation = self.flows[number % len(self.flows)]
            special = getattr(self, f"_{action[0]}", None)
            if special:
                special(conversation, *action[1:])
            else:
                self._act(conversation, *action)

    def _act(self, conversation: Conversation, name: str, *arguments: Any) -> None:
        conversation.ms = self.ms
        getattr(conversation, name)(*arguments)
        for self.ms, segment in conversation.passed:
            self._step(segments.given(self.layout, segment), segment.egress)
        conversation.passed.clear()
        self.ms = conversation.ms

    def _step(self, given: Given, egress: bool) -> None:
        jiffies, ns = self.script.start
        self.steps.append(
            Step(
                given,
                egress,
                self.path,
                jiffies + int(self.ms * self.hz / 1000),
                ns + int(self.ms * 1_000_000),
            )
        )

    def _path(self, _: Conversation, path: int) -> None:
        self.path = path

    def _anew(self, conversation: Conversation, setting: Setting) -> None:
        """The same ports are used by another connection."""
        number = self.flows.index(conversation)
        self.flows[number] = Conversation(replace(setting, flow=number))
        self._act(self.flows[number], "opening", 20.0)

    def _frame(self, egress: bool, inner: bytes) -> None:
        self._step(Given(segments.link(self.layout, inner), self.layout.bare), egress)

    def _stray(
        self,
        conversation: Conversation,
        egress: bool,
        flags: int,
        seq_at: str,
        seq_off: int,
        ack_at: str,
        ack_off: int,
        payload: int,
        options: bytes,
        window: int,
    ) -> None:
        """A segment that neither end knows of."""
        end = conversation.end(egress)
        other = conversation.end(not egress)
        seq, ack = getattr(end, seq_at) + seq_off, getattr(other, ack_at) + ack_off
        segment = Segment(
            egress, flags, seq, ack, payload, window, options, flow=conversation.setting.flow
        )
        self._step(segments.given(self.layout, segment), egress)

    def _knock(self, conversation: Conversation, token: int, number: int, backup: bool) -> None:
        body = bytes([0x10 | backup, number]) + token.to_bytes(4, "big") + bytes(4)
        segment = Segment(False, SYN, 1, options=option(30, body), flow=conversation.setting.flow)
        self._step(segments.given(self.layout, segment), False)

    def _mutant(
        self, conversation: Conversation, egress: bool, changes: list[tuple[Any, ...]]
    ) -> None:
        """The next segment of an end, with bytes or lengths that are wrong."""
        end = conversation.end(egress)
        segment = Segment(
            egress,
            ACK,
            end.snd_nxt,
            end.rcv_nxt,
            100,
            options=segments.timestamps(int(self.ms), 1),
            flow=conversation.setting.flow,
        )
        frame = segments.given(self.layout, segment)
        data, gso, wire = bytearray(frame.data), frame.gso, frame.wire_len
        for change in changes:
            if change[0] == "cut":
                data = data[: max(change[1], 15)]
            elif change[0] == "set":
                data[change[1] % len(data)] = change[2]
            elif change[0] == "pad":
                data += bytes(change[1])
            elif change[0] == "wire":
                wire = len(data) + change[1]
            else:
                gso = change[1], change[2]
        self._step(Given(bytes(data), frame.bare, gso, wire if wire > len(data) else 0), egress)

    def _packet(
        self, _: Conversation, egress: bool, protocol: int, content: bytes, gso: tuple[int, int]
    ) -> None:
        head = segments.network(self.layout, egress, len(content), protocol)
        data = segments.link(self.layout, head + content)
        self._step(Given(data, self.layout.bare, gso), egress)

    def _jumbo(
        self,
        conversation: Conversation,
        egress: bool,
        payload: int,
        wrong: int,
        gso: tuple[int, int],
    ) -> None:
        """RFC 2675: the length is in a hop-by-hop option; wrong by so much."""
        end = conversation.end(egress)
        flow = conversation.setting.flow
        segment = Segment(egress, ACK, end.snd_nxt, end.rcv_nxt, payload, flow=flow, big=True)
        size = 8 + len(segment.tcp()) + payload + wrong
        extra = b"\x06\0\xc2\4" + size.to_bytes(4, "big")
        layout = replace(self.layout, version=6, extra=extra, first=0)
        frame = segments.given(layout, segment)
        self._step(replace(frame, gso=gso), egress)

    def _icmp(self, _: Conversation, egress: bool, kind: int, to: str) -> None:
        version = self.layout.version
        groups = {"multicast": bytes([224, 0, 0, 5]), "broadcast": bytes([255] * 4)}
        target = b""
        if to:
            target = groups[to] if version == 4 else bytes([0xFF, 2]) + bytes(14)
        content = bytes([kind, 0]) + bytes(6)
        protocol = 1 if version == 4 else 58
        head = segments.network(self.layout, egress, len(content), protocol, target)
        self._frame(egress, head + content)

    def _chain(
        self, conversation: Conversation, egress: bool, kinds: list[int], size: int, fragment: int
    ) -> None:
        """IPv6 extension headers in front of TCP; the first one of a length of its own."""
        extra = b""
        for number, kind in enumerate(kinds):
            following = kinds[number + 1] if number + 1 < len(kinds) else 6
            units = size if number == 0 and size < 4 else 1
            if kind == 44:
                extra += bytes([following, 0]) + fragment.to_bytes(2, "big") + bytes(4)
            elif kind == 51:
                extra += bytes([following, units]) + bytes((units + 2) * 4 - 2)
            else:
                extra += bytes([following, units]) + bytes((units + 1) * 8 - 2)
        layout = replace(self.layout, version=6, extra=extra, first=kinds[0] if kinds else 6)
        end = conversation.end(egress)
        segment = Segment(egress, ACK, end.snd_nxt, end.rcv_nxt, 10, flow=conversation.setting.flow)
        self._step(segments.given(layout, segment), egress)

    def _fragment(self, conversation: Conversation, egress: bool, word: int) -> None:
        layout = replace(self.layout, version=4)
        end = conversation.end(egress)
        segment = Segment(egress, ACK, end.snd_nxt, end.rcv_nxt, 10, flow=conversation.setting.flow)
        frame = segments.given(layout, segment)
        data = bytearray(frame.data)
        at = len(segments.link(layout, b"")) + 6
        data[at : at + 2] = word.to_bytes(2, "big")
        self._step(Given(bytes(data), frame.bare), egress)

    def _garbage(self, _: Conversation, egress: bool, content: bytes) -> None:
        self._step(Given(content, self.layout.bare), egress)

    def _tagged(self, conversation: Conversation, egress: bool, types: list[int]) -> None:
        if self.layout.bare:
            return
        end = conversation.end(egress)
        segment = Segment(egress, ACK, end.snd_nxt, end.rcv_nxt, 10, flow=conversation.setting.flow)
        plain = segments.given(replace(self.layout, vlans=0), segment).data
        tags = b"".join(kind.to_bytes(2, "big") + b"\0\7" for kind in types)
        self._step(Given(plain[:12] + tags + plain[12:]), egress)


def play(script: Script, hz: int) -> list[Step]:
    return Play(script, hz).steps
