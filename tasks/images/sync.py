"""The Nornir task that brings the images of an LXD host to what the inventory declares."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nornir.core.task import Result, Task

from tasks.apply import apply_all
from tasks.errors import LxdError
from tasks.facts.lxd import lxd_facts_of
from tasks.fingerprint import image_fingerprint
from tasks.images.plan import ImageWrite, plan_images
from tasks.intent.model import Image
from tasks.lxd_api.connection import api_of
from tasks.outcome import converge
from tasks.ownership import IMAGE_PROPERTY
from tasks.plan import Plan, Step
from tasks.run import run_of

if TYPE_CHECKING:
    from tasks.lxd_api.api import LxdApi

PHASE = "images"
#: Seconds for one upload, or for LXD's download from an image server.
DEADLINE = 600.0


def sync_images(task: Task, dry_run: bool | None = None, prune: bool = False) -> Result:
    """Upload or fetch the images that an LXD host declares, each under its alias.

    Arguments:
        dry_run: plan only; None follows Nornir's own setting.
        prune: delete images that we brought and that no longer have a declared alias.

    The Result holds the record of :func:`tasks.outcome.record`. An alias that points elsewhere is
    moved, and the image that it pointed to stays.
    """
    intent = run_of(task).intent
    host = intent.lxd_hosts[task.host.name]

    def plan(fresh: bool) -> Plan[ImageWrite]:
        facts = lxd_facts_of(task.host, fresh=fresh)
        declared = [intent.images[name] for name in host.images]
        fingerprints = {image.name: _fingerprint(image) for image in declared if image.metadata}
        return plan_images(host, intent.images, fingerprints, facts, prune=prune)

    def ready() -> LxdApi:
        return api_of(task.host)

    def apply(wanted: Plan[ImageWrite]) -> None:
        api = api_of(task.host)
        apply_all((step.object, partial(_write, api, host.name, step)) for step in wanted.steps)

    return converge(task, PHASE, plan=plan, apply=apply, dry_run=dry_run, ready=ready)


def _fingerprint(image: Image) -> str | OSError:
    """What the image's files give, or why they cannot be read: not every host has to care."""
    assert image.metadata is not None  # what makes it an image from files
    try:
        return image_fingerprint(image.metadata, image.rootfs)
    except OSError as error:
        return error


def _write(api: LxdApi, host: str, step: Step[ImageWrite]) -> None:
    write = step.write
    if write.image is None:
        api.delete(f"/1.0/images/{write.fingerprint}")
    elif write.method == "download":
        _download(api, host, write.image)
    else:
        _upload(api, host, write.image)


def _upload(api: LxdApi, host: str, image: Image) -> None:
    """Send an image's files, unless LXD holds them already, and point its alias at them."""
    assert image.metadata is not None  # what makes it an image from files
    try:
        api.upload_image(
            image.metadata,
            image.rootfs,
            alias=image.name,
            properties=_mark(host),
            deadline=DEADLINE,
        )
    except OSError as error:
        raise LxdError(
            f"it cannot be uploaded: {error.filename} ({error.strerror})",
            where=host,
            remedy="make its files readable on this machine",
        ) from error


def _download(api: LxdApi, host: str, image: Image) -> None:
    """Have LXD fetch an image; it keeps it fresh by itself from then on."""
    body = {
        "source": {
            "type": "image",
            "mode": "pull",
            "protocol": "simplestreams",
            "server": image.server,
            "alias": image.alias or image.name,
        },
        "aliases": [{"name": image.name, "description": ""}],
        "auto_update": True,
        "properties": _mark(host),
    }
    try:
        api.post("/1.0/images", body, deadline=DEADLINE)
    except LxdError as error:
        if "lias already exists" in error.what:
            return  # an earlier run was killed and LXD went on with its download
        raise LxdError(
            f"it cannot be fetched from {image.server}: {error.what}",
            where=host,
            remedy="look whether the host reaches the image server and the server has that alias",
        ) from error


def _mark(host: str) -> dict[str, str]:
    return {IMAGE_PROPERTY: host}
