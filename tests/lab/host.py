"""One host: start and stop it, wait for it, run commands in it."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.lab import cgroups, disk, fresh, links, processes, running
from tests.lab.command import SANE
from tests.lab.errors import LabError
from tests.lab.places import HOST_ADDRESSES, HOST_NAMES, LAB_BRIDGE

READY_SECONDS = 60.0


class Host:
    """A host of the lab by its name."""

    def __init__(self, name: str) -> None:
        if name not in HOST_NAMES:
            raise LabError(f"no such host: {name}; there are {', '.join(HOST_NAMES)}")
        self.name = name
        self.address = HOST_ADDRESSES[name]
        self.log = disk.folder(name) / "console.log"
        self._keeper = disk.folder(name) / "keeper.json"

    @property
    def exists(self) -> bool:
        """Whether it has a disk, running or not."""
        return disk.is_there(self.name)

    @property
    def pid(self) -> int | None:
        """The id of its first process, if it runs."""
        process = processes.read(running.init_record(self.name))
        return process.pid if process else None

    def install(self, root: Path) -> None:
        """Make it a fresh host over a root file system; it is off."""
        disk.make(self.name, root)
        fresh.install(self.name, disk.root(self.name))

    def start(self) -> None:
        """Switch it on, unless it runs; it is not ready when this returns."""
        if processes.read(self._keeper):
            return
        command = [sys.executable, "-m", "tests.lab.supervisor", self.name]
        part = running.keeper_part(self.name)
        processes.write(self._keeper, processes.start(command, part=part, log=self.log))

    def stop(self) -> None:
        """Switch it off, hard, within a second; its disk stays."""
        part = running.keeper_part(self.name)
        cgroups.kill(part)
        cgroups.remove(part)
        self._keeper.unlink(missing_ok=True)
        running.clear(self.name)

    def wait_ready(self, seconds: float = READY_SECONDS, *, after: int | None = None) -> None:
        """Wait until sshd answers on its address.

        Arguments:
            seconds: for how long at most
            after: the `pid` of before a reboot; what answers with this one is about to go

        Raises:
            LabError: the lab is not up, the host is off, or it takes longer than that
        """
        deadline = time.monotonic() + seconds
        while self.pid in (None, after) or not self._answers():
            if processes.read(self._keeper) is None:
                raise LabError(f"{self.name} is off\n{self._last_words()}")
            if time.monotonic() > deadline:
                raise LabError(
                    f"{self.name}: no SSH on {self.address} after {seconds:g} s\n"
                    f"{self._last_words()}"
                )
            time.sleep(0.05)

    def _answers(self) -> bool:
        # Without the bridge, these packets would leave this machine by its default route.
        if not links.exists(LAB_BRIDGE):
            raise LabError(f"the lab is not up: there is no {LAB_BRIDGE}")
        try:
            with socket.create_connection((self.address, 22), timeout=1) as connection:
                connection.settimeout(2)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _last_words(self) -> str:
        try:
            return self.log.read_text(errors="replace")[-1000:].strip()
        except OSError:
            return ""

    def exec(
        self,
        command: str | list[str],
        *,
        input: bytes | None = None,  # noqa: A002 - as in subprocess.run
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root inside, by its namespaces and not by SSH, in /root.

        Arguments:
            command: a line for sh, or a program and its arguments
            input: its standard input; empty by default
            timeout: seconds, after which it is killed with all of its process group

        Raises:
            LabError: the host is off, or the command took too long
        """
        init = self.pid
        if init is None:
            raise LabError(f"{self.name} is off")
        words = ["sh", "-c", command] if isinstance(command, str) else command
        enter = ["nsenter", "-t", str(init), "-m", "-u", "-i", "-n", "-p", "-C", "--"]
        inside = ["sh", "-c", 'cd && exec "$@"', "sh", *words]
        script = f'{cgroups.join(init)}exec "$@"'
        process = subprocess.Popen(
            ["sh", "-ec", script, "sh", *enter, *inside],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**SANE, "USER": "root", "LOGNAME": "root", "SHELL": "/bin/sh"},
            start_new_session=True,
        )
        try:
            output, errors = process.communicate(input or b"", timeout)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            line = command if isinstance(command, str) else shlex.join(command)
            raise LabError(f"{self.name}: no end after {timeout:g} s: {line}") from error
        return subprocess.CompletedProcess(
            words,
            process.returncode,
            output.decode(errors="replace"),
            errors.decode(errors="replace"),
        )
