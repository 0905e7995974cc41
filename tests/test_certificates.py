"""How long certificates are valid, which ones are renewed, and how: without a lab."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tasks.actual import HostFacts, LxdFacts
from tasks.certificate import (
    expiry_of,
    fingerprint_of,
    make_client_certificate,
    same_key,
)
from tasks.errors import FleetError
from tasks.maintenance.certificates.expiry import Lifetime, foreign_flaws
from tasks.maintenance.certificates.plan import (
    LetGo,
    Owned,
    Peers,
    Renew,
    first_to_end,
    plan_renewal,
)
from tasks.onhost import on_host
from tasks.ownership import CONTROLLER, trust_line
from tasks.state import StateFolder

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "certificates.yaml").read_text())
NOW = datetime(2026, 11, 28, 4, 0, tzinfo=timezone.utc)
LIFE = Lifetime(NOW, 30)
HOSTS = ("voice-01", "voice-02", "voice-03")


@cache
def key_of(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def certificate(name: str, days: float, key: str) -> str:
    """A certificate with so many days left, of a key of that name."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    private = key_of(key)
    return (
        x509.CertificateBuilder(subject, subject, private.public_key(), 1)
        .not_valid_before(NOW - timedelta(days=4000))
        .not_valid_after(NOW + timedelta(days=days))
        .sign(private, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )


def owned(name: str, days: float, **rest: Any) -> Owned:
    beside = {None: None, "own": certificate(name, 3650.5, name),
              "other": certificate(name, 3650.5, "another")}[rest.get("next")]  # fmt: skip
    return Owned(
        name,
        certificate(name, days + 0.5, name),
        "root",
        beside,
        tuple(rest.get("elsewhere", ())),
    )


def entry(word: str, held: dict[str, Owned]) -> dict[str, str]:
    """What a word of the table stands for in a trust store."""
    name = word.rstrip("+-?")
    pem = {
        "": held[name].pem,
        "+": certificate(name, 3650.5, name),
        "-": certificate(name, 5.25, name),
        "?": certificate(name, 5.25, "another"),
    }[word[len(name) :]]
    return {"name": name, "fingerprint": fingerprint_of(pem), "certificate": pem}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_plan(case: dict[str, Any]) -> None:
    held = {name: owned(name, **values) for name, values in case["owned"].items()}
    facts = {}
    for host in HOSTS:
        if host in case.get("unread", {}):
            continue
        words = case["trusted"].get(host, [])
        entries = {word: entry(word, held) for word in words}
        created = {
            trust_line(found["name"], found["fingerprint"])
            for word, found in entries.items()
            if word not in case.get("by hand", [])
        }
        lxd = LxdFacts(running=True, certificates=tuple(entries.values()))
        facts[host] = HostFacts(host, created=frozenset(created), lxd=lxd)
    peers = Peers(facts, {**case.get("unread", {}), **case.get("closed", {})})
    steps, wrong = plan_renewal(list(held.values()), peers, LIFE)
    told = []
    for step in steps:
        write = step.write
        if isinstance(write, Renew):
            told.append([step.action, step.object, "used" if write.use else "not used"])
        else:
            assert isinstance(write, LetGo)
            told.append([step.action, step.object, ", ".join(write.former)])
    assert told == case["steps"]
    assert wrong == case["wrong"]


@pytest.mark.parametrize(
    ("left", "days", "expired", "words"),
    [
        (timedelta(days=10, hours=1), 10, False, "expires in 10 days, on 2026-12-08"),
        (timedelta(days=1), 1, False, "expires in 1 day, on 2026-11-29"),
        (timedelta(hours=1), 0, False, "expires in 0 days, on 2026-11-28"),
        (timedelta(0), 0, True, "expired on 2026-11-28"),
        (timedelta(days=-1, hours=-1), -2, True, "expired on 2026-11-27"),
    ],
)
def test_how_long_one_is_valid(left: timedelta, days: int, expired: bool, words: str) -> None:
    pem = certificate("box", left / timedelta(days=1), "box")
    assert (LIFE.days(pem), LIFE.expired(pem), LIFE.told(pem)) == (days, expired, words)


def host_with(server_days: float, *trusted: tuple[str, float], package: str = "deb") -> HostFacts:
    entries = [
        {"name": name, "certificate": certificate(name, days, name)} for name, days in trusted
    ]
    for each in entries:
        each["fingerprint"] = fingerprint_of(each["certificate"])
    lxd = LxdFacts(
        package=package,
        certificate=certificate("server", server_days, "server"),
        certificates=tuple(entries),
    )
    lines = frozenset(trust_line(each["name"], each["fingerprint"]) for each in entries)
    return HostFacts("voice-01", created=lines, lxd=lxd)


def test_a_server_whose_certificate_ends_is_told_what_to_do() -> None:
    assert list(foreign_flaws(host_with(31), (), LIFE)) == []
    (deb,) = foreign_flaws(host_with(29.5), (), LIFE)
    assert "its LXD server expires in 29 days" in deb
    assert "out of /var/lib/lxd, then systemctl restart lxd (" in deb
    (snap,) = foreign_flaws(host_with(-1, package="snap"), (), LIFE)
    assert "its LXD server expired on 2026-11-27" in snap
    assert "out of /var/snap/lxd/common/lxd, then systemctl reload snap.lxd.daemon (" in snap


def test_another_controllers_certificate_that_ends_is_its_own_to_renew() -> None:
    other = f"{CONTROLLER}control"
    facts = host_with(900, (other, 12.5), (f"{CONTROLLER}here", 3.5), ("voice-02", 3.5))
    known = [e["fingerprint"] for e in facts.lxd.certificates if e["name"].endswith("here")]
    (told,) = foreign_flaws(facts, known, LIFE)
    assert told.startswith(f"certificate {other} (")
    assert "expires in 12 days" in told
    assert "run maintain.py certificates there" in told


def test_one_that_somebody_else_has_had_trusted_is_nobodys_business() -> None:
    facts = host_with(900, (f"{CONTROLLER}control", 1))
    facts = HostFacts("voice-01", lxd=facts.lxd)
    assert list(foreign_flaws(facts, (), LIFE)) == []


def test_what_was_looked_at_and_ends_first() -> None:
    named = [("one", certificate("one", 300.5, "one")), ("two", certificate("two", 20.5, "two"))]
    assert first_to_end(named, LIFE) == (
        "2 certificates looked at, the first to end: two, which expires in 20 days, on 2026-12-18"
    )
    assert first_to_end([], LIFE) == "no certificates"


def test_a_renewed_certificate_is_of_the_same_key_and_later() -> None:
    old, key = make_client_certificate()
    new, same = make_client_certificate(key)
    assert key == same
    assert same_key(old, new)
    assert fingerprint_of(old) != fingerprint_of(new)
    assert expiry_of(new) >= expiry_of(old)
    assert not same_key(old, make_client_certificate()[0])
    assert not same_key(old, "no certificate")
    with pytest.raises(ValueError, match="PEM"):
        expiry_of("no certificate")


class TestController:
    @pytest.fixture
    def state(self, tmp_path: Path) -> StateFolder:
        folder = StateFolder(tmp_path / "state")
        folder.client_certificate(create=True)
        return folder

    def test_a_new_one_lies_beside_until_it_is_used(self, state: StateFolder) -> None:
        before = state.client_certificate(create=False)
        assert before
        assert state.next_certificate() is None
        made = state.make_next_certificate()
        assert state.next_certificate() == made
        now = state.client_certificate(create=False)
        assert now == before
        state.use_next_certificate()
        after = state.client_certificate(create=False)
        assert after
        assert (after.pem, state.next_certificate()) == (made, None)
        assert same_key(before.pem, after.pem)
        assert (state.path / "client.crt").stat().st_mode & 0o777 == 0o600

    def test_a_key_that_is_none_is_named_and_not_shown(self, state: StateFolder) -> None:
        (state.path / "client.key").write_text("-----BEGIN PRIVATE KEY-----\nsecret\n")
        with pytest.raises(FleetError, match=r"client.key is no private key; restore") as caught:
            state.make_next_certificate()
        assert "secret" not in str(caught.value)
        assert state.next_certificate() is None


class TestOnHost:
    """The script on this machine, for root in a home of its own."""

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / ".config" / "lxc"
        folder.mkdir(parents=True)
        certificate_pem, key = make_client_certificate()
        (folder / "client.crt").write_text(certificate_pem)
        (folder / "client.key").write_text(key)
        programs = tmp_path / "bin"
        programs.mkdir()
        getent = f"#!/bin/sh\necho root:x:0:0:root:{tmp_path}:/bin/sh\n"
        (programs / "getent").write_text(getent)
        (programs / "getent").chmod(0o755)
        self.programs = programs
        return folder

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        script = on_host("renew_client", "deb", *words)
        script = script.replace("PATH=/usr/local", f"PATH={self.programs}:/usr/local")
        return subprocess.run(
            ["sh"], input=script, capture_output=True, text=True, check=False, timeout=30
        )

    def test_made_and_used(self, folder: Path) -> None:
        before = (folder / "client.crt").read_text()
        made = self.run("make", "root")
        assert made.returncode == 0, made.stderr
        assert made.stdout.startswith("root ")
        assert (folder / "client.crt").read_text() == before
        new = (folder / "client.crt.next").read_text()
        assert same_key(before, new)
        assert new != before
        used = self.run("use", "root")
        assert used.returncode == 0, used.stderr
        assert sorted(path.name for path in folder.iterdir()) == ["client.crt", "client.key"]
        assert (folder / "client.crt").read_text() == new
        assert (folder / "client.crt").stat().st_mode & 0o777 == 0o600

    def test_a_key_that_is_none_leaves_nothing(self, folder: Path) -> None:
        (folder / "client.key").write_text("-----BEGIN PRIVATE KEY-----\nsecret\n")
        made = self.run("make", "root")
        assert made.returncode != 0
        assert made.stdout == ""
        assert "secret" not in made.stderr
        assert sorted(path.name for path in folder.iterdir()) == ["client.crt", "client.key"]

    def test_one_of_another_key_is_not_brought_into_use(self, folder: Path) -> None:
        before = (folder / "client.crt").read_text()
        (folder / "client.crt.next").write_text(make_client_certificate()[0])
        used = self.run("use", "root")
        assert used.returncode != 0
        assert "client.crt.next is not of the key client.key" in used.stderr
        assert (folder / "client.crt").read_text() == before
