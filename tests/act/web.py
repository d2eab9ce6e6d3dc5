# SPDX-License-Identifier: GPL-2.0-or-later
"""A web server, plain or with TLS, a name server, and certificates, for a namespace of the lab."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from contextlib import contextmanager

import dns.message
import dns.rcode

from .conftest import run

WORDS = "Grüße aus dem Labor"
HOST = "web.test"


class Handler(http.server.BaseHTTPRequestHandler):
    """/status/NNN[/LOCATION], /page/BYTES/ (then WORDS), /endless, /slow, /nonsense, /short."""

    def do_GET(self):
        self.server.seen.append((self.client_address[0].removeprefix("::ffff:"), self.path))
        self.server.fields = self.headers
        _, kind, *rest = self.path.partition("?")[0].split("/", 3)
        if kind == "status":
            self.send_response(int(rest[0]))
            if rest[1:]:
                self.send_header("Location", rest[1])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif kind == "page":
            self.page(b"x" * int(rest[0]) + WORDS.encode())
        elif kind == "endless":
            self.endless()
        elif kind == "slow":
            self.server.release.wait(60)
        elif kind == "nonsense":
            self.wfile.write(b"220 mail.test ESMTP\r\n")
        elif kind == "short":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")

    def page(self, body):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for begin in range(0, len(body), 1000):
            part = body[begin : begin + 1000]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def endless(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while not self.server.release.is_set():
                self.wfile.write(bytes(65536))
        except OSError:
            pass

    def log_message(self, *words):
        pass


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port, context=None):
        super().__init__(("::", port), Handler)
        self.seen = []
        self.fields = None
        self.release = threading.Event()
        self._context = context

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def finish_request(self, request, client_address):
        if self._context is not None:
            request = self._context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address):
        pass


@contextmanager
def web(namespace, port, context=None):
    """A Server inside the namespace."""
    server = namespace.call(Server, port, context)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def nameserver(namespace, address, reply, port=53):
    """A name server inside; ``reply`` makes of a query a dns.message, bytes, None for silence, or a
    list of those.

    Yields the list of (sender, query as text).
    """
    seen = []

    def listen():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.bind((address, port))
        return opened

    def serve():
        while True:
            data, sender = opened.recvfrom(4096)
            if data == b"stop":
                return
            query = dns.message.from_wire(data)
            seen.append((sender[0], str(query.question[0])))
            answers = reply(query)
            for answer in answers if isinstance(answers, list) else [answers]:
                if answer is not None:
                    wire = answer if isinstance(answer, bytes) else answer.to_wire()
                    opened.sendto(wire, sender)

    def stop():
        with socket.socket(opened.family, socket.SOCK_DGRAM) as stopper:
            stopper.sendto(b"stop", (address, port))

    opened = namespace.call(listen)
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield seen
    finally:
        namespace.call(stop)
        thread.join()
        opened.close()


def records(*lines):
    """A reply() that has these lines of a zone, for their names only."""

    def reply(query):
        response = dns.message.make_response(query)
        name, kind = query.question[0].name, query.question[0].rdtype
        known = [rrset for rrset in parsed if rrset.name == name]
        response.answer = [rrset for rrset in known if rrset.rdtype == kind]
        if not known:
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response

    parsed = [
        dns.rrset.from_text(name, ttl, "IN", kind, *values)
        for name, ttl, kind, *values in (line.split() for line in lines)
    ]
    return reply


def authority(folder):
    """Make ca.pem, and web.pem and old.pem (expired) that it signed: for HOST and the addresses."""

    def openssl(words):
        run("openssl", *words.split())

    ca, web_, names = f"{folder}/ca", f"{folder}/web", folder / "names"
    new = "req -newkey rsa:2048 -nodes"
    names.write_text(f"subjectAltName=DNS:{HOST},IP:10.77.9.1,IP:fd77:9::1")
    openssl(f"{new} -x509 -days 2 -subj /CN=Lab -keyout {ca}.key -out {ca}.pem")
    openssl(f"{new} -subj /CN={HOST} -keyout {web_}.key -out {web_}.csr")
    signed = f"x509 -req -in {web_}.csr -CA {ca}.pem -CAkey {ca}.key -CAcreateserial"
    openssl(f"{signed} -extfile {names} -days 2 -out {web_}.pem")
    openssl(f"{signed} -extfile {names} -days -1 -out {folder}/old.pem")


def server_context(folder, name="web"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / "web.key")
    return context
