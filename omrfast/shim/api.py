# SPDX-License-Identifier: GPL-2.0-or-later
"""Typed access to the C shim: objects, pins, maps, programs, links, structs.

Nothing here decides anything. File descriptors are plain integers owned by the caller, except in
the classes :class:`Map` and :class:`Program`, which own theirs. Every failure is a
:class:`ShimError`, an OSError whose text names what failed, on what, and what libbpf said.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from omrfast.shim._shim import ffi, lib

ABI_VERSION: int = lib.OMR_ABI_VERSION
MAX_PATHS: int = lib.OMR_MAX_PATHS
MAX_IFINDEX: int = lib.OMR_MAX_IFINDEX
DEFAULT_FLOWS: int = lib.OMR_DEFAULT_FLOWS
HIST_BUCKETS: int = lib.OMR_HIST_BUCKETS

PROG_TYPE_SCHED_CLS = 3
PROG_TYPE_XDP = 6
PROG_TYPE_SYSCALL = 31

LINK_TYPE_XDP = 6
LINK_TYPE_TCX = 11

HOOK_TCX_INGRESS: int = lib.OMR_HOOK_TCX_INGRESS
HOOK_TCX_EGRESS: int = lib.OMR_HOOK_TCX_EGRESS
HOOK_XDP: int = lib.OMR_HOOK_XDP

BPF_ANY, BPF_NOEXIST, BPF_EXIST = 0, 1, 2

_LOG_LINES = 12
_PERCPU_TYPES = frozenset({5, 6, 10})  # PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH

lib.omr_log_capture()


class ShimError(OSError):
    """A call into the kernel failed; errno is set, the text says what to look at."""

    def __init__(self, error: int, what: str) -> None:
        log = str(ffi.string(lib.omr_log_text()).decode(errors="replace"))
        lib.omr_log_clear()
        lines = [line for line in log.splitlines() if line.strip()][-_LOG_LINES:]
        text = f"{what}: {os.strerror(error)}"
        if lines:
            text += "\n  " + "\n  ".join(lines)
        super().__init__(error, text)

    def __str__(self) -> str:
        return str(self.strerror)


def check(result: int, what: str) -> int:
    """Pass a non-negative result through; raise ShimError for a negative errno."""
    if result < 0:
        raise ShimError(-result, what)
    return result


# --- structs ----------------------------------------------------------------------------------


def struct(name: str, data: bytes | None = None, **members: Any) -> Any:
    """A ``struct name`` of abi_types.h as a cffi object with its members as attributes.

    From the bytes of a map value (copied), or zeroed, then with the given members set.
    """
    value = ffi.new(f"struct {name} *")
    if data is not None:
        if len(data) != ffi.sizeof(value[0]):
            raise ValueError(f"struct {name} has {ffi.sizeof(value[0])} bytes, not {len(data)}")
        ffi.memmove(value, data, len(data))
    for member, content in members.items():
        setattr(value, member, content)
    return value


def raw(value: Any) -> bytes:
    """The bytes of a struct made by :func:`struct`."""
    return bytes(ffi.buffer(value, ffi.sizeof(value[0])))


def sizeof(name: str) -> int:
    """Size of ``struct name`` in bytes."""
    return int(ffi.sizeof(f"struct {name}"))


# --- objects and pins -------------------------------------------------------------------------


def load_object(
    path: str, pin_dir: str, *, hz: int, replay: bool, flows: int, optional: str | None = None
) -> None:
    """Load an ELF object and pin all of its maps and programs below pin_dir by name.

    hz and replay go to .rodata, flows is the capacity of each flow table. If the kernel refuses the
    whole, the program that optional names is left out. On failure nothing stays pinned.
    """
    text = [ffi.new("char[]", os.fsencode(name)) for name in (path, pin_dir, optional or "")]
    order = ffi.new("struct omr_load *")
    order.object, order.pin_dir = text[:2]
    order.optional = text[2] if optional else ffi.NULL
    order.hz, order.replay, order.flows = hz, int(replay), flows
    lib.omr_log_clear()
    check(lib.omr_load_object(order), f"loading {path}")


def load_program(kind: int, name: str, insns: bytes) -> int:
    """Load raw instructions as a program of type kind; returns its file descriptor."""
    lib.omr_log_clear()
    fd = lib.omr_load_program(kind, name.encode(), ffi.from_buffer(insns), len(insns) // 8)
    return check(fd, f"loading program {name}")


def pin(fd: int, path: str) -> None:
    """Pin a map, program or link at path, in a bpffs."""
    check(lib.bpf_obj_pin(fd, os.fsencode(path)), f"pinning {path}")


def open_pin(path: str) -> int:
    """File descriptor of what is pinned at path."""
    return check(lib.bpf_obj_get(os.fsencode(path)), f"opening the pin {path}")


def possible_cpus() -> int:
    """Number of possible CPUs: how many values a per-CPU lookup returns."""
    return check(lib.libbpf_num_possible_cpus(), "counting CPUs")


# --- what the kernel tells --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MapInfo:
    type: int
    id: int
    key_size: int
    value_size: int
    max_entries: int
    name: str


@dataclass(frozen=True, slots=True)
class ProgInfo:
    type: int
    id: int
    tag: str
    name: str


@dataclass(frozen=True, slots=True)
class LinkInfo:
    type: int
    id: int
    prog_id: int
    ifindex: int
    """0: the interface is gone."""
    attach_type: int


def _text(chars: Any) -> str:
    return str(ffi.string(chars).decode(errors="replace"))


def map_info(fd: int) -> MapInfo:
    info = ffi.new("struct omr_map_info *")
    check(lib.omr_map_info(fd, info), "asking about a map")
    return MapInfo(
        info.type, info.id, info.key_size, info.value_size, info.max_entries, _text(info.name)
    )


def prog_info(fd: int) -> ProgInfo:
    info = ffi.new("struct omr_prog_info *")
    check(lib.omr_prog_info(fd, info), "asking about a program")
    return ProgInfo(info.type, info.id, bytes(info.tag).hex(), _text(info.name))


def prog_info_by_id(prog_id: int) -> ProgInfo | None:
    """What the program with this id is; None if there is no such program (any more)."""
    fd = lib.bpf_prog_get_fd_by_id(prog_id)
    if fd < 0:
        return None
    try:
        return prog_info(fd)
    finally:
        os.close(fd)


def programs() -> Iterator[ProgInfo]:
    """Every program that is loaded on this machine."""
    number = ffi.new("unsigned int *", 0)
    while lib.bpf_prog_get_next_id(number[0], number) == 0:
        info = prog_info_by_id(number[0])
        if info is not None:
            yield info


# --- maps -------------------------------------------------------------------------------------


class Map:
    """A map by its file descriptor, which it owns. Keys and values are bytes."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.info = map_info(fd)
        self._per_cpu = self.info.type in _PERCPU_TYPES
        size = self.info.value_size
        self._stride = (size + 7) // 8 * 8
        self._room = self._stride * possible_cpus() if self._per_cpu else max(size, 1)

    @classmethod
    def open(cls, path: str) -> Map:
        return cls(open_pin(path))

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Map:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _key(self, key: bytes | int) -> bytes:
        data = key.to_bytes(4, sys.byteorder) if isinstance(key, int) else key
        if len(data) != self.info.key_size:
            raise ValueError(f"{self.info.name} has keys of {self.info.key_size} bytes")
        return data

    def _lookup(self, key: bytes | int) -> bytes | None:
        room = ffi.new("char[]", self._room)
        error = lib.bpf_map_lookup_elem(self.fd, self._key(key), room)
        if error == -2:  # ENOENT
            return None
        check(error, f"reading {self.info.name}")
        return bytes(ffi.buffer(room))

    def lookup(self, key: bytes | int) -> bytes | None:
        """The value (of CPU 0, if the map is per CPU), or None. Integers are array indices."""
        value = self._lookup(key)
        return None if value is None else value[: self.info.value_size]

    def lookup_per_cpu(self, key: bytes | int) -> list[bytes]:
        """One value per possible CPU; empty if there is no such key."""
        data = self._lookup(key) or b""
        return [data[at : at + self.info.value_size] for at in range(0, len(data), self._stride)]

    def update(self, key: bytes | int, value: bytes, flags: int = BPF_ANY) -> None:
        """Write a value; in a per-CPU map on every CPU the same."""
        copies = self._room // self._stride if self._per_cpu else 1
        self._write(key, [value] * copies, flags)

    def update_many(self, keys: bytes, values: bytes) -> None:
        """Write as many entries as keys holds, one after the other, each with its value."""
        count = ffi.new("unsigned int *", len(keys) // self.info.key_size)
        if len(keys) != count[0] * self.info.key_size:
            raise ValueError(f"{self.info.name} has keys of {self.info.key_size} bytes")
        if len(values) != count[0] * self.info.value_size:
            raise ValueError(f"{self.info.name} has values of {self.info.value_size} bytes")
        error = lib.bpf_map_update_batch(self.fd, keys, values, count, ffi.NULL)
        check(error, f"writing {self.info.name}")

    def update_per_cpu(self, key: bytes | int, values: list[bytes]) -> None:
        """Write one value per possible CPU."""
        if not self._per_cpu or len(values) != possible_cpus():
            raise ValueError(f"{self.info.name} does not take {len(values)} values")
        self._write(key, values, BPF_ANY)

    def _write(self, key: bytes | int, values: list[bytes], flags: int) -> None:
        if any(len(value) != self.info.value_size for value in values):
            raise ValueError(f"{self.info.name} has values of {self.info.value_size} bytes")
        pad = self._stride if self._per_cpu else 0
        data = b"".join(value.ljust(pad, b"\0") for value in values)
        error = lib.bpf_map_update_elem(self.fd, self._key(key), data, flags)
        check(error, f"writing {self.info.name}")

    def delete(self, key: bytes | int) -> bool:
        """Delete an entry; False if there was none."""
        error = lib.bpf_map_delete_elem(self.fd, self._key(key))
        if error == -2:
            return False
        check(error, f"deleting from {self.info.name}")
        return True

    def keys(self) -> Iterator[bytes]:
        """Every key, one call each: for tests and small maps."""
        following = ffi.new("char[]", self.info.key_size)
        previous: Any = ffi.NULL
        while lib.bpf_map_get_next_key(self.fd, previous, following) == 0:
            key = bytes(ffi.buffer(following))
            yield key
            previous = key
