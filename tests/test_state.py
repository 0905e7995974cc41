"""The state folder: what it keeps, who may read it, what a kill leaves."""

from __future__ import annotations

import logging
import os
import ssl
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tasks import log
from tasks.certificate import fingerprint_of
from tasks.errors import FleetError, LockedError, UsageError
from tasks.log import log_to, quiet_libraries
from tasks.state import StateFolder, default_state_folder

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHjmVzgJwWnYHpLdGwBWxVDGRSmdKSQ/tBSNVd8Ii5vf"


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state" / "demo")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert default_state_folder("demo") == Path("/somewhere/nornir-lxd-fleet/demo")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_state_folder("demo") == Path("/home/me/.local/state/nornir-lxd-fleet/demo")


def test_for_this_user_only(state: StateFolder) -> None:
    old = os.umask(0)
    try:
        state.prepare()
        state.client_certificate(create=True)
        state.write_pin("box", "pem\n")
        state.write_last_address("box", "192.0.2.1")
        state.learn_host_key("box", "192.0.2.1", 22, KEY)
        state.remember_undone({"upgrade": ["box"]})
        with state.lock(), log_to(state.logs, "provision"):
            logging.getLogger("tasks").info("hello")
    finally:
        os.umask(old)
    paths = list(state.path.rglob("*"))
    assert len([path for path in paths if path.is_file()]) == 8
    assert mode(state.path) == 0o700
    assert {mode(path) for path in paths if path.is_dir()} == {0o700}
    assert {mode(path) for path in paths if path.is_file()} == {0o600}


def test_reading_makes_nothing(state: StateFolder) -> None:
    assert state.pin("box") is None
    assert state.last_address("box") is None
    assert state.client_certificate(create=False) is None
    assert state.undone() == {}
    state.remember_undone({})
    assert not state.path.exists()


def test_what_is_undone_is_remembered_in_its_order_until_it_is_replaced(
    state: StateFolder,
) -> None:
    state.remember_undone({"upgrade": ["b", "a"]})
    assert StateFolder(state.path).undone() == {"upgrade": ["b", "a"]}
    state.remember_undone({})
    assert state.undone() == {}


@pytest.mark.parametrize("text", ["", "[", "[]", '{"upgrade": 1}', "null", "\xff"])
def test_a_file_of_what_is_undone_that_holds_something_else_counts_as_none(
    state: StateFolder, text: str
) -> None:
    state.prepare()
    (state.path / "undone.json").write_bytes(text.encode("latin-1"))
    assert state.undone() == {}
    state.remember_undone({"upgrade": ["a"]})
    assert state.undone() == {"upgrade": ["a"]}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"state folder cannot be made .*state_dir"):
        StateFolder(tmp_path / "file" / "demo").prepare()


def test_a_file_that_cannot_be_written(state: StateFolder) -> None:
    state.prepare()
    (state.path / "servers").write_text("in the way")
    with pytest.raises(FleetError, match=r"box.crt: cannot be written"):
        state.write_pin("box", "pem")


class TestLock:
    def test_held_by_another_process(self, state: StateFolder) -> None:
        program = (
            "import sys, pathlib, tasks.state as s\n"
            f"with s.StateFolder(pathlib.Path({str(state.path)!r})).lock():\n"
            "    print('locked', flush=True); sys.stdin.read()\n"
        )
        holder = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdout
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(LockedError, match=f"process {holder.pid}"), state.lock():
            pass
        holder.kill()
        holder.communicate(timeout=10)
        with state.lock():  # the kernel released it
            assert (state.path / "lock").read_text() == f"{os.getpid()}\n"
        assert (state.path / "lock").read_text() == ""

    def test_released_after_an_error(self, state: StateFolder) -> None:
        with pytest.raises(ValueError, match="inside"), state.lock():
            raise ValueError("inside")
        with state.lock():
            pass


class TestCertificate:
    def test_a_file_that_holds_none_is_named(self, state: StateFolder) -> None:
        assert state.client_certificate(create=True)
        (state.path / "client.crt").write_text("junk\n")
        with pytest.raises(FleetError, match=r"client\.crt is no certificate; restore it and"):
            state.client_certificate(create=False)

    def test_as_lxc_makes_it(self, state: StateFolder) -> None:
        made = state.client_certificate(create=True)
        assert made
        certificate = x509.load_pem_x509_certificate(made.pem.encode())
        assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
        lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        assert 3650 <= lifetime.days <= 3651
        assert made.fingerprint == fingerprint_of(made.pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_cert_chain(made.certificate, made.key)  # they belong together
        said = subprocess.run(
            ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", made.certificate],
            capture_output=True, text=True, check=True, timeout=20,
        ).stdout  # fmt: skip
        assert said.strip().split("=")[1].replace(":", "").lower() == made.fingerprint

    def test_made_once(self, state: StateFolder) -> None:
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _: state.client_certificate(create=True), range(8)))
        assert len({one.fingerprint for one in made if one}) == 1

    @pytest.mark.parametrize("left", ["client.crt", "client.key"])
    def test_half_a_pair_is_made_anew(self, state: StateFolder, left: str) -> None:
        first = state.client_certificate(create=True)
        (state.path / ({"client.crt", "client.key"} - {left}).pop()).unlink()
        assert state.client_certificate(create=False) is None
        second = state.client_certificate(create=True)
        assert first
        assert second
        assert second.fingerprint != first.fingerprint
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(second.certificate, second.key)


