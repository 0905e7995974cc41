"""The lock on an LXD host that keeps two controllers apart, held over SSH."""

from __future__ import annotations

import os
import secrets
import shlex
import socket
import threading

from tasks.errors import CommandError, LockedError
from tasks.ssh.connection import Held, SshShell

LOCK_FILE = "/run/lock/nornir-lxd-fleet.lock"
#: Seconds between two signs of life, and after how many without one the host lets the lock go.
BEAT = 15
PATIENCE = 60
#: Seconds that a run which has just ended may need to let go of it on the host's side.
MOMENT = 3
#: Seconds to take the lock.
DEADLINE = 20.0
#: Names this process: a lock that an earlier, broken connection of it still holds is its own.
TOKEN = secrets.token_hex(8)

# The holder writes its process id, token and who it is into the file. A connection that broke
# without a word would hold the lock until sshd notices, hours later: so signs of life come over
# standard input, and the same controller, connected anew, ends its own old holder by its
# recorded id. Descriptor 9 is closed for all children, or they would keep the lock.
SCRIPT = """
exec 9>>{file} || exit 1
if ! flock -n 9; then
  read -r pid token holder <{file}
  [ "$token" = {token} ] && kill "$pid"
  flock -w {moment} 9 || {{ echo "held $holder"; exit 1; }}
fi
echo "$$ {token} "{holder} >{file}
echo locked
while [ -n "$(exec 9>&-; timeout {patience} dd bs=1 count=1 2>/dev/null)" ]; do :; done
"""


class HostLock:
    """An LXD host's lock, held until closed or until the SSH connection ends."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._closed = threading.Event()
        threading.Thread(target=self._beat, daemon=True, name="host lock").start()

    @property
    def alive(self) -> bool:
        """Whether it is held, as far as is known here."""
        return not self._closed.is_set()

    def close(self) -> None:
        """Release the lock."""
        self._closed.set()
        self._held.close()

    def _beat(self) -> None:
        while not self._closed.wait(BEAT):
            if not self._held.send(b"."):
                self._closed.set()  # the host has let it go


def take_lock(shell: SshShell) -> HostLock:
    """Take the host's lock over this connection, or take it over from a broken one of our own.

    Raises :class:`LockedError` naming the host and the holder where another controller has it.
    """
    holder = f"{os.environ.get('USER', 'root')}@{socket.gethostname()} process {os.getpid()}"
    script = SCRIPT.format(
        file=LOCK_FILE,
        token=TOKEN,
        holder=shlex.quote(holder),
        moment=MOMENT,
        patience=PATIENCE,
    )
    held = shell.hold(script, deadline=DEADLINE)
    if held.line == "locked":
        return HostLock(held)
    held.close()
    if held.line.startswith("held"):
        by = held.line.removeprefix("held").strip()
        raise LockedError(
            f"another run{f' ({by})' if by else ''} holds the host's lock",
            where=shell.where,
            remedy="wait until it has ended",
        )
    raise CommandError(
        f"the lock {LOCK_FILE} cannot be taken: {held.complaint}",
        where=shell.where,
        remedy="see whether the file can be written there and flock(1) is installed",
    )
