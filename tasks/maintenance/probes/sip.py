"""SIP OPTIONS (RFC 3261, section 11): the request's text, and what answers it. Pure."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal

#: Where the branch of an RFC 3261 client begins (8.1.1.7).
MAGIC = "z9hG4bK"
#: The one-letter names of the headers that are read here (7.3.3).
COMPACT = {"v": "via", "i": "call-id", "l": "content-length"}
#: Bytes of a message that are read at most.
LONGEST = 65536


@dataclass(frozen=True)
class Options:
    """One OPTIONS request: to ``address`` and ``port``, from ``sender``, which is ``host:port``.

    What has to be unique in space and time is chosen at random.
    """

    address: str
    port: int
    transport: Literal["udp", "tcp"]
    sender: str
    branch: str = field(default_factory=lambda: MAGIC + secrets.token_hex(12))
    tag: str = field(default_factory=lambda: secrets.token_hex(8))
    call_id: str = field(default_factory=lambda: secrets.token_hex(16))
    cseq: int = field(default_factory=lambda: 1 + secrets.randbelow(2**31 - 1))

    def text(self) -> bytes:
        """The request as it is sent.

        ``rport`` asks for the answer at the port that it came from (RFC 3581). From and To have
        neither port nor transport (RFC 3261, 19.1.1, table 1).
        """
        host = in_uri(self.address)
        uri = f"sip:{host}:{self.port}"
        if self.transport == "tcp":
            uri += ";transport=tcp"
        our_host = self.sender.rpartition(":")[0]
        lines = [
            f"OPTIONS {uri} SIP/2.0",
            f"Via: SIP/2.0/{self.transport.upper()} {self.sender};branch={self.branch};rport",
            "Max-Forwards: 70",
            f"From: <sip:health@{our_host}>;tag={self.tag}",
            f"To: <sip:{host}>",
            f"Call-ID: {self.call_id}",
            f"CSeq: {self.cseq} OPTIONS",
            f"Contact: <sip:health@{self.sender};transport={self.transport}>",
            "Accept: application/sdp",
            "User-Agent: nornir-lxd-fleet",
            "Content-Length: 0",
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    def answered_by(self, message: Message) -> bool:
        """Whether a message is a response to this request: its branch, CSeq and Call-ID
        (RFC 3261, 17.1.3 and 8.1.3.3)."""
        via = message.headers.get("via", "").partition(",")[0]
        branch = re.search(r";\s*branch\s*=\s*([^;\s]+)", via, re.IGNORECASE)
        return (
            message.status > 0
            and branch is not None
            and branch[1].lower() == self.branch.lower()
            and message.headers.get("cseq", "").split() == [str(self.cseq), "OPTIONS"]
            and message.headers.get("call-id") == self.call_id
        )


@dataclass(frozen=True)
class Message:
    """A SIP message as far as it is read here: 0 is the ``status`` of what is no response.

    ``headers`` have the first of each name, in small letters.
    """

    status: int = 0
    reason: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        """Whether it ends the transaction; a provisional response (1xx) does not."""
        return self.status >= 200

    @property
    def length(self) -> int:
        """The bytes of its body. Raises ValueError where that is no number."""
        length = int(self.headers.get("content-length", "0"))
        if not 0 <= length <= LONGEST:
            raise ValueError(f"a body of {length} bytes")
        return length


def parse(head: bytes) -> Message:
    """A message's first line and headers; of anything else a message that is no response."""
    # a header goes on in lines that begin with a space (7.3.1)
    text = re.sub(r"\r?\n[ \t]+", " ", head.decode(errors="replace"))
    first, *lines = re.split(r"\r?\n", text)
    found = re.fullmatch(r"SIP/2\.0 ([1-6]\d\d)(?: (.*))?", first.rstrip(), re.IGNORECASE)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        key = name.strip().lower()
        if colon:
            headers.setdefault(COMPACT.get(key, key), value.strip())
    if found is None:
        return Message(headers=headers)
    return Message(int(found[1]), (found[2] or "").strip(), headers)


def in_uri(address: str) -> str:
    """An address as a URI has it: one of IPv6 in brackets."""
    return f"[{address}]" if ip_address(address).version == 6 else address


def retransmissions(t1: float = 0.5, t2: float = 4.0) -> Iterator[float]:
    """The seconds to wait before each next transmission over UDP (RFC 3261, 17.1.2.2, Timer E),
    as long as no provisional response has come: then it is ``t2`` from one to the next."""
    wait = t1
    while True:
        yield wait
        wait = min(2 * wait, t2)
