# SPDX-License-Identifier: GPL-2.0-or-later
"""The journal over simulated paths: what is written when, how much, and that it replays."""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from world import SimPath, World

from omrfast.core import policy
from omrfast.core.config import AgentConfig, Config, JournalConfig, PathConfig, Quality
from omrfast.core.events import Event, Tick
from omrfast.core.outcome import ProbeOrder
from omrfast.core.recording import Match, compare, replay, told
from omrfast.core.state import CoreState
from omrfast.core.types import PathCounters
from omrfast.core.views import ActionView
from omrfast.store import journal_writer
from omrfast.store.journal import AFTER, FOLDER, Recorder
from omrfast.store.journal_format import Begin, JournalError, Said, Took, read
from omrfast.store.journal_writer import Folder, Single, Writer

SIZE = 2_000_000


def configuration(folder: Path, size: int = SIZE) -> Config:
    return Config(AgentConfig(state_dir=str(folder)), journal=JournalConfig(size))


class Recorded(World):
    """A world whose inputs and decisions a Recorder is told of."""

    def __init__(self, recorder: Recorder, *paths: SimPath) -> None:
        self._recorder = recorder
        self._told = 0
        super().__init__(*paths)

    def _step(self, event: Event) -> None:
        self._recorder.take(self.state, self.now, event)
        super()._step(event)
        for decision in self.decisions[self._told :]:
            self._recorder.decided(decision)
        self._told = len(self.decisions)

    def _probe(self, path: SimPath, target: str) -> None:
        self._recorder.asked(self.now, (ProbeOrder(path.name, target),))
        super()._probe(path, target)


def two() -> tuple[SimPath, SimPath]:
    return SimPath("wan1", 0.040, upload=0.02), SimPath("wan2", 0.080, upload=0.02)


def lines(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / FOLDER).glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


