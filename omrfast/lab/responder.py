# SPDX-License-Identifier: GPL-2.0-or-later
"""A web server and a name server, or a captive portal: a process of its own inside a namespace.

Run by path with one JSON argument, {"addresses": [...], "http": port, "dns": port or null,
"portal": URL or null}; imports nothing outside the standard library. Prints "ready" when every
socket listens, and ends when its standard input closes.

Web: ``/`` says WORDS; ``/status/503`` answers with that status; a portal answers everything with
302 to its URL. Names: every A or AAAA question gets the server's own address of that family, every
NS question "ns.lab."; over UDP and TCP.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import socketserver
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

WORDS = "this is the lab\n"
TYPES = {"A": 1, "NS": 2, "AAAA": 28}
ANSWER_TTL = 60
RESPONSE_FLAGS = 0x8580  # QR, AA, RD, RA
DNS_HEADER = struct.Struct("!6H")
QUESTION_POINTER = b"\xc0\x0c"
NAME_SERVER = b"\x02ns\x03lab\x00"


def resource(addresses: list[str], kind: int) -> bytes | None:
    """Data of the record that answers a question of this type; None: there is none."""
    if kind == TYPES["NS"]:
        return NAME_SERVER
    version = {TYPES["A"]: 4, TYPES["AAAA"]: 6}.get(kind)
    own = [at for text in addresses if (at := ipaddress.ip_address(text)).version == version]
    return own[0].packed if own else None


def dns_answer(addresses: list[str], message: bytes) -> bytes:
    """The answer to a query with one question; IndexError or struct.error if it is none."""
    number, _, _, _, _, _ = DNS_HEADER.unpack_from(message)
    end = DNS_HEADER.size
    while message[end]:
        end += 1 + message[end]
    end += 5  # the root label, type and class
    (kind,) = struct.unpack_from("!H", message, end - 4)
    question = message[DNS_HEADER.size : end]
    data = resource(addresses, kind)
    header = DNS_HEADER.pack(number, RESPONSE_FLAGS, 1, int(data is not None), 0, 0)
    if data is None:
        return header + question
    record = QUESTION_POINTER + struct.pack("!HHIH", kind, 1, ANSWER_TTL, len(data)) + data
    return header + question + record


class Web(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    portal: str | None = None
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status = 200
        if self.path.startswith("/status/"):
            status = int(self.path.removeprefix("/status/"))
        if self.portal:
            status = 302
        body = WORDS.encode()
        self.send_response(status)
        if self.portal:
            self.send_header("Location", self.portal)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, at: str, port: int, handler: Any) -> None:
        self.address_family = socket.AF_INET6 if ":" in at else socket.AF_INET
        super().__init__((at, port), handler, bind_and_activate=False)
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.server_bind()
        self.server_activate()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is none of ours."""


def serve_names_udp(sock: socket.socket, addresses: list[str]) -> None:
    while True:
        message, sender = sock.recvfrom(4096)
        try:
            sock.sendto(dns_answer(addresses, message), sender)
        except (IndexError, struct.error, OSError):
            continue


def name_handler(addresses: list[str]) -> type[socketserver.StreamRequestHandler]:
    class Names(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while head := self.rfile.read(2):
                answer = dns_answer(addresses, self.rfile.read(int.from_bytes(head, "big")))
                self.wfile.write(len(answer).to_bytes(2, "big") + answer)

    return Names


def open_all(spec: dict[str, Any]) -> None:
    """Listen everywhere; each socket gets a thread."""
    addresses: list[str] = spec["addresses"]
    Web.portal = spec["portal"]
    for at in addresses:
        servers = [Server(at, spec["http"], Web)]
        if spec["dns"]:
            servers.append(Server(at, spec["dns"], name_handler(addresses)))
            family = socket.AF_INET6 if ":" in at else socket.AF_INET
            udp = socket.socket(family, socket.SOCK_DGRAM)
            udp.bind((at, spec["dns"]))
            threading.Thread(target=serve_names_udp, args=(udp, addresses), daemon=True).start()
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()


def main() -> int:
    open_all(json.loads(sys.argv[1]))
    print("ready", flush=True)
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    status = main()
    os._exit(status)  # connections may be open
