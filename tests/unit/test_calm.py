# SPDX-License-Identifier: GPL-2.0-or-later
"""What must not upset a path, or what is told of it: false alarms, pauses, our own load."""

from __future__ import annotations

from test_quality import rough, start, two


def test_a_false_alarm_leaves_why_a_path_is_degraded() -> None:
    world = two()
    start(world, "requests")
    rough(world).rtt = 0.340
    world.run(3.0)
    before = world.state.path("one")
    assert before.state == "degraded"
    at = world.now
    rough(world).upload = 0.2
    world.run(3.0)
    world.paths["one"].paused_until = world.now + 0.5
    world.run(3.0)
    alarms = [d for d in world.decisions if d.at > at and d.before == "suspect"]
    assert alarms, "it was suspect"
    assert all(d.path == "one" and d.state == "degraded" for d in alarms)
    assert all("alive after all" in d.reason for d in alarms)
    after = world.state.path("one")
    assert (after.reason, after.evidence) == (before.reason, before.evidence)
    assert "alive after all" not in after.reason
