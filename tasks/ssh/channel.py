"""One command on one SSH channel: its input fed, both its outputs drained, within a deadline."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import paramiko

from tasks.errors import CommandError, DeadlineError, UnreachableError
from tasks.shell import Completed

#: Seconds in which output may still come after a command's end, from what it left behind running.
AFTERMATH = 1.0
#: Seconds between two looks at what raises no event on the channel: its exit status.
TICK = 0.25
CHUNK = 1 << 16


class Execution:
    """A command running on a channel.

    paramiko's own time-outs are per read, and reading one stream to its end before the other
    dead-locks once the other is full (2 MB): here both are drained as they come, by one thread,
    while another feeds the input. With ``to``, standard output goes there piece by piece instead of
    being kept.
    """

    def __init__(
        self,
        channel: paramiko.Channel,
        where: str,
        to: Callable[[bytes], object] | None = None,
    ) -> None:
        self.channel = channel
        self.where = where
        self.stdout = bytearray()
        self.stderr = bytearray()
        self._to = to or self.stdout.extend
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)

    def feed(self, data: bytes, *, end: bool = True) -> None:
        """Send ``data`` as standard input without waiting for it, then end the input if asked."""

        def send() -> None:
            with suppress(OSError, EOFError, paramiko.SSHException):  # the command ended unread
                self.channel.sendall(data)
                if end:
                    self.channel.shutdown_write()

        threading.Thread(target=send, daemon=True, name=f"stdin of {self.where}").start()

    def wait(self, until: float) -> Completed:
        """Wait for the end until ``until`` (monotonic clock, seconds) and return all output.

        Raises :class:`DeadlineError` or :class:`UnreachableError`; the channel is closed then.
        """
        try:
            ended: float | None = None
            while not self._is_over():
                if self._drain():
                    ended = None
                elif self.channel.exit_status_ready():
                    ended = ended or time.monotonic()
                    if time.monotonic() - ended > AFTERMATH:
                        break
                self._rest(until)
            self._drain()
            return Completed(self._status(), bytes(self.stdout), bytes(self.stderr))
        finally:
            self.channel.close()

    def first_line(self, until: float) -> str:
        """The first line of standard output, as soon as it is there; "" where the command ended
        without one. Raises :class:`DeadlineError`."""
        while b"\n" not in self.stdout and not self._is_over():
            if not self._drain():
                self._rest(until)
        self._drain()
        return bytes(self.stdout).split(b"\n", 1)[0].decode(errors="replace")

    def _is_over(self) -> bool:
        channel = self.channel
        if channel.recv_ready() or channel.recv_stderr_ready():
            return False
        return bool(channel.closed or (channel.eof_received and channel.exit_status_ready()))

    def _drain(self) -> bool:
        """Take what has come; whether anything had."""
        anything = False
        while self.channel.recv_ready():
            self._to(self.channel.recv(CHUNK))
            anything = True
        while self.channel.recv_stderr_ready():
            self.stderr += self.channel.recv_stderr(CHUNK)
            anything = True
        return anything

    def _rest(self, until: float) -> None:
        """Wait for something on the channel, at most until the deadline."""
        left = until - time.monotonic()
        if left <= 0:
            self.channel.close()
            raise DeadlineError(
                "the command did not end within its deadline and may still be running",
                where=self.where,
                remedy="look at the machine's load and processes, then run again",
            )
        self._poll.poll(min(left, TICK) * 1000)
        if self.channel.eof_received and not self.channel.closed:
            # from now on the poll answers at once, so the status is waited for by itself
            self.channel.status_event.wait(min(left, TICK))

    def _status(self) -> int:
        if self.channel.status_event.is_set() and self.channel.exit_status >= 0:
            return self.channel.exit_status
        transport = self.channel.get_transport()
        transport.join(TICK)  # a broken connection closes its channels a moment before it ends
        if transport.is_active():
            raise CommandError(
                "the command was ended by a signal", where=self.where, remedy="run again"
            )
        raise UnreachableError(
            "the SSH connection broke while a command ran",
            where=self.where,
            remedy="the machine may have rebooted or lost its network; run again",
        )
