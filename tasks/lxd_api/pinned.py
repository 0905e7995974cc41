"""HTTPS to a server whose one certificate is pinned: verified before anything of ours is sent."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from tasks.certificate import fingerprint_of

#: A pin is no matter of time: OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python does not name.
NO_CHECK_TIME = 0x200000
#: Seconds to ask a server that was refused for its certificate.
ASK_TIMEOUT = 5.0


class PinnedAdapter(HTTPAdapter):
    """requests' way to that server.

    pylxd's own adapter compares fingerprints after the handshake, in which the server has already
    been given the client's certificate. Here it is verified within: an impostor is left without.
    """

    def __init__(self, pin: Path, certificate: tuple[Path, Path]) -> None:
        """``pin`` has the server's certificate, ``certificate`` the client's and its key."""
        self._fingerprint = fingerprint_of(pin.read_text())
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._context.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
        self._context.load_verify_locations(cafile=str(pin))
        self._context.load_cert_chain(*map(str, certificate))
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Give each connection our context, and compare: a pin may hold its whole chain."""
        options["ssl_context"] = self._context
        options["assert_hostname"] = False
        options["assert_fingerprint"] = self._fingerprint
        super().init_poolmanager(*arguments, **options)

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> Any:
        """Send a request; a refused certificate is named, as urllib3 does after a handshake."""
        try:
            return super().send(request, *arguments, **options)
        except requests.exceptions.SSLError as error:
            if "certificate verify failed" not in str(error):
                raise
            got = _presented(str(request.url))
            text = f'Fingerprints did not match. Expected "{self._fingerprint}", got "{got}"'
            raise requests.exceptions.SSLError(text, request=request) from error


def _presented(url: str) -> str:
    """The fingerprint of what a server presents, asked for without any certificate of ours;
    "unknown" where it says no more."""
    place = urlsplit(url)
    address = (str(place.hostname), place.port or 443)
    try:
        return fingerprint_of(ssl.get_server_certificate(address, timeout=ASK_TIMEOUT))
    except (OSError, ValueError):
        return "unknown"