class TestHostKeys:
    def test_openssh_finds_it_by_name_and_by_address(self, state: StateFolder) -> None:
        state.learn_host_key("web-01", "192.0.2.1", 22, f"{KEY} a comment\n")
        state.learn_host_key("web-02", "192.0.2.2", 2222, OTHER)
        for name in ("web-01", "192.0.2.1", "[192.0.2.2]:2222"):
            found = subprocess.run(
                ["ssh-keygen", "-F", name, "-f", state.known_hosts],
                capture_output=True, text=True, timeout=20, check=False,
            )  # fmt: skip
            assert found.returncode == 0, name
        assert state.known_hosts.read_text().splitlines()[0] == f"web-01,192.0.2.1 {KEY}"

    def test_a_machine_made_anew_has_only_its_new_keys(self, state: StateFolder) -> None:
        rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ=="
        state.learn_host_key("web-01", "192.0.2.1", 22, f"{KEY}\n{rsa}\n")
        assert len(state.known_hosts.read_text().splitlines()) == 2
        state.learn_host_key("web-01", "192.0.2.9", 22, OTHER)
        assert state.known_hosts.read_text() == f"web-01,192.0.2.9 {OTHER}\n"

    def test_an_address_that_went_to_another_machine(self, state: StateFolder) -> None:
        state.learn_host_key("web-01", "192.0.2.1", 22, KEY)
        state.learn_host_key("web-02", "192.0.2.1", 22, OTHER)
        assert state.known_hosts.read_text() == f"web-02,192.0.2.1 {OTHER}\n"

    def test_whether_a_machine_is_known_by_its_whole_name_or_address(
        self, state: StateFolder
    ) -> None:
        assert not state.knows("web-1", "192.0.2.1", 22)
        state.learn_host_key("web-11", "192.0.2.11", 22, KEY)
        assert not state.knows("web-1", "192.0.2.1", 22)
        assert not state.knows("web-12", "192.0.2.11", 2222)
        assert state.knows("web-11", "192.0.2.99", 22)
        assert state.knows("web-12", "192.0.2.11", 22)

    def test_many_at_once(self, state: StateFolder) -> None:
        def learn(number: int) -> None:
            state.learn_host_key(f"web-{number}", f"192.0.2.{number}", 22, KEY)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(learn, range(64)))
        assert len(state.known_hosts.read_text().splitlines()) == 64


def test_pins_and_addresses(state: StateFolder) -> None:
    state.write_pin("box", "pem\n")
    pin = state.pin("box")
    assert pin
    assert pin.read_text() == "pem\n"
    state.write_last_address("box", "192.0.2.1")
    assert state.last_address("box") == "192.0.2.1"
    assert state.last_address("other") is None


def test_the_log_has_what_happened_and_the_terminal_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    quiet_libraries()
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    with log_to(tmp_path / "logs", "provision") as path:
        logging.getLogger("tasks.ssh.connection").info("connected")
        logging.getLogger("paramiko.transport").info("each packet")
        logging.getLogger("paramiko.transport").error("broken")
        logging.getLogger("nornir.core").info("Running task with args {'password': 'swordfish'}")
    logging.getLogger("tasks.ssh.connection").error("after the end")
    written = path.read_text()
    assert "connected" in written
    assert "broken" in written
    assert "each packet" not in written
    assert "swordfish" not in written
    assert "after the end" not in written
    assert capfd.readouterr() == ("", "")
    assert (root.level, root.handlers) == before


def test_a_lock_that_is_held_already_is_held_on(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    with state.lock():
        with state.lock():
            pass
        with pytest.raises(LockedError), StateFolder(tmp_path / "state").lock():
            pass
    with StateFolder(tmp_path / "state").lock():
        pass


def test_the_log_rotates_and_stays_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MAX_BYTES", 400)
    folder = tmp_path / "logs"
    old = os.umask(0)
    try:
        for number in range(30):  # a run each, and each goes on with the file of the last one
            with log_to(folder, "maintain"):
                logging.getLogger("tasks").info("run %d: %s", number, "x" * 120)
    finally:
        os.umask(old)
    names = ["maintain.log", *(f"maintain.log.{number}" for number in range(1, log.KEPT + 1))]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert all(path.stat().st_size <= 400 for path in folder.iterdir())
    assert {mode(path) for path in folder.iterdir()} == {0o600}
    assert "run 29" in (folder / "maintain.log").read_text()
