"""What a line of authorized_keys has, as sshd reads it."""

from __future__ import annotations

import time
from pathlib import Path

import paramiko
import pytest

from tasks.intent.model import Ssh
from tasks.machine.keys import key_name, key_of, missing_keys
from tasks.ssh.own_keys import public_keys_of

KEY = paramiko.ECDSAKey.generate()


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("ssh-ed25519 AAAAolga olga@x", "AAAAolga"),
        ("  ssh-ed25519\tAAAAolga", "AAAAolga"),
        ("sk-ssh-ed25519@openssh.com AAAAolga== token", "AAAAolga=="),
        ("no-pty,from=\"10.0.0.0/8\" ssh-rsa AAAAolga", "AAAAolga"),
        ('environment="X=ssh-ed25519 AAAAnew" ssh-ed25519 AAAAold', "AAAAold"),
        (r'command="say \" ssh-ed25519 AAAAnew" ssh-ed25519 AAAAold', "AAAAold"),
        ("ssh-ed25519 AAAAolga instead of AAAAbob", "AAAAolga"),
        ("#ssh-ed25519 AAAAolga olga@x", ""),
        ("  # ssh-ed25519 AAAAolga olga@x", ""),
        ("# AAAAolga", ""),
        ("AAAAolga", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_the_key_in_a_line(line: str, key: str) -> None:
    assert key_of(line) == key


def test_a_line_that_was_made_to_be_read_in_many_ways_is_read_at_once() -> None:
    began = time.monotonic()
    assert key_of(r'\"\" "' * 2000) == ""
    assert key_of("x" * 16384 + " ssh-ed25519 AAAAolga") == ""
    assert time.monotonic() - began < 5


def test_a_key_with_other_options_and_comment_is_there_one_in_a_comment_is_not() -> None:
    held = ['from="10.0.0.1" ssh-ed25519 AAAAolga at home', "#ssh-ed25519 AAAAbob bob"]
    keys = ["ssh-ed25519 AAAAolga o", "ssh-ed25519 AAAAbob b", "(of control, to be made)"]
    assert missing_keys(keys, held) == keys[1:]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("ssh-ed25519 AAAAolga olga@x of sales", "olga@x of sales"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ", "...I1NTE5AAAAIJ"),
        ("(of control, to be made)", "(of control, to be made)"),
        ("ssh-ed25519 AAAAolga olga\x1b[2J", "olga[2J"),
    ],
)
def test_what_a_key_is_called(line: str, name: str) -> None:
    assert key_name(line) == name


class Agent:
    """An agent with one key."""

    def get_keys(self) -> list[paramiko.PKey]:
        return [KEY]

    def close(self) -> None:
        """Nothing is open."""


class NoAgent:
    def __init__(self) -> None:
        raise paramiko.SSHException("lost ssh-agent")


def test_what_we_may_log_in_with_is_told_by_both_halves_and_by_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(paramiko, "Agent", NoAgent)
    assert public_keys_of(Ssh("")) == ()
    (tmp_path / ".ssh").mkdir()
    for name in ("id_rsa", "id_ed25519_sk", "of_the_fleet"):
        (tmp_path / ".ssh" / f"{name}.pub").write_text(f"ssh-rsa AAAA{name} me\n")
    assert public_keys_of(Ssh("")) == ("ssh-rsa AAAAid_rsa me", "ssh-rsa AAAAid_ed25519_sk me")
    declared = Ssh("", key_file=Path("~/.ssh/of_the_fleet"))
    assert public_keys_of(declared) == ("ssh-rsa AAAAof_the_fleet me",)
    own = paramiko.ECDSAKey.generate()
    own.write_private_key_file(str(tmp_path / "alone"))
    alone = Ssh("", key_file=tmp_path / "alone")
    lines = (f"{own.get_name()} {own.get_base64()}", f"{KEY.get_name()} {KEY.get_base64()}")
    assert public_keys_of(alone) == lines[:1]
    monkeypatch.setattr(paramiko, "Agent", Agent)
    assert public_keys_of(alone) == lines
    own.write_private_key_file(str(tmp_path / "alone"), password="of nobody")
    assert public_keys_of(alone) == lines[1:]
