# SPDX-License-Identifier: GPL-2.0-or-later
"""Pytest plugin: run every M-th test, so that M processes share the work, each test in one.

python -m pytest -p tests.matrix.share --share 0/2
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--share", default="0/1", metavar="N/M", help="every M-th test from the N-th")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    first, step = (int(word) for word in config.getoption("--share").split("/"))
    others = [item for number, item in enumerate(items) if number % step != first]
    config.hook.pytest_deselected(items=others)
    items[:] = items[first::step]
