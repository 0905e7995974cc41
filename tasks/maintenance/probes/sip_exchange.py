"""Send SIP OPTIONS and wait for the final response, over UDP or TCP."""

from __future__ import annotations

import errno
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

from tasks.errors import FleetError
from tasks.intent.health import SipCheck
from tasks.maintenance.probes.sip import LONGEST, Message, Options, in_uri, parse, retransmissions
from tasks.maintenance.probes.stream import Connect, Stream

#: Seconds until the final response has to be there. A transaction of RFC 3261 waits for 32.
DEADLINE = 5.0
#: Seconds between two transmissions once a provisional response has come (17.1.2.2).
T2 = 4.0
#: Seconds for a TCP connection.
CONNECT_DEADLINE = 10.0
NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EACCES, errno.EPERM)
FROM_HERE = "UDP is asked from the controller, it does not go through SSH"


@dataclass
class _Exchange:
    """One request on its way: the answer, how often it was sent, what came besides."""

    answer: Message | None = None
    sent: int = 0
    provisional: bool = False
    ignored: int = 0
    closed: bool = False

    def take(self, request: Options, message: Message) -> bool:
        """Look at a message that came; whether it is the answer."""
        if not request.answered_by(message):
            self.ignored += 1
        elif message.final:
            self.answer = message
        else:
            self.provisional = True
        return self.answer is not None

    def silence(self, deadline: float) -> str:
        """What is to be said where no answer came."""
        if self.closed:
            return "it closed the connection without a final response"
        requests = "1 request" if self.sent == 1 else f"{self.sent} requests"
        parts = [f"no final response within {deadline:g} s to {requests}"]
        if self.provisional:
            parts.append("only provisional ones")
        if self.ignored:
            parts.append(f"{self.ignored} of what came does not answer it")
        return ", ".join(parts)


def probe_sip(check: SipCheck, connect: Connect, *, deadline: float = DEADLINE) -> str:
    """What is wrong with a SIP server, in words; empty where it answers as expected.

    Over UDP from this machine alone, sent again as RFC 3261 has it (17.1.2.2); over TCP once, on
    what ``connect`` gives. ``deadline`` is in seconds, connecting over TCP not included.
    """
    try:
        if check.transport == "udp":
            exchange = _over_udp(check, deadline)
        else:
            exchange = _over_tcp(check, connect, deadline)
    except FleetError as error:
        problem = error.what
    except ConnectionRefusedError:
        problem = "nothing listens there"
    except ValueError as error:
        problem = f"what it answers is no SIP ({error})"
    except OSError as error:
        problem = f"no answer ({error.strerror or error})"
        if check.transport == "udp" and error.errno in NO_WAY:
            problem = f"it cannot be reached from here ({error.strerror}); {FROM_HERE}"
    else:
        if exchange.answer is None:
            problem = exchange.silence(deadline)
            if check.transport == "udp" and not exchange.provisional:
                problem += f"; {FROM_HERE}"
        elif 200 <= exchange.answer.status < 300 or exchange.answer.status in check.status:
            return ""
        else:
            reason = "".join(c for c in exchange.answer.reason if c.isprintable())[:60]
            problem = f"answers {exchange.answer.status} {reason}".rstrip()
    where = f"sip {in_uri(check.address)}:{check.port}/{check.transport}"
    return f"{where}: {problem}, expected {' or '.join(['2xx', *map(str, check.status)])}"


def _over_udp(check: SipCheck, deadline: float) -> _Exchange:
    exchange = _Exchange()
    until = time.monotonic() + deadline
    family = socket.AF_INET6 if ip_address(check.address).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        # connected, it hears of a port that is closed, and of nobody but whom it asked
        sock.connect((check.address, check.port))
        request = Options(check.address, check.port, "udp", _sender(sock))
        waits = retransmissions()
        again = time.monotonic()
        while (now := time.monotonic()) < until:
            if now >= again:
                sock.send(request.text())
                exchange.sent += 1
                again = now + (T2 if exchange.provisional else next(waits))
            sock.settimeout(max(0.001, min(again, until) - now))
            try:
                data = sock.recv(LONGEST)
            except TimeoutError:
                continue
            if exchange.take(request, parse(data.partition(b"\r\n\r\n")[0])):
                break
    return exchange


def _over_tcp(check: SipCheck, connect: Connect, deadline: float) -> _Exchange:
    with connect(check.address, check.port, CONNECT_DEADLINE) as sock:
        exchange = _Exchange(sent=1)
        stream = Stream(sock, time.monotonic() + deadline)
        request = Options(check.address, check.port, "tcp", _sender(sock))
        with suppress(TimeoutError):
            stream.sendall(request.text())
            exchange.closed = not any(
                exchange.take(request, message) for message in _messages(stream)
            )
    return exchange


def _messages(stream: Stream) -> Iterator[Message]:
    """The messages of a stream until its end; Content-Length says where each ends (18.3)."""
    buffer = b""
    while True:
        buffer = buffer.lstrip(b"\r\n")  # between messages there may be empty lines (7.5)
        head, end, rest = buffer.partition(b"\r\n\r\n")
        if end and len(rest) >= (message := parse(head)).length:
            buffer = rest[message.length :]
            yield message
        elif len(buffer) > 2 * LONGEST:
            raise ValueError("a message without an end")
        elif data := stream.recv(LONGEST):
            buffer += data
        else:
            return


def _sender(sock: socket.socket) -> str:
    """Where a request comes from, as its Via and Contact say.

    Through a tunnel that is not known, nor needed: the answer comes over the same connection
    (RFC 3261, 18.2.2). A name that is nobody's stands there then, as in RFC 7118, section 5.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return f"{secrets.token_hex(6)}.invalid:5060"
    host, port = sock.getsockname()[:2]
    return f"{in_uri(host)}:{port}"
