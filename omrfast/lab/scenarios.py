# SPDX-License-Identifier: GPL-2.0-or-later
"""The scenarios that `omrfast lab run` knows, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omrfast.lab import faults
from omrfast.lab.faults import Fault
from omrfast.lab.links import DOWN, UP
from omrfast.lab.scenario import (
    Change,
    Scenario,
    alive,
    breaks,
    dead,
    fast,
    lossy,
    mends,
    one_way,
    slow,
)
from omrfast.lab.topology import TopologySpec, UplinkSpec
from omrfast.lab.traffic import StreamSpec

_FIRST_RTT = 0.04
_SMALL = StreamSpec("small-up", "paced-up")
_REQUESTS = StreamSpec("requests", "request", interval=0.05)


def _blackhole(kind: str) -> Scenario:
    stream = StreamSpec(kind, {"small-up": "paced-up", "small-down": "paced-down"}.get(kind, kind))
    return Scenario(
        name=f"blackhole-{kind}",
        summary=f"uplink 1 goes silent under a {kind} stream",
        streams=(stream,),
        changes=(dead(2.0, "wan1"),),
        duration=6.0,
        window=4.0,
    )


def _broken(name: str, summary: str, where: str, fault: Fault, **more: Any) -> Scenario:
    """Something other than a link breaks under a stream and requests, and is mended."""
    label = name.replace("-", " ")
    return Scenario(
        name=name,
        summary=summary,
        streams=(_SMALL, _REQUESTS),
        changes=(breaks(3.0, where, label, fault), mends(11.0, where, fault)),
        duration=20.0,
        **more,
    )


def _hole(direction: str) -> Scenario:
    return Scenario(
        name=f"hole-{direction}",
        summary=f"uplink 1 loses everything {direction} and nothing the other way",
        streams=(_SMALL, StreamSpec("small-down", "paced-down")),
        changes=(one_way(3.0, "wan1", direction), alive(11.0, "wan1")),
        duration=20.0,
    )


def _pauses() -> tuple[Change, ...]:
    changes: list[Change] = []
    for at, length in ((3.0, 0.3), (7.0, 1.0), (12.0, 3.0)):
        changes += [
            breaks(at, "vps1", f"held for {length:g} s", faults.SERVER_HELD),
            mends(at + length, "vps1", faults.SERVER_HELD),
        ]
    return tuple(changes)


_WEB_PROBE = {
    "probe": {
        "web": {
            "kind": "http",
            "target": "http://203.0.113.10/",
            "interval": "2s",
            "expect_text": "this is the lab",
        }
    }
}


def _flaps(count: int, period: float) -> tuple[Change, ...]:
    changes: list[Change] = []
    for i in range(count):
        at = 2.0 + i * period
        changes += [dead(at, "wan1"), alive(at + period / 2, "wan1")]
    return tuple(changes)


DEMO = Scenario(
    name="demo",
    summary="uplink 1 turns slow, heals, goes silent, heals, under a download and requests",
    streams=(StreamSpec("download", "bulk-down"), _REQUESTS),
    changes=(
        slow(4.0, "wan1", _FIRST_RTT, 0.3),
        fast(10.0, "wan1", _FIRST_RTT),
        dead(23.0, "wan1"),
        alive(29.0, "wan1"),
    ),
    duration=41.0,
    agent_config={"quality": {"recover_after": "3s"}},
)

_ALL = (
    DEMO,
    *(_blackhole(kind) for kind in ("bulk-up", "bulk-down", "small-up", "small-down")),
    Scenario(
        name="slow",
        summary="uplink 1 gets 300 ms slower and heals",
        streams=(StreamSpec("upload", "bulk-up"), _REQUESTS),
        changes=(slow(3.0, "wan1", _FIRST_RTT, 0.3), fast(11.0, "wan1", _FIRST_RTT)),
        duration=24.0,
    ),
    Scenario(
        name="lossy",
        summary="uplink 1 loses one packet in ten, then none",
        streams=(StreamSpec("upload", "bulk-up"), _REQUESTS),
        changes=(
            lossy(3.0, "wan1", 0.1),
            Change(13.0, "wan1", "heals", {"loss": 0.0}, bad=False),
        ),
        duration=26.0,
    ),
    Scenario(
        name="flap",
        summary="uplink 1 goes silent and heals every four seconds",
        streams=(StreamSpec("small-up", "paced-up"), _REQUESTS),
        changes=_flaps(5, 4.0),
        duration=32.0,
    ),
    Scenario(
        name="connect",
        summary="new connections, ten a second, while the default uplink is silent",
        streams=(StreamSpec("new", "connect", interval=0.1), _REQUESTS),
        changes=(dead(3.0, "wan1"), alive(13.0, "wan1")),
        duration=20.0,
    ),
    Scenario(
        name="backup",
        summary="the active uplink of an active and a backup one goes silent",
        streams=(StreamSpec("small-down", "paced-down"),),
        changes=(dead(2.0, "wan1"), alive(10.0, "wan1")),
        duration=20.0,
        topology=TopologySpec(
            uplinks=(UplinkSpec(rtt=_FIRST_RTT), UplinkSpec(rtt=0.08, role="backup"))
        ),
    ),
    Scenario(
        name="three",
        summary="two of three uplinks go silent one after the other",
        streams=(StreamSpec("download", "bulk-down"), _REQUESTS),
        changes=(dead(3.0, "wan1"), dead(8.0, "wan2"), alive(13.0, "wan1"), alive(15.0, "wan2")),
        duration=26.0,
        topology=TopologySpec(
            uplinks=(UplinkSpec(rtt=_FIRST_RTT), UplinkSpec(rtt=0.08), UplinkSpec(rtt=0.12))
        ),
    ),
    _hole(UP),
    _hole(DOWN),
    _broken("server-dead", "the server dies and comes back", "vps1", faults.SERVER_DEAD),
    _broken(
        "server-off",
        "the router before the server says that its network is unreachable",
        "vps1",
        faults.SERVER_OFF,
    ),
    Scenario(
        name="server-of-two",
        summary="one of two servers dies and comes back, with streams to both",
        streams=(_SMALL, StreamSpec("other", "paced-up", server=2)),
        changes=(
            breaks(3.0, "vps1", "server dead", faults.SERVER_DEAD),
            mends(11.0, "vps1", faults.SERVER_DEAD),
        ),
        duration=20.0,
        topology=TopologySpec(servers=2),
    ),
    Scenario(
        name="server-pauses",
        summary="the server stands still for 0.3, 1 and 3 s; nothing is lost",
        streams=(_SMALL, _REQUESTS),
        changes=_pauses(),
        duration=22.0,
    ),
    _broken(
        "service-dead",
        "the server answers pings and drops TCP, on every uplink",
        "vps1",
        faults.SERVICE_DEAD,
    ),
    _broken(
        "carrier-cut",
        "nothing passes the gateway of uplink 1, which answers for itself",
        "wan1",
        faults.CARRIER_CUT,
    ),
    _broken(
        "carrier-unreachable",
        "the gateway of uplink 1 says that nothing can be reached",
        "wan1",
        faults.CARRIER_UNREACHABLE,
    ),
    _broken(
        "no-tcp",
        "the carrier of uplink 1 passes pings and drops TCP",
        "wan1",
        faults.NO_TCP,
        services=True,
        agent_config=_WEB_PROBE,
    ),
    _broken(
        "portal",
        "the carrier of uplink 1 redirects web requests to its own page",
        "wan1",
        faults.PORTAL,
        services=True,
        agent_config=_WEB_PROBE,
    ),
    _broken("no-address", "the router loses its address on uplink 1", "wan1", faults.NO_ADDRESS),
    _broken("no-route", "the default route of uplink 1 goes", "wan1", faults.NO_ROUTE),
    _broken("no-interface", "the interface of uplink 1 goes down", "wan1", faults.NO_INTERFACE),
    Scenario(
        name="web",
        summary="a minute of web traffic and a download on healthy uplinks: nothing is wrong",
        streams=(
            StreamSpec("web", "web", interval=1.0, connections=6),
            StreamSpec("download", "bulk-down"),
        ),
        changes=(),
        duration=60.0,
    ),
    Scenario(
        name="local-trouble",
        summary="both uplinks go silent at once",
        streams=(_SMALL, _REQUESTS),
        changes=(dead(3.0, "wan1"), dead(3.0, "wan2"), alive(9.0, "wan1"), alive(9.0, "wan2")),
        duration=20.0,
    ),
    Scenario(
        name="ipv6",
        summary="uplink 1 goes silent under IPv6 streams",
        streams=(
            StreamSpec("small-six", "paced-up", ipv6=True),
            StreamSpec("new-six", "connect", interval=0.1, ipv6=True),
        ),
        changes=(dead(3.0, "wan1"), alive(9.0, "wan1")),
        duration=20.0,
        topology=TopologySpec(ipv6=True),
    ),
)

SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
