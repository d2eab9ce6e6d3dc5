# SPDX-License-Identifier: GPL-2.0-or-later
"""The operator's words for paths, kept over a restart.

``<state_dir>/overrides.json`` is replaced by rename, so a reader finds the old or the new one
whole. A word's end is kept as wall-clock time and as its length: a clock that was set back
meanwhile lets none last longer than it was given for.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omrfast.core.state import Override
from omrfast.core.types import Role
from omrfast.store.haste import PATIENCE, HastyFile

VERSION = 1
FILE_NAME = "overrides.json"

log = logging.getLogger(__name__)


class OverrideError(Exception):
    """The words can't be kept; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Word:
    role: Role
    until: float | None
    """Unix time; None: until told otherwise."""
    seconds: float | None
    """What it was given for."""


class Overrides:
    """The words of one agent, by path."""

    def __init__(self, state_dir: str | os.PathLike[str]) -> None:
        self.path = Path(state_dir) / FILE_NAME
        self._file = HastyFile(self.path)
        self._words = self._load()

    def _load(self) -> dict[str, Word]:
        try:
            data = json.loads(self.path.read_bytes())
            if data["version"] != VERSION:
                raise ValueError(f"version {data['version']}, this program writes {VERSION}")
            return {name: _word(entry) for name, entry in data["overrides"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s cannot be used (%r): paths go by themselves", self.path, error)
            return {}

    def living(self, now: float, wall: float) -> dict[str, Override]:
        """Those whose time is not up. ``now``: CLOCK_MONOTONIC, ``wall``: Unix time."""
        found = {}
        for name, word in self._words.items():
            left = _left(word, wall)
            if left is None or left > 0:
                found[name] = Override(word.role, None if left is None else now + left)
        return found

    def keep(self, name: str, override: Override | None, now: float, wall: float) -> None:
        """A path has this word from now on. Raises OverrideError if it can't be written."""
        living = self.living(now, wall)
        words = {n: w for n, w in self._words.items() if n in living and n != name}
        if override is not None:
            seconds = None if override.until is None else override.until - now
            until = None if seconds is None else wall + seconds
            words[name] = Word(override.role, until, seconds)
        self._words = words
        self._save(words)

    def _save(self, words: Mapping[str, Word]) -> None:
        entries = {
            name: {"role": word.role, "until": word.until, "seconds": word.seconds}
            for name, word in words.items()
        }
        text = json.dumps({"version": VERSION, "overrides": entries}, indent=1) + "\n"
        try:
            self._file.put(text, PATIENCE)
        except OSError as error:
            raise OverrideError(
                f"{self.path}: {error.strerror}; a restarted agent will not know of it: make room "
                "or set agent.state_dir"
            ) from error


def _left(word: Word, wall: float) -> float | None:
    """Seconds that it is still good for; None: until told otherwise."""
    if word.until is None or word.seconds is None:
        return None
    return min(word.until - wall, word.seconds)


def _word(data: Any) -> Word:
    def number(value: Any) -> float | None:
        return None if value is None else float(value)

    return Word(Role(data["role"]), number(data["until"]), number(data["seconds"]))
