# SPDX-License-Identifier: GPL-2.0-or-later
"""Netlink in raw bytes, for what must stay as the kernel wrote it or must be quick.

Routes are read and written back attribute by attribute, so nothing may be decoded and lost on the
way; socket dumps have thousands of records, of which a few bytes matter. Both need no more than
headers, attributes and acknowledgements (linux/netlink.h). A socket belongs to the network
namespace and to the thread that made it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType

from omrfast.act.errors import ActionError

NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP_INTR = 0x010
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLM_F_ACK_TLVS = 0x200
NLM_F_CAPPED = 0x100

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSGERR_ATTR_MSG = 1

NLA_TYPE_MASK = 0x3FFF

_SOL_NETLINK = 270
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_RECEIVE_BYTES = 1 << 18
_ATTEMPTS = 20
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")

Attributes = list[tuple[int, bytes]]


class NetlinkError(OSError):
    """A request failed: errno, and the kernel's own words where it gave some.

    Either that is the kernel's answer, or no question or answer came through (ENOBUFS, EMSGSIZE,
    ETIMEDOUT, …); then whether a command took effect is not known.
    """

    def __init__(self, code: int, words: str = "") -> None:
        super().__init__(code, f"{os.strerror(code)}{f' ({words})' if words else ''}")


class _DumpInterruptedError(Exception):
    """The table changed while it was dumped."""


def attributes(data: bytes | memoryview) -> Iterator[tuple[int, bytes]]:
    """(type without flags, payload) of each attribute; stops at the first malformed one."""
    at, end = 0, len(data)
    while at + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4 or at + length > end:
            return
        yield kind & NLA_TYPE_MASK, bytes(data[at + 4 : at + length])
        at += (length + 3) & ~3


def encode_attributes(pairs: Attributes) -> bytes:
    """The inverse of attributes(), padded to four bytes."""
    parts = []
    for kind, payload in pairs:
        parts.append(_ATTRIBUTE.pack(4 + len(payload), kind))
        parts.append(payload + bytes(-len(payload) % 4))
    return b"".join(parts)


def messages(data: bytes) -> Iterator[tuple[int, int, int, memoryview]]:
    """(type, flags, sequence, body) of each message of one datagram."""
    view, at = memoryview(data), 0
    while at + 16 <= len(data):
        length, kind, flags, seq, _port = _HEADER.unpack_from(data, at)
        if length < 16 or at + length > len(data):
            return
        yield kind, flags, seq, view[at + 16 : at + length]
        at += (length + 3) & ~3


def _raise_for(flags: int, body: memoryview) -> None:
    """Raise NetlinkError if an NLMSG_ERROR body carries one; the echo is capped or whole."""
    (code,) = struct.unpack_from("=i", body)
    if code == 0:
        return
    words = ""
    if flags & NLM_F_ACK_TLVS:
        echo = 16 if flags & NLM_F_CAPPED else struct.unpack_from("=I", body, 4)[0]
        for kind, payload in attributes(body[4 + ((echo + 3) & ~3) :]):
            if kind == NLMSGERR_ATTR_MSG:
                words = payload.rstrip(b"\0").decode(errors="replace")
    raise NetlinkError(-code, words)


def _open(protocol: int, timeout: float) -> socket.socket:
    """Raises OSError."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        opened.settimeout(timeout)
        for option in (_NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            opened.setsockopt(_SOL_NETLINK, option, 1)
        opened.bind((0, 0))
    except OSError:
        opened.close()
        raise
    return opened


class Netlink:
    """One blocking netlink socket of ``protocol`` (NETLINK_ROUTE, NETLINK_SOCK_DIAG, …).

    Raises ActionError if there is none to be had. When a question or an answer was lost, the next
    request has a new socket: the kernel may still be busy with the rest of a dump on the old one,
    and refuses another until that is read.
    """

    def __init__(self, protocol: int, *, timeout: float = 5.0) -> None:
        try:
            self._socket = _open(protocol, timeout)
        except OSError as error:
            raise ActionError(
                f"opening a netlink socket of protocol {protocol}",
                errno=error.errno or errno.EIO,
                hint="look at the limits of open files and memory, and the kernel's configuration",
            ) from error
        self._protocol, self._timeout = protocol, timeout
        self._spoilt = False
        self._sequence = 0
        self.disturbed = 0
        """Dumps that a change spoiled so far."""

    def close(self) -> None:
        """Close the socket; further calls fail."""
        self._socket.close()

    def __enter__(self) -> Netlink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, kind: int, flags: int, body: bytes) -> int:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        header = _HEADER.pack(16 + len(body), kind, flags, self._sequence, 0)
        try:
            if self._spoilt and self._socket.fileno() >= 0:
                self._renew()
            self._socket.send(header + body)
        except OSError as error:
            self._spoilt = True
            raise NetlinkError(error.errno or errno.EIO, "sending to the kernel") from error
        return self._sequence

    def _renew(self) -> None:
        """Raises OSError, and keeps the old one then."""
        old, self._socket = self._socket, _open(self._protocol, self._timeout)
        self._spoilt = False
        old.close()

    def _answers(self, sequence: int) -> Iterator[tuple[int, int, memoryview]]:
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except OSError as error:  # also TimeoutError, which has no errno
                self._spoilt = True
                code = error.errno or errno.ETIMEDOUT
                raise NetlinkError(code, "waiting for the kernel's answer") from error
            for kind, flags, seq, body in messages(data):
                if seq == sequence:
                    yield kind, flags, body

    def request(self, kind: int, flags: int, body: bytes) -> list[memoryview]:
        """Send one command and wait for its acknowledgement; raises NetlinkError.

        Returns the bodies of what came before that: a question's answer.
        """
        sequence = self._send(kind, NLM_F_REQUEST | NLM_F_ACK | flags, body)
        bodies = []
        for answer, answer_flags, payload in self._answers(sequence):
            if answer == NLMSG_ERROR:
                _raise_for(answer_flags, payload)
                break
            bodies.append(payload)
        return bodies

    def snapshot(self, kind: int, body: bytes) -> list[memoryview]:
        """A dump that was not disturbed by a change, which could hide entries.

        Raises NetlinkError; EINTR if the table never kept still.
        """
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(_DumpInterruptedError):
                return list(self.dump(kind, body))
            self.disturbed += 1
        raise NetlinkError(errno.EINTR, "the table changes faster than it can be read")

    def dump(self, kind: int, body: bytes) -> Iterator[memoryview]:
        """The bodies of a dump; read it to the end. Raises NetlinkError."""
        sequence = self._send(kind, NLM_F_REQUEST | NLM_F_DUMP, body)
        interrupted = False
        for answer, answer_flags, payload in self._answers(sequence):
            interrupted |= bool(answer_flags & NLM_F_DUMP_INTR)
            if answer == NLMSG_ERROR:
                _raise_for(answer_flags, payload)
                return
            if answer == NLMSG_DONE:
                if len(payload) >= 4 and struct.unpack_from("=i", payload)[0] < 0:
                    raise NetlinkError(-struct.unpack_from("=i", payload)[0])
                if interrupted:
                    raise _DumpInterruptedError
                return
            yield payload
