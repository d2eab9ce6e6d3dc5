# SPDX-License-Identifier: GPL-2.0-or-later
"""What tshark says of a capture: its fields, one record a frame, by TCP connection.

Its names for what a sender repeats (epan/dissectors/packet-tcp.c of Wireshark 4.0): *spurious* if
all of it had been acknowledged before, *fast* if it is what two duplicate acknowledgements ask for,
less than 20 ms after the second; *out-of-order* if it comes within the first round-trip time after
the newest data; else plain *retransmission*, a field that fast and spurious ones carry too.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

FIN, SYN, RST, ACK = 1, 2, 4, 16

_FIELDS = (
    "frame.number", "frame.time_epoch", "frame.len", "tcp.stream",
    "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport",
    "tcp.seq", "tcp.len", "tcp.ack", "tcp.flags", "tcp.window_size",
    "tcp.analysis.ack_rtt", "tcp.analysis.acks_frame",
    "tcp.analysis.retransmission", "tcp.analysis.fast_retransmission",
    "tcp.analysis.spurious_retransmission", "tcp.analysis.out_of_order",
    "tcp.analysis.keep_alive", "tcp.analysis.zero_window_probe",
    "tcp.options.timestamp.tsval", "tcp.options.timestamp.tsecr",
    "tcp.options.sack_le", "tcp.options.sack_re",
    "tcp.options.sack.dsack_le", "tcp.options.sack.dsack_re",
    "tcp.options.mptcp.subtype", "tcp.options.mptcp.addrid", "tcp.options.mptcp.backup.flag",
    "tcp.options.mptcp.recvtok", "mptcp.expected_token", "mptcp.stream",
)  # fmt: skip


class Frame:
    """One TCP packet; sequence numbers are relative to the first captured of their direction,
    negative before it."""

    def __init__(self, values: Sequence[str]) -> None:
        self._fields = dict(zip(_FIELDS, values, strict=True))
        self.number = self._required("frame.number")
        self.at_ns = nanoseconds(self._fields["frame.time_epoch"])
        self.bytes = self._required("frame.len")
        """Of the whole frame."""
        self.source = self._end("src")
        self.destination = self._end("dst")
        self.flags = self._required("tcp.flags")
        self.seq = _signed(self._required("tcp.seq"))
        self.ack = _signed(self._required("tcp.ack"))
        self.length = self._required("tcp.len")
        """Bytes of payload."""
        self.end = self.seq + self.length + bool(self.flags & SYN) + bool(self.flags & FIN)
        self.flagged_again = any(
            self._fields[f"tcp.analysis.{name}"] for name in ("retransmission", "out_of_order")
        )
        """A retransmission of any kind, or out of order."""
        self.acks_frame = self.number_of("tcp.analysis.acks_frame")
        rtt = self._fields["tcp.analysis.ack_rtt"]
        self.ack_rtt_ns = nanoseconds(rtt) if rtt else None
        self.tsval = self.number_of("tcp.options.timestamp.tsval")
        self.tsecr = self.number_of("tcp.options.timestamp.tsecr")

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """SACK blocks, D-SACK ones too, counted like the acknowledgement number."""
        sides = (self.text(f"tcp.options.sack_{side}").split(",") for side in ("le", "re"))
        return [
            (_signed(int(left, 0)), _signed(int(right, 0)))
            for left, right in zip(*sides, strict=True)
            if left
        ]

    def text(self, name: str) -> str:
        """The field as tshark writes it; empty if the frame has none, commas between several."""
        return self._fields[name]

    def number_of(self, name: str) -> int | None:
        """The first value of a field as a number; None if the frame has none."""
        first = self._fields[name].partition(",")[0]
        return int(first, 0) if first else None

    def _required(self, name: str) -> int:
        found = self.number_of(name)
        assert found is not None, f"frame {self._fields['frame.number']} has no {name}"
        return found

    def _end(self, end: str) -> tuple[str, int]:
        address = self._fields[f"ip.{end}"] or self._fields[f"ipv6.{end}"]
        return address, self._required(f"tcp.{end}port")


@dataclass(frozen=True)
class Connection:
    """All packets of one TCP connection, seen from one of its ends."""

    local: tuple[str, int]
    remote: tuple[str, int]
    frames: tuple[Frame, ...]

    def leaves(self, frame: Frame) -> bool:
        return frame.source == self.local

    @property
    def sent(self) -> Iterator[Frame]:
        return (frame for frame in self.frames if self.leaves(frame))

    @property
    def arrived(self) -> Iterator[Frame]:
        return (frame for frame in self.frames if not self.leaves(frame))


def _signed(number: int) -> int:
    return number - 2**32 if number >= 2**31 else number


def nanoseconds(text: str) -> int:
    """Of ``seconds.nnnnnnnnn``, exactly."""
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 10**9 + int(fraction.ljust(9, "0")[:9])


def frames(file: Path) -> list[Frame]:
    """All TCP packets of a capture."""
    command = ["tshark", "-n", "-r", str(file), "-Y", "tcp", "-T", "fields", "-E", "separator=|"]
    for name in _FIELDS:
        command += ["-e", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    return [Frame(line.split("|")) for line in lines]


def connections(found: Iterable[Frame], local: str) -> list[Connection]:
    """By tcp.stream, in the order of their first packet that leaves ``local``."""
    streams: dict[str, list[Frame]] = {}
    ends: dict[str, tuple[tuple[str, int], tuple[str, int]]] = {}
    ours = ip_network(local)
    for frame in found:
        stream = frame.text("tcp.stream")
        streams.setdefault(stream, []).append(frame)
        if stream not in ends and ip_address(frame.source[0]) in ours:
            ends[stream] = frame.source, frame.destination
    return [Connection(*sides, tuple(streams[stream])) for stream, sides in ends.items()]
