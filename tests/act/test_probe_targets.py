# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom a path can ask, as core/targets.py makes it of configuration, peers and gateways."""

from __future__ import annotations

import pytest

from omrfast.core.config import Config, ProbeConfig, ServerConfig
from omrfast.core.targets import available, cost
from omrfast.core.types import Origin, ProbeKind

OWN = {4: "192.0.2.2", 6: "2001:db8::2"}
VPS = ServerConfig("vps", ("203.0.113.10", "2001:db8:10::1"), 443)
ADDRESSES = {4: "203.0.113.10", 6: "2001:db8:10::1"}
PLACES = {4: "203.0.113.10:443", 6: "[2001:db8:10::1]:443"}


def keys(config, family=4, peers=(), gateways=()):
    return [target.key for target in available(config, OWN[family], peers, gateways)]


def probe(kind, target, name="p", **more):
    return ProbeConfig(name, ProbeKind(kind), target, **more)


@pytest.mark.parametrize("family", [4, 6])
def test_a_server_by_its_host_and_its_port_then_the_gateways_of_the_family(family):
    found = available(
        Config(servers=(VPS,)), OWN[family], ["198.51.100.1"], ["192.0.2.1", "fe80::1"]
    )
    near = {4: "192.0.2.1", 6: "fe80::1"}[family]
    assert [(t.key, t.origin, t.name) for t in found] == [
        (f"icmp {ADDRESSES[family]}", Origin.SERVER, "vps"),
        (f"tcp {PLACES[family]}", Origin.SERVER, "vps"),
        (f"icmp {near}", Origin.GATEWAY, near),
    ]
    assert [t.address for t in found] == [ADDRESSES[family], PLACES[family], near]
    assert [t.cost for t in found] == [
        cost(kind, family == 6) for kind in (ProbeKind.ICMP, ProbeKind.TCP, ProbeKind.ICMP)
    ]


def test_peers_only_where_no_server_is():
    peers = ["198.51.100.1", "2001:db8:9::9"]
    assert keys(Config(), peers=peers) == ["icmp 198.51.100.1"]
    assert keys(Config(), 6, peers=peers) == ["icmp 2001:db8:9::9"]
    assert keys(Config(servers=(ServerConfig("vps", ("203.0.113.10",)),)), peers=peers) == [
        "icmp 203.0.113.10"
    ]


@pytest.mark.parametrize(
    ("kind", "target", "families"),
    [
        ("icmp", "198.51.100.1", {4}),
        ("icmp", "2001:db8::1", {6}),
        ("tcp", "198.51.100.1:22", {4}),
        ("tcp", "[2001:db8::1]:22", {6}),
        ("dns", "198.51.100.1", {4}),
        ("dns", "::1", {6}),
        ("http", "http://198.51.100.1/x", {4}),
        ("http", "http://[2001:db8::1]:80/x", {6}),
        ("https", "https://www.example.net/x", {4, 6}),
        ("http", "http://1.example.net", {4, 6}),
    ],
)
def test_the_family_of_a_probe(kind, target, families):
    config = Config(probes=(probe(kind, target),))
    assert {family for family in (4, 6) if keys(config, family)} == families


def test_what_a_probe_expects_goes_with_it():
    config = Config(
        probes=(
            probe("http", "http://a.test/", "portal", interval=7.0, timeout=3.0, weight=2.0,
                  expect_status=204, expect_text="yes"),
            probe("dns", "198.51.100.1", "names", query="example.net"),
            probe("icmp", "198.51.100.1", "witness", interval=9.0),
        )
    )  # fmt: skip
    portal, names, witness = available(config, OWN[4], (), ())
    assert (portal.name, portal.interval, portal.timeout, portal.weight) == ("portal", 7, 3, 2)
    assert (portal.expect_status, portal.expect_text, portal.origin) == (204, "yes", Origin.SERVICE)
    assert (names.key, names.query) == ("dns 198.51.100.1 example.net", "example.net")
    assert (witness.origin, witness.interval) == (Origin.WITNESS, 9)


def test_one_target_asked_for_two_things_is_two():
    config = Config(
        probes=(
            probe("http", "http://a.test/", "words", expect_text="yes"),
            probe("http", "http://a.test/", "status", expect_status=200),
            probe("dns", "198.51.100.1", "root"),
            probe("dns", "198.51.100.1", "name", query="a.test"),
        )
    )
    assert keys(config) == [
        "http http://a.test/", "http http://a.test/ (status)",
        "dns 198.51.100.1 .", "dns 198.51.100.1 a.test",
    ]  # fmt: skip


def test_a_gateway_that_is_a_witness_is_asked_once():
    config = Config(probes=(probe("icmp", "192.0.2.1", "near"),))
    (only,) = available(config, OWN[4], (), ["192.0.2.1"])
    assert only.origin is Origin.WITNESS
