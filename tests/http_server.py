"""A small HTTP server for tests, on 127.0.0.1."""

from __future__ import annotations

import datetime
import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Pages(http.server.BaseHTTPRequestHandler):
    """Answers /STATUS with that status, anything else with 200; remembers what came."""

    asked: list[tuple[str, str, str]]

    def do_GET(self) -> None:
        self.asked.append((self.command, self.path, self.headers["Host"]))
        number = self.path.strip("/")
        self.send_response(int(number) if number.isdigit() else 200)
        self.send_header("Location", "/200")
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"page\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
        pass


class Server:
    def __init__(self, context: ssl.SSLContext | None, address: str) -> None:
        self.asked: list[tuple[str, str, str]] = []
        handler = type("Handler", (Pages,), {"asked": self.asked})
        self.server = http.server.ThreadingHTTPServer((address, 0), handler)
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]


@contextmanager
def serving(context: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> Iterator[Server]:
    """A server, with TLS where there is a context; ``asked`` has what came."""
    server = Server(context, address)
    thread = threading.Thread(target=server.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.server.shutdown()
        server.server.server_close()
        thread.join()


def certificate_of(address: str, folder: Path) -> tuple[str, ssl.SSLContext]:
    """A certificate of an address that has signed itself (PEM), and what a server has of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
    builder = builder.add_extension(alternative, critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "both.pem").write_bytes(private + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return pem.decode(), context
