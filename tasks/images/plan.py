"""What has to be done to the images of one LXD host.

An image is known by its alias, which is the name that the inventory gives it. An image from files
has to be exactly those files; one from a server is fetched once and LXD itself keeps it fresh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tasks.actual import LxdFacts
from tasks.errors import FleetError
from tasks.intent.model import Image, LxdHost
from tasks.ownership import image_created_by_us
from tasks.plan import Plan, Step, mapping_diff


@dataclass(frozen=True)
class ImageWrite:
    """One write: have LXD hold these files under the alias, download from a server, or delete.

    ``fingerprint`` is the image's, unknown for a download.
    """

    method: Literal["upload", "download", "delete"]
    image: Image | None
    fingerprint: str = ""

    @property
    def alias(self) -> str:
        """The image's alias on the host."""
        return self.image.name if self.image else ""


def plan_images(
    host: LxdHost,
    images: Mapping[str, Image],
    fingerprints: Mapping[str, str | OSError],
    facts: LxdFacts,
    prune: bool = False,
) -> Plan[ImageWrite]:
    """Compare the images that a host declares with those it has.

    Arguments:
        host: the LXD host; its ``images`` are the names of what it needs.
        images: all images of the inventory, by name.
        fingerprints: of the images from files, by name, or why they cannot be
            read here.
        facts: what was read of LXD on the host; empty for a host that has no LXD yet.
        prune: delete images that we brought and that no longer have a declared alias.

    Raises :class:`FleetError` for an image that the host lacks and whose file is missing.
    """
    steps: list[Step[ImageWrite]] = []
    notes: list[str] = []
    targets = _targets(facts)
    for name in host.images:
        image, target = images[name], targets.get(name)
        if image.server:
            if target is None:
                steps.append(_download(image))
            continue
        wanted = fingerprints[name]
        if isinstance(wanted, OSError):
            notes.append(_kept(host, image, target, wanted))
        elif wanted != target:
            steps.append(_bring(image, wanted, target, facts))
    in_use = {targets[name] for name in host.images if name in targets}
    if prune:  # what a declared alias moves away from is no longer needed either
        in_use -= {targets[s.write.alias] for s in steps if s.write.alias in targets}
    for fingerprint, document in facts.images.items():
        if fingerprint in in_use or not image_created_by_us(document, host.name):
            continue
        if any(step.write.fingerprint == fingerprint for step in steps):
            continue
        if prune:
            steps.append(_delete(fingerprint))
        else:
            notes.append(
                f"image {fingerprint[:12]}{_aliases(fingerprint, targets)} is no longer in the "
                "inventory; --prune deletes it"
            )
    reason = "" if steps else f"as declared: {', '.join(host.images) or 'none'}"
    return Plan(tuple(steps), reason=reason, notes=tuple(notes))


def _targets(facts: LxdFacts) -> dict[str, str]:
    """Alias -> fingerprint, of every image on the host."""
    return {
        str(alias["name"]): fingerprint
        for fingerprint, image in facts.images.items()
        for alias in image.get("aliases") or []
    }


def _bring(image: Image, wanted: str, target: str | None, facts: LxdFacts) -> Step[ImageWrite]:
    """Have the files on the host under the alias; LXD may hold them already."""
    detail = f"fingerprint {wanted[:12]}"
    if wanted in facts.images:
        detail += ", already on the host"
    if target:
        detail += f"; the alias moves from {target[:12]}, which stays"
    before = {"alias": image.name, "fingerprint": target} if target else {}
    return Step(
        "update" if target else "create",
        f"image {image.name}",
        ImageWrite("upload", image, wanted),
        detail=detail,
        diff=mapping_diff(
            before, {"alias": image.name, "fingerprint": wanted}, f"image {image.name}"
        ),
    )


def _download(image: Image) -> Step[ImageWrite]:
    source = {"alias": image.name, "server": image.server, "source": image.alias or image.name}
    return Step(
        "create",
        f"image {image.name}",
        ImageWrite("download", image),
        detail=f"{source['source']} from {image.server}",
        diff=mapping_diff({}, source, f"image {image.name}"),
    )


def _delete(fingerprint: str) -> Step[ImageWrite]:
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
