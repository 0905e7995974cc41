"""Certificates: the controller's own, with which LXD knows it, and what can be read of any."""

from __future__ import annotations

import datetime
import hashlib
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import FleetError

if TYPE_CHECKING:
    from cryptography import x509

#: As long as LXD's own client makes its certificates valid.
LIFETIME = datetime.timedelta(days=3650)
#: What may stand before the first one in a file is for people, what follows it is its chain.
BEGIN, END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@dataclass(frozen=True)
class ClientCertificate:
    """A client certificate and its key as files; ``fingerprint`` is LXD's: SHA256 in hex."""

    certificate: Path
    key: Path
    pem: str
    fingerprint: str


def fingerprint_of(pem: str) -> str:
    """The fingerprint of a certificate as LXD gives it: SHA256 of its DER form in hex.

    Of several in one text it is the first one's. Raises :class:`ValueError` where there is none.
    """
    first = pem[max(pem.find(BEGIN), 0) :].partition(END)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert("".join(first[:2]))).hexdigest()


def read_client_certificate(certificate: Path, key: Path) -> ClientCertificate:
    """The client certificate in these files. Raises :class:`FleetError` where it is none."""
    pem = certificate.read_text()
    try:
        return ClientCertificate(certificate, key, pem, fingerprint_of(pem))
    except ValueError:
        raise FleetError(
            f"{certificate} is no certificate",
            remedy=f"restore it and {key.name}, or remove both: the next run makes new ones",
        ) from None


def make_client_certificate(key_pem: str | None = None) -> tuple[str, str]:
    """A new certificate and key as PEM: self-signed ECDSA P-384, what ``lxc`` itself makes.

    With ``key_pem`` it is a new certificate of that key, which may be of any kind.
    """
    # only a controller's first run and a renewal need it, and it takes its time to import
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

    key: Any
    if key_pem is None:
        key = ec.generate_private_key(ec.SECP384R1())
    else:
        key = serialization.load_pem_private_key(key_pem.encode(), password=None)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "nornir-lxd-fleet"),
            x509.NameAttribute(NameOID.COMMON_NAME, socket.gethostname()[:64]),
        ]
    )
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # clocks differ
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA384())
    )
    certificate_pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    return certificate_pem, key_pem


def expiry_of(pem: str) -> datetime.datetime:
    """The moment after which a certificate is no longer valid, the first one's of several.

    Raises :class:`ValueError` where there is none.
    """
    return _parsed(pem).not_valid_after_utc


def same_key(one: str, other: str) -> bool:
    """Whether two certificates are of the same key: whoever holds one of them holds both.

    What is no certificate is of no key.
    """
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - see above

    try:
        keys = [
            _parsed(pem)
            .public_key()
            .public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            for pem in (one, other)
        ]
    except ValueError:
        return False
    return keys[0] == keys[1]


def _parsed(pem: str) -> x509.Certificate:
    from cryptography import x509  # noqa: PLC0415 - see above

    first = pem[max(pem.find(BEGIN), 0) :].partition(END)
    return x509.load_pem_x509_certificate("".join(first[:2]).encode())
