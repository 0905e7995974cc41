"""A small SIP server for tests: it answers as RFC 3261 has it, or wrongly where it is told to."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

#: Given a request and how many came before, the messages that are sent back.
Answers = Callable[[str, int], list[bytes]]


def response(request: str, status: str, **changed: str) -> bytes:
    """A response to a request: its Via, From, To, Call-ID and CSeq as they came (8.2.6.2).

    ``changed`` replaces parts of them: what is to be found, and what stands there instead.
    """
    lines = request.split("\r\n")
    kept = [line for line in lines if line.split(":")[0] in ("Via", "From", "Call-ID", "CSeq")]
    (to,) = (line for line in lines if line.startswith("To:"))
    text = "\r\n".join([f"SIP/2.0 {status}", *kept, f"{to};tag=there", "Content-Length: 0", "", ""])
    for old, new in changed.items():
        text = re.sub(old, new, text)
    return text.encode()


def well(request: str, _: int) -> list[bytes]:
    """A final response to every request."""
    return [response(request, "200 OK")]


class SipServer:
    """A SIP server, a context manager; ``requests`` are those that came."""

    def __init__(self, transport: str, answers: Answers = well, address: str = "127.0.0.1") -> None:
        self.requests: list[str] = []
        self._answers = answers
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.bind((address, 0))
        self.port: int = self._socket.getsockname()[1]
        if transport == "tcp":
            self._socket.listen()
        serve = self._serve_udp if transport == "udp" else self._serve_tcp
        self._thread = threading.Thread(target=serve, daemon=True)

    def __enter__(self) -> SipServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _take(self, data: bytes) -> list[bytes]:
        request = data.decode()
        self.requests.append(request)
        return self._answers(request, len(self.requests) - 1)

    def _serve_udp(self) -> None:
        with suppress(OSError):
            while True:
                data, sender = self._socket.recvfrom(65536)
                if not data:
                    return
                for message in self._take(data):
                    self._socket.sendto(message, sender)

    def _serve_tcp(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection, suppress(OSError):
                    connection.settimeout(10)
                    data = b""
                    while not data.endswith(b"\r\n\r\n"):
                        data += connection.recv(1)
                    for message in self._take(data):
                        connection.sendall(message)
                    connection.recv(1)  # until the client is done
