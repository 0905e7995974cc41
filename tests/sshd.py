"""A real sshd on a port of this machine, for what needs no lab: keys, refusals, broken lines."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import time
from pathlib import Path

from tasks.ssh.connection import SshShell, open_shell
from tasks.ssh.host_keys import HostKeySources

BINARY = Path("/usr/sbin/sshd")


def why_no_sshd() -> str:
    """Why this machine cannot run the tests' sshd; empty where it can."""
    if not BINARY.exists():
        return "no sshd here (apt-get install openssh-server)"
    if os.geteuid():
        return "sshd logs others in as root only"
    return ""


def make_key(
    path: Path, *, kind: str = "ed25519", passphrase: str = "", form: str = "RFC4716"
) -> Path:
    """A new SSH key in ``path``, its public half beside it; ``form`` as ssh-keygen's -m has it."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-m", form, "-f", str(path)],
        check=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    return path


def fingerprint(public: Path) -> str:
    """``SHA256:...`` of a public key, as ssh-keygen shows it."""
    line = subprocess.run(
        ["ssh-keygen", "-lf", str(public)], check=True, timeout=30, capture_output=True, text=True
    ).stdout
    return line.split()[1]


class Sshd:
    """sshd with host keys of its own on 127.0.0.1, letting ``user_key`` in as this user."""

    user = pwd.getpwuid(os.geteuid()).pw_name

    def __init__(self, folder: Path, *, kinds: tuple[str, ...] = ("ed25519", "ecdsa")) -> None:
        self.folder = folder
        self.host_keys = {kind: make_key(folder / f"host_{kind}", kind=kind) for kind in kinds}
        self.user_key = make_key(folder / "user")
        (folder / "authorized").write_text(self.public(self.user_key))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def public(key: Path) -> str:
        """The public key line of a key."""
        return key.with_name(f"{key.name}.pub").read_text()

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            *(f"HostKey {key}" for key in self.host_keys.values()),
            f"AuthorizedKeysFile {self.folder / 'authorized'}",
            "StrictModes no",
            "UsePAM no",
            "PidFile none",
            "MaxStartups 1000",  # by default it refuses some of many at once, by chance
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
        ]
        config = self.folder / "sshd_config"
        config.write_text("\n".join(settings) + "\n")
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd refuses to run without it
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(BINARY), "-D", "-e", "-f", str(config)],
                stderr=log,
                # the login shell's start-up files of this machine are no part of these tests
                env={"PATH": os.environ["PATH"]},
            )
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise TimeoutError((self.folder / "log").read_text())

    def stop(self) -> None:
        """Stop it; connections that are open stay."""
        if self._process:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def cut(self) -> None:
        """End all open connections at once, without a word."""
        assert self._process
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGKILL)

    def sources(self, **options: object) -> HostKeySources:
        """Host keys of a machine called box, by default its own; nothing of this user's."""
        defaults: dict[str, object] = {
            "name": "box",
            "declared": self.public(self.host_keys["ed25519"]),
            "user": None,
        }
        return HostKeySources(**{**defaults, **options})  # type: ignore[arg-type]  # see above

    def shell(self, **options: object) -> SshShell:
        """A shell on it."""
        return open_shell(
            "127.0.0.1",
            self.port,
            self.user,
            sources=self.sources(**options),
            key_file=self.user_key,
        )


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
