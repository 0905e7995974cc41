"""The connection to an LXD host's API, opened by those who write.

What it is made of (pylxd, requests) is imported when it is opened: most runs find nothing to
write, and need not wait for it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nornir.core.configuration import Config
from nornir.core.inventory import Host

from tasks.certificate import fingerprint_of
from tasks.errors import LxdCertificateError, LxdError
from tasks.run import run_of
from tasks.state import StateFolder
from tasks.transport import lock_host

if TYPE_CHECKING:
    from tasks.lxd_api.api import LxdApi

__all__ = ["LxdConnection", "api_of"]


def api_of(host: Host) -> LxdApi:
    """The API of an LXD host, connected at the first call of a run, with the host's lock held.

    Only who writes asks for it, so that the lock is taken here: also where a task is run by
    itself. It is held until the host's connections are closed.

    Raises :class:`LxdCertificateError` where no certificate of its LXD is pinned yet,
    :class:`LxdUntrustedError`, :class:`LxdUnreachableError`, :class:`LockedError` where another
    controller holds the lock, or what :func:`tasks.transport.lock_host` raises besides.
    """
    run = run_of(host)
    with run.opening(f"{host.name} lxd"):
        if "lxd" not in host.connections:
            intent = run.intent.lxd_hosts[host.name]
            host.open_connection(
                "lxd",
                Config(),
                extras={
                    "name": host.name,
                    "address": intent.api_address,
                    "state": run.state,
                    "on_request": partial(run.count, host.name, "requests"),
                    "on_answer": lambda sent, received: run.carried(
                        host.name, sent=sent, received=received
                    ),
                },
            )
        api: LxdApi = host.connections["lxd"].connection
    lock_host(host)
    return api


class LxdConnection:
    """The Nornir connection plugin ``lxd``; its ``connection`` is an :class:`LxdApi`.

    ``extras`` holds ``name``, ``address``, ``state`` (StateFolder), ``on_request`` and
    ``on_answer`` (see :class:`LxdApi`).
    """

    def __init__(self) -> None:
        self._api: LxdApi | None = None

    def open(  # noqa: PLR0917 - Nornir's signature
        self,
        hostname: str | None,
        username: str | None,
        password: str | None,
        port: int | None,
        platform: str | None,
        extras: dict[str, Any] | None = None,
        configuration: Config | None = None,
    ) -> None:
        """Connect; called by Nornir."""
        from tasks.lxd_api.api import LxdApi  # noqa: PLC0415 - see above

        options = extras or {}
        name, state = options["name"], options["state"]
        certificate, pin = _credentials(name, state)
        self._api = LxdApi(
            name,
            options["address"],
            certificate=certificate,
            pin=pin,
            on_request=options["on_request"],
            on_answer=options["on_answer"],
        )

    def close(self) -> None:
        """Close the connection; called by Nornir."""
        if self._api:
            self._api.close()
            self._api = None

    @property
    def connection(self) -> LxdApi:
        """The connected API."""
        if self._api is None:
            raise LxdError("the connection to its LXD API is closed")
        return self._api


def _credentials(name: str, state: StateFolder) -> tuple[tuple[Path, Path], Path]:
    from tasks.lxd_api.errors import untrusted  # noqa: PLC0415 - see above

    certificate, pin = state.client_certificate(create=False), state.pin(name)
    if certificate is None:
        raise untrusted(name)
    remedy = f"run provision.py --phase lxd --limit {name}: it reads it over SSH"
    if pin is None:
        raise LxdCertificateError(
            "no certificate of its LXD is pinned yet", where=name, remedy=remedy
        )
    try:
        fingerprint_of(pin.read_text())
    except ValueError:
        raise LxdCertificateError(
            f"its pin {pin} is no certificate", where=name, remedy=remedy
        ) from None
    return (certificate.certificate, certificate.key), pin
