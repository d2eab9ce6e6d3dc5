# SPDX-License-Identifier: GPL-2.0-or-later
"""Which subflows are one MPTCP connection."""

from __future__ import annotations

import hashlib
import struct

import pytest

from omrfast.dataplane.connections import Identity, group, identity_of_key


def test_nothing() -> None:
    assert group([]) == []


def test_numbers_follow_first_appearance() -> None:
    subflows = [Identity(token=7), Identity(), Identity(token=3), Identity(token=7), Identity()]
    assert group(subflows) == [0, 1, 2, 0, 3]


@pytest.mark.parametrize(
    ("words", "together"),
    [
        ((5, 5), True),
        ((5, 6), True),
        ((6, 5), True),
        ((5, 7), False),
        ((2**32 - 1, 0), True),
        ((0, 2**32 - 1), True),
        ((2**32 - 1, 1), False),
    ],
)
def test_neighbouring_words(words: tuple[int, int], together: bool) -> None:
    one, other = (Identity(word=word) for word in words)
    assert group([one, other]) == ([0, 0] if together else [0, 1])


def test_words_of_different_kinds() -> None:
    assert group([Identity(word=5), Identity(word=5, word_sent=True)]) == [0, 1]


def test_tokens_that_differ_keep_words_apart() -> None:
    assert group([Identity(token=1, word=5), Identity(token=2, word=5)]) == [0, 1]


def test_a_word_leads_to_a_token_and_from_there_to_others() -> None:
    """The join has no word; the subflow of mid-life has no token."""
    subflows = [Identity(word=6), Identity(token=1, word=5), Identity(token=1)]
    assert group(subflows) == [0, 0, 0]


def test_a_chain_takes_no_second_token() -> None:
    """A word between those of two connections goes to the one that was there first."""
    subflows = [Identity(token=1, word=5), Identity(token=2, word=7), Identity(word=6)]
    assert group(subflows) == [0, 1, 0]


@pytest.mark.parametrize("version", [0, 1])
def test_identity_of_a_key(version: int) -> None:
    key = struct.pack(">Q", 0x0123456789ABCDEF)
    digest = (hashlib.sha256 if version else hashlib.sha1)(key).digest()
    token, word = struct.unpack(">I", digest[:4])[0], struct.unpack(">I", digest[-8:-4])[0]
    assert identity_of_key(key, ours=True, version=version) == Identity(token, word, True)
