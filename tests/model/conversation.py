# SPDX-License-Identifier: GPL-2.0-or-later
"""Two TCP ends and what lies between them, driven action by action.

The hook is beside the local end: what that sends passes it at once, what the remote end sends
passes it when it is delivered. Neither end decides anything by itself, so that any list of
actions is a conversation, and every shorter list too.
"""

from __future__ import annotations

from .ends import End, Setting, space_of
from .numbers import WORD, before
from .segments import Dss, Segment, option, sack, timestamps
from .wire import ACK, FIN, RST, SYN

PSH = 8


class Conversation:
    """One flow; `passed` collects when the hook saw what, since it was last emptied."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.local = End(True, setting.iss[0])
        self.remote = End(False, setting.iss[1])
        self.wires: dict[bool, list[Segment]] = {True: [], False: []}
        """Under way; True: to the remote end."""
        self.passed: list[tuple[float, Segment]] = []
        self.ms = 0.0
        if setting.role == "middle":
            self.local.rcv_nxt, self.remote.rcv_nxt = setting.iss[1], setting.iss[0]

    def end(self, local: bool) -> End:
        return self.local if local else self.remote

    # --- what an end sends --------------------------------------------------------------------

    def send(
        self,
        local: bool,
        flags: int,
        payload: int = 0,
        seq: int | None = None,
        more: bytes = b"",
        gso: tuple[int, int] = (0, 0),
        ack: int | None = None,
    ) -> Segment:
        """A segment at seq, or at the end of what was sent."""
        end = self.end(local)
        at = end.snd_nxt if seq is None else seq
        segment = Segment(
            local,
            flags,
            at % WORD,
            (end.rcv_nxt if ack is None else ack) % WORD if flags & ACK else 0,
            payload,
            end.window,
            self._options(local, flags, more),
            gso,
            self.setting.flow,
        )
        finish = (segment.seq + space_of(segment)) % WORD
        if before(end.snd_nxt, finish):
            end.snd_nxt = finish
        if space_of(segment):
            end.sent.append(segment)
        self._out(segment)
        return segment

    def _out(self, segment: Segment) -> None:
        self.wires[segment.egress].append(segment)
        if segment.egress:
            self.passed.append((self.ms, segment))

    def _options(self, local: bool, flags: int, more: bytes) -> bytes:
        end, setting = self.end(local), self.setting
        options = b""
        if setting.stamps != "off":
            base = setting.stamp_base[0 if local else 1]
            end.stamp = base + (0 if setting.stamps == "frozen" else int(self.ms))
            echo = 0 if setting.stamps == "zero" or not flags & ACK else end.echo
            options += timestamps(end.stamp, echo)
        if flags & SYN:
            options += self._handshake(local, flags)
        blocks = end.blocks() if flags & ACK and not more else []
        if blocks:
            options += sack(blocks)
        return options + more

    def _handshake(self, local: bool, flags: int) -> bytes:
        setting, side = self.setting, 0 if local else 1
        if setting.mptcp == "none":
            return b""
        if setting.mptcp == "join":
            head = bytes([0x10 | setting.backup[side], setting.ids[side]])
            body = bytes(12) if flags & ACK else setting.keys.token + bytes(4)
            return option(30, head + body)
        version = 0 if setting.mptcp == "v0" else 1
        key = setting.keys.local if local else setting.keys.remote
        body = key if flags & ACK or version == 0 else b""
        return option(30, bytes([version, 0x81]) + body)

    def third_ack(self, local: bool, payload: int = 0) -> None:
        """The client's, with what MPTCP adds to it."""
        setting = self.setting
        more = b""
        if setting.mptcp == "join":
            more = option(30, bytes([0x10, 0]) + bytes(20))
        elif setting.mptcp != "none":
            keys = setting.keys.local, setting.keys.remote
            version = 0 if setting.mptcp == "v0" else 1
            body = b"".join(keys if local else keys[::-1])
            length = b"\0\x10" if payload and version else b""
            more = option(30, bytes([version, 0x81]) + body + length)
        self.send(local, ACK, payload, more=more)

    # --- actions -------------------------------------------------------------------------------

    def wait(self, ms: float) -> None:
        self.ms += ms

    def opening(self, rtt_ms: float) -> None:
        """The handshake of the role, undisturbed."""
        role, data = self.setting.role, self.setting.syn_data
        if role == "middle":
            return
        if role == "simultaneous":
            self.send(True, SYN)
            self.send(False, SYN)
            self.deliver(False)
            self.deliver(True)
            self.send(True, SYN | ACK, seq=self.local.iss)
            self.send(False, SYN | ACK, seq=self.remote.iss)
        else:
            client = role == "client"
            self.send(client, SYN, data)
            self.deliver(client)
            self.wait(rtt_ms / 2)
            self.send(not client, SYN | ACK)
        self.wait(rtt_ms / 2)
        for local in (True, False):
            while self.wires[local]:
                self.deliver(local)
        if role != "simultaneous":
            self.third_ack(role == "client")
            self.deliver(role == "client")

    def data(self, local: bool, payload: int, more: bytes = b"") -> None:
        mss = self.setting.mss
        count = -(-payload // mss)
        self.send(local, ACK | PSH, payload, more=more, gso=(count, mss) if count > 1 else (0, 0))

    def say(
        self, local: bool, payload: int, more: bytes = b"", flags: int = ACK, window: int = 500
    ) -> None:
        """What is sent arrives at once."""
        self.end(local).window = window
        self.send(local, flags, payload, more=more)
        self.deliver(local, -1)

    def turn(
        self, local: bool, sizes: list[int], fates: list[str], ms: float, acks: list[bool]
    ) -> None:
        """A burst of which some is lost, late or doubled, and the acknowledgements of the rest."""
        for number, size in enumerate(sizes):
            self.data(local, size)
            fate = fates[number % len(fates)]
            if fate == "lost":
                self.lose(local, -1)
            elif fate != "late":
                self.deliver(local, -1, keep=fate == "twice")
        self.wait(ms)
        for arrives in acks:
            self.send(not local, ACK)
            if arrives:
                self.deliver(not local, -1)

    def stream(self, local: bool, count: int, size: int, gap: float) -> None:
        """A steady flow one way, each segment acknowledged at once."""
        for _ in range(count):
            self.data(local, size)
            self.deliver(local, -1)
            self.send(not local, ACK)
            self.deliver(not local, -1)
            self.wait(gap)

    def beyond_a_hole(self, local: bool, sizes: list[int], again: int, ms: float) -> None:
        """A hole, then a burst whose arrival only SACK can tell; `again` bytes are repeated."""
        self.turn(local, [100, 1000, 100], ["", "lost", ""], ms, [True])
        self.turn(local, sizes, [""], 0.0, [])
        self.repeat_hole(local, again)
        self.wait(ms)
        self.send(not local, ACK)
        self.deliver(not local, -1)

    def repeat_hole(self, local: bool, size: int) -> None:
        """Bytes from the beginning of what the other end lacks are sent again, and get lost."""
        if size:
            self.send(local, ACK, size, self.end(not local).rcv_nxt)
            self.lose(local, -1)

    def claim(self, local: bool, back: int, edges: list[tuple[int, int]]) -> None:
        """An acknowledgement with any SACK blocks; numbers count back from the newest sent."""
        newest = self.end(not local).snd_nxt
        blocks = [(newest - start, newest - finish) for start, finish in edges]
        self.send(local, ACK, more=sack(blocks), ack=newest - back)
        self.deliver(local, -1)

    def repair(self, local: bool, ms: float) -> None:
        """All that the other end lacks is sent again, as after a timeout."""
        other = self.end(not local)
        for old in [one for one in self.end(local).sent if not before(one.seq, other.rcv_nxt)]:
            self.send(local, old.flags, old.payload, old.seq, gso=old.gso)
            self.deliver(local, -1)
        self.wait(ms)
        self.send(not local, ACK)
        self.deliver(not local, -1)

    def deliver(self, to_remote: bool, index: int = 0, keep: bool = False) -> None:
        """A segment under way arrives; keep: and is under way once more."""
        wire = self.wires[to_remote]
        if not wire:
            return
        index %= len(wire)
        segment = wire[index] if keep else wire.pop(index)
        end = self.end(not to_remote)
        stamp_at = segment.options.find(b"\x08\x0a")
        if stamp_at >= 0:
            end.echo = int.from_bytes(segment.options[stamp_at + 2 : stamp_at + 6], "big")
        end.take(segment)
        if not to_remote:
            self.passed.append((self.ms, segment))

    def lose(self, to_remote: bool, index: int) -> None:
        wire = self.wires[to_remote]
        if wire:
            wire.pop(index % len(wire))

    def again(self, local: bool, index: int, begin: int, size: int) -> None:
        """A part (begin, size in bytes; 0: all) of something sent before is sent again."""
        end = self.end(local)
        if not end.sent:
            return
        old = end.sent[index % len(end.sent)]
        if old.payload == 0 or old.flags & SYN:
            payload, seq, flags = old.payload, old.seq, old.flags
        else:
            begin %= old.payload
            payload = min(size or old.payload, old.payload - begin)
            seq = (old.seq + begin) % WORD
            flags = old.flags if begin + payload == old.payload else old.flags & ~FIN
        mss = self.setting.mss
        count = -(-payload // mss)
        self.send(local, flags, payload, seq, gso=(count, mss) if count > 1 else (0, 0))

    def keep_alive(self, local: bool, payload: int, back: int = 1) -> None:
        end = self.end(local)
        self.send(local, ACK, payload, (end.snd_nxt - back) % WORD)

    def set_window(self, local: bool, window: int) -> None:
        self.end(local).window = window
        self.send(local, ACK)

    def shut(self, local: bool, payload: int = 0) -> None:
        self.send(local, FIN | ACK, payload)

    def reset(self, local: bool, with_ack: bool, off: int = 0) -> None:
        end = self.end(local)
        self.send(local, RST | (ACK if with_ack else 0), seq=(end.snd_nxt + off) % WORD)

    def dss(self, local: bool, dss: Dss, payload: int) -> None:
        words = self.setting.keys.words
        mine, others = words if local else words[::-1]
        filled = Dss(
            None if dss.data_ack is None else (others << 32) + dss.data_ack,
            dss.wide_ack,
            None if dss.data_seq is None else (mine << 32) + dss.data_seq,
            dss.wide_seq,
            dss.length,
            dss.checksum,
        )
        self.data(local, payload, filled.encode())
