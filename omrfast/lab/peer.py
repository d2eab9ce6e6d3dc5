# SPDX-License-Identifier: GPL-2.0-or-later
"""One end of one stream, a process of its own inside a namespace.

Run by path with one JSON argument (see traffic.py, which builds it); imports nothing outside the
standard library, so that it starts in a few milliseconds. The server end prints its port, the
client end an empty object, as one JSON line when ready. Then it answers lines on standard input:

    poll   {"bytes": delivered so far, "count": messages so far}
    save   writes the record to the file named in the argument and answers {}

and ends when its standard input closes. All instants are CLOCK_MONOTONIC seconds, which all
namespaces share.
"""

from __future__ import annotations

import errno
import json
import os
import random
import socket
import struct
import sys
import threading
import time
from array import array
from pathlib import Path
from typing import Any

IPPROTO_MPTCP = 262
SOL_MPTCP, MPTCP_INFO = 284, 1
TCP_CONGESTION = 13
MPTCP_INFO_FLAG_FALLBACK = 1
CHUNK = 65536
HEADER = struct.Struct("!Qd")
RETRY = 0.02
WEB_REQUEST = struct.Struct("!QQ")
"""Bytes that follow, bytes of the answer."""
WEB_LEAST, WEB_MOST = 1_000, 2_000_000
WEB_UPLOADS, WEB_UPLOAD_MOST = 0.1, 200_000
WEB_NEW_CONNECTION = 0.3
WEB_LONGEST_THINK = 30.0


class Record:
    """What one end saw; appended to by the stream's threads, read by the main one."""

    def __init__(self) -> None:
        self.arrived = array("d")
        self.sizes = array("q")
        self.total = 0
        self.sent = array("d")
        self.received = array("d")
        self.attempts: list[dict[str, Any]] = []
        self.errors: list[tuple[float, str]] = []

    def data(self, size: int) -> None:
        self.arrived.append(time.monotonic())
        self.sizes.append(size)
        self.total += size

    def message(self, sent: float, received: float) -> None:
        self.sent.append(sent)
        self.received.append(received)

    def error(self, error: OSError) -> None:
        name = errno.errorcode.get(error.errno or 0, str(error))
        self.errors.append((time.monotonic(), name))

    def save(self, path: str) -> None:
        content = {
            "arrived": list(self.arrived),
            "sizes": list(self.sizes),
            "sent": list(self.sent),
            "received": list(self.received),
            "attempts": self.attempts,
            "errors": self.errors,
        }
        Path(path).write_text(json.dumps(content))


