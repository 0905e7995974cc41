"""Requests to the LXD API of one host: pinned, each bounded in time, threads side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import requests
from pylxd import Client

from tasks.lxd_api.errors import clear_errors, untrusted
from tasks.lxd_api.pinned import PinnedAdapter

os.environ.setdefault("PYLXD_WARNINGS", "none")  # of attributes that pylxd does not know yet

Json = dict[str, Any]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
#: Is told of each answer: the bytes of the request's body, and of its own.
OnAnswer = Callable[[int, int], object]

#: Seconds for a TCP and TLS connection, and for the answer to a request.
CONNECT_TIMEOUT = 5.0
ANSWER_TIMEOUT = 60.0


class LxdSession:
    """Connections of pylxd to one LXD host; they are opened as threads need them.

    requests' sessions are not for two threads at once: a request takes one and gives it back.

    Arguments:
        where: the host's inventory name.
        address: ``host:port`` of its API.
        certificate: files with the controller's client certificate and key.
        pin: file with the one server certificate that is accepted.
        on_request: called once for each request.
        on_answer: called once for each answer with the bytes of both bodies.
    """

    def __init__(
        self,
        where: str,
        address: str,
        *,
        certificate: tuple[Path, Path],
        pin: Path,
        on_request: Callable[[], None],
        on_answer: OnAnswer,
    ) -> None:
        self.where = where
        self.address = address
        self._certificate = certificate
        self._pin = pin
        self._on_request = on_request
        self._on_answer = on_answer
        self._idle: list[Client] = []
        with self._client():
            pass

    def close(self) -> None:
        """Close all connections."""
        while self._idle:
            self._idle.pop().api.session.close()

    def request(
        self,
        method: Method,
        path: str,
        body: Json | None = None,
        *,
        etag: str | None = None,
        answer: float = ANSWER_TIMEOUT,
        **options: Any,
    ) -> requests.Response:
        """Send one request and return LXD's answer, waiting ``answer`` seconds for it at most.

        ``path`` is the whole one, ``options`` are those of requests.
        """
        if body is not None:
            options["json"] = body
        if etag:
            options["headers"] = {"If-Match": etag}
        options["timeout"] = (CONNECT_TIMEOUT, max(answer, CONNECT_TIMEOUT))
        with self._client() as client, clear_errors(self.where, self.address, f"{method} {path}"):
            node = client.api
            for part in path.removeprefix("/1.0").strip("/").split("/"):
                node = node[part] if part else node
            self._on_request()
            response: requests.Response = getattr(node, method.lower())(**options)
            return response

    def _count_bytes(self, response: requests.Response, **_: Any) -> None:
        sent = int(response.request.headers.get("Content-Length", 0))
        self._on_answer(sent, len(response.content))

    @contextmanager
    def _client(self) -> Iterator[Client]:
        """A connected client that no other thread uses meanwhile."""
        client = self._idle.pop() if self._idle else self._connect()
        try:
            yield client
        finally:
            self._idle.append(client)

    def _connect(self) -> Client:
        endpoint = f"https://{self.address}"
        session = requests.Session()
        session.trust_env = False  # REQUESTS_CA_BUNDLE would override the pin, proxies be used
        session.verify = str(self._pin)
        session.mount(endpoint, PinnedAdapter(self._pin, self._certificate))
        session.hooks["response"].append(self._count_bytes)
        self._on_request()
        with clear_errors(self.where, self.address, "GET /1.0"):
            client = Client(
                endpoint=endpoint,
                session=session,
                timeout=(CONNECT_TIMEOUT, ANSWER_TIMEOUT),
            )
        if not client.trusted:
            raise untrusted(self.where)
        return client
