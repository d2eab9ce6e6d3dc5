# SPDX-License-Identifier: GPL-2.0-or-later
"""A small file on a disk that may hang: a pipe that nobody reads hangs at open like one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from omrfast.store.haste import HastyFile

LONG = 5.0


def eventually(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_file_is_replaced_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    file = HastyFile(path)
    for text in ("one", "two", "", "", "three"):
        file.put(text, LONG)
        assert (path.read_text() if path.exists() else "") == text
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_what_fails_is_raised_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.mkdir()
    file = HastyFile(path)
    with pytest.raises(IsADirectoryError):
        file.put("one", LONG)
    assert list(tmp_path.iterdir()) == [path]
    path.rmdir()
    file.put("two", LONG)
    assert path.read_text() == "two"


def test_the_last_text_is_there_when_the_disk_is_back(tmp_path: Path) -> None:
    path, pipe = tmp_path / "file", tmp_path / ".file.new"
    os.mkfifo(pipe)
    file = HastyFile(path)
    with pytest.raises(TimeoutError) as raised:
        file.put("one", 0.01)
    assert raised.value.strerror == "the disk does not take it"
    time.sleep(0.1)
    for text in ("two", "three"):
        with pytest.raises(TimeoutError):
            file.put(text, 0.1)
    assert pipe.read_text() == "one"
    eventually(lambda: path.is_file() and path.read_text() == "three")
    file.put("four", LONG)
    assert path.read_text() == "four"
