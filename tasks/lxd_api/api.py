"""The LXD API of a host over HTTPS, on pylxd: pinned, bounded in time, errors made clear.

The REST API: https://documentation.ubuntu.com/lxd/en/stable-5.0/rest-api/.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from requests_toolbelt import MultipartEncoder  # type: ignore[import-untyped]

from tasks.errors import LxdConflictError, LxdNotFoundError
from tasks.fingerprint import image_fingerprint
from tasks.intent.secret import hide_from_now
from tasks.lxd_api.operation import follow
from tasks.lxd_api.session import Json, LxdSession, Method, OnAnswer


class LxdApi:
    """The API of one LXD host; threads may share it.

    ``path`` is always the whole one, like ``/1.0/profiles/demo``. Every method raises out of
    :class:`LxdNotFoundError`, :class:`LxdConflictError`, :class:`LxdUntrustedError`,
    :class:`LxdCertificateError`, :class:`LxdUnreachableError`, :class:`LxdError` and
    :class:`DeadlineError`.

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
        on_request: Callable[[], None] = lambda: None,
        on_answer: OnAnswer = lambda sent, received: None,
    ) -> None:
        self.where = where
        self._session = LxdSession(
            where,
            address,
            certificate=certificate,
            pin=pin,
            on_request=on_request,
            on_answer=on_answer,
        )

    def get(self, path: str) -> tuple[Any, str]:
        """An object as LXD has it, and its ETag ("" where it has none)."""
        response = self._session.request("GET", path)
        return response.json()["metadata"], response.headers.get("ETag", "")

    def post(
        self, path: str, body: Json, *, deadline: float = 60.0, stall: float | None = None
    ) -> Any:
        """Create an object; waits for the operation. Returns its metadata.

        With ``stall``, an operation that makes no progress for so many seconds is ended, which
        raises :class:`LxdStalledError`.
        """
        return self._carry_out("POST", path, body, deadline=deadline, stall=stall)

    def put(self, path: str, body: Json, *, etag: str | None = None, deadline: float = 60.0) -> Any:
        """Replace an object, only if it still has ``etag`` where one is given."""
        return self._carry_out("PUT", path, body, etag=etag, deadline=deadline)

    def patch(self, path: str, body: Json) -> Any:
        """Change the named keys of an object."""
        return self._carry_out("PATCH", path, body, deadline=60.0)

    def delete(self, path: str, *, deadline: float = 60.0) -> Any:
        """Delete an object; waits for the operation."""
        return self._carry_out("DELETE", path, deadline=deadline)

    def update(self, path: str, change: Callable[[Json], Json], *, deadline: float = 60.0) -> Any:
        """GET, change, PUT with If-Match; once more where someone else was faster.

        ``change`` gets the object and returns what it shall be; nothing is written where that is
        the same. Raises :class:`LxdConflictError` after the second conflict.
        """
        try:
            return self._update(path, change, deadline)
        except LxdConflictError:
            return self._update(path, change, deadline)

    def upload_image(
        self,
        metadata: Path,
        rootfs: Path | None,
        *,
        alias: str,
        properties: dict[str, str],
        deadline: float = 600.0,
    ) -> str:
        """Have the image of these files on the host, under ``alias``; returns its fingerprint.

        An image that is there already is not sent again, so a run that was killed between
        upload and alias is finished by the next one.
        """
        fingerprint = image_fingerprint(metadata, rootfs)
        if not self.has_image(fingerprint):
            self._send_image(metadata, rootfs, properties, deadline)
        self.point_alias(alias, fingerprint)
        return fingerprint

    def has_image(self, fingerprint: str) -> bool:
        """Whether the host has an image of that fingerprint."""
        return self._has(f"/1.0/images/{fingerprint}")

    def image_secret(self, fingerprint: str) -> str:
        """A secret with which another LXD may fetch an image from here, once and within seconds.

        (LXD 5.0 REST API, ``POST /1.0/images/{fingerprint}/secret``.)
        """
        answer = self._session.request("POST", f"/1.0/images/{fingerprint}/secret").json()
        secret = str(answer["metadata"]["metadata"]["secret"])
        hide_from_now(secret)
        return secret

    def offer_migration(self, instance: str) -> tuple[str, dict[str, str]]:
        """Have LXD offer a stopped instance, with its snapshots, to another LXD that pulls it.

        Returns the operation's path and the secrets that the other one shows, each valid for this
        one time. (LXD 5.0 REST API, ``POST /1.0/instances/{name}`` with ``migration``.)
        """
        body = {"name": instance, "migration": True, "live": False}
        answer = self._session.request("POST", f"/1.0/instances/{instance}", body).json()
        secrets = {str(k): str(v) for k, v in answer["metadata"]["metadata"].items()}
        for secret in secrets.values():
            hide_from_now(secret)
        return str(answer["operation"]), secrets

    def point_alias(self, alias: str, fingerprint: str, *, description: str = "") -> None:
        """Have an alias point to an image, whether it is new or pointed elsewhere."""
        target = {"target": fingerprint, "description": description}
        if not self._has(f"/1.0/images/aliases/{alias}"):
            self.post("/1.0/images/aliases", {**target, "name": alias})
        else:
            self.update(f"/1.0/images/aliases/{alias}", lambda now: {**now, **target})

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def _update(self, path: str, change: Callable[[Json], Json], deadline: float) -> Any:
        now, etag = self.get(path)
        wanted = change(copy.deepcopy(now))
        return None if wanted == now else self.put(path, wanted, etag=etag, deadline=deadline)

    def _has(self, path: str) -> bool:
        try:
            self.get(path)
        except LxdNotFoundError:
            return False
        return True

    def _send_image(
        self, metadata: Path, rootfs: Path | None, properties: dict[str, str], deadline: float
    ) -> None:
        with ExitStack() as files:
            image: Any = files.enter_context(metadata.open("rb"))
            headers = {"X-LXD-filename": metadata.name, "X-LXD-properties": urlencode(properties)}
            if rootfs:
                kind = "application/octet-stream"
                root = files.enter_context(rootfs.open("rb"))
                image = MultipartEncoder(  # metadata has to come first
                    [
                        ("metadata", (metadata.name, image, kind)),
                        ("rootfs", (rootfs.name, root, kind)),
                    ]
                )
                headers["Content-Type"] = image.content_type
            self._carry_out("POST", "/1.0/images", data=image, headers=headers, deadline=deadline)

    def _carry_out(
        self,
        method: Method,
        path: str,
        body: Json | None = None,
        *,
        deadline: float,
        stall: float | None = None,
        **options: Any,
    ) -> Any:
        until = time.monotonic() + deadline
        answer = self._session.request(method, path, body, answer=deadline, **options).json()
        if answer.get("type") == "async":
            what = f"{method} {path}"
            return follow(self._session, answer["operation"], what, until, stall=stall)
        return answer["metadata"]
