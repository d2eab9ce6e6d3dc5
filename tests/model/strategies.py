# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts: what happens to one or two conversations, and what strangers add to it.

A script is a list of actions (name, arguments), so that a failing one shrinks to the few that
matter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from . import segments
from .conversation import Conversation, Setting
from .numbers import WORD
from .planes import PATHS, Step
from .segments import Dss, Keys, Layout, Segment, option
from .wire import ACK, FIN, RST, SYN, Given

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


# --- what is drawn ------------------------------------------------------------------------------

flags32 = st.sampled_from([0, 1, 1000, 2**31 - 2, 2**31, 2**32 - 1500, 2**32 - 1])
numbers32 = flags32 | st.integers(0, WORD - 1)
bools = st.booleans()
index = st.integers(0, 5)
payloads = st.sampled_from([0, 1, 2, 63, 64, 65, 536, 1000, 1001, 2999, 3000, 9000, 70000, 190000])
deltas = st.sampled_from(
    [0, 1, -1, 2, -2, 100, -100, 1000, -1000, 2**30, -(2**30), 2**30 + 1, -(2**30) - 1, 2**31]
) | st.integers(-(2**31), 2**31)
waits = st.sampled_from(
    [0.0, 0.000128, 0.0001, 0.004, 1.0, 3.99, 4.0, 4.1, 8.0, 20.0, 40.0, 200.0, 1000.0, 1004.0]
) | st.floats(0, 300).map(lambda ms: round(ms, 4))
long_waits = st.sampled_from([32_768.0, 65_536.0, 262_144.0, 540_000.0, 550_000.0, 900_000.0])

layouts = st.builds(Layout, st.sampled_from([4, 6]), st.integers(0, 2)) | st.builds(
    Layout, st.sampled_from([4, 6]), st.just(0), st.just(True)
)
keys = st.builds(
    Keys,
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=4, max_size=4),
    st.tuples(st.integers(0, 3) | numbers32, st.integers(0, 3) | numbers32),
)
settings = st.builds(
    Setting,
    role=st.sampled_from(["client", "server", "middle", "simultaneous"]),
    iss=st.tuples(numbers32, numbers32),
    stamps=st.sampled_from(["on", "on", "off", "zero", "frozen"]),
    stamp_base=st.tuples(numbers32, numbers32),
    mptcp=st.sampled_from(["none", "v1", "v1", "v0", "join"]),
    keys=keys,
    ids=st.tuples(st.integers(0, 255), st.integers(0, 255)),
    backup=st.tuples(bools, bools),
    mss=st.sampled_from([536, 1000, 1448, 8948, 20000]),
    syn_data=st.sampled_from([0, 0, 0, 5, 700]),
)
data_numbers = st.none() | st.sampled_from([0, 1, WORD - 1])
dss = st.builds(Dss, data_numbers, bools, data_numbers, bools, st.sampled_from([0, 1, 1000]), bools)
tcp_options = st.one_of(
    dss.map(Dss.encode),
    bools.map(lambda bit: option(30, bytes([0x50 | bit]))),
    bools.map(lambda bit: option(30, bytes([0x50 | bit, 3]))),
    st.sampled_from([8, 9, 10, 16, 18, 20, 22, 28, 30]).map(
        lambda size: option(30, b"\x31\x05" + bytes(size - 4))
    ),
    st.integers(0, 3).map(lambda count: option(30, b"\x40" + bytes(range(count)))),
    st.sampled_from([0x60, 0x70]).map(lambda head: option(30, bytes([head]) + bytes(9))),
    st.just(option(30, b"\x80\0")),
    st.builds(lambda head, rest: option(30, bytes([head]) + rest), st.integers(0, 255),
              st.binary(max_size=30)),
    st.builds(lambda left, right: segments.sack([(left, right)]), numbers32, numbers32),
    st.builds(segments.timestamps, numbers32, numbers32),
    st.sampled_from([b"\x08\x0a", b"\x08\x08\0\0\0\0\0\0", b"\x05\x0b" + bytes(9), b"\x1e\x02",
                     b"\x1e\x03\x90", b"\x02\x04\x05\xb4", b"\0", b"\1", b"\x05\x02", b"\xfe"]),
    st.binary(max_size=40),
)  # fmt: skip

flag_bytes = st.sampled_from(
    [ACK, ACK | FIN, RST, RST | ACK, SYN, SYN | ACK, 0, ACK | 8, SYN | FIN, SYN | RST, FIN]
) | st.integers(0, 255)
anchors = st.sampled_from(["snd_nxt", "snd_una", "rcv_nxt"])

mutations = st.one_of(
    st.tuples(st.just("cut"), st.integers(0, 140)),
    st.tuples(st.just("set"), st.integers(0, 120), st.integers(0, 255)),
    st.tuples(st.just("pad"), st.integers(1, 60)),
    st.tuples(st.just("wire"), st.integers(1, 3000)),
    st.tuples(st.just("gso"), st.integers(0, 70), st.integers(0, 3000)),
)

