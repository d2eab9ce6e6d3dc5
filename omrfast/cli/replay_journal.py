# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast replay-journal`: recorded measurements through the policy again."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omrfast.cli.common import FAILED, FINE, Subparsers, add_json, clock_time, duration, print_json
from omrfast.core.config import ConfigError

if TYPE_CHECKING:
    from omrfast.core.config import Config
    from omrfast.core.recording import Compared, Segment
    from omrfast.store.journal_format import Recording

Json = dict[str, Any]

_DESCRIPTION = """Feed recorded measurements through the policy and show what it decides, and how
that differs from what was decided then. FILE is a file of the journal, the journal's folder
(state_dir/journal), or what `omrfast run --record` wrote; a file may be packed by gzip. With
--config the limits, the objective and the roles are those of that configuration, for paths of the
same name (without [[path]]: its [quality] for all).

The measurements stay as they were recorded: what another decision would have done to the traffic
is not known, nor what a probe would have met that was not sent then; and a decision can fall at no
other instants than those of recorded inputs."""

_PATIENCE = 1.0
"""Seconds after which progress is shown."""
_MARKS = {"same": " ", "moved": "~", "new": "+", "missing": "-"}
_LEGEND = "~ at another time   + not decided then   - decided then, not now"


def register(subparsers: Subparsers, parents: Sequence[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "replay-journal",
        parents=parents,
        help="recorded measurements through the policy again",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a journal, its folder, or a --record file")
    parser.add_argument("-v", "--verbose", action="store_true", help="suspicions, too")
    add_json(parser)
    parser.set_defaults(handler=handle)


class _Progress:
    """A line on a terminal's standard error while it takes long."""

    def __init__(self, whole: int) -> None:
        self._whole = whole
        self._before = 0
        self._last = time.monotonic() + _PATIENCE
        self._shown = False

    def within(self, done: int) -> None:
        now = time.monotonic()
        if now < self._last or not sys.stderr.isatty():
            return
        self._last, self._shown = now + 0.2, True
        share = 100 * (self._before + done) // max(1, self._whole)
        print(f"\r{share} % of {self._whole:,} inputs\033[K", end="", file=sys.stderr, flush=True)

    def past(self, count: int) -> None:
        """A segment is done: its lines can be shown."""
        self._before += count
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._shown = False


def _replayed(
    recording: Recording, config: Config | None, everything: bool
) -> Iterator[tuple[Segment, tuple[Compared, ...]]]:
    """Each segment with its decisions beside the recorded ones."""
    from omrfast.core.recording import compare, replay, told

    progress = _Progress(sum(len(segment.inputs) for segment in recording.segments))
    for segment in recording.segments:
        then, now = segment.decisions, replay(segment, config, progress.within)
        progress.past(len(segment.inputs))
        if not everything:
            then, now = told(then), told(now)
        yield segment, compare(then, now)


def _segment_json(segment: Segment, compared: Sequence[Compared]) -> Json:
    return {
        "begins": segment.wall,
        "seconds": round(segment.ended - segment.begun, 6),
        "inputs": len(segment.inputs),
        "paths": [record.config.name for record in segment.state.paths],
        "decisions": [_decision_json(segment, entry) for entry in compared],
    }


def _decision_json(segment: Segment, entry: Compared) -> Json:
    decision, found = entry.decision, entry.decision.evidence
    then = entry.recorded_at
    return {
        "at": segment.wall + decision.at - segment.begun,
        "seconds": round(decision.at - segment.begun, 6),
        "path": decision.path or None,
        "server": decision.server or None,
        "before": decision.before,
        "state": decision.state,
        "reason": decision.reason,
        "evidence": found
        and {
            "what": found.what,
            "measured": found.measured,
            "limit": found.limit,
            "sign_s": None if found.sign_at is None else round(decision.at - found.sign_at, 6),
        },
        "compared": entry.match,
        "recorded_seconds": None if then is None else round(then - segment.begun, 6),
    }


def _print_segment(number: int, segment: Segment, compared: Sequence[Compared]) -> None:
    paths = ", ".join(record.config.name for record in segment.state.paths)
    length = duration(segment.ended - segment.begun)
    inputs = f"{len(segment.inputs):,} inputs"
    print(f"segment {number}: {clock_time(segment.wall)}, {length}, {inputs}, paths {paths}")
    for entry in compared:
        print(_line(segment, entry))
    if not compared:
        print("    no decision")


def _line(segment: Segment, entry: Compared) -> str:
    decision = entry.decision
    who = decision.path or f"server {decision.server}"
    at = f"{decision.at - segment.begun:8.3f} s"
    change = str(decision.state)
    if decision.before is not decision.state:
        change = f"{decision.before} -> {decision.state}"
    words = [f"{_MARKS[entry.match]} {at}", f"{who:8}", f"{change:24}", decision.reason]
    found = decision.evidence
    if found is not None and found.sign_at is not None:
        words.append(f"(first sign {(decision.at - found.sign_at) * 1e3:.0f} ms before)")
    if entry.recorded_at is not None and entry.recorded_at != decision.at:
        words.append(f"[then at {entry.recorded_at - segment.begun:.3f} s]")
    return "  ".join(words)


def _say_unnamed(config: Config, recording: Recording) -> None:
    """Which recorded paths keep their recorded limits. Raises ConfigError if all do."""
    named = {path.name for path in config.paths}
    recorded = {r.config.name for segment in recording.segments for r in segment.state.paths}
    if not named or recorded <= named:
        return
    missing = ", ".join(sorted(recorded - named))
    names = f"{config.source} names {', '.join(sorted(named))}"
    if not recorded & named:
        raise ConfigError(
            f"{names}, the journal has {missing}: nothing to apply; name the paths as in the "
            "journal, or leave [[path]] out"
        )
    print(f"omrfast: {names}; {missing} of the journal keeps what was recorded", file=sys.stderr)


def handle(args: argparse.Namespace) -> int:
    from omrfast.configfile import load_config
    from omrfast.store.journal_format import read

    config = load_config(args.config) if args.config else None
    recording = read(Path(args.file))
    if config is not None:
        _say_unnamed(config, recording)
    replayed = _replayed(recording, config, args.verbose)
    if args.json:
        segments = [_segment_json(segment, compared) for segment, compared in replayed]
        print_json({"file": args.file, "segments": segments, "problems": recording.problems})
    else:
        marks = set()
        for number, (segment, compared) in enumerate(replayed, 1):
            _print_segment(number, segment, compared)
            marks |= {entry.match for entry in compared}
        if marks - {"same"}:
            print(_LEGEND)
    if lost := recording.unplaced:
        words = "decision is" if lost == 1 else "decisions are"
        print(
            f"omrfast: {lost} recorded {words} left out: the measurements before are not there",
            file=sys.stderr,
        )
    for problem in recording.problems:
        print(f"omrfast: {problem}", file=sys.stderr)
    return FAILED if recording.problems else FINE
