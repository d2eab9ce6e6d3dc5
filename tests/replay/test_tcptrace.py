# SPDX-License-Identifier: GPL-2.0-or-later
"""``omrfast replay`` against tcptrace, where that one applies: plain TCP over IPv4."""

from __future__ import annotations

import re
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.replay.captures import PLAIN
from tests.replay.comparison import Comparison, overtaken, sent_again
from tests.replay.tshark import SYN

Compared = Callable[[str], Comparison]
NAMES = [f"{name}-{side}" for name in PLAIN if name != "ipv6" for side in ("client", "server")]
ROUNDED_MS = 0.051
"""tcptrace writes tenths of a millisecond."""
MEAN_MS = 0.1
"""It has written 20.9 for the mean of 20.417 and 21.485."""

pytestmark = pytest.mark.timeout(240)  # the first test waits for all captures
every_capture = pytest.mark.parametrize("name", NAMES)
_HOST = re.compile(r"host \w+: +([\d.]+):(\d+)")
_TWO = re.compile(r"^ +([^:]+): +([\d.]+)\b.*? \1: +([\d.]+)\b")


@dataclass(frozen=True)
class Traced:
    """One direction of a connection; keys are tcptrace's own names."""

    sender: tuple[str, int]
    figures: dict[str, float]


def tcptrace(file: Path) -> dict[tuple[str, int], Traced]:
    """Both directions of every connection of a capture, by who sends."""
    command = ["tcptrace", "-n", "-l", "-r", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[tuple[str, int], Traced] = {}
    pair: list[Traced] = []
    for line in done.stdout.splitlines():
        if host := _HOST.search(line):
            sender = Traced((host[1], int(host[2])), {})
            pair = [*pair[-1:], sender]
            found[sender.sender] = sender
        elif figures := _TWO.match(line):
            for traced, value in zip(pair, figures.groups()[1:], strict=True):
                traced.figures[figures[1]] = float(value)
    return found


@every_capture
def test_sent_again(compared: Compared, name: str) -> None:
    """Its "rexmt data pkts" are all repeats of data, SYN and FIN; see `sent_again` for ours.

    What of our own has been overtaken is no repeat for it; see `overtaken`.
    """
    comparison = compared(name)
    traced = tcptrace(comparison.capture.file)
    for flow, connection in comparison.pairs():
        figures = traced[connection.local].figures
        flagged = sum(frame.flagged_again for frame in connection.sent)
        no_loss = flagged - len(sent_again(connection))
        ours = flow["retransmitted_segments"] - len(overtaken(connection))
        assert ours + no_loss == figures["rexmt data pkts"]
        assert flow["tx_segments"] == figures["actual data pkts"]


@every_capture
def test_round_trips(compared: Compared, name: str) -> None:
    """The handshake's and, where each acknowledgement covers one segment, the mean of all.

    Where packets overtake each other, tcptrace has been seen to give 0, or the round-trip time of
    the FIN, for the handshake's: *reordering* is compared with tshark alone in that.

    Its samples are, as tshark's, the age of the last segment acknowledged; unlike that one it keeps
    to Karn's rule. What it calls post-loss acknowledgements are no samples for it, and are for us.
    """
    comparison = compared(name)
    traced = tcptrace(comparison.capture.file)
    for flow, connection in comparison.pairs():
        figures = traced[connection.local].figures
        handshakes = comparison.samples(flow, "handshake")
        again = any(frame.flagged_again and frame.flags & SYN for frame in connection.sent)
        assert len(handshakes) == (not again)  # Karn's rule, where a SYN was lost
        for _, rtt_us in () if name.startswith("reordering") else handshakes:
            assert abs(rtt_us / 1000 - figures["RTT from 3WHS"]) <= ROUNDED_MS
        ours = [rtt_us / 1000 for _, rtt_us in comparison.samples(flow, "handshake", "data")]
        assert all(rtt_ms >= figures["RTT min"] - ROUNDED_MS for rtt_ms in ours)
        simple = not (figures["segs cum acked"] or figures["post-loss acks"])
        if simple and not flow["retransmitted_segments"]:
            assert len(ours) == figures["RTT samples"]
            assert abs(statistics.mean(ours) - figures["RTT avg"]) <= MEAN_MS
