# SPDX-License-Identifier: GPL-2.0-or-later
"""Which subflows belong to one MPTCP connection (bpf/MEASUREMENT.md section 6)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

WORD_SPAN = 1
"""Upper halves of data sequence numbers of one connection differ by at most this, modulo 2^32."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells the connection of one subflow; members are None where they are not known."""

    token: int | None = None
    """Of the end that accepted the connection."""
    word: int | None = None
    """Upper half of 64-bit data sequence numbers."""
    word_sent: bool = False
    """The word is of the numbers that we send, not of those that we acknowledge."""


def identity_of_key(key: bytes, *, ours: bool, version: int = 1) -> Identity:
    """Of an initial subflow: key is that of the end which accepted the connection.

    RFC 8684 section 3.1: SHA-256 of the key begins with the token and ends with the initial data
    sequence number of that end; version 0 (RFC 6824 section 3.1) takes SHA-1.
    """
    digest = (hashlib.sha256 if version else hashlib.sha1)(key).digest()
    return Identity(
        token=int.from_bytes(digest[:4], "big"),
        word=int.from_bytes(digest[-8:-4], "big"),
        word_sent=ours,
    )


def group(subflows: Sequence[Identity]) -> list[int]:
    """The connection of each subflow, numbered from 0 in the order of first appearance.

    One token is one connection; words of one kind that are neighbours are one connection, unless
    both tokens are known and differ.
    """
    groups = _Groups([subflow.token for subflow in subflows])
    tokens: dict[int, int] = {}
    words: dict[tuple[bool, int], int] = {}
    for index, subflow in enumerate(subflows):
        if subflow.token is not None:
            groups.join(tokens.setdefault(subflow.token, index), index)
    for index, subflow in enumerate(subflows):
        if subflow.word is None:
            continue
        for distance in sorted(range(-WORD_SPAN, WORD_SPAN + 1), key=abs):
            near = words.get((subflow.word_sent, (subflow.word + distance) % 2**32))
            if near is not None:
                groups.join(near, index)
        words.setdefault((subflow.word_sent, subflow.word), index)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(groups.root(index), len(numbers)) for index in range(len(subflows))]


class _Groups:
    """Disjoint sets of subflows, each with at most one token."""

    def __init__(self, tokens: list[int | None]) -> None:
        self._tokens = tokens
        self._parents = list(range(len(tokens)))

    def root(self, index: int) -> int:
        while self._parents[index] != index:
            self._parents[index] = self._parents[self._parents[index]]
            index = self._parents[index]
        return index

    def join(self, one: int, other: int) -> None:
        """Make them one, unless their tokens say that they are two."""
        first, second = sorted((self.root(one), self.root(other)))
        tokens = self._tokens[first], self._tokens[second]
        if None not in tokens and tokens[0] != tokens[1]:
            return
        self._parents[second] = first
        self._tokens[first] = tokens[0] if tokens[0] is not None else tokens[1]
