from __future__ import annotations

from pathlib import Path

import pytest

from tasks.private_key import flaw_of
from tests.sshd import make_key


@pytest.mark.parametrize("passphrase", ["", "swordfish"])
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("form", ["RFC4716", "PEM"])
def test_what_ssh_keygen_makes_is_a_key(
    tmp_path: Path, kind: str, form: str, passphrase: str
) -> None:
    key = make_key(tmp_path / "key", kind=kind, passphrase=passphrase, form=form)
    assert flaw_of(key) == ("", "")
    key.write_bytes(key.read_bytes().replace(b"\n", b"\r\n"))
    assert flaw_of(key) == ("", "")


def spoilt(folder: Path, how: str) -> Path:
    key = make_key(folder / "key", form="PKCS8" if how == "form" else "RFC4716",
                   kind="rsa" if how == "form" else "ed25519")  # fmt: skip
    lines = key.read_text().splitlines()
    if how == "missing":
        key.unlink()
    elif how == "folder":
        key.unlink()
        key.mkdir()
    elif how == "public":
        return key.with_name("key.pub")
    elif how == "passwd":
        return Path("/etc/passwd")
    elif how == "cut":
        key.write_text("\n".join([*lines[:2], *lines[-1:]]))
    elif how == "cut off":
        key.write_text("\n".join(lines[:-1]))
    elif how == "garbled":
        key.write_text("\n".join([lines[0], "!" + lines[1], *lines[2:]]))
    return key


@pytest.mark.parametrize(
    ("how", "flaw", "remedy"),
    [
        ("missing", "there is no file KEY", "make it first, or mend the path"),
        ("folder", "there is no file KEY", "make it first, or mend the path"),
        ("public", "KEY is not a private SSH key", "name the private half, without .pub"),
        ("passwd", "KEY is not a private SSH key", "name one from ssh-keygen"),
        ("cut", "KEY is a damaged private SSH key", "copy it again from where it was made"),
        ("cut off", "KEY is not a private SSH key", "name one from ssh-keygen"),
        ("garbled", "KEY is a damaged private SSH key", "copy it again from where it was made"),
        (
            "form",
            "KEY is a private key, but not in a form that SSH reads",
            "rewrite it: ssh-keygen -p -f KEY",
        ),
    ],
)
def test_what_is_no_key(tmp_path: Path, how: str, flaw: str, remedy: str) -> None:
    key = spoilt(tmp_path, how)
    assert flaw_of(key) == (flaw.replace("KEY", str(key)), remedy.replace("KEY", str(key)))
