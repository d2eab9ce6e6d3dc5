# SPDX-License-Identifier: GPL-2.0-or-later
"""Values of the core as JSON and back, by the type hints of their classes. Pure.

A dataclass is an object of its members that differ from their defaults (those of the
configuration are all written: a default may change, a recording keeps what it ran with); an enum
is its value; tuples and frozensets are arrays; a union of classes is {class name: value}; a
float that JSON does not know is "inf", "-inf" or "nan". Decoding gives equal values again.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any

from omrfast.core import config

Json = Any
"""What json.dumps takes: None, bool, int, float, str, list, dict."""
_Write = Callable[[Any], Json]
_Read = Callable[[Json], Any]
_Codec = tuple[_Write, _Read]

_ODD_FLOATS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


class CodecError(Exception):
    """The data is not what it should be; the text says where and what."""


def encode(kind: Any, value: object) -> Json:
    """JSON of a value of ``kind``, a class or any type hint that a member of the core has.

    Raises TypeError for a hint that is not known here, CodecError for a value that is none of a
    union's classes.
    """
    return _codec(kind)[0](value)


def decode(kind: Any, data: Json) -> Any:
    """The value that encode() made ``data`` of. Members that are absent have their defaults.

    Raises CodecError for anything else.
    """
    return _codec(kind)[1](data)


@cache
def _codec(kind: Any) -> _Codec:
    if kind in _PLAIN:
        return _PLAIN[kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _enum(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _union(inner)
    if origin is tuple:
        return _list(inner[0], tuple) if inner[1:] == (...,) else _row(inner)
    if origin is frozenset:
        return _frozenset(inner[0])
    if isinstance(origin, type) and issubclass(origin, Mapping) and inner[0] is str:
        return _mapping(inner[1])
    raise TypeError(f"no way to write {kind!r} as JSON")


def expect(data: Json, what: str, *kinds: type) -> None:
    """Raises CodecError unless the data is of one of the kinds; a bool is no number."""
    if not isinstance(data, kinds) or (isinstance(data, bool) and bool not in kinds):
        raise CodecError(f"{str(data)[:40]!r} is not {what}")


# --- plain values ---------------------------------------------------------------------------------


def _same(value: Any) -> Json:
    return value


def _checked(what: str, kind: type) -> _Codec:
    def read(data: Json) -> Any:
        expect(data, what, kind)
        return data

    return _same, read


def _write_float(value: float) -> Json:
    return value if math.isfinite(value) else repr(value)


def _read_float(data: Json) -> float:
    if isinstance(data, str) and data in _ODD_FLOATS:
        return _ODD_FLOATS[data]
    expect(data, "a number", int, float)
    try:
        return float(data)
    except OverflowError:
        raise CodecError("a number that is too large") from None


_PLAIN: dict[Any, _Codec] = {
    bool: _checked("true or false", bool),
    int: _checked("a whole number", int),
    str: _checked("a text", str),
    float: (_write_float, _read_float),
    type(None): _checked("null", type(None)),
}


def _enum(kind: type[Enum]) -> _Codec:
    def read(data: Json) -> Enum:
        try:
            return kind(data)
        except ValueError:
            raise CodecError(f"{str(data)[:40]!r} is no {kind.__name__}") from None

    return (lambda value: value.value), read


# --- composed values ------------------------------------------------------------------------------


def _dataclass(kind: type[Any]) -> _Codec:
    hints = typing.get_type_hints(kind)
    members = {f.name: _codec(hints[f.name]) for f in fields(kind) if f.init}
    whole = kind.__module__ == config.__name__
    defaults: dict[str, Any] = {}
    for f in fields(kind):
        if f.default is not MISSING:
            defaults[f.name] = f.default
        elif f.default_factory is not MISSING:
            defaults[f.name] = f.default_factory()

    def write(value: Any) -> Json:
        found = {}
        for name, (write_member, _) in members.items():
            member = getattr(value, name)
            if whole or name not in defaults or member != defaults[name]:
                found[name] = write_member(member)
        return found

    def read(data: Json) -> Any:
        expect(data, f"an object ({kind.__name__})", dict)
        values = {}
        for name, item in data.items():
            if name not in members:
                raise CodecError(f"{kind.__name__} has no member {name!r}")
            try:
                values[name] = members[name][1](item)
            except CodecError as error:
                raise CodecError(f"{kind.__name__}.{name}: {error}") from None
        for name in members.keys() - values.keys() - defaults.keys():
            raise CodecError(f"{kind.__name__} lacks its member {name!r}")
        return kind(**values)

    return write, read


def _union(kinds: tuple[Any, ...]) -> _Codec:
    """One class beside None and plain values stands as it is; of several, each has its name."""
    plain = [kind for kind in kinds if kind in _PLAIN]
    named = {kind.__name__: (kind, _codec(kind)) for kind in kinds if kind not in _PLAIN}
    if len(named) == 1 and plain == [type(None)]:
        return _optional(next(iter(named.values()))[1])
    if len(plain) == 2 and type(None) in plain and not named:
        return _optional(_codec(next(kind for kind in plain if kind is not type(None))))

    def write(value: Any) -> Json:
        for name, (kind, (write_one, _)) in named.items():
            if type(value) is kind:
                return {name: write_one(value)}
        if type(value) in plain:
            return _PLAIN[type(value)][0](value)
        raise CodecError(f"{type(value).__name__} is none of {', '.join(named)}")

    def read(data: Json) -> Any:
        if type(data) in plain:
            return _PLAIN[type(data)][1](data)
        expect(data, "an object that names its class", dict)
        if len(data) != 1 or next(iter(data)) not in named:
            raise CodecError(f"{', '.join(map(str, data))[:40]!r} is none of {', '.join(named)}")
        ((name, item),) = data.items()
        return named[name][1][1](item)

    return write, read


def _optional(codec: _Codec) -> _Codec:
    write, read = codec
    return (
        lambda value: None if value is None else write(value),
        lambda data: None if data is None else read(data),
    )


def _list(kind: Any, make: Callable[[Any], Any]) -> _Codec:
    write, read = _codec(kind)

    def read_all(data: Json) -> Any:
        expect(data, "an array", list)
        return make(map(read, data))

    return (lambda value: [*map(write, value)]), read_all


def _frozenset(kind: Any) -> _Codec:
    write, read = _list(kind, frozenset)
    return (lambda value: sorted(write(value))), read


def _row(kinds: tuple[Any, ...]) -> _Codec:
    """A tuple whose places have their own types."""
    codecs = [*map(_codec, kinds)]

    def read(data: Json) -> Any:
        expect(data, "an array", list)
        if len(data) != len(codecs):
            raise CodecError(f"{len(data)} entries instead of {len(codecs)}")
        return tuple(codec[1](item) for codec, item in zip(codecs, data, strict=True))

    def write(value: Any) -> Json:
        return [codec[0](item) for codec, item in zip(codecs, value, strict=True)]

    return write, read


def _mapping(kind: Any) -> _Codec:
    write, read = _codec(kind)

    def read_all(data: Json) -> Any:
        expect(data, "an object", dict)
        return {key: read(item) for key, item in data.items()}

    return (lambda value: {key: write(item) for key, item in value.items()}), read_all
