"""The Nornir task that brings the images of an LXD host to what the inventory declares."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.actual import LxdFacts
from tasks.apply import apply_all
from tasks.errors import (
    DeadlineError,
    FleetError,
    LxdError,
    LxdStalledError,
    UnreachableError,
)
from tasks.facts.lxd import lxd_facts_of
from tasks.fingerprint import image_fingerprint
from tasks.images.copying import DEADLINE, STALL, copy_image
from tasks.images.plan import ImageWrite, plan_images
from tasks.images.prepared import prepared_aliases
from tasks.images.source import source_mark
from tasks.images.targets import targets_of
from tasks.intent.model import Image
from tasks.lxd_api.connection import api_of
from tasks.outcome import converge
from tasks.ownership import IMAGE_PROPERTY, image_created_by_us, image_mark
from tasks.plan import Plan, Step
from tasks.run import Run, run_of

if TYPE_CHECKING:
    from tasks.lxd_api.api import LxdApi

PHASE = "images"
#: What LXD says where its own disk is full, which another host's need not be.
NO_ROOM = "no space left on device"

logger = logging.getLogger(__name__)


def sync_images(task: Task, dry_run: bool | None = None, prune: bool = False) -> Result:
    """Upload, download or copy the images that an LXD host declares, each under its alias.

    Arguments:
        dry_run: plan only; None follows Nornir's own setting.
        prune: delete images that we brought and that no longer have a declared alias.

    The Result holds the record of :func:`tasks.outcome.record`. An alias that points elsewhere is
    moved, and the image that it pointed to stays. Of a server one host downloads, the others of
    the run wait for it and copy; where a copy fails, a host downloads itself. What does not come
    from its server, or makes no progress for ``STALL`` seconds, no host of the run tries again.
    """
    run = run_of(task)
    host = run.intent.lxd_hosts[task.host.name]

    def plan(fresh: bool) -> Plan[ImageWrite]:
        facts = lxd_facts_of(task.host, fresh=fresh)
        declared = [run.intent.images[name] for name in host.images]
        fingerprints = {image.name: _fingerprint(image) for image in declared if image.metadata}
        return plan_images(
            host,
            run.intent.images,
            fingerprints,
            facts,
            others=others_of(run, host.name),
            derived=prepared_aliases(
                run.intent.containers_on(host.name), run.intent.images, run.intent.profiles
            ),
            prune=prune,
        )

    def ready() -> LxdApi:
        return api_of(task.host)

    def apply(wanted: Plan[ImageWrite]) -> None:
        def write(step: Step[ImageWrite]) -> None:
            try:
                write_image(task.host, step)
            except FleetError as error:
                run.no_images[host.name, step.write.alias] = error.what
                raise
            run.no_images.pop((host.name, step.write.alias), None)

        try:
            apply_all((step.object, partial(write, step)) for step in wanted.steps)
        except (LxdError, DeadlineError):
            # containers that need none of what failed go on, with what was brought
            with suppress(FleetError):
                lxd_facts_of(task.host, fresh=True)
            raise

    return converge(task, PHASE, plan=plan, apply=apply, dry_run=dry_run, ready=ready)


def others_of(run: Run, host: str) -> dict[str, LxdFacts]:
    """What this run has read of the other LXD hosts whose LXD answers, in the fleet's order."""
    facts = {name: run.facts[name].lxd for name in run.intent.lxd_hosts if name in run.facts}
    return {n: lxd for n, lxd in facts.items() if n != host and lxd.running and not lxd.problem}


def _fingerprint(image: Image) -> str | OSError:
    """What the image's files give, or why they cannot be read: not every host has to care."""
    assert image.metadata is not None  # what makes it an image from files
    try:
        return image_fingerprint(image.metadata, image.rootfs)
    except OSError as error:
        return error


def write_image(host: Host, step: Step[ImageWrite]) -> None:
    """Carry out one step on an LXD host. Raises :class:`FleetError` where it fails."""
    write, api = step.write, api_of(host)
    if write.image is None:
        _delete(host, write.fingerprint)
    elif write.method == "alias":
        _keep_mark(host, write.image)
        point_at(host, write.image, write.fingerprint, brought=False)
    elif write.method == "fetch":
        _keep_mark(host, write.image)
        _fetch(host, write, write.image)
    else:
        _upload(api, host.name, write.image)


def _delete(host: Host, fingerprint: str) -> None:
    """Delete an image, unless a declared alias points at it after all: what a server has under
    another name may be the same."""
    path, api = f"/1.0/images/{fingerprint}", api_of(host)
    declared = run_of(host).intent.lxd_hosts[host.name].images
    names = [alias["name"] for alias in api.get(path)[0].get("aliases") or []]
    if not set(names).intersection(declared):
        api.delete(path)


