# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration is read as written, or refused with file, key and what to write."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from omrfast.configfile import load_config
from omrfast.core.config import Config, ConfigError, ProbeConfig, Quality, TuningConfig
from omrfast.core.document import parse
from omrfast.core.types import Objective, ProbeKind, Role

FULL = """
[agent]
loader = "bcc"
ingress = "tc"
run_dir = "/run/other/"
state_dir = "/var/lib/other"
flows = 1_048_576
objective = "throughput"
quorum = "60%"

[[path]]
name = "fibre"
interface = "eth0"
address = "192.0.2.2"
role = "active"
metric = 10
max_rtt = "80ms"
objective = "latency"

[[path]]
interface = "wwan0"
role = "backup"
probe_interval = "5m"
probe_budget = "512KB"

[quality]
max_rtt = "0.3s"
max_p99 = "2s"
max_rise = 3
max_loss = "2.5%"
max_jitter = "50ms"
hold = "2s"
recover_after = "1m"
half_life = "5m"

[[server]]
name = "vps"
addresses = ["203.0.113.10", "2001:db8::10"]
port = 65101

[[probe]]
name = "portal"
kind = "http"
target = "http://example.net/generate_204"
expect_status = 204
interval = "1m"
weight = 2

[[probe]]
kind = "icmp"
target = "192.0.2.53"

[tuning]
stale_loss_cnt = 1
rto_min = "20ms"
send_buffer = "512KB"
unsent_limit = "32KB"

[journal]
size = "2MB"

[metrics]
listen = "[::1]:9477"
"""


def read(text: str) -> Config:
    return parse(tomllib.loads(text), "test.toml")


def test_everything_is_read() -> None:
    config = read(FULL)
    assert (config.agent.run_dir, config.agent.flows) == ("/run/other", 1_048_576)
    fibre, wwan = config.paths
    assert (fibre.name, fibre.role, fibre.metric) == ("fibre", Role.ACTIVE, 10)
    assert fibre.quality == Quality(0.080, 2.0, 3.0, 0.025, 0.050, 2.0, 60.0, 300.0)
    assert (wwan.name, wwan.role, wwan.metric) == ("wwan0", Role.BACKUP, None)
    assert wwan.quality == Quality(0.3, 2.0, 3.0, 0.025, 0.050, 2.0, 60.0, 300.0) == config.quality
    assert config.servers[0].addresses == ("203.0.113.10", "2001:db8::10")
    assert config.metrics.listen == "[::1]:9477"
    assert (fibre.objective, wwan.objective) == (Objective.LATENCY, Objective.THROUGHPUT)
    assert (wwan.probe_interval, wwan.probe_budget) == (300.0, 512_000)
    portal, witness = config.probes
    assert portal == ProbeConfig(
        "portal", ProbeKind.HTTP, "http://example.net/generate_204", 60.0, 2.0, 2.0, 204
    )
    assert (witness.name, witness.kind) == ("192.0.2.53", ProbeKind.ICMP)
    assert config.tuning == TuningConfig(1, 0.020, 512_000, 32_000)
    assert (config.journal.size, config.agent.quorum) == (2_000_000, 0.6)


@pytest.mark.parametrize("flows", [1_024, 4_194_304])
def test_the_flow_table_is_as_large_as_told(flows: int) -> None:
    assert read(f"[agent]\nflows = {flows}").agent.flows == flows