class Peer:
    """The behaviour of each kind of stream at either end."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.record = Record()
        self.size: int = spec["size"]
        self.interval: float = spec["interval"]

    # --- sockets ---

    def new_socket(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.spec["address"] else socket.AF_INET
        protocol = IPPROTO_MPTCP if self.spec["mptcp"] else 0
        sock = socket.socket(family, socket.SOCK_STREAM, protocol)
        if self.spec["congestion"]:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, self.spec["congestion"].encode())
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def connect(self) -> socket.socket:
        sock = self.new_socket()
        try:
            if self.spec["source"]:
                sock.bind((self.spec["source"], 0))
            sock.connect((self.spec["address"], self.spec["port"]))
        except OSError:
            sock.close()
            raise
        return sock

    # --- the two halves of a one-way stream ---

    def send_bulk(self, sock: socket.socket) -> None:
        chunk = memoryview(bytes(CHUNK))
        while True:
            sock.send(chunk)

    def receive_bulk(self, sock: socket.socket) -> None:
        room = bytearray(4 * CHUNK)
        while size := sock.recv_into(room):
            self.record.data(size)

    def send_paced(self, sock: socket.socket) -> None:
        padding = bytes(self.size - HEADER.size)
        due = time.monotonic()
        number = 0
        while True:
            sock.sendall(HEADER.pack(number, time.monotonic()) + padding)
            number += 1
            due += self.interval
            time.sleep(max(0.0, due - time.monotonic()))

    def receive_paced(self, sock: socket.socket) -> None:
        held = bytearray()
        while data := sock.recv(CHUNK):
            self.record.data(len(data))
            now = self.record.arrived[-1]
            held += data
            whole = len(held) // self.size
            for i in range(whole):
                _, sent = HEADER.unpack_from(held, i * self.size)
                self.record.message(sent, now)
            del held[: whole * self.size]

    # --- two-way streams ---

    def ask(self, sock: socket.socket) -> None:
        question = bytes(self.size)
        while True:
            began = time.monotonic()
            sock.sendall(question)
            missing = self.size
            while missing:
                data = sock.recv(missing)
                if not data:
                    return
                missing -= len(data)
            self.record.data(self.size)
            self.record.message(began, self.record.arrived[-1])
            time.sleep(max(0.0, began + self.interval - time.monotonic()))

    def echo(self, sock: socket.socket) -> None:
        while data := sock.recv(CHUNK):
            sock.sendall(data)

    def greet(self, sock: socket.socket) -> None:
        sock.sendall(b"!")
        sock.recv(1)

    def attempt(self) -> None:
        """One new connection up to its first byte, tried again after every error."""
        seen: dict[str, Any] = {"began": time.monotonic(), "done": None, "errors": []}
        self.record.attempts.append(seen)
        while seen["done"] is None:
            try:
                with self.connect() as sock:
                    if sock.recv(1):
                        self.record.data(1)
                        done = self.record.arrived[-1]
                        self.record.message(seen["began"], done)
                        seen.update(done=done, mptcp=speaks_mptcp(sock))
            except OSError as error:
                seen["errors"].append(errno.errorcode.get(error.errno or 0, str(error)))
            time.sleep(RETRY)

    def browse(self, number: int) -> None:
        """Ask for things of very different sizes, with pauses of very different lengths.

        Sizes are spread evenly over their logarithm, pauses as Pareto's law has them (shape 1.5,
        mean ``interval``): bursts, and now and then a long silence.
        """
        chance = random.Random(f"{self.spec['seed']} {number}")
        while True:
            try:
                with self.connect() as sock:
                    while True:
                        self.fetch(sock, chance)
                        pause = self.interval / 3 * chance.paretovariate(1.5)
                        time.sleep(min(pause, WEB_LONGEST_THINK))
                        if chance.random() < WEB_NEW_CONNECTION:
                            break
            except OSError as error:
                self.record.error(error)
                time.sleep(RETRY)

    def fetch(self, sock: socket.socket, chance: random.Random) -> None:
        upload = chance.randrange(WEB_UPLOAD_MOST) if chance.random() < WEB_UPLOADS else 0
        missing = int(WEB_LEAST * (WEB_MOST / WEB_LEAST) ** chance.random())
        began = time.monotonic()
        sock.sendall(WEB_REQUEST.pack(upload, missing) + bytes(upload))
        while missing:
            data = sock.recv(min(missing, CHUNK))
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "the answer ended early")
            self.record.data(len(data))
            missing -= len(data)
        self.record.message(began, self.record.arrived[-1])

    def answer_web(self, sock: socket.socket) -> None:
        with sock.makefile("rb") as asked:
            while head := asked.read(WEB_REQUEST.size):
                upload, size = WEB_REQUEST.unpack(head)
                asked.read(upload)
                sock.sendall(bytes(size))

    # --- the two ends ---

    def client(self) -> None:
        if self.spec["kind"] == "connect":
            due = time.monotonic()
            while True:
                threading.Thread(target=self.attempt, daemon=True).start()
                due += self.interval
                time.sleep(max(0.0, due - time.monotonic()))
        if self.spec["kind"] == "web":
            for number in range(self.spec["connections"]):
                threading.Thread(target=self.browse, args=(number,), daemon=True).start()
            return
        work = {
            "bulk-up": self.send_bulk,
            "bulk-down": self.receive_bulk,
            "paced-up": self.send_paced,
            "paced-down": self.receive_paced,
            "request": self.ask,
        }[self.spec["kind"]]
        while True:
            try:
                with self.connect() as sock:
                    work(sock)
            except OSError as error:
                self.record.error(error)
            time.sleep(RETRY)

    def serve(self, sock: socket.socket) -> None:
        work = {
            "bulk-up": self.receive_bulk,
            "bulk-down": self.send_bulk,
            "paced-up": self.receive_paced,
            "paced-down": self.send_paced,
            "request": self.echo,
            "connect": self.greet,
            "web": self.answer_web,
        }[self.spec["kind"]]
        try:
            with sock:
                work(sock)
        except OSError as error:
            self.record.error(error)

    def server(self, listener: socket.socket) -> None:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()


def speaks_mptcp(sock: socket.socket) -> bool:
    """Whether the connection really is MPTCP, not a fallback to plain TCP."""
    try:
        info = sock.getsockopt(SOL_MPTCP, MPTCP_INFO, 32)
    except OSError:
        return False
    # struct mptcp_info: eight bytes of counters and maxima, then __u32 mptcpi_flags
    return not struct.unpack_from("=I", info, 8)[0] & MPTCP_INFO_FLAG_FALLBACK


def main() -> int:
    spec = json.loads(sys.argv[1])
    peer = Peer(spec)
    if spec["end"] == "server":
        listener = peer.new_socket()
        listener.bind((spec["address"], 0))
        listener.listen(128)
        ready = {"port": listener.getsockname()[1]}
        threading.Thread(target=peer.server, args=(listener,), daemon=True).start()
    else:
        ready = {}
        threading.Thread(target=peer.client, daemon=True).start()
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        answer: dict[str, Any] = {}
        if line.strip() == "poll":
            answer = {"bytes": peer.record.total, "count": len(peer.record.received)}
        elif line.strip() == "save":
            peer.record.save(spec["result"])
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    status = main()
    os._exit(status)  # the stream's threads may sit in system calls
