# SPDX-License-Identifier: GPL-2.0-or-later
"""The model, the native build and the kernel programs say the same of every packet.

OMRFAST_EXAMPLES: how many scripts are tried for each loader and ingress hook.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from .play import Script, play
from .strategies import scripts
from .subjects import Subjects

EXAMPLES = int(os.environ.get("OMRFAST_EXAMPLES", "150"))


@pytest.mark.timeout(120 + EXAMPLES)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
    print_blob=True,
)
@given(script=scripts())
def test_all_three_agree(subjects: Subjects, script: Script) -> None:
    subjects.run(play(script, subjects.hz))
