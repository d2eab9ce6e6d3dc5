# SPDX-License-Identifier: GPL-2.0-or-later
"""What long runs found, shrunk: each was a difference once."""

from __future__ import annotations

import pytest

from .ends import Setting
from .play import Script, play
from .segments import Keys, Layout
from .subjects import Subjects

SERVER_V1 = Setting("server", (0, 0), mptcp="v1", keys=Keys(b"\1" * 8, b"\2" * 8))
CLIENT_JOIN = Setting("client", (0, 0), mptcp="join")

FOUND = {
    "a token is not written where a key is": Script(
        Layout(4), (SERVER_V1,), (10.0,), (1, 1), ((0, ("anew", CLIENT_JOIN)),)
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_once_a_difference(subjects: Subjects, name: str) -> None:
    subjects.run(play(FOUND[name], subjects.hz))
