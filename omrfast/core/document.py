# SPDX-License-Identifier: GPL-2.0-or-later
"""How a TOML document becomes a Config.

A bad document is refused whole; the message names the file, the key and what to write instead.
Pure; omrfast/configfile.py reads the file.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

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

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h)")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB)")
_SIZES = {"B": 1, "KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
_IFNAMSIZ = 16


def duration(value: object) -> float:
    """Seconds of a text such as "250ms". Raises ValueError, whose text says what to write."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None or float(match[1]) == 0:
        raise ValueError('a duration above 0 with its unit, such as "250ms" or "5s"')
    return float(match[1]) * _UNITS[match[2]]


def _ratio(value: object) -> float:
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match is None or not 0 < float(match[1]) <= 100:
        raise ValueError('a percentage above 0, such as "5%"')
    return float(match[1]) / 100


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text in quotes")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", value):
        raise ValueError("a name of up to 32 letters, digits, and . _ -")
    return value


def _interface(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) < _IFNAMSIZ or re.search(r"[\s/]", value):
        raise ValueError('the name of a network device, such as "eth0"')
    return value


def _directory(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError('an absolute path, such as "/run/omrfast"')
    return value.rstrip("/") or "/"


def _address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(value if isinstance(value, str) else ""))
    except ValueError:
        raise ValueError('an IP address, such as "192.0.2.10"') from None


def _addresses(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError('a list of IP addresses, such as ["203.0.113.10"]')
    return tuple(_address(item) for item in value)


def _integer(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return value

    return read


def _choice(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in words:
            raise ValueError("one of " + ", ".join(f'"{word}"' for word in words))
        return str(value)

    return read


def _listen(value: object) -> str:
    if value == "":
        return ""
    try:
        return _host_port(value)
    except ValueError:
        raise ValueError(
            'an IP address and a port, such as "127.0.0.1:9477", or "" for none'
        ) from None


def _host_port(value: object) -> str:
    match = re.fullmatch(r"(.+):(\d+)", value) if isinstance(value, str) else None
    if match is None or not 0 < int(match[2]) < 65536:
        raise ValueError('"address:port", such as "192.0.2.1:443" or "[2001:db8::1]:443"')
    _address(match[1].strip("[]"))
    return match[0]


def _url(scheme: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        wanted = f'a URL, such as "{scheme}://example.net/check"'
        pattern = rf"{scheme}://[^\s/?#]+[^\s]*"
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(wanted)
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError:  # a port or an address that is none
            raise ValueError(wanted) from None
        if not parts.hostname or parts.username is not None or port == 0:
            raise ValueError(f"{wanted}, with a host and without a password")
        return value

    return read


def _domain(value: object) -> str:
    label = r"[A-Za-z0-9_-]{1,63}"
    if not isinstance(value, str) or not re.fullmatch(rf"\.|({label}\.)*{label}\.?", value):
        raise ValueError('a domain name, such as "example.net", or "." for the root')
    return value


def _size(value: object) -> int:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('a size with its unit, such as "512KB" or "5MB", or "0B"')
    return round(float(match[1]) * _SIZES[match[2]])


def _factor(least: float, most: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"a number from {least:g} to {most:g}")
        if not least <= value <= most:
            raise ValueError(f"a number from {least:g} to {most:g}")
        return float(value)

    return read


_Readers = Mapping[str, Callable[[object], Any]]

_AGENT: _Readers = {
    "loader": _choice("auto", "prebuilt", "bcc"),
    "ingress": _choice("auto", "tc", "xdp"),
    "run_dir": _directory,
    "state_dir": _directory,
    "flows": _integer(1_024, 4_194_304),
    "objective": _choice(*Objective),
    "quorum": _ratio,
}
_QUALITY: _Readers = {
    "max_rtt": duration,
    "max_p99": duration,
    "max_rise": _factor(1.1, 1000),
    "max_loss": _ratio,
    "max_jitter": duration,
    "hold": duration,
    "recover_after": duration,
    "half_life": duration,
}
_PATH: _Readers = {
    "name": _name,
    "interface": _interface,
    "address": _address,
    "role": _choice(*Role),
    "metric": _integer(1, 9_999),
    "objective": _choice(*Objective),
    "probe_interval": duration,
    "probe_budget": _size,
    **_QUALITY,
}
_SERVER: _Readers = {"name": _name, "addresses": _addresses, "port": _integer(1, 65_535)}
_PROBE: _Readers = {
    "name": _name,
    "kind": _choice(*ProbeKind),
    "target": _text,
    "interval": duration,
    "timeout": duration,
    "weight": _factor(0.01, 100),
    "expect_status": _integer(100, 599),
    "expect_text": _text,
    "query": _domain,
}
_PROBE_KEYS = {
    "expect_status": (ProbeKind.HTTP, ProbeKind.HTTPS),
    "expect_text": (ProbeKind.HTTP, ProbeKind.HTTPS),
    "query": (ProbeKind.DNS,),
}
"""Keys that only some kinds have."""
_PROBE_TARGETS: Mapping[ProbeKind, Callable[[object], str]] = {
    ProbeKind.ICMP: _address,
    ProbeKind.DNS: _address,
    ProbeKind.TCP: _host_port,
    ProbeKind.HTTP: _url("http"),
    ProbeKind.HTTPS: _url("https"),
}
_TUNING: _Readers = {
    "stale_loss_cnt": _integer(1, 255),
    "rto_min": duration,
    "send_buffer": _size,
    "initial_window": _integer(1, 1_000),
}
_JOURNAL: _Readers = {"size": _size}
_METRICS: _Readers = {"listen": _listen}
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
