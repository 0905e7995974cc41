"""What has to be done to the images of one LXD host.

An image is known by its alias, which is the name that the inventory gives it. An image from files
has to be exactly those files. One from a server is downloaded once for the fleet: LXD itself keeps
it fresh on the host that has downloaded it, the others copy it from there. A local one is on some
host of the fleet already, and copied to those that lack it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from tasks.actual import LxdFacts
from tasks.errors import FleetError
from tasks.images.source import is_from_elsewhere, kept_fresh
from tasks.images.targets import targets_of
from tasks.intent.model import Image, LxdHost
from tasks.ownership import image_created_by_us
from tasks.plan import Plan, Step, mapping_diff


@dataclass(frozen=True)
class ImageWrite:
    """One write: have LXD hold these files under the alias, fetch an image from another host of
    the fleet or else from its server, point the alias at what the host has, have LXD ask its server
    for a newer one, or delete.

    ``fingerprint`` is the image's, unknown for a download; ``source`` the LXD host that has it.
    """

    method: Literal["upload", "fetch", "alias", "refresh", "delete"]
    image: Image | None
    fingerprint: str = ""
    source: str = ""

    @property
    def alias(self) -> str:
        """The image's alias on the host."""
        return self.image.name if self.image else ""


def plan_images(
    host: LxdHost,
    images: Mapping[str, Image],
    fingerprints: Mapping[str, str | OSError],
    facts: LxdFacts,
    *,
    others: Mapping[str, LxdFacts] | None = None,
    derived: Collection[str] = (),
    prune: bool = False,
) -> Plan[ImageWrite]:
    """Compare the images that a host declares with those it has.

    Arguments:
        host: the LXD host; its ``images`` are the names of what it needs.
        images: all images of the inventory, by name.
        fingerprints: of the images from files, by name, or why they cannot be
            read here.
        facts: what was read of LXD on the host; empty for a host that has no LXD yet.
        others: the same of the fleet's other LXD hosts that could be read, in its order.
        derived: aliases that belong to the declared ones without being declared.
        prune: delete images that we brought and that no longer have a declared alias.

    Raises :class:`FleetError` for an image that the host lacks and that is nowhere to be had.
    """
    steps: list[Step[ImageWrite]] = []
    notes: list[str] = []
    targets = targets_of(facts)
    for name in host.images:
        image = images[name]
        found = _planned(host, image, fingerprints, facts, others or {})
        if isinstance(found, Step):
            steps.append(found)
        elif found:
            notes.append(found)
    for fingerprint in unused(host, facts, steps if prune else (), derived):
        if any(step.write.fingerprint == fingerprint for step in steps):
            continue
        if prune:
            steps.append(deletion(fingerprint))
        else:
            notes.append(
                f"image {fingerprint[:12]}{_aliases(fingerprint, targets)} is no longer in the "
                "inventory; --prune deletes it"
            )
    reason = "" if steps else f"as declared: {', '.join(host.images) or 'none'}"
    return Plan(tuple(steps), reason=reason, notes=tuple(notes))


def unused(
    host: LxdHost,
    facts: LxdFacts,
    steps: Collection[Step[ImageWrite]],
    derived: Collection[str],
) -> list[str]:
    """The fingerprints of the images that we brought to a host and that nothing there needs: no
    declared alias, and no ``derived`` one, points at them. What an alias moves away from in one of
    the ``steps`` is no longer needed either."""
    targets = targets_of(facts)
    in_use = {targets[name] for name in (*host.images, *derived) if name in targets}
    in_use -= {targets[s.write.alias] for s in steps if s.write.alias in targets}
    return [
        fingerprint
        for fingerprint, document in facts.images.items()
        if fingerprint not in in_use and image_created_by_us(document, host.name)
    ]


def _planned(
    host: LxdHost,
    image: Image,
    fingerprints: Mapping[str, str | OSError],
    facts: LxdFacts,
    others: Mapping[str, LxdFacts],
) -> Step[ImageWrite] | str:
    """One image's step, or the note on it; "" where it is as declared."""
    target = targets_of(facts).get(image.name)
    if image.server:
        return _from_server(image, target, facts, others)
    if image.local:
        return _local(host, image, target, facts, others)
    files = fingerprints[image.name]
    if isinstance(files, OSError):
        return _kept(host, image, target, files)
    return bring("upload", image, files, target, facts) if files != target else ""


