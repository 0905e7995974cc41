"""Private SSH keys in files: whether they are any, seen by their form alone.

Forms: OpenSSH's own (PROTOCOL.key in its source) and the older PEM (RFC 1421).
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path

_ARMOUR = re.compile(
    rb"-----BEGIN (?P<kind>[A-Z0-9 ]*)PRIVATE KEY-----\n(?P<body>.*)\n"
    rb"-----END (?P=kind)PRIVATE KEY-----",
    re.DOTALL,
)
_MAGIC = b"openssh-key-v1\0"


def flaw_of(path: Path) -> tuple[str, str]:
    """What is wrong with a private key's file, and the remedy; both empty for a good one.

    A key under a passphrase is a good one, since an agent may hold it. Nothing of what is in the
    file is in the answer, or in an exception.
    """
    if not path.is_file():
        return f"there is no file {path}", "make it first, or mend the path"
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})", "make it readable for this user"
    armour = _ARMOUR.fullmatch(content.replace(b"\r\n", b"\n").strip())
    if armour is None:
        half = "the private half, without .pub" if path.suffix == ".pub" else "one from ssh-keygen"
        return f"{path} is not a private SSH key", f"name {half}"
    kind = armour["kind"].strip()
    if kind in (b"", b"ENCRYPTED"):  # PKCS#8, which paramiko does not read
        return (
            f"{path} is a private key, but not in a form that SSH reads",
            f"rewrite it: ssh-keygen -p -f {path}",
        )
    if not _is_whole(kind, armour["body"]):
        return f"{path} is a damaged private SSH key", "copy it again from where it was made"
    return "", ""


def _is_whole(kind: bytes, body: bytes) -> bool:
    # a PEM key under a passphrase has headers
    encoded = b"".join(line.strip() for line in body.split(b"\n") if b":" not in line)
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return False
    if kind != b"OPENSSH":
        return bool(blob)
    return blob.startswith(_MAGIC) and _holds_its_fields(blob[len(_MAGIC) :])


def _holds_its_fields(blob: bytes) -> bool:
    """Cipher, derivation, its options; how many keys; each public one; all private ones."""
    at = 0
    for _ in range(3):
        at += 4 + int.from_bytes(blob[at : at + 4], "big")
    keys = int.from_bytes(blob[at : at + 4], "big")
    if keys != 1:  # what OpenSSH itself takes
        return False
    at += 4
    for _ in range(2):
        at += 4 + int.from_bytes(blob[at : at + 4], "big")
    return at <= len(blob)