def of_kind(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [line for line in lines(folder) if kind in line]


@pytest.fixture(autouse=True)
def _no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The delay is for a busy router; what is written is the same."""
    monkeypatch.setattr(journal_writer, "DELAY", 0.01)
    monkeypatch.setattr(journal_writer, "REST", 0.0)


def wait(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"not within 20 s: {what}"
        time.sleep(0.01)


# --- what is written ------------------------------------------------------------------------------


def test_a_healthy_hour_writes_nothing_after_its_start(tmp_path: Path) -> None:
    recorder = Recorder(configuration(tmp_path), None)
    world = Recorded(recorder, SimPath("wan1", 0.040), SimPath("wan2", 0.080))
    world.run(30)
    at_start = len(world.decisions)
    world.run(300)
    assert len(world.decisions) == at_start
    recorder.close()
    written = [line["t"] for line in lines(tmp_path) if "t" in line]
    assert max(written) <= world.decisions[-1].at + AFTER + 0.001


def test_a_decision_brings_what_led_to_it_and_what_came_after(tmp_path: Path) -> None:
    recorder = Recorder(configuration(tmp_path), None)
    world = Recorded(recorder, *two())
    world.run(60)
    dead_at = world.now
    world.paths["wan1"].dead = True
    world.run(30)
    recorder.close()
    found = read(tmp_path / FOLDER)
    assert not found.problems
    segment = found.segments[-1]
    assert dead_at - 30.1 <= segment.begun <= dead_at - 20
    down = next(d for d in segment.decisions if d.path == "wan1" and d.state == "down")
    assert down.at + AFTER - 1 <= segment.ended <= down.at + AFTER
    ticks = [(at, item) for at, item in segment.inputs if isinstance(item, Tick)]
    looks = {look[0] for _, tick in ticks for path in tick.counters.values() for look in path.looks}
    read_at = looks | {at for at, _ in ticks}
    assert sum(dead_at - 20 < at < dead_at for at in read_at) > 100, "what led to it"
    assert told(segment.decisions)[-1] == replace(down, before=told(segment.decisions)[-1].before)


def test_a_replay_decides_the_same_at_the_same_instants(tmp_path: Path) -> None:
    recorder = Recorder(configuration(tmp_path), None)
    world = Recorded(recorder, *two())
    world.run(40)
    for _ in range(3):
        world.paths["wan1"].dead = True
        world.run(4)
        world.paths["wan1"].dead = False
        world.run(35)
    recorder.close()
    found = read(tmp_path / FOLDER)
    assert sum(len(s.decisions) for s in found.segments) > 8
    for segment in found.segments:
        assert replay(segment) == segment.decisions
        compared = compare(segment.decisions, replay(segment))
        assert {entry.match for entry in compared} <= {Match.SAME}


def test_suspicions_that_come_to_nothing_do_not_fill_the_disk(tmp_path: Path) -> None:
    recorder = Recorder(configuration(tmp_path), None)
    world = Recorded(recorder, *two())
    world.run(40)
    decided = len(world.decisions)
    for _ in range(10):
        world.paths["wan1"].paused_until = world.now + 0.085
        world.run(10)
    passing = world.decisions[decided:]
    assert {str(d.state) for d in passing} == {"suspect", "up"}, "there were some"
    recorder.close()
    assert max(line["t"] for line in of_kind(tmp_path, "decision")) < passing[0].at
    assert max(line["t"] for line in lines(tmp_path) if "t" in line) < passing[0].at


def test_other_limits_give_other_decisions(tmp_path: Path) -> None:
    recorder = Recorder(configuration(tmp_path), None)
    world = Recorded(recorder, *two())
    world.run(40)
    for _ in range(26):
        world.paths["wan1"].rtt += 0.010
        world.run(0.5)
    recorder.close()
    assert "degraded" in world.states("wan1")
    segment = read(tmp_path / FOLDER).segments[-1]
    patient = Config(
        paths=(PathConfig("wan1", "other0", quality=Quality(max_rtt=1.0, max_rise=100)),)
    )
    decided = replay(segment, patient)
    assert "degraded" not in {str(d.state) for d in decided if d.path == "wan1"}
    missing = [e for e in compare(segment.decisions, decided) if e.match is Match.MISSING]
    assert "degraded" in {str(e.decision.state) for e in missing}


def test_a_probe_that_was_not_sent_then_is_no_sign_now(tmp_path: Path) -> None:
    tape = tmp_path / "tape"
    recorder = Recorder(configuration(tmp_path, 0), str(tape))
    world = Recorded(recorder, SimPath("wan1", 0.040), SimPath("wan2", 0.080))
    world.run(200)
    recorder.close()
    (segment,) = read(tape).segments
    dense = tuple(replace(r.config, probe_interval=0.5) for r in segment.state.paths)
    assert told(replay(segment, Config(paths=dense))) == told(segment.decisions)
    orders = {order for _, order in segment.asked}
    always = replace(segment, asked=tuple((at, o) for at, _ in segment.inputs for o in orders))
    blamed = told(replay(always, Config(paths=dense)))
    assert blamed != told(segment.decisions), "their silence would have counted"


def test_a_record_file_has_everything_from_the_start(tmp_path: Path) -> None:
    tape = tmp_path / "all.jsonl"
    recorder = Recorder(configuration(tmp_path, 0), str(tape))
    world = Recorded(recorder, *two())
    world.run(70)
    world.paths["wan2"].dead = True
    world.run(5)
    recorder.close()
    assert not (tmp_path / FOLDER).exists(), "size 0: no journal"
    (segment,) = read(tape).segments
    assert segment.decisions == tuple(world.decisions)
    assert segment.ended == world.now or segment.ended > world.now - 1
    assert replay(segment) == tuple(world.decisions)
    packed = tmp_path / "all.jsonl.gz"
    packed.write_bytes(gzip.compress(tape.read_bytes()))
    assert read(packed).segments == [segment]


def test_a_change_of_configuration_is_an_input(tmp_path: Path) -> None:
    tape = tmp_path / "all.jsonl"
    recorder = Recorder(configuration(tmp_path, 0), str(tape))
    world = Recorded(recorder, *two())
    world.run(3)
    paths = tuple(replace(r.config, quality=Quality(recover_after=1.0)) for r in world.state.paths)
    for _ in range(2):  # the second one changes nothing
        recorder.reconfigured(world.state, world.now, paths)
        world.state = policy.reconfigure(world.state, paths, world.now)
    world.paths["wan1"].dead = True
    world.run(3)
    world.paths["wan1"].dead = False
    world.run(6)
    recorder.close()
    (segment,) = read(tape).segments
    assert sum("Reconfigured" in line for line in tape.read_text().splitlines()) == 1
    assert replay(segment) == tuple(world.decisions)
    assert world.states("wan1")[-1] == "up"


def test_actions_and_words_are_kept_with_their_numbers(tmp_path: Path) -> None:
    recorder = Recorder(configuration(tmp_path), None)
    recorder.acted(ActionView(5.0, "wan1", "delete", "silent", 6.8), "endpoint 10.1.0.2 removed")
    recorder.said("measuring 2 paths")
    recorder.close()
    (action,) = of_kind(tmp_path, "action")
    assert action["wall"] == 5.0
    assert action["action"]["took_ms"] == 6.8
    assert action["action"]["what"] == "endpoint 10.1.0.2 removed"
    assert of_kind(tmp_path, "agent")[0]["agent"] == "measuring 2 paths"


def test_what_led_to_a_failure_is_written(tmp_path: Path) -> None:
    recorder = Recorder(configuration(tmp_path), None)
    world = Recorded(recorder, *two())
    world.run(40)
    before = len(lines(tmp_path)) if (tmp_path / FOLDER).exists() else 0
    recorder.failed(ValueError("a defect"))
    recorder.close()
    assert len(lines(tmp_path)) > before + 100
    assert "a defect" in of_kind(tmp_path, "agent")[-1]["agent"]
    assert read(tmp_path / FOLDER).segments[-1].ended > world.now - 1


# --- bounds ---------------------------------------------------------------------------------------


def on_disk(folder: Path) -> int:
    total = 0
    for file in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            total += file.stat().st_size
    return total


def test_the_folder_never_grows_beyond_its_size_and_stays_readable(tmp_path: Path) -> None:
    size = 200_000
    recorder = Recorder(configuration(tmp_path, size), None)
    world = Recorded(recorder, *two())
    world.run(20)
    most = 0
    for _ in range(12):
        world.paths["wan1"].dead = True
        world.run(3)
        world.paths["wan1"].dead = False
        world.run(30)
        most = max(most, on_disk(tmp_path / FOLDER))
    recorder.close()
    assert most <= size
    assert size / 3 < on_disk(tmp_path / FOLDER) <= size
    found = read(tmp_path / FOLDER)
    assert not found.problems
    for segment in found.segments:
        assert replay(segment) == segment.decisions
    assert found.segments[-1].decisions[-1].at == world.decisions[-1].at, "the newest is there"


def test_an_endless_segment_is_cut_where_it_can_be_read_again(tmp_path: Path) -> None:
    size = 100_000
    recorder = Recorder(configuration(tmp_path, size), None)
    world = Recorded(recorder, *two())
    world.run(20)
    for _ in range(40):  # every three seconds: inputs are written without a pause
        world.paths["wan1"].dead = not world.paths["wan1"].dead
        world.run(3)
    recorder.close()
    assert on_disk(tmp_path / FOLDER) <= size
    found = read(tmp_path / FOLDER)
    assert not found.problems
    assert found.segments
    for segment in found.segments:
        assert replay(segment) == segment.decisions


class _Stuck(Single):
    """A file on a disk that does not answer until it is released."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reached = threading.Event()
        self.released = threading.Event()

    def flush(self) -> None:
        self.reached.set()
        assert self.released.wait(20)
        super().flush()


def test_a_disk_that_hangs_costs_entries_and_no_memory(tmp_path: Path) -> None:
    tape = tmp_path / "tape"
    disk = _Stuck(tape)
    writer = Writer(disk, "tape")
    state = CoreState((), 0.0)
    writer.put(Begin(0.0, 0.0, state, False))
    assert disk.reached.wait(20)
    for number in range(journal_writer.MOST_WAITING + 500):
        writer.put(Took(float(number), Tick({"wan1": PathCounters(tx_bytes=number)})))
    assert writer.waiting == journal_writer.MOST_WAITING
    disk.released.set()
    wait(lambda: writer.waiting == 0, "the backlog is taken up")
    writer.put(Took(1e6, Tick({"wan1": PathCounters(tx_bytes=7)})))  # nothing to count it from
    writer.put(Begin(2e6, 0.0, state, True))
    writer.put(Took(2e6, Tick({"wan1": PathCounters(tx_bytes=7)})))
    writer.close()
    first, second = read(tape).segments
    counted = [item.counters["wan1"].tx_bytes for _, item in first.inputs]
    assert counted == [*range(journal_writer.MOST_WAITING)]
    assert second.inputs == ((2e6, Tick({"wan1": PathCounters(tx_bytes=7)})),)


# --- what goes wrong --------------------------------------------------------------------------


def test_a_torn_last_line_is_no_problem_and_the_next_run_goes_on(tmp_path: Path) -> None:
    for _ in range(2):
        recorder = Recorder(configuration(tmp_path), None)
        world = Recorded(recorder, *two())
        world.run(8)
        recorder.close()
        newest = sorted((tmp_path / FOLDER).glob("*"))[-1]
        newest.write_bytes(newest.read_bytes()[:-7])
    found = read(tmp_path / FOLDER)
    assert not found.problems
    assert len(found.segments) == 2
    for segment in found.segments:
        assert replay(segment) == segment.decisions


def test_what_is_damaged_in_the_middle_is_said_and_left_out(tmp_path: Path) -> None:
    tape = tmp_path / "tape"
    recorder = Recorder(configuration(tmp_path, 0), str(tape))
    world = Recorded(recorder, *two())
    world.run(8)
    recorder.close()
    written = tape.read_bytes().splitlines(keepends=True)
    written[50] = b'{"t":1.0,"tick":{"wan1":[99,1]}}\n'
    tape.write_bytes(b"".join(written))
    found = read(tape)
    why = "not a line of a journal ('99' is no place of PathCounters)"
    assert found.problems == [f"{tape}:51: {why}; left out up to the next recorded state"]
    assert len(found.segments[0].inputs) <= 49


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "no measurements"),
        (b"not json\n", "Expecting value"),
        (b'{"begin":{"format":99,"omrfast":"7.0"}}\n', "format 99, written by omrfast 7.0; this"),
        (b'{"begin":{}}\n', "format"),
        (b"\x1f\x8bbroken", "tape:"),
    ],
)
def test_what_is_no_journal_is_refused_in_words(tmp_path: Path, text: bytes, words: str) -> None:
    tape = tmp_path / "tape"
    tape.write_bytes(text)
    with pytest.raises(JournalError) as refused:
        read(tape)
    assert words in str(refused.value)


