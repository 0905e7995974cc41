"""The keys of a health check in an inventory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography.x509 import Certificate, load_pem_x509_certificates

from tasks.intent.scalars import ADDRESS, NETWORK, SECONDS, WORD, choice, integer, matching, parsed
from tasks.intent.values import Either, ListOf, Never, OneKey, OneOrMore, Reference, Table
from tasks.mistakes import Mistakes, Place


def page(text: str) -> object:
    """The URL of a page. Raises ValueError."""
    parts = urlsplit(text)
    if not re.fullmatch(r"[!-~]+", text) or parts.scheme not in ("http", "https"):
        raise ValueError(text)
    if not parts.hostname or parts.port == 0:
        raise ValueError(text)
    parts.hostname.encode("idna")  # so that it can be looked up
    return text


def certificates(text: str) -> list[Certificate]:
    """One or more certificates in PEM form. Raises ValueError."""
    return load_pem_x509_certificates(text.encode())


@dataclass(frozen=True)
class _Page:
    """The URL of a page; one with a password in it is not even shown."""

    url = parsed(page, "the URL of a page", "write http://ADDRESS:PORT/PATH, or https")
    password = Never(
        "a password never stands in the inventory", "name a page that is answered without one"
    )

    def clean(self, value: object, place: Place, mistakes: Mistakes) -> Any:
        """What is right of a value; see :class:`tasks.intent.values.Value`."""
        with_password = isinstance(value, str) and re.match(
            r"[a-z]+://[^/?#]*@", value, re.IGNORECASE
        )
        return (self.password if with_password else self.url).clean(value, place, mistakes)


PERCENT = integer(1, 100, "a percentage")
CERTIFICATES = Reference(
    parsed(certificates, "a certificate", "write it whole (PEM), or {file: PATH}"), kinds=("file",)
)
_COMMAND = matching(r"[^\0]*[^\0\s][^\0]*", "a command", "write what sh shall run")
_MOUNT_POINT = matching(
    r"/|(/(?!\.\.?(/|$))[^/\s\\]+)+",
    "a mount point",
    "write its absolute path, such as /var/lib/lxd",
)
_STATUS = integer(200, 699, "a final status of SIP")


HEALTH = ListOf(
    OneKey(
        {
            "service": WORD,
            "port": integer(1, 65535, "a TCP port"),
            "disk": Either(
                mapping=Table({"path": _MOUNT_POINT, "percent": PERCENT}, needs=("path",)),
                other=PERCENT,
            ),
            "command": Either(
                mapping=Table(
                    {"run": _COMMAND, "seconds": integer(1, 600, "a number of seconds")},
                    needs=("run",),
                ),
                other=_COMMAND,
            ),
            "memory": PERCENT,
            "clock": SECONDS,
            "http": Table(
                {
                    "url": _Page(),
                    "status": OneOrMore(integer(100, 599, "a status of HTTP")),
                    "ca": CERTIFICATES,
                },
                needs=("url",),
            ),
            "sip": Table(
                {
                    "address": ADDRESS,
                    "network": NETWORK,
                    "port": integer(1, 65535, "a port"),
                    "transport": choice("udp", "tcp"),
                    "status": OneOrMore(_STATUS),
                }
            ),
        }
    )
)