def _keep_mark(host: Host, image: Image) -> None:
    """Of what the alias is about to leave: where LXD itself brought a newer version, which drops
    the properties, only the alias says that it is ours."""
    facts = run_of(host).facts[host.name].lxd
    target = targets_of(facts).get(image.name)
    if target and image_created_by_us(facts.images[target], host.name):
        mark = image_mark(host.name)

        def change(now: dict[str, Any]) -> dict[str, Any]:
            return {**now, "properties": {**(now.get("properties") or {}), **mark}}

        api_of(host).update(f"/1.0/images/{target}", change)


def _upload(api: LxdApi, host: str, image: Image) -> None:
    """Send an image's files, unless LXD holds them already, and point its alias at them."""
    assert image.metadata is not None  # what makes it an image from files
    try:
        api.upload_image(
            image.metadata,
            image.rootfs,
            alias=image.name,
            properties=image_mark(host),
            deadline=DEADLINE,
        )
    except OSError as error:
        raise LxdError(
            f"it cannot be uploaded: {error.filename} ({error.strerror})",
            where=host,
            remedy="make its files readable on this machine",
        ) from error


def _fetch(host: Host, write: ImageWrite, image: Image) -> None:
    """Copy an image from the host that has it, by now perhaps; else download it."""
    run = run_of(host)
    with run.fetching(image.name):
        source, fingerprint = run.fetched.get(image.name) or (write.source, write.fingerprint)
        if source:
            try:
                brought = copy_image(host, source, fingerprint)
            except FleetError as error:
                if not image.server:
                    raise
                logger.warning("%s: image %s: %s", host.name, image.name, error)
            else:
                point_at(host, image, fingerprint, brought=brought)
                return
        with asking_server(host, image):
            run.fetched[image.name] = (host.name, _download(host, image))


@contextmanager
def asking_server(host: Host, image: Image) -> Iterator[None]:
    """While an LXD host asks an image's server: what does not come is not asked for again in this
    run. The caller holds ``run.fetching``. Raises :class:`LxdError` naming the server."""
    run = run_of(host)
    for known in (image.name, str(image.server)):
        if known in run.not_fetched:
            raise _not_fetched(host, image, run.not_fetched[known])
    try:
        yield
    except UnreachableError:
        raise  # of the host itself
    except (LxdError, DeadlineError) as error:
        if NO_ROOM not in error.what:
            why = f"{error.what} (asked by {host.name}, and not again in this run)"
            run.not_fetched[image.name] = why
            if isinstance(error, LxdStalledError) and not error.began:
                run.not_fetched[str(image.server)] = why
        raise _not_fetched(host, image, error.what, error.remedy) from error


def _not_fetched(host: Host, image: Image, why: str, remedy: str = "") -> LxdError:
    also = f"; {remedy}" if remedy else ""
    return LxdError(
        f"it cannot be fetched from {image.server}: {why}",
        where=host.name,
        remedy="look whether the host reaches the image server and the server has that alias"
        + also,
    )


def point_at(host: Host, image: Image, fingerprint: str, *, brought: bool) -> None:
    """Point an image's alias at what an LXD host has: ours where we ``brought`` it, now or before;
    what somebody else did is theirs."""
    document = run_of(host).facts[host.name].lxd.images.get(fingerprint, {})
    ours = brought or image_created_by_us(document, host.name)
    description = source_mark(host.name, image, ours=ours)
    api_of(host).point_alias(image.name, fingerprint, description=description)


def _without_mark(now: dict[str, Any]) -> dict[str, Any]:
    properties = now.get("properties") or {}
    return {**now, "properties": {k: v for k, v in properties.items() if k != IMAGE_PROPERTY}}


def _download(host: Host, image: Image) -> str:
    """Have LXD fetch an image, which it keeps fresh by itself from then on; its fingerprint."""
    api = api_of(host)
    body = {
        "source": {
            "type": "image",
            "mode": "pull",
            "protocol": "simplestreams",
            "server": image.server,
            "alias": image.alias or image.name,
        },
        "auto_update": True,
        "properties": image_mark(host.name),
    }
    before = run_of(host).facts[host.name].lxd.images
    fingerprint = str(api.post("/1.0/images", body, deadline=DEADLINE, stall=STALL)["fingerprint"])
    had = before.get(fingerprint)
    ours = had is None or image_created_by_us(had, host.name)
    if had is not None and not ours:  # LXD has put our mark on what it had already
        api.update(f"/1.0/images/{fingerprint}", _without_mark)
    description = source_mark(host.name, image, ours=ours)
    api.point_alias(image.name, fingerprint, description=description)
    return fingerprint
