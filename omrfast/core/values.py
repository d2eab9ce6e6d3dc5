# SPDX-License-Identifier: GPL-2.0-or-later
"""How single values of the configuration are written: text or number to value.

Each reader raises ValueError that says what to write instead.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

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


def ratio(value: object) -> float:
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match is None or not 0 < float(match[1]) <= 100:
        raise ValueError('a percentage above 0 and up to 100, such as "5%"')
    return float(match[1]) / 100


def text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text in quotes")
    return value


def name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", value):
        raise ValueError("a name of up to 32 letters, digits, and . _ -")
    return value


def interface(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) < _IFNAMSIZ or re.search(r"[\s/]", value):
        raise ValueError('the name of a network device, such as "eth0"')
    return value


def directory(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError('an absolute path, such as "/run/omrfast"')
    return value.rstrip("/") or "/"


def address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(value if isinstance(value, str) else ""))
    except ValueError:
        raise ValueError('an IP address, such as "192.0.2.10"') from None


def addresses(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError('a list of IP addresses, such as ["203.0.113.10"]')
    return tuple(address(item) for item in value)


def integer(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return value

    return read


def choice(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in words:
            raise ValueError("one of " + ", ".join(f'"{word}"' for word in words))
        return str(value)

    return read


def listen(value: object) -> str:
    if value == "":
        return ""
    try:
        return host_port(value)
    except ValueError:
        raise ValueError(
            'an IP address and a port, such as "127.0.0.1:9477", or "" for none'
        ) from None


def host_port(value: object) -> str:
    match = re.fullmatch(r"(.+):(\d+)", value) if isinstance(value, str) else None
    if match is None or not 0 < int(match[2]) < 65536:
        raise ValueError('"address:port", such as "192.0.2.1:443" or "[2001:db8::1]:443"')
    address(match[1].strip("[]"))
    return match[0]


def url(scheme: str) -> Callable[[object], str]:
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


def domain(value: object) -> str:
    label = r"[A-Za-z0-9_-]{1,63}"
    if not isinstance(value, str) or not re.fullmatch(rf"\.|({label}\.)*{label}\.?", value):
        raise ValueError('a domain name, such as "example.net", or "." for the root')
    return value


def size(value: object) -> int:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('a size with its unit, such as "512KB" or "5MB", or "0B"')
    return round(float(match[1]) * _SIZES[match[2]])


def size_from(least: int) -> Callable[[object], int]:
    """Like size, of at least so many bytes."""

    def read(value: object) -> int:
        found = size(value)
        if found < least:
            raise ValueError(f'at least {least} bytes, with a unit, such as "512KB"')
        return found

    return read


def none_or_size_from(least: int) -> Callable[[object], int]:
    """Like size_from, or "0B"."""

    def read(value: object) -> int:
        found = size(value)
        if 0 < found < least:
            raise ValueError(f'at least {least // 1_000}KB, such as "8MB", or "0B" for none')
        return found

    return read


def factor(least: float, most: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"a number from {least:g} to {most:g}")
        if not least <= value <= most:
            raise ValueError(f"a number from {least:g} to {most:g}")
        return float(value)

    return read
