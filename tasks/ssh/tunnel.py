"""A TCP connection over an SSH channel as a socket of the system, for what takes nothing less."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import paramiko

CHUNK = 1 << 16


def as_socket(channel: paramiko.Channel) -> socket.socket:
    """A socket whose other end is the channel's; closing it closes the channel.

    TLS and time-outs need a descriptor of the system, which a channel has not got. Two threads
    carry the bytes, each until one end of its way is closed.
    """
    ours, theirs = socket.socketpair()
    channel.settimeout(None)
    # the connection may end beneath at any moment, which closing the channel complains of as well
    end = (OSError, EOFError, paramiko.SSHException)

    def outwards() -> None:
        with suppress(*end):
            while data := theirs.recv(CHUNK):
                channel.sendall(data)
        with suppress(*end):
            channel.close()

    def inwards() -> None:
        with suppress(*end):
            while data := channel.recv(CHUNK):
                theirs.sendall(data)
        with suppress(OSError):
            theirs.shutdown(socket.SHUT_WR)

    def carry() -> None:
        inside = threading.Thread(target=inwards, daemon=True, name="from a tunnel")
        inside.start()
        outwards()
        inside.join()
        theirs.close()

    threading.Thread(target=carry, daemon=True, name="into a tunnel").start()
    return ours
