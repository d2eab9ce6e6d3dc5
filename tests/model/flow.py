# SPDX-License-Identifier: GPL-2.0-or-later
"""One flow's life: bpf/MEASUREMENT.md sections 2 to 6, from its RFCs."""

from __future__ import annotations

from dataclasses import dataclass

from .entry import (
    FULL_BYTE,
    Arrived,
    Member,
    Now,
    Sample,
    Sent,
    microseconds,
    segments_below,
    with_bit,
)
from .numbers import AHEAD, WINDOW, WORD, Echo, Rx, Tx, apart, before, ceil_div, within
from .options import Mptcp, Options, Subtype
from .wire import ACK, FIN, RST, SYN, Tcp


@dataclass
class Flow(Member):
    """A flow entry, and what it knows about itself that the struct says in other ways."""

    key: bytes = bytes(8)
    """Of the end that accepted the connection; valid with Rx.KEY."""
    token: bytes = bytes(4)
    data_word: int = 0

    # --- what is known ------------------------------------------------------------------------

    @property
    def una_known(self) -> bool:
        """snd_una is the peer's word: since the SYN, or the first acknowledgement."""
        return bool(self.tx_flags & Tx.SYN or self.rx_flags & Rx.ACK)

    @property
    def all_acknowledged(self) -> bool:
        return self.snd_una == self.snd_nxt

    @property
    def sample_open(self) -> bool:
        return self.sample_no != self.sample_done

    @property
    def echo_open(self) -> bool:
        return (self.tsecho_no ^ self.tsecho_done) & Echo.NUMBER != 0

    @property
    def closing(self) -> bool:
        return bool(self.tx_flags & (Tx.FIN | Tx.RST) or self.rx_flags & (Rx.FIN | Rx.RST))

    def is_other_connections(self, tcp: Tcp) -> bool:
        """The packet that leaves belongs to a connection that comes after this one."""
        if tcp.flags & SYN:
            return tcp.seq not in (self.snd_una, (self.snd_una - 1) % WORD)
        return not tcp.flags & RST and abs(apart(tcp.seq, self.snd_nxt)) > WINDOW

    def is_keep_alive(self, tcp: Tcp) -> bool:
        """It asks for an answer, but repeats nothing (RFC 9293 section 3.8.4)."""
        if tcp.flags & (SYN | FIN | RST) or not self.all_acknowledged:
            return False
        if tcp.payload == 0:
            return tcp.seq == (self.snd_nxt - 1) % WORD
        return tcp.payload == 1 and before(tcp.seq, self.snd_nxt)

    # --- a packet leaves ----------------------------------------------------------------------

    @classmethod
    def begun_by(cls, tcp: Tcp, now: Now) -> Flow:
        """A new entry; leaves() takes the packet."""
        flow = cls(snd_nxt=tcp.seq, snd_una=tcp.seq, last_rx_j=now.jiffies % WORD)
        if tcp.flags & SYN:
            flow.tx_flags = int(Tx.SYN | (Tx.SERVER if tcp.flags & ACK else 0))
        if tcp.flags & ACK:
            flow.rcv_nxt = tcp.ack
            flow.rx_flags = int(Rx.SEQ)
        return flow

    def leaves(self, tcp: Tcp, size: int, now: Now, path: int, first: bool) -> Sent:
        """Take a packet of size bytes on the wire that leaves through path."""
        sent = Sent(keep_alive=not first and self.is_keep_alive(tcp))
        self.tx_bytes += size
        self.tx_segments += tcp.segments
        self.path = path + 1
        if tcp.payload:
            one = min(tcp.payload, tcp.gso_size or tcp.payload)
            self.segment_64b = min(max(self.segment_64b, ceil_div(one, 64)), FULL_BYTE)
        if not tcp.flags & RST:  # its numbers need not be the connection's
            self._retransmission(tcp, sent)
            self._arm(tcp, now, first, sent)
            self._advance(tcp, now, first)
        self._flags_out(tcp)
        return sent

    def _advance(self, tcp: Tcp, now: Now, first: bool) -> None:
        if before(self.snd_nxt, tcp.end):
            if tcp.space and self.all_acknowledged:
                self.unacked_since_j = now.jiffies % WORD
            self.snd_nxt = tcp.end
        if tcp.options.timestamps:
            value = tcp.options.timestamps[0]
            if first or before(self.tsval_max, value):
                self.tsval_max = value

    def _retransmission(self, tcp: Tcp, sent: Sent) -> None:
        again = tcp.space and before(tcp.seq, self.snd_nxt)
        if not again or sent.keep_alive:
            return
        if self.sample_open and before(tcp.seq, self.sample_ack):  # Karn
            below = before(tcp.end, self.sample_ack)
            self.sample_stamp = self.sample_stamp & ~1 if below else 0
        if tcp.flags & SYN:
            sent.syn_again = True
            return
        if tcp.payload == tcp.space == 1 and self.rx_flags & Rx.ZERO_WINDOW:
            return
        if tcp.payload == 0 and self.rx_flags & Rx.FIN:
            return
        sent.retransmitted = segments_below(tcp, self.snd_nxt)
        self.retransmitted_segments += sent.retransmitted

    def _arm(self, tcp: Tcp, now: Now, first: bool, sent: Sent) -> None:
        if self.sample_open:
            return
        if tcp.space:
            if before(tcp.seq, self.snd_nxt) or (first and not tcp.flags & SYN):
                return
            self.sample_no = (self.sample_no + 1) % 256
            self.sample_stamp = now.stamp
            self.sample_ack = tcp.end
            if tcp.flags & SYN:  # what it carries may be refused (RFC 7413)
                self.sample_ack = tcp.data_seq
            elif tcp.gso_size and tcp.payload > tcp.gso_size:
                self.sample_ack = (tcp.seq + tcp.gso_size) % WORD
        elif tcp.options.timestamps and not self.echo_open and not first and not sent.keep_alive:
            value = tcp.options.timestamps[0]
            if not before(self.tsval_max, value):
                return
            if self.tsecho_done & Echo.LATE and not self.tsecho_no & Echo.PASSED:
                self.tsecho_no |= Echo.PASSED
                return
            self.tsecho_no = (self.tsecho_no + 1) & Echo.NUMBER
            self.tsecho_stamp = now.stamp
            self.tsecho_val = value

    def _flags_out(self, tcp: Tcp) -> None:
        if tcp.flags & FIN:
            self.tx_flags |= Tx.FIN
        if tcp.flags & RST:
            self.tx_flags |= Tx.RST
        if tcp.flags & ACK and not tcp.flags & RST:
            seq_known = bool(self.rx_flags & Rx.SEQ)
            if seq_known and not 0 <= apart(self.rcv_nxt, tcp.ack) <= AHEAD:
                self.rcv_nxt = tcp.ack
            covered = not seq_known or self.rcv_nxt == tcp.ack
            self.tx_flags = self.tx_flags & ~Tx.CAUGHT_UP | (Tx.CAUGHT_UP if covered else 0)
        if tcp.options.mptcp:
            self._mptcp_out(tcp, tcp.options)

    def _mptcp_out(self, tcp: Tcp, options: Options) -> None:
        self.tx_flags |= Tx.MPTCP | _marks(options, _TX_MARKS)
        capable, join = options.last(Subtype.CAPABLE), options.last(Subtype.JOIN)
        if capable and tcp.flags & SYN:
            self.tx_flags |= Tx.CAPABLE | (Tx.V0 if capable.version == 0 else 0)
        if join and join.address_id is not None:
            self.local_id = join.address_id
            self.tx_flags = with_bit(self.tx_flags, Tx.BACKUP, join.backup)
            if join.token is not None and not self.rx_flags & Rx.KEY:
                self.token = join.token
        if prio := options.last(Subtype.PRIO):
            self.tx_flags = with_bit(self.tx_flags, Tx.BACKUP, prio.backup)
        dss = options.last(Subtype.DSS)
        if dss and not self.rx_flags & Rx.KEY:
            self._data_word(dss)

    def _data_word(self, dss: Mptcp) -> None:
        """Upper halves that are 0 are taken for unknown."""
        if word := (dss.data_ack or 0) >> 32:
            self.data_word = word
            self.tx_flags &= ~Tx.DATA_SEQ
            return
        word = (dss.data_seq or 0) >> 32
        if word and (self.tx_flags & Tx.DATA_SEQ or not self.data_word):
            self.data_word = word
            self.tx_flags |= Tx.DATA_SEQ

    # --- a packet arrives ---------------------------------------------------------------------

    def is_near(self, ack: int) -> bool:
        return within((self.snd_nxt - WINDOW) % WORD, ack, self.snd_nxt)

    def is_good(self, ack: int) -> bool:
        known = not self.una_known or within(self.snd_una, ack, self.snd_nxt)
        return self.is_near(ack) and known

    def is_old(self, ack: int) -> bool:
        acknowledged = bool(self.rx_flags & Rx.ACK)
        return self.is_near(ack) and acknowledged and not self.is_good(ack)

    def is_peers(self, tcp: Tcp) -> bool:
        has_ack, seq_known = bool(tcp.flags & ACK), bool(self.rx_flags & Rx.SEQ)
        if tcp.flags & RST:
            if seq_known:
                return tcp.seq == self.rcv_nxt
            return has_ack and self.is_good(tcp.ack)
        in_window = not seq_known or -WINDOW <= apart(tcp.seq, self.rcv_nxt) <= AHEAD
        return has_ack and in_window and (self.is_good(tcp.ack) or self.is_old(tcp.ack))

    def arrives(self, tcp: Tcp, size: int, now: Now) -> Arrived:
        """Take a packet of size bytes on the wire that arrives."""
        if not self.is_peers(tcp):
            return Arrived()
        found = Arrived(peer=True, quickest=self.min_rtt_us)
        self.rx_bytes += size
        self.since_sample = min(self.since_sample + 1, 4)
        gap = min((now.jiffies - self.last_rx_j) % WORD, FULL_BYTE)
        if self.echo_open:
            self.echo_gap_j = max(self.echo_gap_j, gap)
        self.last_rx_j = now.jiffies % WORD
        if tcp.flags & ACK and self.is_good(tcp.ack):
            self._acknowledge(tcp, now, found)
        self._echo(tcp, now, gap, found)
        if not tcp.flags & RST:
            self.rx_segments += tcp.segments
            self._sequence(tcp, now, found)
        self._flags_in(tcp)
        return found

    def _acknowledge(self, tcp: Tcp, now: Now, found: Arrived) -> None:
        unanswered = bool(self.tx_flags & Tx.SYN and not self.rx_flags & Rx.ACK)
        answers = unanswered and tcp.ack != self.snd_una
        found.ready = answers and not tcp.flags & RST
        if self.sample_open and not before(tcp.ack, self.sample_ack):
            self.sample_done = self.sample_no
            advanced = not self.una_known or before(self.snd_una, self.sample_ack)
            if self.sample_stamp & 1 and advanced:
                source = "handshake" if answers else "data"
                found.sample = self._sample(self.sample_stamp, source, now)
        elif self.sample_open and self._holds_beyond_a_hole(tcp):
            self.sample_done = self.sample_no
            if self.sample_stamp:
                found.sample = self._sample(self.sample_stamp | 1, "sack", now)
        if not self.tx_flags & Tx.SYN or tcp.ack != self.snd_una:
            self.rx_flags |= Rx.ACK
        self.snd_una = tcp.ack
        if not tcp.flags & RST:
            self.rx_flags = with_bit(self.rx_flags, Rx.ZERO_WINDOW, tcp.window == 0)
            self._dsack(tcp, found)

    def _holds_beyond_a_hole(self, tcp: Tcp) -> bool:
        """RFC 2018: the last byte of the sample, of which tcp does not acknowledge all."""
        if tcp.flags & RST:
            return False
        last = (self.sample_ack - 1) % WORD
        room = apart(self.snd_nxt, tcp.ack)  # of what was sent, counted from the acknowledgement
        for block in tcp.options.sack or []:
            low, high = ((edge - tcp.ack) % WORD for edge in block)
            if 0 < low <= (last - tcp.ack) % WORD < high <= room:
                return True
        return False

    def _dsack(self, tcp: Tcp, found: Arrived) -> None:
        """RFC 2883 section 4."""
        if not tcp.options.sack:
            return
        left, right = tcp.options.sack[0]
        width = apart(right, left)
        below = not before(tcp.ack, right)
        inside = False
        if len(tcp.options.sack) > 1:
            low, high = tcp.options.sack[1]
            inside = not before(left, low) and not before(high, right)
        if width <= 0 or not (below or inside):
            return
        segments = ceil_div(width, max(self.segment_64b, 1) * 64)
        room = self.retransmitted_segments - self.spurious_segments
        found.spurious = min(segments, room)
        self.spurious_segments += found.spurious

    def _echo(self, tcp: Tcp, now: Now, gap: int, found: Arrived) -> None:
        stamps = tcp.options.timestamps
        if not self.echo_open or not stamps or stamps[1] == 0:
            return
        if before(stamps[1], self.tsecho_val) or before(self.tsval_max, stamps[1]):
            return
        self.tsecho_done = self.tsecho_no & Echo.NUMBER
        rtt = microseconds(self.tsecho_stamp, now)
        pause = gap if stamps[1] == self.tsecho_val else self.echo_gap_j
        short = pause <= 1 or (pause < FULL_BYTE and pause * 1_000_000 * 8 <= rtt * now.hz)
        self.echo_gap_j = 0
        if found.sample is not None or not tcp.payload:
            return
        if short:
            found.sample = self._sample(self.tsecho_stamp, "echo", now)
        else:
            self.tsecho_done |= Echo.LATE

    def _sample(self, stamp: int, source: str, now: Now) -> Sample:
        """RFC 6298 section 2 with the gains of section 3 of the contract, RFC 3550 jitter."""
        rtt = microseconds(stamp, now)
        deviation = step = 0
        if self.rtt_samples == 0:
            self.srtt_us8, self.rttvar_us4 = rtt * 8, rtt * 2
        else:
            error = rtt - self.srtt_us8 // 8
            deviation, step = abs(error), abs(rtt - self.last_rtt_us)
            self.rttvar_us4 += deviation - self.rttvar_us4 // 4
            eighths = 4 if self.since_sample >= 4 else 2 if self.since_sample >= 2 else 1
            self.srtt_us8 += error * eighths
            self.jitter_us16 += step - self.jitter_us16 // 16
        self.rtt_samples += 1
        self.last_rtt_us = rtt
        self.min_rtt_us = min(self.min_rtt_us or rtt, rtt)
        self.since_sample = 0
        return Sample(rtt, source, deviation, step)

    def _sequence(self, tcp: Tcp, now: Now, found: Arrived) -> None:
        if not self.rx_flags & Rx.SEQ:
            self.rx_flags |= Rx.SEQ
            self.rcv_nxt = tcp.end
            return
        if tcp.payload and before(self.rcv_nxt, tcp.seq):
            if not self.rx_flags & Rx.HOLE or self.tx_flags & Tx.CAUGHT_UP:
                self.hole_j = now.jiffies % 2**16
                self.rx_flags |= Rx.HOLE
        elif tcp.payload and before(tcp.seq, self.rcv_nxt):
            self._below(tcp, now, found)
        if before(self.rcv_nxt, tcp.end):
            self.rcv_nxt = tcp.end

    def _below(self, tcp: Tcp, now: Now, found: Arrived) -> None:
        if tcp.space == 1 and tcp.end == self.rcv_nxt:
            return  # a keep-alive
        segments = segments_below(tcp, self.rcv_nxt)
        since = (now.jiffies - self.hole_j) % 2**16 + 1
        soon = since * 1_000_000 * 4 <= found.quickest * 3 * now.hz
        if self.rx_flags & Rx.HOLE and found.quickest and soon:
            found.reordered = segments
            self.reordered_segments += segments
            return
        found.refilled = segments
        self.refilled_segments += segments
        if not self.tx_flags & (Tx.FIN | Tx.RST):
            found.refilled_on_path = segments

    def _flags_in(self, tcp: Tcp) -> None:
        for bit, flag in ((SYN, Rx.SYN), (FIN, Rx.FIN), (RST, Rx.RST)):
            if tcp.flags & bit:
                self.rx_flags |= flag
        if tcp.options.mptcp:
            self._mptcp_in(tcp, tcp.options)

    def _mptcp_in(self, tcp: Tcp, options: Options) -> None:
        self.rx_flags |= Rx.MPTCP | _marks(options, _RX_MARKS)
        joined = self.rx_flags & Rx.JOIN or self.tx_flags & Tx.JOIN
        capable, join = options.last(Subtype.CAPABLE), options.last(Subtype.JOIN)
        if capable and not joined and not self.rx_flags & Rx.KEY:
            self.key = capable.keys[0 if tcp.flags & SYN else 1]
            self.rx_flags |= Rx.KEY
        if join and join.address_id is not None:
            self.remote_id = join.address_id
            self.rx_flags = with_bit(self.rx_flags, Rx.BACKUP, join.backup)
        if prio := options.last(Subtype.PRIO):
            self.rx_flags = with_bit(self.rx_flags, Rx.BACKUP, prio.backup)


_TX_MARKS = {
    Subtype.JOIN: Tx.JOIN,
    Subtype.ADD_ADDR: Tx.ADD_ADDR,
    Subtype.REMOVE_ADDR: Tx.REMOVE_ADDR,
    Subtype.FAIL: Tx.FAIL,
    Subtype.FASTCLOSE: Tx.FASTCLOSE,
    None: Tx.INFINITE,
}
_RX_MARKS = {subtype: Rx[flag.name] for subtype, flag in _TX_MARKS.items()}
"""None: an infinite mapping."""


def _marks(options: Options, flags: dict[Subtype | None, int]) -> int:
    """The flags of what options are there."""
    found = {subtype for subtype in flags if subtype is not None and options.carries(subtype)}
    marks = flags[None] if options.infinite else 0
    for subtype in found:
        marks |= flags[subtype]
    return marks