sizes = st.lists(st.sampled_from([100, 1, 1000, 2500, 9000]), min_size=1, max_size=4)
fates = st.lists(st.sampled_from(["", "", "lost", "late", "twice"]), min_size=1, max_size=4)
rtts = st.sampled_from([40.0, 10.0, 1.0, 8.0, 0.3, 41.7, 150.0]) | waits
turns = st.tuples(
    st.just("turn"), bools, sizes, fates, rtts, st.lists(bools, min_size=1, max_size=3)
)
ordinary = st.one_of(
    turns,
    turns,
    st.tuples(
        st.just("stream"),
        bools,
        st.integers(1, 6),
        st.sampled_from([100, 1000, 2500]),
        st.sampled_from([4.0, 1.0, 5.0, 20.0, 0.1]),
    ),
    st.tuples(st.just("repair"), bools, rtts),
    st.tuples(st.just("say"), bools, payloads, tcp_options),
    st.tuples(st.just("data"), bools, payloads),
    st.tuples(st.just("send"), bools, st.just(ACK)),
    st.tuples(st.just("deliver"), bools, index, bools),
    st.tuples(st.just("lose"), bools, index),
    st.tuples(st.just("again"), bools, index, st.integers(0, 3000), st.sampled_from([0, 1, 1000])),
    st.tuples(st.just("wait"), waits),
    st.tuples(st.just("dss"), bools, dss, payloads),
)
rare = st.one_of(
    st.tuples(st.just("keep_alive"), bools, st.sampled_from([0, 1]), st.sampled_from([1, 1, 2, 0])),
    st.tuples(st.just("set_window"), bools, st.sampled_from([0, 1, 500])),
    st.tuples(st.just("say"), bools, payloads, tcp_options, flag_bytes, st.sampled_from([0, 500])),
    st.tuples(st.just("shut"), bools, st.sampled_from([0, 0, 100])),
    st.tuples(st.just("say"), bools, st.just(0), st.just(b""), st.just(FIN | ACK)),
    st.tuples(st.just("say"), bools, st.just(0), st.just(b""), st.just(RST)),
    st.tuples(st.just("reset"), bools, bools, st.sampled_from([0, 0, 1, -1])),
    st.tuples(st.just("third_ack"), bools, st.sampled_from([0, 16])),
    st.tuples(st.just("opening"), st.sampled_from([10.0, 40.0])),
    st.tuples(st.just("wait"), long_waits),
    st.tuples(st.just("send"), bools, flag_bytes, payloads, st.none(), tcp_options),
    st.tuples(st.just("path"), st.sampled_from(PATHS)),
    st.tuples(st.just("anew"), settings),
)
hostile = st.one_of(
    st.tuples(st.just("stray"), bools, flag_bytes, anchors, deltas, anchors, deltas, payloads,
              tcp_options, st.sampled_from([0, 500])),
    st.tuples(st.just("knock"), numbers32, st.integers(0, 255), bools),
    st.tuples(st.just("mutant"), bools, st.lists(mutations, min_size=1, max_size=3)),
    st.tuples(st.just("packet"), bools, st.sampled_from([0, 1, 2, 6, 17, 47, 50, 58, 59, 132]),
              st.binary(max_size=40)),
    st.tuples(st.just("icmp"), bools, st.integers(0, 15) | st.integers(128, 140),
              st.sampled_from(["", "multicast", "broadcast"])),
    st.tuples(st.just("chain"), bools, st.lists(st.sampled_from([0, 43, 44, 51, 60]), max_size=6),
              st.integers(0, 255), st.sampled_from([0, 0, 1, 8])),
    st.tuples(st.just("fragment"), bools, st.sampled_from([0, 0x2000, 0x4000, 1, 0x1FFF, 0x8000])),
    st.tuples(st.just("garbage"), bools, st.binary(min_size=15, max_size=80)),
    st.tuples(st.just("tagged"), bools, st.lists(st.sampled_from([0x8100, 0x88A8, 0x9100]),
                                                 max_size=4)),
)  # fmt: skip
flows = st.integers(0, 1)


def _actions(kinds: st.SearchStrategy[Action]) -> st.SearchStrategy[list[tuple[int, Action]]]:
    step = st.tuples(flows, kinds)
    return st.one_of(*(st.lists(step, min_size=least, max_size=60) for least in (1, 10, 25)))


kind_lists = st.one_of(
    _actions(ordinary),
    _actions(st.one_of(ordinary, ordinary, rare)),
    _actions(st.one_of(ordinary, rare, hostile)),
)
starts = st.tuples(
    st.sampled_from([1, 1000, 2**16 - 5, 2**32 - 20, 4_300_000_000, 2**40 + 2**13 - 3]),
    st.sampled_from([1, 777_000_000_000, (2**39) - 10_000_000, 2**50]),
)


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    count = draw(st.integers(1, 2))
    chosen = tuple(replace(draw(settings), flow=number) for number in range(count))
    openings = tuple(draw(st.sampled_from([40.0, 10.0, 0.5, None])) for _ in chosen)
    return Script(draw(layouts), chosen, openings, draw(starts), tuple(draw(kind_lists)))


# --- what becomes of it -------------------------------------------------------------------------


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

    def _packet(self, _: Conversation, egress: bool, protocol: int, content: bytes) -> None:
        head = segments.network(self.layout, egress, len(content), protocol)
        self._frame(egress, head + content)

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
