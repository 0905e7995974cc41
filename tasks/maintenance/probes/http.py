"""Ask for a page and see how it answers."""

from __future__ import annotations

import http.client
import ssl
import time
from typing import cast
from urllib.parse import SplitResult, urlsplit

from tasks.errors import FleetError
from tasks.intent.health import HttpCheck
from tasks.maintenance.probes.stream import Connect, Stream

#: Seconds for all of it: connecting, TLS, the request, status and headers of the answer.
DEADLINE = 10.0
HEADERS = {"User-Agent": "nornir-lxd-fleet", "Accept": "*/*", "Connection": "close"}


def probe_http(check: HttpCheck, connect: Connect, *, deadline: float = DEADLINE) -> str:
    """What is wrong with a page, in words; empty where it answers with a status expected.

    One GET; a redirect is not followed (RFC 9110, 15.4), its status is the answer. The body is
    not read. A certificate is verified against the check's ``ca`` or the system's trust store.
    """
    url = urlsplit(check.url)
    until = time.monotonic() + deadline
    try:
        status = _status(url, check, connect, until)
    except ssl.SSLCertVerificationError as error:
        problem = f"its certificate is not trusted ({error.verify_message})"
    except FleetError as error:
        problem = error.what
    except TimeoutError:
        problem = f"no answer within {deadline:g} s"
    except (http.client.HTTPException, ssl.SSLError, OSError) as error:
        problem = f"no answer over HTTP ({_said(error)})"
    else:
        if status in check.status:
            return ""
        problem = f"answers {status} {http.client.responses.get(status, '')}".rstrip()
    return f"http {check.url}: {problem}, expected {_expected(check.status)}"


def target_of(url: SplitResult) -> str:
    """What a request names (RFC 9112, 3.2.1): path and query, without the fragment."""
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _status(url: SplitResult, check: HttpCheck, connect: Connect, until: float) -> int:
    name = url.hostname or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    sock = connect(name, port, until - time.monotonic())
    with sock:
        connection: http.client.HTTPConnection
        if url.scheme == "https":
            context = ssl.create_default_context(cadata=check.ca)
            sock.settimeout(max(0.1, until - time.monotonic()))
            sock = context.wrap_socket(sock, server_hostname=name)
            connection = http.client.HTTPSConnection(name, port, context=context)
        else:
            connection = http.client.HTTPConnection(name, port)
        with sock:
            # all that it uses of a socket is in Stream
            connection.sock = cast("ssl.SSLSocket", Stream(sock, until))
            connection.request("GET", target_of(url), headers=HEADERS)
            return connection.getresponse().status


def _said(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(reason.split())[:200]


def _expected(statuses: tuple[int, ...]) -> str:
    return " or ".join(map(str, statuses))
