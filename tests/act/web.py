# SPDX-License-Identifier: GPL-2.0-or-later
"""A web server, plain or with TLS, a name server, and certificates, for a namespace of the lab."""

from __future__ import annotations

import http.server
import os
import socket
import ssl
import struct
import threading
from contextlib import contextmanager

import dns.message
import dns.rcode

from .conftest import run

WORDS = "Grüße aus dem Labor"
HOST = "web.test"


class Handler(http.server.BaseHTTPRequestHandler):
    """/status/NNN[/LOCATION], /page/BYTES/ (then WORDS), /endless, /slow, /nonsense…"""

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
            self.wfile.write(b"220 mail.test ESMTP\r\n\r\n")
        elif kind == "switch":
            self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 204 No\r\n\r\n")
        elif kind == "continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
        elif kind == "headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: yes\r\n" * 5000)
        elif kind == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            os.close(self.connection.detach())
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


EXTENSIONS = """
[ca]
basicConstraints = critical,CA:true
subjectKeyIdentifier = hash
[public]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth,clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
authorityInfoAccess = OCSP;URI:http://ocsp.example.test,caIssuers;URI:http://ca.example.test/ca.der
crlDistributionPoints = URI:http://crl.example.test/some/list/or/other.crl
certificatePolicies = 2.23.140.1.2.1
"""


def authority(folder):
    """Make certificates, all for HOST and the server's addresses, below the root of ca.pem.

    web.pem is signed by it, and so is old.pem, which has expired; chain.pem, of the size of a
    public one (RSA 2048), is signed by another that the root signed and that follows it.
    """

    def openssl(words):
        run("openssl", *words.split())

    conf = folder / "extensions"
    names = f"subjectAltName=DNS:{HOST},IP:10.77.9.1,IP:fd77:9::1\n"
    conf.write_text(names + EXTENSIONS + names)
    new = "req -newkey rsa:2048 -nodes"
    openssl(f"{new} -x509 -days 2 -subj /CN=Lab -keyout {folder}/ca.key -out {folder}/ca.pem")
    for name in ("web", "mid"):
        files = f"-keyout {folder}/{name}.key -out {folder}/{name}.csr"
        openssl(f"{new} -subj /C=XX/O=Laboratory/CN={name}.test {files}")

    def sign(name, out, by, days, section=""):
        issuer = f"-CA {folder}/{by}.pem -CAkey {folder}/{by}.key -CAcreateserial"
        files = f"-in {folder}/{name}.csr -out {folder}/{out}.pem -extfile {conf}"
        openssl(f"x509 -req {files} {issuer} -days {days} {section}")

    sign("web", "web", "ca", 2)
    sign("web", "old", "ca", -1)
    sign("mid", "mid", "ca", 2, "-extensions ca")
    sign("web", "chain", "mid", 2, "-extensions public")
    with (folder / "chain.pem").open("a") as chain:
        chain.write((folder / "mid.pem").read_text())


def server_context(folder, name="web"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / "web.key")
    return context
