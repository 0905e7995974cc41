"""A connection with one deadline for all that goes over it.

A socket's own time-out is for each read: a server that sends a byte now and then never meets it.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable

#: Makes a TCP connection to a host and port, given the seconds that there are for it.
Connect = Callable[[str, int, float], socket.socket]


class Stream:
    """A connected socket that takes and gives until ``until`` (monotonic clock, seconds).

    It is as much of a socket as :class:`http.client.HTTPConnection` uses; every method raises
    TimeoutError once the deadline has passed.
    """

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock = sock
        self._until = until

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        self._in_time().sendall(data)

    def recv(self, size: int) -> bytes:
        """What has come, at most ``size`` bytes; empty at the end."""
        return self._in_time().recv(size)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """The same to be read as a file."""
        return io.BufferedReader(_Raw(self))

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def _in_time(self) -> socket.socket:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        self._sock.settimeout(left)
        return self._sock


class _Raw(io.RawIOBase):
    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._stream.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)
