# SPDX-License-Identifier: GPL-2.0-or-later
"""What was measured in real outages is decided on as it should be (tests/journals)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from omrfast.cli.main import main
from omrfast.core.config import Config, PathConfig, Quality
from omrfast.core.outcome import Decision
from omrfast.core.recording import Segment, replay, told
from omrfast.store.journal_format import read
from tests.journals.cases import CASES, Case, Enters, Is
from tests.journals.record import FOLDER, MARKS, MOST, file_of

BY_NAME = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def recorded(case: Case) -> tuple[Segment, dict[str, float]]:
    (segment,) = read(file_of(case)).segments
    return segment, json.loads(MARKS.read_text())[case.name]


def by_name(decisions: Iterable[Decision], since: float) -> dict[str, list[Decision]]:
    """Who entered another state since then; suspicions that came to nothing left out."""
    found: dict[str, list[Decision]] = {}
    for decision in told(decisions):
        if decision.at >= since:
            found.setdefault(decision.path or decision.server, []).append(decision)
    return found


def state_at(decisions: Iterable[Decision], name: str, at: float) -> str:
    entered = [d for d in told(decisions) if (d.path or d.server) == name and d.at <= at]
    return str(entered[-1].state)


@BY_NAME
def test_decisions_are_as_they_should_be(case: Case) -> None:
    segment, marks = recorded(case)
    decisions = replay(segment)
    found = by_name(decisions, min(marks.values()))
    assert found.keys() <= case.expected.keys(), "nobody else is blamed"
    for name, expected in case.expected.items():
        entered = [(str(d.state), d.at) for d in found.get(name, [])]
        steps = [step for step in expected if isinstance(step, Enters)]
        if steps:
            assert [state for state, _ in entered] == [step.state for step in steps], name
            for step, (_, at) in zip(steps, entered, strict=True):
                assert step.earliest <= at - marks[step.mark] <= step.latest, (name, step)
        for moment in (step for step in expected if isinstance(step, Is)):
            at = marks[moment.mark] + moment.after
            assert state_at(decisions, name, at) in moment.states, (name, moment)
    for state, most in case.at_most.items():
        assert sum(str(d.state) == state for d in found.get("wan1", [])) <= most, state


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.patient], ids=lambda case: case.name
)
def test_other_limits_decide_nothing(case: Case) -> None:
    segment, marks = recorded(case)
    path = segment.state.path("wan1").config
    limits = {k: v for k, v in case.patient.items() if k in {f.name for f in fields(Quality)}}
    others = {k: v for k, v in case.patient.items() if k in {f.name for f in fields(PathConfig)}}
    assert len(limits) + len(others) == len(case.patient)
    quality = replace(path.quality, **limits)
    config = Config(paths=(replace(path, quality=quality, **others),))
    assert by_name(replay(segment, config), min(marks.values())) == {}


@BY_NAME
def test_each_journal_is_small_and_the_command_shows_it(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    assert file_of(case).stat().st_size <= MOST
    assert main(["replay-journal", "--json", str(file_of(case))]) == 0
    shown = json.loads(capsys.readouterr().out)
    replayed = [d for d in shown["segments"][0]["decisions"] if d["compared"] != "missing"]
    assert [d["state"] for d in replayed] == [str(d.state) for d in told(replay(recorded(case)[0]))]


def test_there_is_a_journal_for_each_case_and_no_other() -> None:
    assert {file_of(case) for case in CASES} == {*Path(FOLDER).glob("*.gz")}
    assert json.loads(MARKS.read_text()).keys() == {case.name for case in CASES}
