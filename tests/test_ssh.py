"""The shell over SSH against a real sshd of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paramiko
import pytest

from tasks.errors import (
    CommandError,
    DeadlineError,
    HostKeyError,
    LockedError,
    LoginError,
    UnreachableError,
)
from tasks.ssh.connection import CHANNELS, SshShell, open_shell
from tasks.ssh.host_keys import HostKeySources
from tasks.ssh.host_lock import LOCK_FILE, take_lock
from tasks.ssh.login import Answer, BrokenConnectionError, who_answers
from tasks.state import StateFolder
from tests.sshd import Sshd, fingerprint, free_port, make_key, why_no_sshd

pytestmark = pytest.mark.skipif(bool(why_no_sshd()), reason=why_no_sshd())
MEGABYTES = 3_000_000


@pytest.fixture
def shell(sshd: Sshd) -> Iterator[SshShell]:
    connected = sshd.shell()
    yield connected
    connected.close()


class TestRun:
    def test_exit_status_and_both_outputs(self, shell: SshShell) -> None:
        done = shell.run("cat; echo wrong >&2; exit 7", stdin=b"data\n")
        assert (done.status, done.stdout, done.stderr) == (7, b"data\n", b"wrong\n")

    def test_megabytes_on_both_outputs_and_the_input(self, shell: SshShell) -> None:
        script = f"head -c {MEGABYTES} /dev/zero >&2; cat; head -c {MEGABYTES} /dev/zero >&2"
        data = os.urandom(MEGABYTES)
        done = shell.run(script, stdin=data, deadline=60)
        assert done.stdout == data
        assert len(done.stderr) == 2 * MEGABYTES

    def test_input_that_nobody_reads_holds_nothing_up(self, shell: SshShell) -> None:
        assert shell.run("exit 4", stdin=bytes(3 * MEGABYTES)).status == 4

    def test_a_script_of_many_lines_with_quotes_and_umlauts(self, shell: SshShell) -> None:
        script = 'x=\'a "b" $c\'\nif true; then\n  echo "$x" ü\nfi\n# the end'
        assert shell.run(script).text == 'a "b" $c ü\n'

    def test_the_script_is_in_no_process_list(self, shell: SshShell) -> None:
        secret = "swordfish-in-a-script"
        listing = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
        done = shell.run(f"PASSWORD={secret}; {listing}")
        assert "eval" in done.text
        assert secret not in done.text

    def test_deadline(self, shell: SshShell) -> None:
        started = time.monotonic()
        with pytest.raises(DeadlineError, match=r"box: .*deadline.*may still be running"):
            shell.run("echo begun; sleep 60", deadline=0.5)
        assert time.monotonic() - started < 3
        assert shell.run("echo well").text == "well\n"

    def test_deadline_while_output_flows(self, shell: SshShell) -> None:
        started = time.monotonic()
        with pytest.raises(DeadlineError):
            shell.run("while :; do echo flood; done", deadline=1)
        assert time.monotonic() - started < 5

    def test_what_a_command_leaves_running_does_not_hold_it_up(self, shell: SshShell) -> None:
        started = time.monotonic()
        done = shell.run("sleep 20 & echo started $!")
        assert done.status == 0
        assert time.monotonic() - started < 10
        shell.run(f"kill {done.text.split()[1]}")

    def test_ended_by_a_signal(self, shell: SshShell) -> None:
        with pytest.raises(CommandError, match="signal"):
            shell.run("kill -9 $$")

    def test_more_at_once_than_there_are_channels(self, shell: SshShell) -> None:
        with ThreadPoolExecutor(CHANNELS * 3) as pool:
            scripts = [f"sleep 0.1; echo {n}" for n in range(CHANNELS * 3)]
            texts = [done.text for done in pool.map(shell.run, scripts)]
        assert texts == [f"{n}\n" for n in range(CHANNELS * 3)]

    def test_a_channel_comes_free_after_a_deadline(self, shell: SshShell) -> None:
        for _ in range(CHANNELS + 1):
            with pytest.raises(DeadlineError):
                shell.run("sleep 60", deadline=0.2)
        assert shell.run("echo well").text == "well\n"

    def test_tunnels_do_not_use_up_the_channels(self, sshd: Sshd, shell: SshShell) -> None:
        tunnels = [shell.tunnel("127.0.0.1", sshd.port, deadline=5) for _ in range(20)]
        assert shell.run("echo well").text == "well\n"
        for tunnel in tunnels:
            tunnel.close()


class TestBroken:
    def test_in_the_middle(self, sshd: Sshd) -> None:
        shell = sshd.shell()
        threading.Timer(0.5, sshd.cut).start()
        started = time.monotonic()
        with pytest.raises(UnreachableError, match="box: the SSH connection broke"):
            shell.run("sleep 30")
        assert time.monotonic() - started < 5
        assert not shell.alive
        shell.close()

    def test_before_the_command(self, sshd: Sshd) -> None:
        shell = sshd.shell()
        sshd.cut()
        with pytest.raises(BrokenConnectionError):
            for _ in range(20):  # the first ones may still find it open
                shell.run("true")
        shell.close()


class TestRefusal:
    def test_closed_port(self, sshd: Sshd) -> None:
        port = free_port()
        with pytest.raises(UnreachableError, match=f"box: 127.0.0.1 refuses .* port {port}"):
            open_shell("127.0.0.1", port, "root", sources=sshd.sources())

    def test_a_port_that_never_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tasks.ssh.login.CONNECT_DEADLINE", 0.5)
        with socket.create_server(("127.0.0.1", 0)) as mute:
            port = mute.getsockname()[1]
            started = time.monotonic()
            with pytest.raises(UnreachableError, match=r"no SSH session with 127.0.0.1"):
                open_shell("127.0.0.1", port, "root", sources=HostKeySources("box"))
            assert time.monotonic() - started < 5

    def test_a_name_that_does_not_resolve(self, sshd: Sshd) -> None:
        with pytest.raises(UnreachableError, match=r"box: its host name no.invalid does not res"):
            open_shell("no.invalid", 22, "root", sources=sshd.sources())

    def test_login_refused(self, sshd: Sshd, tmp_path: Path) -> None:
        other = make_key(tmp_path / "other")
        with pytest.raises(LoginError, match=r"box: it refused .*authorized_keys"):
            open_shell("127.0.0.1", sshd.port, sshd.user, sources=sshd.sources(), key_file=other)

    def test_a_key_with_a_passphrase(
        self, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        key = make_key(tmp_path / "locked", passphrase="swordfish")
        with pytest.raises(LoginError, match=f"passphrase.*ssh-add {key}"):
            open_shell("127.0.0.1", sshd.port, sshd.user, sources=sshd.sources(), key_file=key)

    def test_no_key_file(self, sshd: Sshd, tmp_path: Path) -> None:
        missing = tmp_path / "missing"
        with pytest.raises(LoginError, match=f"box: ssh_key.* there is no file {missing}; make"):
            open_shell("127.0.0.1", sshd.port, sshd.user, sources=sshd.sources(), key_file=missing)

    def test_a_key_file_that_holds_no_key(self, sshd: Sshd) -> None:
        other = Path("/etc/passwd")
        with pytest.raises(LoginError, match=f"box: ssh_key.* {other} is not a private SSH key"):
            open_shell("127.0.0.1", sshd.port, sshd.user, sources=sshd.sources(), key_file=other)

    def test_refusals_leave_no_socket_behind(self, sshd: Sshd, tmp_path: Path) -> None:
        other = make_key(tmp_path / "other")

        def attempt() -> None:
            with pytest.raises(LoginError):
                open_shell(
                    "127.0.0.1", sshd.port, sshd.user, sources=sshd.sources(), key_file=other
                )

        attempt()
        before = open_sockets()
        for _ in range(3):
            attempt()
        until = time.monotonic() + 5
        while open_sockets() > before and time.monotonic() < until:
            time.sleep(0.05)
        assert open_sockets() <= before


class TestHostKeys:
    def test_unknown_is_refused_with_what_learns_it(self, sshd: Sshd) -> None:
        shown = fingerprint(sshd.folder / "host_ed25519.pub")
        with pytest.raises(HostKeyError) as refused:
            sshd.shell(declared=None)
        said = str(refused.value)
        assert said.startswith("box: ")
        assert shown in said
        assert f"run provision.py with --host-key box={shown}" in said  # status.py has it not
        assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in said

    def test_learned_with_the_right_fingerprint(self, sshd: Sshd, tmp_path: Path) -> None:
        state = StateFolder(tmp_path / "state")
        shown = fingerprint(sshd.folder / "host_ed25519.pub")

        def learn(key: str) -> None:
            state.learn_host_key("box", "127.0.0.1", sshd.port, key)

        sshd.shell(declared=None, accepted=shown, learn=learn).close()
        sshd.shell(declared=None, state=state.known_hosts).close()
        # OpenSSH itself reads it too
        assert ssh_accepts(sshd, state.known_hosts)

    def test_accepted_in_a_dry_run_but_not_learned(self, sshd: Sshd, tmp_path: Path) -> None:
        shown = fingerprint(sshd.folder / "host_ed25519.pub")
        sshd.shell(declared=None, accepted=shown, state=tmp_path / "none").close()
        assert list(tmp_path.iterdir()) == []

    def test_refused_with_the_wrong_fingerprint(self, sshd: Sshd) -> None:
        learned: list[str] = []
        wrong = f"SHA256:{'A' * 43}"
        with pytest.raises(HostKeyError, match=f"not the given {wrong}"):
            sshd.shell(declared=None, accepted=wrong, learn=learned.append)
        assert learned == []

    def test_changed_is_refused_with_both_and_never_learned(
        self, sshd: Sshd, tmp_path: Path
    ) -> None:
        known = make_key(tmp_path / "known")
        shown = fingerprint(sshd.folder / "host_ed25519.pub")
        learned: list[str] = []
        with pytest.raises(HostKeyError) as refused:
            sshd.shell(declared=sshd.public(known), accepted=shown, learn=learned.append)
        said = str(refused.value)
        assert fingerprint(tmp_path / "known.pub") in said
        assert shown in said
        assert "--host-key" not in said
        assert learned == []

    def test_the_inventory_comes_before_the_state_and_the_state_before_the_user(
        self, sshd: Sshd, tmp_path: Path
    ) -> None:
        wrong, right = make_key(tmp_path / "wrong"), sshd.host_keys["ed25519"]
        bad, good = StateFolder(tmp_path / "bad"), StateFolder(tmp_path / "good")
        bad.learn_host_key("box", "127.0.0.1", sshd.port, sshd.public(wrong))
        good.learn_host_key("box", "127.0.0.1", sshd.port, sshd.public(right))
        sshd.shell(state=bad.known_hosts).close()
        sshd.shell(declared=None, state=good.known_hosts, user=bad.known_hosts).close()
        sshd.shell(declared=None, state=tmp_path / "none", user=good.known_hosts).close()
        with pytest.raises(HostKeyError):
            sshd.shell(declared=None, state=bad.known_hosts, user=good.known_hosts)

    @pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
    def test_the_key_type_that_is_known_is_asked_for(self, sshd: Sshd, kind: str) -> None:
        sshd.shell(declared=sshd.public(sshd.host_keys[kind])).close()

    def test_rsa_is_asked_for_by_its_signatures(self, tmp_path: Path) -> None:
        server = Sshd(tmp_path, kinds=("ed25519", "ecdsa", "rsa"))
        server.start()
        try:
            server.shell(declared=server.public(server.host_keys["rsa"])).close()
        finally:
            server.stop()

    def test_a_hashed_known_hosts_of_the_user(self, sshd: Sshd, tmp_path: Path) -> None:
        file = tmp_path / "known_hosts"
        line = f"[127.0.0.1]:{sshd.port} {sshd.public(sshd.host_keys['ecdsa'])}"
        file.write_text(line)
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, timeout=20)
        hashed = file.read_text()
        assert hashed.startswith("|1|")
        file.write_text(f"# comment\n\n@cert-authority * broken\nx y\nz ssh-rsa ?\n{hashed}")
        sshd.shell(declared=None, user=file).close()

    def test_a_machine_that_moved_is_known_by_its_name(self, sshd: Sshd, tmp_path: Path) -> None:
        state = StateFolder(tmp_path)
        key = sshd.public(sshd.host_keys["ed25519"])
        state.learn_host_key("box", "192.0.2.1", 22, key)
        sshd.shell(declared=None, state=state.known_hosts).close()

    def test_a_key_of_another_machine_at_the_address_is_not_this_ones(
        self, sshd: Sshd, tmp_path: Path
    ) -> None:
        state = StateFolder(tmp_path)
        key = sshd.public(sshd.host_keys["ed25519"])
        state.learn_host_key("web-04", "127.0.0.1", sshd.port, key)
        with pytest.raises(HostKeyError) as refused:
            sshd.shell(declared=None, state=state.known_hosts)
        said = str(refused.value)
        assert said.startswith(f"box: [127.0.0.1]:{sshd.port} answers as web-04, by its SSH host")
        assert "stop web-04, or give one of the two another address" in said
        shown = fingerprint(sshd.folder / "host_ed25519.pub")
        assert "if web-04 is what box was called before, run provision.py with" in said
        assert f"--host-key box={shown}" in said
        sshd.shell(declared=None, state=state.known_hosts, accepted=shown).close()

    def test_who_answers_at_an_address_shows_its_key(self, sshd: Sshd) -> None:
        answer = who_answers("127.0.0.1", sshd.port, deadline=5)
        assert answer
        assert answer.key
        assert answer.key.fingerprint == fingerprint(sshd.folder / "host_ed25519.pub")

    def test_who_refuses_answers(self) -> None:
        assert who_answers("127.0.0.1", free_port(), deadline=1) == Answer(None)

    def test_no_key_is_shown_by_what_is_no_ssh_server(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            started = time.monotonic()
            port = mute.getsockname()[1]
            assert who_answers("127.0.0.1", port, deadline=0.3) is None
            assert time.monotonic() - started < 3

    def test_nothing_is_logged_in_before_the_key_is_verified(
        self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_login(*_: object) -> None:
            raise AssertionError("a login was tried")

        monkeypatch.setattr(paramiko.SSHClient, "_auth", no_login)
        with pytest.raises(HostKeyError):
            sshd.shell(declared=None)


@pytest.fixture
def lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = str(tmp_path / "host.lock")
    monkeypatch.setattr("tasks.ssh.host_lock.LOCK_FILE", path)
    return path


class TestHostLock:
    def test_held_and_released(
        self, sshd: Sshd, lock_file: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert LOCK_FILE == "/run/lock/nornir-lxd-fleet.lock"
        first, second = sshd.shell(), sshd.shell()
        lock = take_lock(first)
        monkeypatch.setattr("tasks.ssh.host_lock.TOKEN", "another-controllers")
        with pytest.raises(LockedError, match=f"box: another run .*process {os.getpid()}"):
            take_lock(second)
        lock.close()
        wait_for(lambda: not is_locked(lock_file))
        take_lock(second)
        assert is_locked(lock_file)
        second.close()
        wait_for(lambda: not is_locked(lock_file))
        first.close()

    def test_it_leaves_channels_for_commands(self, shell: SshShell, lock_file: str) -> None:
        lock = take_lock(shell)
        with ThreadPoolExecutor(CHANNELS) as pool:
            assert len(list(pool.map(shell.run, ["sleep 0.1"] * CHANNELS))) == CHANNELS
        lock.close()

    def test_the_same_run_takes_it_over_from_its_broken_connection(
        self, sshd: Sshd, lock_file: str
    ) -> None:
        lost, again = sshd.shell(), sshd.shell()
        take_lock(lost)
        lock = take_lock(again)
        assert is_locked(lock_file)
        lock.close()
        wait_for(lambda: not is_locked(lock_file))
        lost.close()
        again.close()

    def test_released_when_the_controller_is_killed(self, sshd: Sshd, lock_file: str) -> None:
        program = f"""
            import time
            from pathlib import Path
            import tasks.ssh.host_lock as host_lock
            from tasks.ssh.host_keys import HostKeySources
            from tasks.ssh.connection import open_shell
            host_lock.LOCK_FILE = {lock_file!r}
            sources = HostKeySources("box", {sshd.public(sshd.host_keys["ed25519"])!r})
            shell = open_shell("127.0.0.1", {sshd.port}, {sshd.user!r}, sources=sources,
                               key_file=Path({str(sshd.user_key)!r}))
            lock = host_lock.take_lock(shell)
            print("locked", flush=True)
            time.sleep(60)
        """
        controller = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE
        )
        assert controller.stdout
        assert controller.stdout.readline() == b"locked\n"
        assert is_locked(lock_file)
        controller.send_signal(signal.SIGKILL)
        controller.communicate(timeout=10)
        wait_for(lambda: not is_locked(lock_file))

    def test_released_when_no_sign_of_life_comes(
        self, shell: SshShell, lock_file: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tasks.ssh.host_lock.PATIENCE", 1)
        monkeypatch.setattr("tasks.ssh.host_lock.BEAT", 30)
        lock = take_lock(shell)
        wait_for(lambda: not is_locked(lock_file))
        lock.close()

    def test_kept_by_signs_of_life(
        self, shell: SshShell, lock_file: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tasks.ssh.host_lock.PATIENCE", 1)
        monkeypatch.setattr("tasks.ssh.host_lock.BEAT", 0.3)
        lock = take_lock(shell)
        time.sleep(2.5)
        assert is_locked(lock_file)
        lock.close()
        wait_for(lambda: not is_locked(lock_file))

    def test_a_file_that_cannot_be_written(
        self, shell: SshShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tasks.ssh.host_lock.LOCK_FILE", str(tmp_path / "none" / "lock"))
        with pytest.raises(CommandError, match=r"box: the lock .* cannot be taken: .*none/lock"):
            take_lock(shell)


def is_locked(file: str) -> bool:
    """Whether somebody holds the lock on a file."""
    done = subprocess.run(["flock", "-n", file, "true"], timeout=10, check=False)
    return done.returncode == 1


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something is so; fail when it is not in time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def ssh_accepts(sshd: Sshd, known_hosts: Path) -> bool:
    """Whether OpenSSH logs in with this known_hosts, without a question."""
    done = subprocess.run(
        ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
         "-o", f"UserKnownHostsFile={known_hosts}", "-i", str(sshd.user_key),
         "-p", str(sshd.port), f"{sshd.user}@127.0.0.1", "true"],
        timeout=30, check=False,
    )  # fmt: skip
    return done.returncode == 0


def open_sockets() -> int:
    """The sockets that this process has open."""
    links = (link for link in Path("/proc/self/fd").iterdir())
    return sum(1 for link in links if "socket" in _target(link))


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""