def test_nothing_is_needed() -> None:
    assert read("") == Config(source="test.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[agnet]\nloader = "auto"', ["[agnet]", "did you mean agent?"]),
        ('[agent]\nloder = "auto"', ["agent.loder", "did you mean loader?"]),
        ('[agent]\nloader = "clang"', ["agent.loader", '"auto", "prebuilt", "bcc"']),
        ("[agent]\nflows = 1023", ["agent.flows = 1023", "from 1024 to 4194304"]),
        ("[agent]\nflows = 4194305", ["agent.flows", "from 1024 to 4194304"]),
        ('[agent]\nflows = "65536"', ["agent.flows", "a whole number"]),
        ('[agent]\nrun_dir = "run"', ["agent.run_dir", "absolute path"]),
        ('[agent]\nrun_dir = "/a"\nstate_dir = "/a"', ["must differ"]),
        ("[quality]\nmax_rtt = 250", ["quality.max_rtt = 250", '"250ms"']),
        ('[quality]\nmax_rtt = "250"', ["quality.max_rtt", '"250ms"']),
        ('[quality]\nhold = "0s"', ["quality.hold", "above 0"]),
        ("[quality]\nmax_loss = 0.05", ["quality.max_loss", '"5%"']),
        ('[quality]\nmax_loss = "0%"', ["quality.max_loss", "above 0"]),
        ('[quality]\nmax_loss = "101%"', ["quality.max_loss"]),
        ("[[path]]\nname = 'a'", ["path[1]", "interface"]),
        ("[path]\ninterface = 'a'", ["[[path]]"]),
        ("[[path]]\ninterface = 'a b'", ["path[1].interface", "eth0"]),
        ("[[path]]\ninterface = 'a'\naddress = 'x'", ["path[1].address", "192.0.2.10"]),
        ("[[path]]\ninterface = 'a'\nrole = 'main'", ["path[1].role", '"backup"']),
        ("[[path]]\ninterface = 'a'\nmetric = 10000", ["path[1].metric", "9999"]),
        ("[[path]]\ninterface = 'a'\nmetric = true", ["path[1].metric"]),
        ("[[path]]\ninterface = 'a'\n[[path]]\ninterface = 'a'", ["two [[path]]", "'a'"]),
        (
            "[[path]]\ninterface='a'\nname='x'\n[[path]]\ninterface='a'\nname='y'",
            ["'x' and 'y'", "both on a"],
        ),
        ("[[path]]\ninterface = 'a'\nrole = 'off'", ["every path", "off"]),
        ("[[server]]\nname = 'a'", ["server[1]", "addresses"]),
        ("[[server]]\naddresses = []", ["server[1].addresses", "203.0.113.10"]),
        ("[[server]]\naddresses = ['192.0.2.1']\nport = 0", ["server[1].port", "65535"]),
        (
            f"[[server]]\naddresses = {[f'192.0.2.{n}' for n in range(1, 34)]}",
            ["33 server addresses", "at most 32"],
        ),
        ("[metrics]\nlisten = '9477'", ["metrics.listen", "127.0.0.1:9477"]),
        ("[metrics]\nlisten = 'localhost:9477'", ["metrics.listen", "IP address"]),
        ("metrics = 3", ["metrics must be a table"]),
        ("[[probe]]\nkind = 'icmp'", ["probe[1]", "target"]),
        ("[[probe]]\ntarget = '192.0.2.1'", ["probe[1]", "kind"]),
        ("[[probe]]\nkind = 'tcp'\ntarget = '192.0.2.1'", ["for tcp", "192.0.2.1:443"]),
        ("[[probe]]\nkind = 'https'\ntarget = 'http://a/'", ["for https", "https://"]),
        ("[[probe]]\nkind = 'http'\ntarget = 'http://a:99999/'", ["for http", "http://"]),
        ("[[probe]]\nkind = 'http'\ntarget = 'http://[a]/'", ["for http", "http://"]),
        ("[[probe]]\nkind = 'http'\ntarget = 'http://me:secret@a/'", ["without a password"]),
        ("[[probe]]\nkind = 'http'\ntarget = 'http://:80/'", ["with a host"]),
        (
            "[[probe]]\nkind = 'dns'\ntarget = '192.0.2.1'\nquery = 'a..b'",
            ["probe[1].query", "example.net"],
        ),
        (
            "[[probe]]\nkind = 'tcp'\ntarget = '192.0.2.1:1'\nexpect_status = 200",
            ["probe[1].expect_status", "for kind http and https only"],
        ),
        (
            "[[probe]]\nkind = 'icmp'\ntarget = '192.0.2.1'\nquery = 'a.b'",
            ["probe[1].query", "for kind dns only"],
        ),
        ("[[path]]\ninterface = 'a'\nprobe_budget = 5", ["path[1].probe_budget", "5MB"]),
        ("[journal]\nsize = '1KB'", ["journal.size", "at least 100KB", '"0B"']),
        ("[agent]\nobjective = 'speed'", ["agent.objective", '"throughput"']),
        ("[quality]\nmax_rise = 1", ["quality.max_rise", "1.1"]),
    ],
)
def test_what_is_wrong_is_named(text: str, said: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        read(text)
    for words in ["test.toml", *said]:
        assert words in str(error.value)


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "omrfast.toml"
    with pytest.raises(ConfigError, match="no such file"):
        load_config(str(file))
    file.write_text("[agent\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(str(file))
    file.write_text(FULL)
    assert load_config(str(file)).source == str(file)
    monkeypatch.setattr("omrfast.configfile.DEFAULT_CONFIG", str(tmp_path / "none.toml"))
    assert load_config(None) == Config()
