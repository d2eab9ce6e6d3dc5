# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast explain`, `path` and `replay-journal` against a real core on a real control socket."""

from __future__ import annotations

import gzip
import json
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_control import serving

from omrfast.cli.main import main
from omrfast.core import policy
from omrfast.core.config import AgentConfig, Config, JournalConfig, PathConfig
from omrfast.core.events import Event, LinkChanged, ProbeReply, TargetsChanged
from omrfast.core.state import CoreState, PathRecord
from omrfast.core.types import Origin, ProbeKind, Role, Target
from omrfast.export.desk import Desk
from omrfast.store.journal import FOLDER, Recorder
from omrfast.store.overrides import FILE_NAME, Overrides

PING = Target("icmp 203.0.113.10", ProbeKind.ICMP, "203.0.113.10", Origin.SERVER, "vps")


class Core:
    """The core as an agent holds it, with a clock that a test moves."""

    def __init__(self, folder: Path, *paths: PathConfig) -> None:
        self.now = time.monotonic()
        self.state: CoreState = policy.start(tuple(PathRecord(path) for path in paths), self.now)
        for path in paths:
            self.take(TargetsChanged(path.name, (PING,)))
            self.take(ProbeReply(path.name, PING.key, 0.04, self.now))
        self.desk = Desk(
            Overrides(folder / "state"),
            state=self._live,
            take=self.take,
            clock=lambda: self.now,
        )

    async def _live(self) -> CoreState:
        return self.state

    def take(self, event: Event) -> None:
        self.now += 0.001
        self.state = policy.step(self.state, event, self.now).state

    def override(self, name: str) -> Any:
        return self.state.path(name).override


PATHS = (PathConfig("wan1", "eth1"), PathConfig("wan2", "eth2"))


@contextmanager
def desk_of(folder: Path, *paths: PathConfig) -> Iterator[Core]:
    core = Core(folder, *(paths or PATHS))
    (folder / "omrfast.toml").write_text(
        f'[agent]\nrun_dir = "{folder}/run"\nstate_dir = "{folder}/state"\n'
    )
    with serving(str(folder / "run"), dict(core.desk.handlers())):
        yield core


@pytest.fixture
def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Core]:
    monkeypatch.setenv("OMRFAST_CONFIG", str(tmp_path / "omrfast.toml"))
    with desk_of(tmp_path) as core:
        yield core


# --- explain ----------------------------------------------------------------------------------


