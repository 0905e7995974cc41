"""A whole virtual machine with a kernel of its own, for what this machine's kernel cannot do.

The hosts of the lab share this machine's kernel, which may have no vlans. This one is emulated
in software, so that it runs wherever the lab does, and boots Debian's own kernel.
"""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tests.lab import cgroups, processes, rootfs, vm_emulator, vm_image, vm_links, vm_needs
from tests.lab.command import SANE
from tests.lab.errors import LabError
from tests.lab.links import exists
from tests.lab.locking import locked
from tests.lab.places import CLIENT_KEY, LOCK, RUN
from tests.lab.vm_frames import Watch
from tests.lab.vm_places import ADDRESS, BRIDGE, CONSOLE, FOLDER, HOST_KEY, NAME, PART, TAPS

READY_SECONDS = 120.0

_PROCESS = FOLDER / "qemu.json"
_KNOWN_HOSTS = FOLDER / "known_hosts"
_ERRORS = FOLDER / "qemu.log"

_OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": "10",
    "IdentitiesOnly": "yes",
    "StrictHostKeyChecking": "yes",
    "UserKnownHostsFile": str(_KNOWN_HOSTS),
    "GlobalKnownHostsFile": "/dev/null",
}

why_not = vm_needs.why_not


class VirtualMachine:
    """The virtual machine, as an LXD host with three NICs; there is one for each machine.

    As a context manager it is up inside, fresh, and gone afterwards. It is a part of the lab, but
    up and down by itself; only `Lab.down` takes it away as well.
    """

    name = NAME
    address = ADDRESS
    console = CONSOLE
    """What it said on its console, kept when it is gone."""

    def __enter__(self) -> VirtualMachine:
        self.down()
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    @property
    def is_up(self) -> bool:
        """Whether it is switched on."""
        return processes.read(_PROCESS) is not None

    def up(self) -> None:
        """Switch it on, unless it is, and return when it can be logged in to.

        Each time it is as fresh as its installer left it: what it writes goes with it. Installs
        missing packages and builds its disk first, where the cache does not have it.

        Raises:
            LabError: this machine cannot run it, a step failed, or it does not come up
        """
        vm_needs.install_missing()
        with locked():
            if not self.is_up:
                image = vm_image.build()
                self._clear()
                FOLDER.mkdir(parents=True)
                _KNOWN_HOSTS.write_text(f"{ADDRESS} {HOST_KEY.with_suffix('.pub').read_text()}")
                vm_links.make()
                CONSOLE.parent.mkdir(parents=True, exist_ok=True)
                CONSOLE.unlink(missing_ok=True)
                command = vm_emulator.prepare(image)
                process = processes.start(command, part=PART, log=_ERRORS)
                processes.write(_PROCESS, process)
        self.wait_ready()

    def down(self) -> None:
        """Remove it from this machine but for its cache, also after a run that was killed.

        Raises:
            LabError: something could not be removed
        """
        with locked():
            self._clear()
            # The lab's own, if it is not up either.
            if RUN.is_dir() and not any(RUN.iterdir()):
                RUN.rmdir()
            if not RUN.exists():
                cgroups.remove()
                LOCK.unlink(missing_ok=True)

    def run(self, command: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run a line of shell in it as root, over SSH, its host key verified.

        Raises:
            LabError: it takes longer than `timeout` seconds
        """
        try:
            return subprocess.run(
                self.ssh(command),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                env=SANE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{NAME}: no end after {timeout:g} s: {command}") from error

    def ssh(self, command: str) -> list[str]:
        """The words of the ssh command that runs a line of shell in it, its host key verified.

        Raises:
            LabError: it is not up
        """
        # Without the bridge, these packets would leave this machine by its default route.
        if not exists(BRIDGE):
            raise LabError(f"{NAME} is not up: there is no {BRIDGE}")
        options = [word for key, value in _OPTIONS.items() for word in ("-o", f"{key}={value}")]
        login = ["-F", "none", "-i", str(CLIENT_KEY), *options, f"root@{ADDRESS}"]
        return ["ssh", *login, command]

    def output(self, command: str, timeout: float = 30) -> str:
        """What a line of shell prints in it.

        Raises:
            LabError: it fails, or takes longer than `timeout` seconds
        """
        done = self.run(command, timeout)
        if done.returncode != 0:
            raise LabError(
                f"{NAME}: exit status {done.returncode}: {command}\n{done.stderr.strip()}"
            )
        return done.stdout.strip()

    def reboot(self, seconds: float = READY_SECONDS) -> None:
        """Let it reboot by itself, and wait until it can be logged in to again.

        Raises:
            LabError: it does not come back within that many seconds
        """
        before = self.boot_id()
        # Whether the answer still comes or the connection dies with the machine is chance.
        with suppress(LabError):
            self.run("systemctl reboot", timeout=20)
        self.wait_ready(seconds, after=before)

    def boot_id(self) -> str:
        """What tells one boot from another."""
        return self.output("cat /proc/sys/kernel/random/boot_id")

    def wait_ready(self, seconds: float = READY_SECONDS, *, after: str | None = None) -> None:
        """Wait until it can be logged in to.

        Arguments:
            seconds: for how long at most
            after: the `boot_id` of before a reboot; what answers with this one is about to go

        Raises:
            LabError: it is off, or it takes longer than that
        """
        deadline = time.monotonic() + seconds
        while True:
            if not self.is_up:
                raise LabError(f"{NAME} is off\n{_last_words(_ERRORS)}\n{_last_words(CONSOLE)}")
            if self._answers():
                try:
                    if self.boot_id() != after:
                        return
                except LabError as error:
                    reason = str(error)
            else:
                reason = f"no SSH on {ADDRESS}"
            if time.monotonic() > deadline:
                words = _last_words(CONSOLE)
                raise LabError(f"{NAME} is not ready after {seconds:g} s: {reason}\n{words}")
            time.sleep(0.2)

    def watch(self, nic: str) -> Watch:
        """The frames that it sends on a NIC from now on, as they come out of its cable."""
        return Watch(TAPS[nic])

    def _answers(self) -> bool:
        if not exists(BRIDGE):
            raise LabError(f"{NAME} is not up: there is no {BRIDGE}")
        try:
            with socket.create_connection((ADDRESS, 22), timeout=1) as connection:
                connection.settimeout(5)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _clear(self) -> None:
        cgroups.kill(PART)
        cgroups.remove(PART)
        vm_links.remove()
        rootfs.remove_tree(FOLDER)


def _last_words(log: Path) -> str:
    try:
        return log.read_text(errors="replace")[-1500:].strip()
    except OSError:
        return ""