def _from_server(
    image: Image, target: str | None, facts: LxdFacts, others: Mapping[str, LxdFacts]
) -> Step[ImageWrite] | str:
    """A copy follows the host that has downloaded it, whose LXD keeps it fresh; none of them stays
    that came from elsewhere than is declared now."""
    moved = is_from_elsewhere(image, facts)
    if target and kept_fresh(facts.images[target]) and not moved:
        return ""
    for name, lxd in others.items():
        there = targets_of(lxd).get(image.name)
        if not there or is_from_elsewhere(image, lxd):
            continue
        if target is None or kept_fresh(lxd.images[there]):
            if there == target and not moved:
                return ""
            return bring("fetch", image, there, target, facts, source=name)
    return _download(image, target) if moved or not target else ""


def _local(
    host: LxdHost,
    image: Image,
    target: str | None,
    facts: LxdFacts,
    others: Mapping[str, LxdFacts],
) -> Step[ImageWrite] | str:
    wanted, source = _find(str(image.local), facts), ""
    for name, lxd in others.items():
        if not wanted:
            wanted, source = _find(str(image.local), lxd), name
    if wanted:
        method: Literal["fetch", "alias"] = "fetch" if source else "alias"
        return (
            bring(method, image, wanted, target, facts, source=source) if wanted != target else ""
        )
    if target:
        return f"image {image.name} stays as it is ({target[:12]}): no host has {image.local} now"
    asked = ", ".join((host.name, *others))
    raise FleetError(
        f"image {image.name} is on no LXD host that could be asked ({asked}) as {image.local}",
        where=host.name,
        remedy=f"import it on one of them (lxc image import FILE --alias {image.local}), or "
        "correct it in the inventory",
    )


def _find(local: str, facts: LxdFacts) -> str:
    """The image of that alias, or of that fingerprint, of which LXD takes the beginning too."""
    by_alias = targets_of(facts).get(local)
    if by_alias or len(local) < SHORTEST_FINGERPRINT:
        return by_alias or ""
    found = [fingerprint for fingerprint in facts.images if fingerprint.startswith(local)]
    return found[0] if len(found) == 1 else ""


#: Characters of a fingerprint that name an image; fewer could be the beginning of a word.
SHORTEST_FINGERPRINT = 12


def bring(
    method: Literal["upload", "fetch", "alias"],
    image: Image,
    wanted: str,
    target: str | None,
    facts: LxdFacts,
    *,
    source: str = "",
) -> Step[ImageWrite]:
    """Have an image on the host under its alias; LXD may hold it already."""
    detail = f"fingerprint {wanted[:12]}"
    if wanted in facts.images:
        detail += ", already on the host"
        method, source = ("alias", "") if method == "fetch" else (method, source)
    elif source:
        detail += f", copied from {source}"
    if target:
        detail += f"; the alias moves from {target[:12]}, which stays"
    before = {"alias": image.name, "fingerprint": target} if target else {}
    return Step(
        "update" if target else "create",
        f"image {image.name}",
        ImageWrite(method, image, wanted, source),
        detail=detail,
        diff=mapping_diff(
            before, {"alias": image.name, "fingerprint": wanted}, f"image {image.name}"
        ),
    )


def _download(image: Image, target: str | None) -> Step[ImageWrite]:
    source = {"alias": image.name, "server": image.server, "source": image.alias or image.name}
    detail = f"{source['source']} from {image.server}, once for all hosts"
    if target:
        detail += f"; the alias moves from {target[:12]}, which came from elsewhere and stays"
    return Step(
        "update" if target else "create",
        f"image {image.name}",
        ImageWrite("fetch", image),
        detail=detail,
        diff=mapping_diff(
            {"alias": image.name, "fingerprint": target} if target else {},
            source,
            f"image {image.name}",
        ),
    )


def deletion(fingerprint: str) -> Step[ImageWrite]:
    """The step that removes an image that is no longer needed."""
    return Step(
        "delete",
        f"image {fingerprint[:12]}",
        ImageWrite("delete", None, fingerprint),
        detail="no longer in the inventory",
        diff=mapping_diff({"fingerprint": fingerprint}, {}, f"image {fingerprint[:12]}"),
    )


def _kept(host: LxdHost, image: Image, target: str | None, error: OSError) -> str:
    """The note on an image without its files, where the host has the image; else an error."""
    missing = f"{error.filename} ({error.strerror})"
    if target is None:
        raise FleetError(
            f"image {image.name} is not on the host and cannot be uploaded: {missing}",
            where=host.name,
            remedy=f"bring the file to this machine, or correct image {image.name} in the "
            "inventory",
        )
    return f"image {image.name} stays as it is ({target[:12]}), unchecked: {missing}"


def _aliases(fingerprint: str, targets: Mapping[str, str]) -> str:
    names = sorted(alias for alias, target in targets.items() if target == fingerprint)
    return f" ({', '.join(names)})" if names else ""
