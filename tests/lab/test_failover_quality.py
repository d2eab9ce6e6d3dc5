# SPDX-License-Identifier: GPL-2.0-or-later
"""Loss under either objective, flapping, an idle backup that dies, and the operator's word."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from omrfast.lab.topology import TopologySpec, UplinkSpec
from omrfast.lab.traffic import Stream, StreamSpec
from tests.lab.conftest import eventually
from tests.lab.failover import GIVEN_UP, Site, fresh, goes_on, omrfast, site

SMALL = StreamSpec("small", "paced-up")
UPLOAD = StreamSpec("upload", "bulk-up")
BACKUP = TopologySpec(uplinks=(UplinkSpec(rtt=0.04), UplinkSpec(rtt=0.08, role="backup")))


@pytest.fixture(scope="module")
def here() -> Iterator[Site]:
    """An active and a backup uplink, the idle one probed twice a second."""
    with site(BACKUP, {"path": {"wan2": {"probe_interval": "500ms"}}}) as built:
        yield built


@pytest.fixture
def from_as_built(here: Site) -> Iterator[Site]:
    for _ in fresh(here):
        yield here


def test_an_idle_backup_is_known_dead_before_it_is_needed(from_as_built: Site) -> None:
    here = from_as_built
    with Stream(here.lab, SMALL) as stream:
        goes_on(stream, "traffic over the active uplink")
        here.lab.links["wan2"].change(blackhole=True)
        try:
            here.until_path("wan2", *GIVEN_UP)
            eventually(lambda: set(here.router.endpoints()) == {"10.1.0.2"}, "endpoint removed")
            here.lab.links["wan1"].change(delay=0.17)
            here.until_path("wan1", "degraded")
            goes_on(stream, "the slow uplink is kept, for the backup is worse", 5_000)
            assert "10.1.0.2" in here.router.endpoints()
            assert here.router.default_routes()[0][1] == "wan1"
        finally:
            here.lab.links["wan1"].change(delay=0.02)
            here.lab.links["wan2"].change(blackhole=False)
        here.until_as_built()


@pytest.mark.parametrize("word", ["off", "backup"])
def test_the_operators_word_counts_until_it_is_taken_back(from_as_built: Site, word: str) -> None:
    here = from_as_built
    omrfast(here, "path", "wan1", word)
    if word == "off":
        eventually(lambda: set(here.router.endpoints()) == {"10.2.0.2"}, "endpoint removed")
    else:
        eventually(lambda: "backup" in here.router.endpoints()["10.1.0.2"][1], "backup")
    eventually(lambda: here.router.default_routes()[0][1] == "wan2", "default route moved")
    assert here.path("wan1")["override"]["role"] == word
    omrfast(here, "path", "wan1", "auto")
    here.until_as_built()
    assert here.path("wan1")["override"] is None


def test_the_operators_word_for_a_dead_path_and_for_a_while(from_as_built: Site) -> None:
    here = from_as_built
    with Stream(here.lab, SMALL):
        here.lab.links["wan1"].change(blackhole=True)
        try:
            here.until_given_up("wan1", heir="wan2")
            omrfast(here, "path", "wan1", "up", "--for", "2s")
            eventually(lambda: "10.1.0.2" in here.router.endpoints(), "present at his word")
            eventually(lambda: here.path("wan1")["override"] is None, "it has run out")
            here.until_given_up("wan1", heir="wan2")
        finally:
            here.lab.links["wan1"].change(blackhole=False)
        here.until_as_built()


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_a_lossy_path_is_demoted_once_for_latency_and_kept_for_throughput(objective: str) -> None:
    with (
        site(TopologySpec(), {"agent": {"objective": objective}}) as here,
        Stream(here.lab, SMALL) as stream,
        Stream(here.lab, UPLOAD) as upload,
    ):
        here.until_used(stream, upload)
        here.mark()
        here.lab.links["wan1"].change(loss=0.1)
        if objective == "latency":
            here.until_path("wan1", "degraded")
            eventually(lambda: "backup" in here.router.endpoints()["10.1.0.2"][1], "MP_PRIO")
            assert here.router.default_routes()[0][1] == "wan2"
        goes_on(upload, "the bond carries on", 10_000_000)
        expected = ["degraded"] if objective == "latency" else []
        assert here.decided("wan1") == expected, here.reasons("wan1")
        assert here.decided("wan2") == [], here.reasons("wan2")
        here.lab.links["wan1"].change(loss=0.0)
        here.until_as_built()


def test_a_flapping_path_is_held_back_longer_each_time() -> None:
    slowly = {"quality": {"half_life": "10m", "recover_after": "500ms"}}
    with site(TopologySpec(), slowly) as here, Stream(here.lab, SMALL) as stream:
        here.until_used(stream)
        here.mark()
        for _ in range(3):
            here.lab.links["wan1"].change(blackhole=True)
            here.until_given_up("wan1", heir="wan2")
            here.lab.links["wan1"].change(blackhole=False)
            here.until_path("wan1", "up")
        told = "\n".join(here.reasons("wan1"))
        asked = [
            float(length) for length in re.findall(r"probation -> up: good for ([\d.]+) s", told)
        ]
        assert len(asked) == 3, told
        assert asked[0] < asked[1] < asked[2]
