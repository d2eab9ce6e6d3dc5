# SPDX-License-Identifier: GPL-2.0-or-later
"""What long runs found, shrunk: each was a difference once."""

from __future__ import annotations

import pytest

from .ends import Setting
from .play import Script, play
from .segments import Keys, Layout
from .subjects import Subjects
from .wire import ACK

SERVER_V1 = Setting("server", (0, 0), mptcp="v1", keys=Keys(b"\1" * 8, b"\2" * 8))
CLIENT_JOIN = Setting("client", (0, 0), mptcp="join")

FOUND = {
    "a token is not written where a key is": Script(
        Layout(4), (SERVER_V1,), (10.0,), (1, 1), ((0, ("anew", CLIENT_JOIN)),)
    ),
    "a super-packet has no more segments below than it has": Script(
        Layout(4),
        (Setting(),),
        (10.0,),
        (1, 1),
        (
            (0, ("send", True, ACK, 100)),
            (0, ("send", True, ACK, 200, 1001, b"", (2, 1))),
            (0, ("say", False, 100)),
            (0, ("send", False, ACK, 200, 5001, b"", (2, 1))),
            (0, ("deliver", False)),
        ),
    ),
    "nor is an old one then": Script(
        Layout(4),
        (Setting(),),
        (40.0,),
        (1, 1),
        (
            (0, ("say", True, 100)),
            (0, ("send", False, ACK)),
            (0, ("deliver", False)),
            (0, ("stray", True, ACK, "snd_nxt", 2**30, "snd_nxt", 0, 0, b"", 500)),
            (0, ("stray", False, ACK, "snd_nxt", 0, "snd_una", -1, 100, b"", 500)),
        ),
    ),
    "an acknowledgement more than 2^30 below what was sent is not the peer's": Script(
        Layout(4),
        (Setting(),),
        (40.0,),
        (1, 1),
        (
            (0, ("stray", True, ACK, "snd_nxt", 2**30, "snd_nxt", 0, 0, b"", 500)),
            (0, ("say", False, 100)),
            (0, ("stray", True, ACK, "snd_nxt", 2**30 + 1, "snd_nxt", 0, 0, b"", 500)),
            (0, ("say", False, 100)),
        ),
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_once_a_difference(subjects: Subjects, name: str) -> None:
    subjects.run(play(FOUND[name], subjects.hz))
