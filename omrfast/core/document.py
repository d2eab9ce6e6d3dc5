# SPDX-License-Identifier: GPL-2.0-or-later
"""How a TOML document becomes a Config.

A bad document is refused whole; the message names the file, the key and what to write instead.
Pure; omrfast/configfile.py reads the file.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from omrfast.core import values as read
from omrfast.core.config import (
    MAX_SERVER_ADDRESSES,
    AgentConfig,
    Config,
    ConfigError,
    JournalConfig,
    MetricsConfig,
    PathConfig,
    ProbeConfig,
    Quality,
    ServerConfig,
    TuningConfig,
)
from omrfast.core.replacing import replace
from omrfast.core.types import Objective, ProbeKind, Role

_Readers = Mapping[str, Callable[[object], Any]]

_AGENT: _Readers = {
    "loader": read.choice("auto", "prebuilt", "bcc"),
    "ingress": read.choice("auto", "tc", "xdp"),
    "run_dir": read.directory,
    "state_dir": read.directory,
    "flows": read.integer(1_024, 4_194_304),
    "objective": read.choice(*Objective),
    "quorum": read.ratio,
}
_QUALITY: _Readers = {
    "max_rtt": read.duration,
    "max_p99": read.duration,
    "max_rise": read.factor(1.1, 1000),
    "max_loss": read.ratio,
    "max_jitter": read.duration,
    "hold": read.duration,
    "recover_after": read.duration,
    "half_life": read.duration,
}
_PATH: _Readers = {
    "name": read.name,
    "interface": read.interface,
    "address": read.address,
    "role": read.choice(*Role),
    "metric": read.integer(1, 9_999),
    "objective": read.choice(*Objective),
    "probe_interval": read.duration,
    "probe_budget": read.size,
    **_QUALITY,
}
_SERVER: _Readers = {
    "name": read.name,
    "addresses": read.addresses,
    "port": read.integer(1, 65_535),
}
_PROBE: _Readers = {
    "name": read.name,
    "kind": read.choice(*ProbeKind),
    "target": read.text,
    "interval": read.duration,
    "timeout": read.duration,
    "weight": read.factor(0.01, 100),
    "expect_status": read.integer(100, 599),
    "expect_text": read.text,
    "query": read.domain,
}
_PROBE_KEYS = {
    "expect_status": (ProbeKind.HTTP, ProbeKind.HTTPS),
    "expect_text": (ProbeKind.HTTP, ProbeKind.HTTPS),
    "query": (ProbeKind.DNS,),
}
"""Keys that only some kinds have."""
_PROBE_TARGETS: Mapping[ProbeKind, Callable[[object], str]] = {
    ProbeKind.ICMP: read.address,
    ProbeKind.DNS: read.address,
    ProbeKind.TCP: read.host_port,
    ProbeKind.HTTP: read.url("http"),
    ProbeKind.HTTPS: read.url("https"),
}
_TUNING: _Readers = {
    "stale_loss_cnt": read.integer(1, 255),
    "rto_min": read.duration,
    "send_buffer": read.size_from(4096),
    "unsent_limit": read.size_from(4096),
    "initial_window": read.integer(1, 1_000),
}
JOURNAL_LEAST = 100_000
"""Below that a state and what follows it may not fit."""
_JOURNAL: _Readers = {"size": read.none_or_size_from(JOURNAL_LEAST)}
_METRICS: _Readers = {"listen": read.listen}
_SECTIONS = ("agent", "path", "quality", "server", "probe", "tuning", "journal", "metrics")


def parse(document: Mapping[str, object], source: str) -> Config:
    """Make a Config of a TOML document.

    Raises ConfigError for an unknown key, a bad value, a missing key or a contradiction.
    """
    for key in document:
        if key not in _SECTIONS:
            raise ConfigError(f"{source}: unknown section [{key}]{_did_you_mean(key, _SECTIONS)}")
    quality = replace(Quality(), **_table(document.get("quality", {}), "quality", _QUALITY, source))
    agent = _agent(document.get("agent", {}), source)
    config = Config(
        agent=agent,
        paths=tuple(
            _path(table, f"path[{number}]", quality, agent.objective, source)
            for number, table in enumerate(_tables(document, "path", source), 1)
        ),
        servers=tuple(
            ServerConfig(**_required(table, f"server[{number}]", _SERVER, source, "addresses"))
            for number, table in enumerate(_tables(document, "server", source), 1)
        ),
        probes=tuple(
            _probe(table, f"probe[{number}]", source)
            for number, table in enumerate(_tables(document, "probe", source), 1)
        ),
        quality=quality,
        metrics=MetricsConfig(**_table(document.get("metrics", {}), "metrics", _METRICS, source)),
        tuning=TuningConfig(**_table(document.get("tuning", {}), "tuning", _TUNING, source)),
        journal=JournalConfig(**_table(document.get("journal", {}), "journal", _JOURNAL, source)),
        source=source,
    )
    _refuse_contradictions(config)
    return config


def _agent(table: object, source: str) -> AgentConfig:
    values = _table(table, "agent", _AGENT, source)
    values["objective"] = Objective(values.get("objective", Objective.LATENCY))
    return AgentConfig(**values)


def _path(
    table: object, where: str, quality: Quality, objective: Objective, source: str
) -> PathConfig:
    values = _required(table, where, _PATH, source, "interface")
    own = {key: values.pop(key) for key in _QUALITY if key in values}
    values["role"] = Role(values.get("role", Role.ACTIVE))
    values["objective"] = Objective(values.get("objective", objective))
    return PathConfig(**values, quality=replace(quality, **own))


def _probe(table: object, where: str, source: str) -> ProbeConfig:
    values = _required(table, where, _PROBE, source, "target")
    if "kind" not in values:
        raise ConfigError(f"{source}: {where} needs the key kind")
    values["kind"] = ProbeKind(values["kind"])
    try:
        _PROBE_TARGETS[values["kind"]](values["target"])
    except ValueError as error:
        text = f"{source}: {where}.target = {values['target']!r}: for {values['kind']} write"
        raise ConfigError(f"{text} {error}") from None
    for key, kinds in _PROBE_KEYS.items():
        if key in values and values["kind"] not in kinds:
            raise ConfigError(
                f"{source}: {where}.{key} is for kind {' and '.join(kinds)} only; leave it out"
            )
    return ProbeConfig(**values)


def _tables(document: Mapping[str, object], key: str, source: str) -> list[object]:
    value = document.get(key, [])
    if not isinstance(value, list):
        raise ConfigError(f"{source}: [{key}] must be written [[{key}]], one for each {key}")
    return value


def _table(table: object, where: str, readers: _Readers, source: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise ConfigError(f"{source}: {where} must be a table; write [{where}] above its keys")
    values = {}
    for key, value in table.items():
        if key not in readers:
            hint = _did_you_mean(key, tuple(readers))
            raise ConfigError(f"{source}: unknown key {where}.{key}{hint}")
        try:
            values[key] = readers[key](value)
        except ValueError as error:
            raise ConfigError(f"{source}: {where}.{key} = {value!r}: write {error}") from None
    return values


def _required(
    table: object, where: str, readers: _Readers, source: str, needed: str
) -> dict[str, Any]:
    values = _table(table, where, readers, source)
    if needed not in values:
        raise ConfigError(f"{source}: {where} needs the key {needed}")
    values.setdefault("name", values[needed][0] if needed == "addresses" else values[needed])
    return values


def _did_you_mean(word: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {close[0]}?" if close else "; known are " + ", ".join(known)


def _refuse_contradictions(config: Config) -> None:
    def refuse(text: str) -> None:
        raise ConfigError(f"{config.source}: {text}")

    for kind, names in (
        ("path", [path.name for path in config.paths]),
        ("server", [server.name for server in config.servers]),
        ("probe", [probe.name for probe in config.probes]),
    ):
        for name in {name for name in names if names.count(name) > 1}:
            refuse(f"two [[{kind}]] are named {name!r}; give each its own name")
    seen: dict[str, str] = {}
    for path in config.paths:
        other = seen.setdefault(path.interface, path.name)
        if other != path.name:
            refuse(
                f"paths {other!r} and {path.name!r} are both on {path.interface}: a path is an "
                "interface, with all its addresses; keep one of them"
            )
    if config.paths and all(path.role is Role.OFF for path in config.paths):
        refuse('every path has role = "off"; at least one must be "active" or "backup"')
    addresses = {address for server in config.servers for address in server.addresses}
    if len(addresses) > MAX_SERVER_ADDRESSES:
        refuse(
            f"{len(addresses)} server addresses: at most {MAX_SERVER_ADDRESSES} can be told apart"
        )
    if config.agent.run_dir == config.agent.state_dir:
        refuse("agent.run_dir and agent.state_dir must differ: run_dir is emptied at boot")


def parse_text(text: str, source: str) -> Config:
    """Make a Config of TOML text. Raises ConfigError as parse() does, or if it is no TOML."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from None
    return parse(document, source)
