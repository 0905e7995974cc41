"""The pin of an LXD server, against a TLS server of the test's own on this machine."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tasks.certificate import fingerprint_of, make_client_certificate
from tasks.errors import LxdCertificateError
from tasks.lxd_api.errors import clear_errors
from tasks.lxd_api.pinned import PinnedAdapter

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


def write_pair(folder: Path, name: str, *, expired: bool = False) -> tuple[Path, Path]:
    """A self-signed server certificate, as LXD makes its own, and its key as files."""
    files = folder / f"{name}.crt", folder / f"{name}.key"
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"root@{name}")])
    now, day = datetime.now(timezone.utc), timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - 3 * day)
        .not_valid_after(now + (-day if expired else day))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA384())
    )
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


@dataclass
class Server:
    """Answers each request, and keeps what it was given."""

    certificate: tuple[Path, Path]
    clients: Path
    requests: list[bytes] = field(default_factory=list)
    certificates: list[bytes] = field(default_factory=list)
    handshakes: list[bool] = field(default_factory=list)

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*map(str, self.certificate))
        self._context.verify_mode = ssl.CERT_OPTIONAL
        self._context.load_verify_locations(str(self.clients))
        self._context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(plain, server_side=True) as secure:
                    self.certificates.append(secure.getpeercert(binary_form=True) or b"")
                    self.requests.append(secure.recv(65536))
                    if self.requests[-1]:
                        secure.sendall(ANSWER)
                    self.handshakes.append(True)
            except OSError:
                self.handshakes.append(False)


@pytest.fixture
def client(tmp_path: Path) -> tuple[Path, Path]:
    files = tmp_path / "client.crt", tmp_path / "client.key"
    for file, text in zip(files, make_client_certificate(), strict=True):
        file.write_text(text)
    return files


@pytest.fixture
def server(tmp_path: Path, client: tuple[Path, Path]) -> Iterator[Server]:
    one = Server(write_pair(tmp_path, "server"), client[0])
    one.start()
    yield one
    one.stop()


def ask(server: Server, pin: Path, client: tuple[Path, Path]) -> int:
    address = f"127.0.0.1:{server.port}"
    with requests.Session() as session, clear_errors("voice-01", address, "GET /1.0"):
        session.trust_env = False
        session.verify = str(pin)
        session.mount("https://", PinnedAdapter(pin, client))
        return session.get(f"https://{address}/1.0", timeout=5).status_code


def test_the_pinned_server_gets_the_request_and_knows_who_asks(
    server: Server, client: tuple[Path, Path]
) -> None:
    assert ask(server, server.certificate[0], client) == 200
    server.stop()
    assert server.requests[0].startswith(b"GET /1.0 ")
    assert server.certificates == [ssl.PEM_cert_to_DER_cert(client[0].read_text())]


def test_a_pin_holds_though_the_certificate_has_expired(
    server: Server, client: tuple[Path, Path], tmp_path: Path
) -> None:
    server.stop()
    expired = Server(write_pair(tmp_path, "expired", expired=True), client[0])
    expired.start()
    try:
        assert ask(expired, expired.certificate[0], client) == 200
    finally:
        expired.stop()


def test_an_impostor_gets_neither_request_nor_certificate(
    server: Server, client: tuple[Path, Path], tmp_path: Path
) -> None:
    pin, _ = write_pair(tmp_path, "pinned")
    with pytest.raises(LxdCertificateError) as refused:
        ask(server, pin, client)
    server.stop()
    assert fingerprint_of(pin.read_text()) in str(refused.value)
    assert fingerprint_of(server.certificate[0].read_text()) in str(refused.value)
    assert server.handshakes[0] is False
    assert not any(server.requests)
    assert not any(server.certificates)


def test_an_impostor_that_then_says_no_more_is_refused_all_the_same(
    server: Server, client: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin, _ = write_pair(tmp_path, "pinned")

    def closed(*_: object, **__: object) -> str:
        raise ConnectionRefusedError("Connection refused")

    monkeypatch.setattr(ssl, "get_server_certificate", closed)
    with pytest.raises(LxdCertificateError, match="presents the certificate SHA256 unknown"):
        ask(server, pin, client)


def test_a_certificate_issued_by_the_pinned_one_is_not_the_pinned_one(
    server: Server, client: tuple[Path, Path], tmp_path: Path
) -> None:
    """A pin that holds a chain trusts its end, not what the chain's other certificates issue."""
    chain = tmp_path / "chain.crt"
    pin, _ = write_pair(tmp_path, "pinned")
    chain.write_text(pin.read_text() + server.certificate[0].read_text())
    with pytest.raises(LxdCertificateError):
        ask(server, chain, client)
    server.stop()
    assert not any(server.requests)