def test_a_missing_file_and_an_empty_folder_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="No such file"):
        read(tmp_path / "none")
    with pytest.raises(JournalError, match=r"no file \*\.jsonl"):
        read(tmp_path)
    with pytest.raises(JournalError, match="Is a directory"):
        Single(tmp_path)


def test_a_full_disk_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        writer = Writer(Single(Path("/dev/full")), "/dev/full")
        for number in range(3):
            writer.put(Said(float(number), "word"))
            wait(lambda: writer.waiting == 0, "taken")
        writer.close()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "No space left on device" in caplog.text


def test_a_full_disk_gets_no_empty_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path, SIZE)

    def line(text: bytes) -> None:
        assert folder.write(text, replayed=False, begins=False)
        folder.flush()

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    line(b"before\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for _ in range(12):
            with pytest.raises(OSError, match="No space"):
                line(b"lost\n")
    line(b"after\n")
    folder.close()
    assert [p.read_bytes() for p in sorted(tmp_path.iterdir())] == [b"before\n", b"after\n"]


def test_a_folder_that_cannot_be_made_is_said_once_and_taken_when_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "state"
    blocked.write_text("a file where a folder is wanted")
    with caplog.at_level(logging.INFO):
        writer = Writer(Folder(blocked / FOLDER, SIZE), "journal")
        for number in range(3):
            writer.put(Begin(float(number), 0.0, CoreState((), 0.0), True))
            writer.put(Took(float(number), Tick({})))
            wait(lambda: writer.waiting == 0, "taken")
        wait(lambda: caplog.records, "a complaint")
        blocked.unlink()
        writer.put(Begin(9.0, 0.0, CoreState((), 0.0), True))
        writer.put(Took(9.0, Tick({})))
        writer.close()
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    (segment,) = read(blocked / FOLDER).segments
    assert segment.begun == 9.0
    assert len(segment.inputs) == 1
