"""Images that are there already: newer versions from their servers, and those that nothing needs.

One host of the fleet has its LXD ask the server, the others copy what it has then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tasks.actual import LxdFacts
from tasks.images.plan import ImageWrite, bring, deletion, unused
from tasks.images.source import is_from_elsewhere, kept_fresh
from tasks.images.targets import targets_of
from tasks.intent.model import Image, LxdHost
from tasks.plan import Plan, Step


def plan_upkeep(
    host: LxdHost,
    images: Mapping[str, Image],
    facts: LxdFacts,
    *,
    others: Mapping[str, LxdFacts],
    derived: Collection[str],
    asked: Mapping[str, tuple[str, str]],
) -> Plan[ImageWrite]:
    """The steps for a host's images that come from a server, and for those that nothing needs.

    What the host lacks, or has from another server than is declared, is left to ``sync_images``.

    Arguments:
        host: the LXD host; its ``images`` are the names of what it needs.
        images: all images of the inventory, by name.
        facts: what was read of LXD on the host.
        others: the same of the fleet's other LXD hosts that could be read, in its order.
        derived: aliases that belong to the declared ones without being declared.
        asked: ``ALIAS from HOST`` -> the LXD host that has asked its server, and what it has since
            then. Of others nobody knows what a server has until it is asked: their step is to ask.
    """
    steps: list[Step[ImageWrite]] = []
    targets = targets_of(facts)
    everywhere = {host.name: facts, **others}
    for name in host.images:
        image, target = images[name], targets.get(name)
        if not image.server or target is None or is_from_elsewhere(image, facts):
            continue
        source = _source(image, everywhere)
        if not source:
            continue
        found = asked.get(f"{name} from {source}")
        if found is None or (source == host.name and found[1] != target):
            write = ImageWrite("refresh", image, target, source)
            steps.append(Step("refresh", f"image {name}", write, detail=f"from {image.server}"))
        elif found[1] != target:
            there, now = found
            steps.append(bring("fetch", image, now, target, facts, source=there))
    moving = [step for step in steps if step.write.method != "refresh"]
    brought = {step.write.fingerprint for step in moving}
    steps += [
        deletion(fingerprint)
        for fingerprint in unused(host, facts, moving, derived)
        if fingerprint not in brought
    ]
    reason = "" if steps else "no newer images, and none that is not needed"
    return Plan(tuple(steps), reason=reason)


def _source(image: Image, everywhere: Mapping[str, LxdFacts]) -> str:
    """The first LXD host that keeps an image fresh; "" where none does."""
    for name, facts in everywhere.items():
        target = targets_of(facts).get(image.name)
        if target and kept_fresh(facts.images[target]) and not is_from_elsewhere(image, facts):
            return name
    return ""
