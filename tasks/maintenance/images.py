"""Images of an LXD host: newer versions from their servers, and no more that nothing needs."""

from __future__ import annotations

import logging
from dataclasses import replace

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.errors import FleetError, LxdError, LxdStalledError, UnchangedError
from tasks.facts.lxd import lxd_facts_of
from tasks.images.copying import DEADLINE, STALL, copy_image
from tasks.images.plan import ImageWrite
from tasks.images.prepared import prepared_aliases
from tasks.images.source import source_mark
from tasks.images.targets import targets_of
from tasks.images.task import others_of, point_at, write_image
from tasks.images.upkeep import plan_upkeep
from tasks.intent.model import Image
from tasks.lxd_api.connection import api_of
from tasks.outcome import converge
from tasks.ownership import image_created_by_us
from tasks.plan import Plan, Step, mapping_diff
from tasks.run import run_of

PHASE = "images"
FORESEEN = "whether a server has a newer image is only seen when LXD fetches it, in a real run"

logger = logging.getLogger(__name__)


def refresh_images(task: Task, dry_run: bool | None = None) -> Result:
    """Bring newer versions of an LXD host's images that come from a server, and remove those that
    we brought and nothing needs: no declared image, and none prepared for a declared container.

    The host that has downloaded an image asks its server, once a run, whoever comes to it first;
    the others copy what it has then. LXD itself asks a server for its list at most once an hour,
    and takes one that does not answer for one that has nothing new. A dry run asks nobody.

    Arguments:
        dry_run: overrides Nornir's own dry run.

    ``Result.result`` is the record of phase ``images``; its steps tell each image that was replaced
    or removed, by fingerprint. Errors are in it, never raised.
    """
    run = run_of(task)
    host, name = task.host, task.host.name
    wanted = run.intent.lxd_hosts[name]
    dry = task.is_dry_run(dry_run)

    def plan(fresh: bool) -> Plan[ImageWrite]:
        found = plan_upkeep(
            wanted,
            run.intent.images,
            lxd_facts_of(host, fresh=fresh),
            others=others_of(run, name),
            derived=prepared_aliases(
                run.intent.containers_on(name), run.intent.images, run.intent.profiles
            ),
            asked=run.fetched,
        )
        rest = tuple(step for step in found.steps if step.write.method != "refresh")
        if dry and len(rest) < len(found.steps):
            return replace(found, steps=rest, notes=(FORESEEN,))
        return replace(found, steps=rest) if fresh else found  # asked is asked, whatever came of it

    def apply(planned: Plan[ImageWrite]) -> Plan[ImageWrite]:
        done: list[Step[ImageWrite]] = []
        errors: list[FleetError] = []
        for step in planned.steps:
            if step.write.method == "refresh":
                try:
                    done += _refreshed(host, step)
                except FleetError as error:
                    errors.append(error)
        # what was replaced is not needed any more
        for step in plan(bool(done)).steps:
            if step.write.method != "refresh":
                try:
                    write_image(host, step)
                    done.append(step)
                except FleetError as error:
                    errors.append(error)
        if errors:
            said = "; ".join(str(error) for error in errors)
            raise LxdError(said) if done else UnchangedError(said)
        return Plan(tuple(done), reason="" if done else "no newer images, and none not needed")

    return converge(
        task, PHASE, plan=plan, apply=apply, dry_run=dry_run, ready=lambda: api_of(host)
    )


def _refreshed(host: Host, step: Step[ImageWrite]) -> list[Step[ImageWrite]]:
    """What came of asking: nothing, or the step from the one image to the other."""
    image, before, source = step.write.image, step.write.fingerprint, step.write.source
    assert image is not None  # what makes it one that is asked for
    now = _asked(host, image, source)
    if now == before:
        return []
    detail = f"{before[:12]} -> {now[:12]}"
    if source != host.name:
        point_at(host, image, now, brought=copy_image(host, source, now))
        detail += f", copied from {source}"
    old, new = ({"alias": image.name, "fingerprint": each} for each in (before, now))
    diff = mapping_diff(old, new, f"image {image.name}")
    return [Step("update", f"image {image.name}", step.write, detail, diff)]


def _asked(host: Host, image: Image, source: str) -> str:
    """The fingerprint that the host which keeps an image fresh has, after it has asked its server.

    Where this run must not change that host, or it cannot be asked by another one, it is what it
    has already.
    """
    run = run_of(host)
    asked = f"{image.name} from {source}"  # two that keep it fresh each ask for themselves
    with run.fetching(image.name):
        if asked not in run.fetched:
            fingerprint = targets_of(run.facts[source].lxd)[image.name]
            if source in run.selected:
                try:
                    fingerprint = _ask(run.hosts[source], image, fingerprint)
                except FleetError as error:
                    if source == host.name:
                        raise
                    logger.warning("%s: image %s: %s", source, image.name, error)
                    return fingerprint
            run.fetched[asked] = (source, fingerprint)
        return run.fetched[asked][1]


def _ask(host: Host, image: Image, fingerprint: str) -> str:
    """Have LXD on a host ask the server of an image; the fingerprint that it has then."""
    run, api = run_of(host), api_of(host)
    if image.name in run.not_fetched:
        raise LxdError(run.not_fetched[image.name], where=host.name)
    path = f"/1.0/images/aliases/{image.name}"
    document = run.facts[host.name].lxd.images[fingerprint]
    if image_created_by_us(document, host.name):  # whose mark LXD drops with the properties
        mark = source_mark(host.name, image, ours=True)
        if mark not in [alias.get("description") for alias in document.get("aliases") or []]:
            api.point_alias(image.name, fingerprint, description=mark)
    try:
        now = str(api.get(path)[0]["target"])
        answer = api.post(f"/1.0/images/{now}/refresh", {}, deadline=DEADLINE, stall=STALL)
    except LxdError as error:
        error.what = f"image {image.name} cannot be refreshed: {error.what}"
        if isinstance(error, LxdStalledError):
            run.not_fetched[image.name] = error.what
        raise
    return str(api.get(path)[0]["target"]) if (answer or {}).get("refreshed") else now
