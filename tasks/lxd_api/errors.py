"""What requests, urllib3 and pylxd raise, as the errors of this project."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from pylxd.exceptions import ClientConnectionFailed, LXDAPIException

from tasks.errors import (
    DeadlineError,
    FleetError,
    LxdCertificateError,
    LxdConflictError,
    LxdError,
    LxdNotFoundError,
    LxdUnreachableError,
    LxdUntrustedError,
)
from tasks.intent.secret import hide

_FINGERPRINTS = re.compile(r'Expected "([0-9a-f]{64})", got "([0-9a-f]{64}|unknown)"')


@contextmanager
def clear_errors(where: str, address: str, what: str) -> Iterator[None]:
    """Raise our own errors instead of the libraries'.

    Arguments:
        where: the LXD host's inventory name.
        address: ``host:port`` of its API.
        what: the request, such as ``PUT /1.0/profiles/demo``.
    """
    try:
        yield
    except LXDAPIException as error:
        raise refused(error, where, what) from error
    except (ClientConnectionFailed, requests.RequestException, OSError) as error:
        raise unreachable(error, where, address, what) from error


def refused(error: LXDAPIException, where: str, what: str) -> LxdError:
    """LXD's answer to a request that it did not carry out, as an error."""
    status, said = error.response.status_code, hide(str(error).strip())
    if status == 403:
        return untrusted(where)
    if status == 404:
        return LxdNotFoundError(f"LXD does not know it ({what}: {said})", where=where)
    if status == 412:
        return LxdConflictError(
            f"someone else changed it in between ({what})", where=where, remedy="run again"
        )
    return LxdError(f"LXD refused {what}: {said} (HTTP {status})", where=where)


def untrusted(where: str) -> LxdUntrustedError:
    """LXD does not trust our certificate."""
    return LxdUntrustedError(
        "its LXD does not trust this controller's client certificate",
        where=where,
        remedy=f"run provision.py --phase lxd --limit {where}: it adds it over SSH",
    )


def unreachable(error: BaseException, where: str, address: str, what: str) -> FleetError:
    """A request that got no answer, as an error."""
    mismatch = _FINGERPRINTS.search(_whole_story(error))
    if mismatch:
        expected, got = mismatch.groups()
        return LxdCertificateError(
            f"the LXD at {address} presents the certificate SHA256 {got}, pinned is {expected}",
            where=where,
            remedy=f"see that this is the right machine; if its LXD was installed anew, "
            f"run provision.py --phase lxd --limit {where}, which pins what SSH reads there",
        )
    if isinstance(error, requests.ReadTimeout):
        return DeadlineError(
            f"LXD did not answer {what} in time; it may still carry it out",
            where=where,
            remedy="see its load (on the host: systemctl status lxd), then run again",
        )
    return LxdUnreachableError(
        f"the LXD API does not answer at {address} ({_reason(error)})",
        where=where,
        remedy="on the host: systemctl status lxd (snap: snap services lxd), and "
        "lxc config get core.https_address",
    )


def _whole_story(error: BaseException) -> str:
    """The texts of an error and of all that led to it."""
    texts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(texts) < 8:
        texts.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    return " ".join(texts)


def _reason(error: BaseException) -> str:
    """The one reason an operator can act upon, out of urllib3's nested texts."""
    story = _whole_story(error)
    for sign, reason in (
        ("Connection refused", "connection refused"),
        ("timed out", "no answer in time"),
        ("No route to host", "no route to host"),
        ("Network is unreachable", "network is unreachable"),
        ("resolve", "its host name does not resolve"),
        ("Remote end closed connection", "it closed the connection"),
        ("Connection reset", "it reset the connection"),
        ("SSL", "no TLS session"),
    ):
        if sign in story:
            return reason
    return type(error).__name__
