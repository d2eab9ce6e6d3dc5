# SPDX-License-Identifier: GPL-2.0-or-later
"""What `omrfast status` prints for people: everything that matters, in lines of a screen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from snapshots import SERVER, path, snapshot, unmeasured

from omrfast.cli.status import WIDTH, render
from omrfast.core.views import ActionView, EvidenceView, OverrideView, PathView, Snapshot
from omrfast.export.status import status_json

LONG = (
    "unanswered for 302 ms (limit 301 ms); 3 probes unanswered for 57 ms; the gateway 10.1.0.1 "
    "answers, and vps1 answers over wan2 and lte, so what is wrong lies behind the gateway"
)


def shown(given: Snapshot) -> list[str]:
    return render(status_json(given)).splitlines()


def crowded(address: str) -> PathView:
    """A path with the longest of everything."""
    return replace(
        path("office-fibre", state="unreachable", role="backup"),
        interface="enp0s31f6.1234",
        address=address,
        reason=LONG,
        since_s=12 * 86400.0,
        endpoint="absent",
        routes_behind=True,
        penalty=3.7,
        tx_bytes=123_456_789_012,
        rx_bytes=123_456_789_012,
        probe_budget=5_000_000,
        override=OverrideView("backup", 590.0),
        evidence=EvidenceView("silence", 302.5, 301.1, "ms"),
    )


@pytest.mark.parametrize("address", ["192.168.100.200", "2001:db8:1111:2222:3333:4444:5555:6666"])
def test_no_line_is_wider_than_a_screen(address: str) -> None:
    action = ActionView(1.7e9, "office-fibre", "nobackup", LONG, 354.1, 362.0, 812.4)
    given = replace(
        snapshot(crowded(address), path(), unmeasured()),
        servers=(replace(SERVER, reason=LONG, state="down"),),
        actions=(action,),
    )
    lines = shown(given)
    assert max(map(len, lines)) <= WIDTH
    text = "\n".join(lines)
    assert address in text
    assert " ".join(text.split()).count(LONG) == 3, "path, server, action: no word is lost"


def test_what_has_no_column_stands_under_the_path() -> None:
    lines = shown(snapshot(crowded("192.0.2.1")))
    row = next(number for number, line in enumerate(lines) if line.startswith("office-fibre"))
    words = " ".join(" ".join(lines[row + 1 : row + 6]).split())
    for part in (
        "silence: measured 302.5 ms, limit 301.1 ms",
        "objective latency",
        "OPERATOR: backup for 9m 50s more",
        "routes behind",
        "penalty 3.70",
        "probes 72.0 kB since the start, 5.00 MB in 30 days allowed",
    ):
        assert part in words


def test_a_dry_run_says_so() -> None:
    assert any(line.startswith("DRY RUN") for line in shown(replace(snapshot(), dry_run=True)))
    assert not any("DRY RUN" in line for line in shown(snapshot()))


def test_services_that_fail_are_named() -> None:
    assert "SERVICES FAIL: web: status 302" in "\n".join(shown(snapshot(path())))
    assert "SERVICES" not in "\n".join(shown(snapshot(unmeasured())))


def test_an_override_without_an_end() -> None:
    assert "OPERATOR: off" in "\n".join(shown(snapshot(path(override=OverrideView("off", None)))))


def test_what_is_not_recorded() -> None:
    lines = shown(replace(snapshot(), trouble=None, unrecorded="changes.json: no space"))
    assert lines[1] == "NOT RECORDED, a crash would leave what is changed: changes.json: no space"


def test_servers_and_trouble() -> None:
    lines = shown(snapshot())
    assert lines[1] == "TROUBLE for 4.5 s: all paths silent at once"
    header = next(number for number, line in enumerate(lines) if line.startswith("SERVER"))
    assert lines[header + 1].split()[:2] == ["vps", "up"]
    assert lines[header + 1].endswith("203.0.113.1, 2001:db8::1")
    assert lines[header + 2 : header + 4] == [
        "    answers",
        "    answers: measured 41.5 ms · does not answer on lte",
    ]


def test_actions_tell_how_long_since_the_first_sign() -> None:
    lines = shown(snapshot())
    header = next(number for number, line in enumerate(lines) if line.startswith("LAST ACTIONS"))
    assert "SINCE SIGN ms" in lines[header]
    assert lines[header + 1].split()[3:6] == ["backup", "0.3", "801.5"]


def test_a_path_that_is_left_as_it_is() -> None:
    left = replace(unmeasured(), address="192.0.2.7")
    (row,) = [line for line in shown(snapshot(left)) if line.startswith("lte")]
    assert "as found" in row
    (row,) = [line for line in shown(snapshot(unmeasured())) if line.startswith("lte")]
    assert "as found" not in row, "it has no address that could have an endpoint"
    assert ", SAVING" in "\n".join(shown(snapshot(unmeasured())))


def test_no_path_says_what_to_do() -> None:
    given = replace(snapshot(), paths=())
    assert "name it as [[path]]" in "\n".join(shown(given))
