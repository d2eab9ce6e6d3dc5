# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a peer heeds a demotion, as two looks at the subflows show it."""

from __future__ import annotations

import pytest

from omrfast.act.sockets import Subflow
from omrfast.telling import ignored

BAD, GOOD = "10.1.0.2", "10.2.0.2"


def flow(
    token: int, local: str, received: int, *flags: str, state: str = "established", port: int = 0
) -> Subflow:
    return Subflow(
        family=4,
        local=local,
        local_port=port or 40_000 + token,
        remote="203.0.113.10",
        remote_port=443,
        state=state,
        rtt=0.04,
        rttvar=0.01,
        min_rtt=0.04,
        total_retrans=0,
        data_segs_out=0,
        bytes_acked=0,
        bytes_received=received,
        token_local=token,
        token_remote=0,
        id_local=0,
        id_remote=0,
        flags=frozenset(flags),
    )


def pair(token: int, received: int, *flags: str, state: str = "established") -> list[Subflow]:
    """A connection with a subflow on the demoted path, and one on the other with ``flags``."""
    return [flow(token, BAD, received, "bkup_loc"), flow(token, GOOD, 0, *flags, state=state)]


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        (pair(1, 100), pair(1, 200), 1.0),
        (pair(1, 100), pair(1, 100), 0.0),
        ([*pair(1, 100), *pair(2, 0)], [*pair(1, 200), *pair(2, 0)], 0.5),
        ([], [], 0.0),
    ],
)
def test_the_share_that_goes_on(before: list[Subflow], after: list[Subflow], share: float) -> None:
    assert ignored(before, after, BAD) == share


@pytest.mark.parametrize(
    ("flags", "state"),
    [(("bkup_loc",), "established"), (("bkup_rem",), "established"), ((), "syn_sent")],
)
def test_a_peer_that_has_nowhere_else_to_send_does_not_count(
    flags: tuple[str, ...], state: str
) -> None:
    after = pair(1, 200, *flags, state=state)
    assert ignored(pair(1, 100, *flags, state=state), after, BAD) == 0.0
    assert ignored([flow(1, BAD, 100)], [flow(1, BAD, 200)], BAD) == 0.0


def test_a_new_subflow_and_one_of_the_same_port_elsewhere_are_told_apart() -> None:
    assert ignored([flow(1, GOOD, 0)], pair(1, 200), BAD) == 0.0, "how much was there before?"
    before = [flow(1, BAD, 500, port=7), flow(1, GOOD, 0, port=7)]
    after = [flow(1, BAD, 500, port=7), flow(1, GOOD, 900, port=7)]
    assert ignored(before, after, BAD) == 0.0
