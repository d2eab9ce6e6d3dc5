# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds for all tests: who may run them, what a skip means, what may be left behind.

- Every test carries its folder's name as a mark (``-m unit``, ``-m "not lab"``).
- All but ``tests/unit`` need root and are skipped without it.
- With ``CI=true`` a skip is a failure: continuous integration must not pass by not testing.
- A network namespace ``omr-*`` that is there at the end and was not at the start is reported;
  with ``CI=true``, where nobody else works on the machine, it fails the run.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FOLDERS = ("abi", "act", "cli", "dataplane", "fuzz", "lab", "model", "prog", "replay", "unit")
NETNS = Path("/run/netns")
IN_CI = os.environ.get("CI") == "true"
LAB_TIMEOUT = 180
"""Seconds for a test with real MPTCP traffic, unless it carries its own mark."""

_before = pytest.StashKey[frozenset[str]]()
_left = pytest.StashKey[list[str]]()


def _namespaces() -> frozenset[str]:
    return frozenset(path.name for path in NETNS.glob("omr-*"))


def _folder(path: Path) -> str:
    return path.relative_to(TESTS).parts[0] if path.is_relative_to(TESTS) else ""


def _group(item: pytest.Item, folder: str) -> str:
    """Tests that share what is dear to make, for one worker of pytest-xdist; empty: none."""
    match folder:
        case "replay":  # captures
            return folder
        case "abi" | "model" | "prog":  # loaded programs; bcc compiles them first
            return f"{folder} {_parameter(item, 'plane')}"
    return ""


def _parameter(item: pytest.Item, name: str) -> str:
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get(name, "")) if callspec else ""


def pytest_configure(config: pytest.Config) -> None:
    for folder in FOLDERS:
        config.addinivalue_line("markers", f"{folder}: tests below tests/{folder}")
    config.addinivalue_line("markers", "slow: takes long; left out unless asked for (make slow)")
    if not config.option.markexpr:
        config.option.markexpr = "not slow"
    config.stash[_before] = _namespaces()


@pytest.hookimpl(tryfirst=True)  # pytest-xdist looks for groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    no_root = pytest.mark.skip(reason="needs root")
    for item in items:
        folder = _folder(item.path)
        if folder in FOLDERS:
            item.add_marker(folder)
        if folder != "unit" and os.geteuid() != 0:
            item.add_marker(no_root)
        if group := _group(item, folder):
            item.add_marker(pytest.mark.xdist_group(group))
        if folder == "lab" and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LAB_TIMEOUT))


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI=true does not allow: {why}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):  # of pytest-xdist: its neighbour's are not left
        return
    left = sorted(_namespaces() - session.config.stash[_before])
    session.config.stash[_left] = left
    if left and IN_CI and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if left := config.stash.get(_left, []):
        terminalreporter.section("left behind")
        terminalreporter.write_line(f"network namespaces: {' '.join(left)}")