def test_explain_tells_state_reason_and_wish(
    core: Core, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "wan1"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("path wan1: up\n")
    for topic in ("state ", "why ", "measured ", "waits for ", "asked ", "wished "):
        assert f"\n  {topic}" in text
    assert main(["explain", "wan1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "path"
    assert found["numbers"]["needed_s"] == 5.0
    assert {line["topic"] for line in found["lines"]} >= {"state", "why", "wished"}


def test_explain_of_nothing_known_names_what_there_is(
    core: Core, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "wan7"]) == 1
    said = capsys.readouterr().err
    assert said == "omrfast: nothing is named 'wan7'; paths: wan1, wan2; servers: none\n"


# --- path ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "role"), [("up", Role.ACTIVE), ("backup", Role.BACKUP), ("off", Role.OFF)]
)
def test_the_operators_word_reaches_the_core_and_is_taken_back(
    core: Core, capsys: pytest.CaptureFixture[str], word: str, role: Role
) -> None:
    assert main(["path", "wan1", word]) == 0
    assert core.override("wan1").role is role
    assert core.override("wan1").until is None
    assert "until told otherwise" in capsys.readouterr().out
    assert main(["path", "wan1", "auto", "--json"]) == 0
    assert core.override("wan1") is None
    done = json.loads(capsys.readouterr().out)
    assert done == {"path": "wan1", "role": None, "seconds": None, "problem": None}


def test_for_sets_an_end(core: Core, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["path", "wan2", "--for", "10m", "backup"]) == 0
    assert core.override("wan2").until == pytest.approx(core.now + 600, abs=0.1)
    assert "for 10 min 0 s" in capsys.readouterr().out
    core.now += 60
    main(["explain", "wan2"])
    assert "operator    backup for 8 min 59 s more" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["wan9", "off"], 1, "no path is named 'wan9'; known: wan1, wan2"),
        (["wan1", "auto", "--for", "5m"], 2, "auto takes no --for"),
        (["wan1", "off", "--for", "soon"], 2, "write a duration above 0"),
        (["wan1", "off", "--for", "9000h"], 1, "at most a year"),
    ],
)
def test_what_cannot_be_is_refused(
    core: Core, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    if code == 2:
        with pytest.raises(SystemExit, match="2"):
            main(["path", *words])
    else:
        assert main(["path", *words]) == code
    assert said in capsys.readouterr().err
    assert all(record.override is None for record in core.state.paths)


def test_the_last_path_is_not_switched_off(core: Core, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["path", "wan2", "off"]) == 0
    assert main(["path", "wan1", "off"]) == 1
    said = capsys.readouterr().err
    assert "wan1 off would leave no path: wan2 is off by the operator" in said
    assert core.override("wan1") is None
    assert main(["path", "wan2", "auto"]) == 0
    core.take(LinkChanged("wan2", False, "no carrier"))
    assert main(["path", "wan1", "off"]) == 1
    assert "wan2 is down" in capsys.readouterr().err
    assert main(["path", "wan2", "off"]) == 0, "a dead one may go"


def test_taking_back_the_word_for_a_path_that_is_off_by_its_role(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMRFAST_CONFIG", str(tmp_path / "omrfast.toml"))
    off = PathConfig("lte", "wwan0", role=Role.OFF)
    with desk_of(tmp_path, off, PathConfig("wan1", "eth1")):
        assert main(["path", "wan1", "off"]) == 1
        assert "lte is off by its role" in capsys.readouterr().err
        assert main(["path", "lte", "up"]) == 0
        assert main(["path", "lte", "auto"]) == 0


def test_a_word_outlasts_the_agent_until_its_time_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMRFAST_CONFIG", str(tmp_path / "omrfast.toml"))
    with desk_of(tmp_path):
        assert main(["path", "wan1", "backup", "--for", "1h"]) == 0
        assert main(["path", "wan2", "up"]) == 0
    again = Core(tmp_path, *PATHS)
    again.desk.take_up(again.state)
    assert again.override("wan1").role is Role.BACKUP
    assert again.override("wan1").until == pytest.approx(again.now + 3600, abs=60)
    assert again.override("wan2").until is None
    held = again.override("wan1")
    again.desk.take_up(again.state)
    assert again.override("wan1") is held, "it has it already"
    file = tmp_path / "state" / FILE_NAME
    kept = json.loads(file.read_text())
    kept["overrides"]["wan1"]["until"] = time.time() - 1
    file.write_text(json.dumps(kept))
    later = Core(tmp_path, *PATHS)
    later.desk.take_up(later.state)
    assert later.override("wan1") is None
    assert later.override("wan2").role is Role.ACTIVE


def test_a_clock_that_was_set_back_lets_no_word_last_longer(tmp_path: Path) -> None:
    store = Overrides(tmp_path)
    from omrfast.core.state import Override

    store.keep("wan1", Override(Role.OFF, 1000.0 + 600), now=1000.0, wall=1.7e9)
    found = Overrides(tmp_path).living(now=5.0, wall=0.0)
    assert found["wan1"].until == 605.0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 9, "overrides": {}}', '{"version":1}']
)
def test_a_file_that_cannot_be_used_is_no_obstacle(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    assert Overrides(tmp_path).living(0.0, 0.0) == {}
    assert "cannot be used" in caplog.text


def test_a_word_that_cannot_be_kept_still_counts_and_says_so(
    core: Core, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").write_text("a file where the folder is wanted")
    assert main(["path", "wan1", "backup"]) == 0
    assert core.override("wan1").role is Role.BACKUP
    assert "a restarted agent will not know of it" in capsys.readouterr().err


# --- the journal on disk, and its replay ------------------------------------------------------


def recorded(folder: Path, size: int = 1_000_000) -> None:
    """wan1's link goes and comes, in the journal of ``folder``."""
    config = Config(AgentConfig(state_dir=str(folder)), journal=JournalConfig(size))
    recorder = Recorder(config, None)
    core = Core(folder, *PATHS)
    for number in range(40):
        events = [LinkChanged("wan1", bool(number % 2), f"link {number}")]
        events += [ProbeReply("wan1", PING.key, 0.04, core.now)] if number % 2 else []
        for event in events:
            before, at = core.state, core.now + 0.001
            recorder.take(before, at, event)
            core.take(event)
            for decision in policy.step(before, event, at).decisions:
                recorder.decided(decision)
    recorder.close()


def test_replay_journal_shows_what_was_decided(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(tmp_path)
    folder = tmp_path / FOLDER
    assert main(["replay-journal", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "segment 1: " in text
    assert "link 0" in text
    assert "~ at another time" not in text
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert main(["replay-journal", "--json", str(packed)]) == 0
    found = json.loads(capsys.readouterr().out)
    decisions = found["segments"][0]["decisions"]
    assert len(decisions) >= 40
    assert {d["compared"] for d in decisions} == {"same"}
    assert decisions[0]["path"] == "wan1"
    assert abs(decisions[0]["at"] - time.time()) < 600
    assert found["problems"] == []


def test_replay_journal_with_another_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(tmp_path)
    other = tmp_path / "other.toml"
    other.write_text('[[path]]\nname = "wan1"\ninterface = "x"\nrole = "off"\n'
                     '[[path]]\nname = "wan2"\ninterface = "y"\n')  # fmt: skip
    assert main(["replay-journal", str(tmp_path / FOLDER), "--config", str(other)]) == 0
    assert capsys.readouterr().err == ""
    other.write_text('[[path]]\nname = "wan1"\ninterface = "x"\n')
    assert main(["replay-journal", str(tmp_path / FOLDER), "--config", str(other)]) == 0
    assert "wan2 of the journal keeps what was recorded" in capsys.readouterr().err
    other.write_text('[[path]]\nname = "fibre"\ninterface = "x"\n')
    assert main(["replay-journal", str(tmp_path / FOLDER), "--config", str(other)]) == 2
    assert "names fibre, the journal has wan1, wan2: nothing to apply" in capsys.readouterr().err
    other.write_text("[path]\n")
    assert main(["replay-journal", str(tmp_path / FOLDER), "--config", str(other)]) == 2


def test_replay_journal_of_what_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay-journal", str(tmp_path / "none")]) == 1
    assert "No such file" in capsys.readouterr().err
    recorded(tmp_path)
    (file,) = (tmp_path / FOLDER).iterdir()
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:9], b"not JSON\n", *lines[10:]]))
    assert main(["replay-journal", str(file)]) == 1
    said = capsys.readouterr()
    assert f"{file}:10: not a line of a journal (Expecting value" in said.err
    assert "segment 1" in said.out, "what can be read is shown"
    assert "recorded decisions are left out" in said.err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "omrfast", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_disk_that_fills_up_is_said_once_and_used_again(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(60 * 1024 - os.path.getsize(small_disk)))
    for _ in range(3):
        recorded(small_disk)
    complaints = [r for r in caplog.records if r.levelname == "ERROR"]
    assert len(complaints) == 3, "once for each run"
    assert all("No space left on device" in r.message for r in complaints)
    filler.unlink()
    recorded(small_disk, 50_000)
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 3
    from omrfast.store.journal_format import read

    found = read(small_disk / FOLDER)
    assert len(found.segments[-1].decisions) >= 40
    assert sum(file.stat().st_size for file in (small_disk / FOLDER).iterdir()) <= 50_000
